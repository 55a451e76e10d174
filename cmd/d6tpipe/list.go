package main

import (
	"path/filepath"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// newCreate is the Python client's create: a pipe with a name and nothing else.
func newCreate(p *program) *cobra.Command {
	return p.pipeFirst(&cobra.Command{
		Use:   "create PIPE",
		Short: "Make a pipe in the server's storage, unless there is one of that name",
		Long: `Make a pipe with a name and nothing else: its files lie in the server's own storage.
A pipe of that name stays as it is. The answer is the pipe, as JSON. With settings:
d6tpipe pipes create.`,
		Example: "  d6tpipe create sales\n  d6tpipe create --pipe sales --profile work",
	}, 0, func(c *cobra.Command, pipe string, _ []string) error {
		api, err := p.api()
		if err != nil {
			return err
		}
		made, err := api.Pipes().Upsert(c.Context(), d6tpipe.PipeSettings{Name: pipe})
		if err != nil {
			return err
		}
		if _, local := api.(*d6tpipe.APILocal); local && made.Location == "" && made.Remote == "" {
			p.say(c, "A catalogue file has no storage: say where the files lie with d6tpipe pipes update %s --remote NAME", safe(pipe))
		}
		return printJSON(c.OutOrStdout(), made, "  ")
	})
}

func newList(p *program) *cobra.Command {
	remote := newPipesNoun(p).list()
	remote.Use, remote.Short = "remote", "List the pipes that you may use, as pipes list does"
	remote.Example = "  d6tpipe list remote"
	return group(&cobra.Command{
		Use:     "list",
		Short:   "List the pipes of the repo API, or those with files on this machine",
		Example: "  d6tpipe list remote\n  d6tpipe list local",
	}, remote, newListLocal(p))
}

// A localPipe is a folder of the file repo.
type localPipe struct {
	Name string `json:"name"`
	Dir  string `json:"dir"`
}

func newListLocal(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "local",
		Short:   "List the pipes that have files on this machine",
		Example: "  d6tpipe list local\n  d6tpipe list local --json | jq -r .dir",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := p.config()
			if err != nil {
				return err
			}
			names, err := cfg.LocalPipes()
			if err != nil {
				return err
			}
			pipes := make([]localPipe, len(names))
			for i, name := range names {
				pipes[i] = localPipe{name, filepath.Join(cfg.FileRepo, name)}
			}
			return showList(p, c, pipes, newTable("NAME", "FOLDER"), func(l localPipe) []string { return []string{l.Name, l.Dir} })
		},
	}
}
