package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

func newVerify(p *program) *cobra.Command {
	var r reach
	var f filter
	var offline, all bool
	c := &cobra.Command{
		Use:   "verify PIPE",
		Short: "Read every synced file and compare it with what was synced",
		Long: `Read every synced file of the folder, and compare it with what was remembered of it
when it was synced and with what the remote has now and vouches for. Neither size nor
time is trusted, and nothing is changed.

The exit code is 3 when any file is not as it was synced, here or on the remote:
damaged, edited, gone or unreadable.`,
		Example: "  d6tpipe verify sales\n  d6tpipe verify sales --offline --include '*.parquet'",
	}
	f.flags(c)
	c.Flags().BoolVar(&offline, "offline", false, "do not ask the remote")
	c.Flags().BoolVar(&all, "all", false, "also name files that were never synced")
	r.flags(c)
	return p.pipeFirst(c, 0, func(c *cobra.Command, name string, _ []string) error {
		o := d6tpipe.VerifyOptions{Include: f.include, Exclude: f.exclude, All: all}
		w := p.watch(c)
		open := r.options()
		open.Progress = w.event
		report, synced, err := p.verify(c.Context(), name, offline, open, o)
		w.close()
		if err != nil {
			return interrupted(err, "verify "+name, w, "Nothing was changed. The next run begins anew; --include makes it a smaller one.")
		}
		problems := problemTable(report)
		if err := p.show(c, report, problems.print); err != nil {
			return err
		}
		switch {
		case report.OK() && !synced:
			p.say(c, "%s: nothing was synced yet, so there is nothing to compare; d6tpipe pull %s or push %s begins", name, name, name)
			return nil
		case report.OK() && report.Checked == 0:
			p.say(c, "%s: no synced file is among those that were asked for", name)
			return nil
		case report.OK():
			p.say(c, "%s: %s, %s, all as they were synced", name, count(report.Checked, "file"), size(report.Bytes))
			return nil
		}
		return hint(partError(fmt.Sprintf("verify %s: %d of %s are not as they were synced", name, len(report.Problems), count(report.Checked, "file"))),
			"To fetch one again: d6tpipe pull "+name+" --file KEY --merge overwrite")
	})
}

// verify also tells whether any file was ever synced.
func (p *program) verify(ctx context.Context, name string, offline bool, open d6tpipe.OpenOptions, o d6tpipe.VerifyOptions) (report d6tpipe.VerifyReport, synced bool, err error) {
	var here *d6tpipe.LocalPipe
	if offline {
		if here, err = p.openHere(ctx, name); err == nil {
			report, err = here.Verify(ctx, o)
		}
	} else {
		var pipe *d6tpipe.Pipe
		if pipe, err = p.open(ctx, name, open); err == nil {
			here = pipe.LocalPipe
			report, err = pipe.Verify(ctx, o)
		}
	}
	if err != nil || report.Checked > 0 {
		return report, true, err
	}
	files, err := here.Files(ctx, d6tpipe.ListOptions{})
	return report, len(files) > 0, err
}

func problemTable(report d6tpipe.VerifyReport) *table {
	t := newTable("HERE", "REMOTE", ">SIZE", "FILE", "+")
	for _, f := range report.Problems {
		why := ""
		if f.Err != nil {
			why = f.Err.Error()
		}
		t.add(string(f.Local), string(f.Remote), size(f.Size), f.Key, why)
	}
	return &t
}
