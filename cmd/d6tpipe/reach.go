package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// A reach is how a command gets at the storage of a pipe.
type reach struct {
	workers   uint16
	localKeys bool
	folders   []string
}

func (r *reach) flags(c *cobra.Command) {
	c.Flags().BoolVar(&r.localKeys, "local-keys", false, "let a server's pipe use the SSH and AWS keys of this machine")
	c.Flags().StringArrayVar(&r.folders, "local-folder", nil, "`folder` of this machine in which a server's pipe may lie; may be given again")
	_ = c.MarkFlagDirname("local-folder")
}

func (r *reach) workerFlag(c *cobra.Command) {
	c.Flags().Uint16Var(&r.workers, "workers", 0, "`number` of files that are moved at a time (default 32)")
}

func (r *reach) options() d6tpipe.OpenOptions {
	return d6tpipe.OpenOptions{Workers: int(r.workers), LocalKeys: r.localKeys, LocalFolders: r.folders}
}

// openHere opens the part of a pipe that lies on this machine, offline when the pipe
// was opened here before.
func (p *program) openHere(ctx context.Context, pipe string) (*d6tpipe.LocalPipe, error) {
	cfg, err := p.config()
	if err != nil {
		return nil, err
	}
	here, err := d6tpipe.OpenLocalPipe(cfg, pipe)
	if !errors.Is(err, d6tpipe.ErrNotFound) {
		return here, err
	}
	both, err := p.open(ctx, pipe, d6tpipe.OpenOptions{})
	if err != nil {
		return nil, err
	}
	return both.LocalPipe, nil
}

// A filter is what most commands on files take beside the pipe's own.
type filter struct{ include, exclude string }

func (f *filter) flags(c *cobra.Command) {
	c.Flags().StringVar(&f.include, "include", "", "only files that match these `patterns`, as in '*.csv|*.parquet'")
	c.Flags().StringVar(&f.exclude, "exclude", "", "no files that match these `patterns`")
}
