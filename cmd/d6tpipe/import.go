package main

import (
	"errors"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

func newImport(p *program) *cobra.Command {
	var o d6tpipe.ImportOptions
	c := &cobra.Command{
		Use:   "import PIPE FILE|FOLDER...",
		Short: "Copy files into the folder of a pipe, to be pushed",
		Long: `Copy files into the folder of a pipe, each under its name, and what lies in folders
under its path there, replacing what is there. All names are checked before anything
is copied; a copy appears whole or not at all. The next push sends them.`,
		Example: "  d6tpipe import sales report.csv\n  d6tpipe import sales exports/ --dir 2026 --move",
	}
	c.Flags().StringVar(&o.Dir, "dir", "", "`folder` of the pipe to copy into")
	c.Flags().BoolVar(&o.Move, "move", false, "remove each source after its copy is whole and durable")
	return p.pipeFirst(c, -1, func(c *cobra.Command, name string, paths []string) error {
		if len(paths) == 0 {
			return usage(c, errors.New("say which files or folders to import"))
		}
		pipe, err := p.openHere(c.Context(), name)
		if err != nil {
			return err
		}
		keys, err := pipe.Import(c.Context(), paths, o)
		if len(keys) > 0 || err == nil {
			p.say(c, "imported %s into %s; d6tpipe push %s sends them", count(len(keys), "file"), safe(pipe.Dir()), name)
		}
		return errors.Join(err, p.showImported(c, pipe, keys))
	})
}

// showImported lists what was imported with --json, as a scan sees it.
func (p *program) showImported(c *cobra.Command, pipe *d6tpipe.LocalPipe, keys []string) error {
	if !p.asJSON || len(keys) == 0 {
		return nil
	}
	imported := map[string]bool{}
	for _, key := range keys {
		imported[key] = true
	}
	files, err := pipe.ScanLocal(c.Context(), d6tpipe.ListOptions{})
	if err != nil && !errors.Is(err, d6tpipe.ErrPartial) {
		return err
	}
	for _, f := range files {
		if !imported[f.Key] {
			continue
		}
		if err := printJSON(c.OutOrStdout(), f, ""); err != nil {
			return err
		}
	}
	return nil
}
