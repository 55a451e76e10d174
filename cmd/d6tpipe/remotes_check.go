package main

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

func newRemotesCheck(p *program) *cobra.Command {
	var o d6tpipe.CheckOptions
	var r reach
	c := &cobra.Command{
		Use:   "check NAME",
		Short: "Find out whether a remote does all that d6tpipe needs of it",
		Long: `Find out whether a remote does all that d6tpipe needs of it: some sixty cases about
listings, reads, uploads, conditions, names and removals, in a scratch folder that is
removed again. About 6 MiB and a thousand requests; --read-only writes nothing.

The exit code is 1 when a case failed, and 3 when something could not be removed.`,
		Example: "  d6tpipe remotes check warehouse\n  d6tpipe remotes check warehouse --read-only --verbose",
		Args:    exactly(1),
		ValidArgsFunction: func(c *cobra.Command, args []string, to string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return p.completeRemotes(c, args, to)
		},
	}
	c.Flags().StringVar(&o.Dir, "dir", "", "`folder` of the remote in which to make the scratch folder")
	completeWords(c, "dir") // of the remote
	c.Flags().BoolVar(&o.ReadOnly, "read-only", false, "write nothing")
	c.Flags().BoolVar(&o.Full, "full", false, "move what finds most, some 200 MiB")
	r.flags(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		remote, local, err := p.remote(c.Context(), args[0])
		if err != nil {
			return err
		}
		o.LocalKeys, o.LocalFolders = r.localKeys || local, r.folders
		if local && r.folders == nil {
			o.LocalFolders = []string{remote.Location} // one's own record may name any folder
		}
		o.Progress = func(k d6tpipe.CheckCase) {
			if p.verbose {
				p.say(c, "%-14s %s %s", k.Outcome, safe(k.Name), duration(k.Duration))
			}
		}
		p.say(c, "checking %s ...", remote.Name)
		report, err := d6tpipe.Check(c.Context(), remote, o)
		if errors.Is(err, d6tpipe.ErrFaulty) {
			err = hint(err, "--verbose shows each case; --full looks closer.")
		}
		if len(report.Cases) == 0 {
			return err
		}
		return errors.Join(err, p.show(c, report, func(w io.Writer) error { return showCheck(w, report) }))
	}
	return c
}

// remote returns the record of a remote, decrypted, and whether it comes from a
// catalogue of this machine.
func (p *program) remote(ctx context.Context, name string) (d6tpipe.RemoteSettings, bool, error) {
	api, err := p.api()
	if err != nil {
		return d6tpipe.RemoteSettings{}, false, err
	}
	remote, err := api.Remotes().Get(ctx, name)
	if err != nil {
		return remote, false, err
	}
	remote, err = d6tpipe.Decode(api.Config(), remote)
	_, local := api.(*d6tpipe.APILocal)
	return remote, local, err
}

// showCheck writes what failed, what was left, and what the remote can do.
func showCheck(w io.Writer, r d6tpipe.CheckReport) error {
	counts := map[d6tpipe.CheckOutcome]int{}
	failed := newTable("FAILED", "+WHY")
	for _, k := range r.Cases {
		if counts[k.Outcome]++; k.Outcome == d6tpipe.CheckFailed {
			failed.add(k.Name, k.Reason)
		}
	}
	for _, key := range r.Left {
		failed.add("left behind", key)
	}
	if err := failed.print(w); err != nil {
		return err
	}
	sum := []string{strconv.Itoa(counts[d6tpipe.CheckOK]) + " cases ok", strconv.Itoa(counts[d6tpipe.CheckFailed]) + " failed",
		strconv.Itoa(counts[d6tpipe.CheckNotApplicable]) + " not applicable"}
	found := newTable("REMOTE", r.Remote)
	found.add("cases", strings.Join(sum, ", "))
	found.add("took", duration(r.Duration))
	if r.Scratch != "" { // otherwise most of it was not found out
		f := r.Found
		found.add("conditional uploads", yesNo(f.ConditionalPut))
		found.add("uploads go on after a crash", yesNo(f.Multipart))
		found.add("sums in listings", orNone(f.Sums))
		found.add("sums of what is read", orNone(f.ReadSums))
		found.add("A and a are two files", yesNo(f.CaseSensitive))
	}
	return found.print(w)
}

func yesNo(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
