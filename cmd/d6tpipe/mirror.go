package main

import (
	"errors"
	"io"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

func newMirror(p *program) *cobra.Command {
	var r reach
	var f filter
	var o d6tpipe.MirrorOptions
	c := &cobra.Command{
		Use:   "mirror SOURCE TARGET",
		Short: "Bring the files of one pipe to another, from remote to remote",
		Long: `Bring the files of one pipe to another, now. They pass through this machine and do not
land on its disk; what a server does by itself is d6tpipe mirrors. What is new or
changed at the source is copied; what somebody else changed at the target is a
conflict, unless --merge says what to do.

With --delete, what is gone at the source is removed from the target afterwards, if a
mirror put it there and nobody has changed it; --force removes the rest too. When more
than ten files and more than half would go it is refused, and the exit code is 5.`,
		Example: "  d6tpipe mirror sales sales-backup\n  d6tpipe mirror sales sales-backup --delete --dry-run",
		Args:    exactly(2),
		RunE: func(c *cobra.Command, args []string) error {
			o.Include, o.Exclude = f.include, f.exclude
			return p.mirror(c, args[0], args[1], r, o)
		},
		ValidArgsFunction: func(c *cobra.Command, args []string, to string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 1 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return p.completePipes(c, args, to)
		},
	}
	f.flags(c)
	addOneOf(c, &o.Merge, "merge", "what becomes of files that were changed at the target", d6tpipe.MergeFail, d6tpipe.MergeKeep, d6tpipe.MergeOverwrite)
	c.Flags().BoolVar(&o.All, "all", false, "copy every file again")
	c.Flags().BoolVar(&o.Delete, "delete", false, "remove from the target what is gone at the source")
	c.Flags().BoolVar(&o.Force, "force", false, "with --delete: also what was edited or came from elsewhere, and however many")
	c.Flags().BoolVarP(&o.DryRun, "dry-run", "n", false, "only show what would be done")
	r.flags(c)
	r.workerFlag(c)
	return c
}

func (p *program) mirror(c *cobra.Command, source, target string, r reach, o d6tpipe.MirrorOptions) error {
	ctx := c.Context()
	src, err := p.open(ctx, source, r.options())
	if err != nil {
		return err
	}
	w := p.watch(c)
	open := r.options()
	open.Progress = w.event
	dst, err := p.open(ctx, target, open)
	if err != nil {
		w.close()
		return err
	}
	report, err := d6tpipe.Mirror(ctx, dst, src, o)
	w.close()
	if errors.Is(err, d6tpipe.ErrRefused) && !errors.Is(err, d6tpipe.ErrPartial) {
		err = hint(err, "If it is meant so: --force.")
	}
	return p.tellMirror(c, report, o, w, err)
}

func (p *program) tellMirror(c *cobra.Command, m d6tpipe.MirrorReport, o d6tpipe.MirrorOptions, w *watch, err error) error {
	err = interrupted(err, "mirror "+m.Source+" to "+m.Target, w, nextGoesOn)
	if p.asJSON {
		return errors.Join(err, printJSON(c.OutOrStdout(), m, "  "))
	}
	if o.DryRun && err == nil {
		if err := p.showPlan(c, &m.Plan); err != nil {
			return err
		}
	} else {
		p.problems(c, m.Report, err)
	}
	if failed := showExtra(c.OutOrStdout(), m.Extra, p.verbose || o.Delete); failed != nil {
		return errors.Join(err, failed)
	}
	if !o.DryRun && (err == nil || errors.Is(err, d6tpipe.ErrPartial)) {
		p.say(c, "mirrored %s to %s: %s, %s in %s; %d unchanged", m.Source, m.Target, count(m.Report.Moved, "file"), size(m.Report.Bytes), duration(m.Report.Duration), m.Report.Unchanged)
	}
	return err
}

// showExtra lists what the target has and the source has not.
func showExtra(w io.Writer, extra []d6tpipe.Orphan, wanted bool) error {
	if !wanted {
		return nil
	}
	t := newTable("ONLY AT THE TARGET", ">SIZE", "+")
	for _, o := range extra {
		t.add(o.Key, size(o.Size), orphanState(o))
	}
	return t.print(w)
}
