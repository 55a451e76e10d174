package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

func newImport(p *program) *cobra.Command {
	var o d6tpipe.ImportOptions
	c := &cobra.Command{
		Use:   "import PIPE FILE|FOLDER...",
		Short: "Copy files into the folder of a pipe, to be pushed",
		Long: `Copy files into the folder of a pipe, each under its name, and what lies in folders
under its path there. All names are checked before anything is copied; a copy appears
whole or not at all. The next push sends them.

What was synced and not edited since is replaced. When files would be lost that were
edited or added here and not pushed, nothing is copied and the exit code is 5, unless
--overwrite is given.`,
		Example: "  d6tpipe import sales report.csv\n  d6tpipe import sales exports/ --dir 2026 --move",
	}
	var overwrite bool
	c.Flags().BoolVar(&overwrite, "overwrite", false, "also replace files that were edited or added here and not pushed")
	c.Flags().StringVar(&o.Dir, "dir", "", "`folder` of the pipe to copy into")
	c.Flags().BoolVar(&o.Move, "move", false, "remove each source after its copy is whole and durable")
	completeWords(c, "dir") // of the pipe
	c.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return p.pipeFirst(c, -1, func(c *cobra.Command, name string, paths []string) error {
		if len(paths) == 0 {
			return usage(c, errors.New("say which files or folders to import"))
		}
		pipe, err := p.openHere(c.Context(), name)
		if err != nil {
			return err
		}
		w := p.watch(c)
		o.KeepEdits, o.Progress = !overwrite, w.event
		keys, err := pipe.Import(c.Context(), paths, o)
		w.close()
		if len(keys) > 0 && !errors.Is(err, context.Canceled) || err == nil {
			p.say(c, "imported %s into %s; d6tpipe push %s sends them", count(len(keys), "file"), safe(pipe.Dir()), name)
		}
		return errors.Join(p.importError(c, name, o, w, err), p.showImported(c, pipe, keys))
	})
}

// importError says how an import goes on that did not come to its end.
func (p *program) importError(c *cobra.Command, name string, o d6tpipe.ImportOptions, w *watch, err error) error {
	var edits *d6tpipe.EditsError
	if errors.As(err, &edits) {
		l := p.names(c.ErrOrStderr())
		for _, key := range edits.Keys {
			l.add("edited", key, "")
		}
		l.end()
		return hint(err, "Nothing was copied. Push them first (d6tpipe push "+name+"), or replace them with --overwrite.")
	}
	again := "The same command goes on: what was imported is there, and does no harm."
	if o.Move {
		again = "Files that were moved are no longer where they were: give the command the others, or the same folders."
	}
	return interrupted(err, "import into "+name, w, again)
}

// showImported lists what was imported with --json, as a scan sees it, after an
// interruption as well.
func (p *program) showImported(c *cobra.Command, pipe *d6tpipe.LocalPipe, keys []string) error {
	if !p.asJSON {
		return nil
	}
	for _, key := range keys {
		info, err := os.Lstat(filepath.Join(pipe.Dir(), filepath.FromSlash(key)))
		if err != nil {
			return err
		}
		if err := printJSON(c.OutOrStdout(), d6tpipe.File{Key: key, Size: info.Size(), ModTime: info.ModTime().UTC()}, ""); err != nil {
			return err
		}
	}
	return nil
}
