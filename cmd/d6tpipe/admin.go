package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

func newAdmin(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:     "admin",
		Short:   "For administrators of the server, from anywhere",
		Example: "  d6tpipe admin jobs --failed",
	}, newAdminJobs(p))
}

// allKinds is the word for all kinds of jobs.
const allKinds = "all"

func newAdminJobs(p *program) *cobra.Command {
	limit, failed, kind := 100, false, allKinds
	c := &cobra.Command{
		Use:   "jobs",
		Short: "List what the server does by itself, the newest first",
		Long: `List what the server does by itself, has done and is about to do, whosever it is, the
newest first. Who administers the server may ask.`,
		Example: "  d6tpipe admin jobs\n  d6tpipe admin jobs --failed --kind scan --limit 20\n  d6tpipe admin jobs --json | jq .error",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if limit < 1 {
				return usage(c, errors.New("--limit must be 1 or more"))
			}
			var o d6tpipe.JobsOptions
			if kind != allKinds {
				o.Kind = kind
			}
			if failed {
				o.State = d6tpipe.RunFailed
			}
			client, err := p.client(c)
			if err != nil {
				return err
			}
			var all []d6tpipe.Run
			for r, err := range client.Jobs(c.Context(), o) {
				if err != nil {
					return err
				}
				if all = append(all, r); len(all) == limit {
					break
				}
			}
			return showList(p, c, all, newTable("DUE", "KIND", "NAME", "OWNER", "SERVER", ">TOOK", "+RESULT"), jobRow)
		},
	}
	c.Flags().BoolVar(&failed, "failed", false, "only what failed")
	addOneOf(c, &kind, "kind", "of which kind", allKinds, "scan", "mirror", "webhook")
	c.Flags().IntVar(&limit, "limit", limit, "at most so many `lines`")
	return c
}

func jobRow(r d6tpipe.Run) []string {
	took := ""
	if r.Began != nil && r.Ended != nil {
		took = duration(r.Ended.Sub(*r.Began))
	}
	return []string{r.Due.Local().Format(time.DateTime), r.Kind, r.Name, r.Owner, r.Server, took, runText(r)}
}
