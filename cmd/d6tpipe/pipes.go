package main

import (
	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

func newPipes(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:     "pipes",
		Short:   "The pipes: datasets with their folders and filters",
		Example: "  d6tpipe pipes list\n  d6tpipe pipes create sales --remote warehouse --dir sales --include '*.csv|*.parquet'",
	}, newPipesList(p))
}

func newPipesList(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the pipes that you may use",
		Example: "  d6tpipe pipes list\n  d6tpipe pipes list --json | jq -r .name",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			api, err := p.api()
			if err != nil {
				return err
			}
			var pipes []d6tpipe.PipeSettings
			for pipe, err := range api.Pipes().All(c.Context()) {
				if err != nil {
					return err
				}
				pipes = append(pipes, pipe)
			}
			return showList(p, c, pipes, newTable("NAME", "ROLE", "PROTOCOL", "WHERE", "FILES"), pipeRow)
		},
	}
}

// pipeRow tells of a pipe what people look for.
func pipeRow(s d6tpipe.PipeSettings) []string {
	where := s.Options.RemotePath
	switch {
	case s.Remote != "":
		where = s.Remote + ":" + s.Options.Dir
	case where == "":
		where = s.Location
	}
	files := s.Options.Include
	if s.Options.Exclude != "" {
		files += " but " + s.Options.Exclude
	}
	return []string{s.Name, string(s.Role), string(s.Protocol), where, files}
}
