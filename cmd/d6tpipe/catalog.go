package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

func newCatalog(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:     "catalog",
		Short:   "All remotes and pipes: copy them, import those of the Python client",
		Example: "  d6tpipe catalog copy --from local:default --to default\n  d6tpipe catalog import ~/d6tpipe/files/default/.filedb.json",
	}, newCatalogCopy(p), newCatalogImport(p))
}

func newCatalogCopy(p *program) *cobra.Command {
	var from, to string
	overwrite := false
	c := &cobra.Command{
		Use:   "copy",
		Short: "Copy remotes and pipes from one repo API to another",
		Long: `Copy all remotes and pipes, with their credentials as far as one may see them. The
files stay where they are, so what lies in a server's own storage cannot be copied.
Nothing is deleted, and a second run copies only what is missing.

A side is the name of a profile: its server, or its catalogue file when it has
none; local:NAME is the catalogue file in any case. The side that is not named is
the profile of --profile, --local or the default one.`,
		Example: `  d6tpipe catalog copy --from local:default --to default   # from one's file to the team's server
  d6tpipe catalog copy --from old --to new --overwrite`,
		Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if from == to {
				return usage(c, errors.New("say from where or to where, with --from and --to; both sides are the same"))
			}
			src, err := p.side(from)
			if err != nil {
				return err
			}
			dst, err := p.side(to)
			if err != nil {
				return err
			}
			if place(src) == place(dst) {
				return usage(c, errors.New("both sides are the same repo API"))
			}
			return p.copyRecords(c, func(ctx context.Context) (d6tpipe.CopyReport, error) {
				return d6tpipe.CopyCatalog(ctx, dst, src, d6tpipe.CopyOptions{Overwrite: overwrite})
			})
		},
	}
	c.Flags().StringVar(&from, "from", "", "copy from this `profile`, or local:PROFILE")
	c.Flags().StringVar(&to, "to", "", "copy to this `profile`, or local:PROFILE")
	_ = c.RegisterFlagCompletionFunc("from", completeSides)
	_ = c.RegisterFlagCompletionFunc("to", completeSides)
	c.Flags().BoolVar(&overwrite, "overwrite", false, "replace records that are different")
	return c
}

// localSide stands before a profile whose catalogue file is meant and not its server.
const localSide = "local:"

// side opens one side of a copy; "" is that of the global flags.
func (p *program) side(name string) (d6tpipe.API, error) {
	if name == "" {
		return p.api()
	}
	profile, local := strings.CutPrefix(name, localSide)
	return (&program{profile: profile, local: local}).api()
}

// place is where an API keeps its records.
func place(api d6tpipe.API) string {
	if _, local := api.(*d6tpipe.APILocal); local {
		return "file " + api.Config().Catalog
	}
	return "server " + api.Config().Server
}

func newCatalogImport(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE",
		Short: "Import the remotes and pipes of the Python client's local mode",
		Long: `Import the remotes and pipes that the Python client kept in .filedb.json, which is
only read. Records that are there already stay, so it can be repeated.`,
		Example: "  d6tpipe --local catalog import ~/d6tpipe/files/default/.filedb.json",
		Args:    exactly(1),
		RunE: func(c *cobra.Command, args []string) error {
			api, err := p.api()
			if err != nil {
				return err
			}
			return p.copyRecords(c, func(ctx context.Context) (d6tpipe.CopyReport, error) { return d6tpipe.ImportTinyDB(ctx, api, args[0]) })
		},
	}
}

// copyRecords runs a copy, and tells what became of each record.
func (p *program) copyRecords(c *cobra.Command, run func(context.Context) (d6tpipe.CopyReport, error)) error {
	report, err := run(c.Context())
	shown := showList(p, c, report.Records, newTable("STATUS", "KIND", "NAME", "+NOTE"), func(r d6tpipe.RecordResult) []string {
		return []string{string(r.Status), strings.TrimSuffix(r.Collection, "s"), r.Name, r.Reason}
	})
	switch {
	case errors.Is(err, d6tpipe.ErrPartial) && report.Count(d6tpipe.RecordFailed) == 0:
		err = hint(err, "Others of the same names are there and stay; catalog copy --overwrite replaces them.")
	case errors.Is(err, d6tpipe.ErrPartial):
		err = hint(err, "The notes say why some failed; the others are there.")
	case err == nil && len(report.Records) == 0:
		p.say(c, "There was nothing to copy.")
	}
	return errors.Join(err, shown)
}
