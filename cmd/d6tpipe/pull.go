package main

import (
	"context"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// A selection is what the commands that move files take: which of them, and how.
type selection struct {
	reach
	filter
	mode   d6tpipe.Mode
	merge  d6tpipe.Merge
	recent int
	files  []string
	fresh  bool
}

func (s *selection) flags(c *cobra.Command, target string) {
	f := c.Flags()
	addOneOf(c, &s.mode, "mode", "which files", d6tpipe.ModeDefault, d6tpipe.ModeNew, d6tpipe.ModeMod, d6tpipe.ModeAll)
	addOneOf(c, &s.merge, "merge", "what becomes of files that changed on both sides: "+target, d6tpipe.MergeFail, d6tpipe.MergeKeep, d6tpipe.MergeOverwrite)
	s.filter.flags(c)
	f.IntVar(&s.recent, "recent", 0, "only the `number` newest of the selected files; negative: the oldest")
	f.StringArrayVar(&s.files, "file", nil, "move exactly this `key`, changed or not; may be given again")
	s.reach.flags(c)
	s.workerFlag(c)
}

func (s *selection) options() d6tpipe.PullOptions {
	return d6tpipe.PullOptions{Mode: s.mode, Merge: s.merge, Files: s.files, Include: s.include, Exclude: s.exclude, Recent: s.recent, Fresh: s.fresh}
}

func newPull(p *program) *cobra.Command {
	var s selection
	var preview bool
	c := &cobra.Command{
		Use:   "pull PIPE",
		Short: "Fetch what is new or changed on the remote",
		Long: `Fetch what is new or changed on the remote into the folder of this machine.

Each file is verified before it appears under its name. An edit here is never lost:
when a file changed on both sides, nothing moves and the exit code is 4, unless
--merge says what to do. Nothing is deleted; see d6tpipe orphans. A pull that was
interrupted is continued by the next one.

With --json the report goes to standard output, or the plan with --preview.`,
		Example: `  d6tpipe pull sales
  d6tpipe pull sales --preview
  d6tpipe pull sales --include '*.csv' --recent 12
  d6tpipe pull sales --file 2026/11.csv --merge overwrite`,
	}
	s.flags(c, "keep and overwrite are about the file here")
	c.Flags().BoolVarP(&preview, "preview", "n", false, "only show what would be done")
	c.Flags().BoolVar(&s.fresh, "fresh", false, "look at the storage itself, whatever listing the server keeps")
	return p.pipeFirst(c, 0, func(c *cobra.Command, pipe string, _ []string) error {
		if preview {
			return p.preview(c, pipe, s, (*d6tpipe.Pipe).PlanPull)
		}
		return p.transfer(c, "pull", pipe, s.reach.options(), func(ctx context.Context, pipe *d6tpipe.Pipe) (d6tpipe.Report, error) {
			return pipe.Pull(ctx, s.options())
		})
	})
}

func newPush(p *program) *cobra.Command {
	var s selection
	var preview bool
	c := &cobra.Command{
		Use:   "push PIPE",
		Short: "Send what is new or changed here",
		Long: `Send what is new or changed in the folder of this machine to the remote.

When the remote has changes that were not pulled, nothing moves and the exit code
is 4: pull first, or say with --merge what to do. Nothing is deleted; see d6tpipe
orphans. A push that was interrupted is continued by the next one.

With --json the report goes to standard output, or the plan with --preview.`,
		Example: `  d6tpipe push sales
  d6tpipe push sales --preview
  d6tpipe push sales --mode new --exclude '*.tmp'`,
	}
	s.flags(c, "keep and overwrite are about the file on the remote")
	c.Flags().BoolVarP(&preview, "preview", "n", false, "only show what would be done")
	return p.pipeFirst(c, 0, func(c *cobra.Command, pipe string, _ []string) error {
		if preview {
			return p.preview(c, pipe, s, (*d6tpipe.Pipe).PlanPush)
		}
		return p.transfer(c, "push", pipe, s.reach.options(), func(ctx context.Context, pipe *d6tpipe.Pipe) (d6tpipe.Report, error) {
			return pipe.Push(ctx, s.options())
		})
	})
}

// preview shows a plan.
func (p *program) preview(c *cobra.Command, name string, s selection, plan func(*d6tpipe.Pipe, context.Context, d6tpipe.PullOptions) (*d6tpipe.Plan, error)) error {
	pipe, err := p.open(c.Context(), name, s.reach.options())
	if err != nil {
		return err
	}
	found, err := plan(pipe, c.Context(), s.options())
	if err != nil {
		return err
	}
	return p.showPlan(c, found)
}

// transfer opens a pipe, moves files as move does, shows how it goes, and tells what
// was done.
func (p *program) transfer(c *cobra.Command, verb, name string, o d6tpipe.OpenOptions, move func(context.Context, *d6tpipe.Pipe) (d6tpipe.Report, error)) error {
	w := p.watch(c)
	o.Progress = w.event
	pipe, err := p.open(c.Context(), name, o)
	if err != nil {
		w.close()
		return err
	}
	report, err := move(c.Context(), pipe)
	w.close()
	return p.tell(c, verb, report, w, err)
}
