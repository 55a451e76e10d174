package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

func newScan(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:     "scan",
		Short:   "List all files of a pipe, on the remote or here",
		Example: "  d6tpipe scan remote sales\n  d6tpipe scan local sales --json",
	}, newScanRemote(p), newScanLocal(p))
}

// An order is how a list of files is narrowed down and sorted.
type order struct {
	filter
	sort d6tpipe.Sort
}

func (o *order) flags(c *cobra.Command) {
	o.filter.flags(c)
	addOneOf(c, &o.sort, "sort", "the order", d6tpipe.SortName, d6tpipe.SortMod, d6tpipe.SortSize)
}

func (o *order) options() d6tpipe.ListOptions {
	return d6tpipe.ListOptions{Include: o.include, Exclude: o.exclude, Sort: o.sort}
}

func newScanRemote(p *program) *cobra.Command {
	var o order
	var r reach
	var noCache bool
	c := &cobra.Command{
		Use:   "remote PIPE",
		Short: "List the files on the remote",
		Long: `List the files of a pipe on the remote. A server that keeps listings is asked for its
last one, unless files are selected or sorted; --no-cache looks at the storage itself.

Names that cannot be used are told on standard error, and the exit code is 3.`,
		Example: "  d6tpipe scan remote sales --sort mod\n  d6tpipe scan remote sales --no-cache --json | jq .key",
	}
	o.flags(c)
	c.Flags().BoolVar(&noCache, "no-cache", false, "look at the storage itself")
	r.flags(c)
	return p.pipeFirst(c, 0, func(c *cobra.Command, name string, _ []string) error {
		if !noCache && o == (order{}) {
			if kept, ok := p.keptListing(c.Context(), name); ok {
				p.say(c, "as the server saw it %s ago; --no-cache looks now", kept.Age)
				return p.showFiles(c, name, kept.Files, kept.Refused, nil)
			}
		}
		pipe, err := p.open(c.Context(), name, r.options())
		if err != nil {
			return err
		}
		files, err := pipe.ScanRemote(c.Context(), o.options())
		_, refused := d6tpipe.Failures(err)
		return p.showFiles(c, name, files, refused, err)
	})
}

// keptListing is the server's listing, if there is one that it stands by. Why there
// is none, the look at the storage will show.
func (p *program) keptListing(ctx context.Context, pipe string) (d6tpipe.PipeListing, bool) {
	api, err := p.api()
	if err != nil {
		return d6tpipe.PipeListing{}, false
	}
	client, ok := api.(*d6tpipe.APIClient)
	if !ok {
		return d6tpipe.PipeListing{}, false
	}
	kept, err := client.ListFiles(ctx, pipe, false)
	return kept, err == nil && kept.Stale == "" && kept.Age <= kept.MaxAge
}

func newScanLocal(p *program) *cobra.Command {
	var o order
	c := &cobra.Command{
		Use:   "local PIPE",
		Short: "List the files here, synced or not",
		Long: `List the files of a pipe in the folder of this machine, synced or not. It works
offline.

Names that no remote may have are told on standard error, and the exit code is 3.`,
		Example: "  d6tpipe scan local sales\n  d6tpipe scan local sales --include '*.csv' --json",
	}
	o.flags(c)
	return p.pipeFirst(c, 0, func(c *cobra.Command, name string, _ []string) error {
		pipe, err := p.openHere(c.Context(), name)
		if err != nil {
			return err
		}
		files, err := pipe.ScanLocal(c.Context(), o.options())
		_, refused := d6tpipe.Failures(err)
		return p.showFiles(c, name, files, refused, err)
	})
}

// showFiles lists files, and names those that were refused.
func (p *program) showFiles(c *cobra.Command, pipe string, files []d6tpipe.File, refused []d6tpipe.Refusal, err error) error {
	if err != nil && len(refused) == 0 {
		return err
	}
	if err := showList(p, c, files, newTable(">SIZE", "MODIFIED", "FILE"), fileRow); err != nil {
		return err
	}
	if len(refused) == 0 {
		return nil
	}
	return p.tellRefused(c, pipe, refused)
}

// tellRefused names what cannot be used, and is the error of it.
func (p *program) tellRefused(c *cobra.Command, pipe string, refused []d6tpipe.Refusal) error {
	l := p.names(c.ErrOrStderr())
	for _, r := range refused {
		l.add("refused", r.Key, r.Reason)
	}
	l.end()
	return hint(partError(fmt.Sprintf("%s of %s cannot be used", count(len(refused), "name"), pipe)), renameThem)
}

const renameThem = "Rename them where they lie; the other files are not concerned."

func fileRow(f d6tpipe.File) []string {
	bytes := size(f.Size)
	if strings.HasSuffix(f.Key, "/") {
		bytes = ""
	}
	return []string{bytes, fileTime(f.ModTime), f.Key}
}

// fileTime writes the time of a file in the local zone; some storages have none.
func fileTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}
