package main

import (
	"errors"
	"io"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

func newOrphans(p *program) *cobra.Command {
	var r reach
	var o d6tpipe.OrphanOptions
	c := &cobra.Command{
		Use:   "orphans PIPE",
		Short: "Show files that were deleted on the other side, and remove them when told",
		Long: `Show the files that only one side has because they were deleted on the other, and
with --remove remove them. Files that were edited since, or never synced, stay
unless --force is given.

A removal is refused, and the exit code is 5, when the other side is empty although
files were synced, and when more than ten files and more than half of them would go.
--force lifts both; nothing makes up for a listing that is not complete.`,
		Example: `  d6tpipe orphans sales
  d6tpipe orphans sales --remove
  d6tpipe orphans sales --where remote --remove`,
	}
	addOneOf(c, &o.Where, "where", "on which side", d6tpipe.OrphansLocal, d6tpipe.OrphansRemote, d6tpipe.OrphansBoth)
	c.Flags().BoolVar(&o.Remove, "remove", false, "remove them")
	c.Flags().BoolVar(&o.Force, "force", false, "also what was edited or never synced, and however many they are")
	r.flags(c)
	return p.pipeFirst(c, 0, func(c *cobra.Command, name string, _ []string) error {
		pipe, err := p.open(c.Context(), name, r.options())
		if err != nil {
			return err
		}
		report, err := pipe.RemoveOrphans(c.Context(), o)
		if errors.Is(err, d6tpipe.ErrRefused) && !errors.Is(err, d6tpipe.ErrPartial) {
			err = hint(err, "Nothing was removed. If it is meant so: --force.")
		}
		return errors.Join(p.showOrphans(c, report, o.Remove, err), err)
	})
}

// showOrphans lists what was found, also beside an error.
func (p *program) showOrphans(c *cobra.Command, report d6tpipe.OrphanReport, remove bool, err error) error {
	if err != nil && len(report.Local)+len(report.Remote) == 0 {
		return nil
	}
	failed := p.show(c, report, func(w io.Writer) error {
		t := newTable("WHERE", ">SIZE", "FILE", "+")
		for _, o := range report.Local {
			t.add("here", size(o.Size), o.Key, orphanState(o))
		}
		for _, o := range report.Remote {
			t.add("remote", size(o.Size), o.Key, orphanState(o))
		}
		return t.print(w)
	})
	if failed != nil || err != nil {
		return failed
	}
	removed, kept := 0, 0
	for _, list := range [][]d6tpipe.Orphan{report.Local, report.Remote} {
		for _, o := range list {
			if o.Removed {
				removed++
			}
			if o.Kept != "" && !o.Removed {
				kept++
			}
		}
	}
	switch found := len(report.Local) + len(report.Remote); {
	case found == 0:
		p.say(c, "no orphans")
	case remove:
		p.say(c, "removed %s; %d kept", count(removed, "file"), kept)
	default:
		p.say(c, "%s would be removed, %d kept; --remove does it", count(found-kept, "file"), kept)
	}
	return nil
}

func orphanState(o d6tpipe.Orphan) string {
	switch {
	case o.Removed:
		return "removed"
	case o.Kept != "":
		return "kept: " + o.Kept
	}
	return ""
}
