package main

import (
	"context"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

func newReset(p *program) *cobra.Command {
	var r reach
	var o d6tpipe.ResetOptions
	var sure confirmation
	c := &cobra.Command{
		Use:   "reset PIPE",
		Short: "Forget what was synced and pull everything anew",
		Long: `Forget what was synced, also when the memory of it is damaged, and pull every file
anew. Files here that are not what the remote has are conflicts, unless --merge says
what becomes of them.

With --delete every file here is deleted first, edited or not; the name of the pipe
must be typed once more, or given with --yes. It is refused when the remote is empty.`,
		Example: "  d6tpipe reset sales\n  d6tpipe reset sales --merge overwrite\n  d6tpipe reset sales --delete --yes sales",
	}
	addOneOf(c, &o.Merge, "merge", "what becomes of files here that are not the remote's", d6tpipe.MergeFail, d6tpipe.MergeKeep, d6tpipe.MergeOverwrite)
	c.Flags().BoolVar(&o.Delete, "delete", false, "first delete every file here")
	sure.flag(c)
	r.flags(c)
	r.workerFlag(c)
	return p.pipeFirst(c, 0, func(c *cobra.Command, name string, _ []string) error {
		if o.Delete {
			if err := sure.ask(c, name, "this deletes all files of "+safe(name)+" here, edited or not, and pulls anew"); err != nil {
				return err
			}
		}
		return p.transfer(c, "reset", name, r.options(), func(ctx context.Context, pipe *d6tpipe.Pipe) (d6tpipe.Report, error) {
			return pipe.Reset(ctx, o)
		})
	})
}
