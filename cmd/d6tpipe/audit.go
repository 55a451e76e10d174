package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

func newAudit(p *program) *cobra.Command {
	limit := 100
	c := &cobra.Command{
		Use:   "audit",
		Short: "List who changed what, and who got credentials, the newest first",
		Long: `List what happened to what you own, and what you did yourself: changes, permissions,
and credentials that were handed out. An administrator of the server sees all.`,
		Example: "  d6tpipe audit\n  d6tpipe audit --limit 1000 --json | jq 'select(.action == \"grant\")'",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if limit < 1 {
				return usage(c, errors.New("--limit must be 1 or more"))
			}
			client, err := p.client(c)
			if err != nil {
				return err
			}
			events, err := client.Audit(c.Context())
			if err != nil {
				return err
			}
			if len(events) > limit {
				p.say(c, "The newest %d of %d; --limit shows more.", limit, len(events))
				events = events[:limit]
			}
			return showList(p, c, events, newTable("TIME", "WHO", "FROM", "ACTION", "WHAT", "+DETAIL"), func(e d6tpipe.AuditEvent) []string {
				return []string{e.Time.Local().Format(time.DateTime), e.Actor, e.Peer, e.Action, e.Kind + " " + e.Name, e.Detail}
			})
		},
	}
	c.Flags().IntVar(&limit, "limit", limit, "at most so many `lines`")
	return c
}

func newAnalytics(p *program) *cobra.Command {
	return p.pipeFirst(&cobra.Command{
		Use:     "analytics PIPE",
		Short:   "Tell how often a pipe is used",
		Long:    "Tell how often credentials of a pipe were asked for on each day, in UTC, the newest\nfirst. Who administers the pipe may ask.",
		Example: "  d6tpipe analytics sales\n  d6tpipe analytics sales --json",
	}, 0, func(c *cobra.Command, pipe string, _ []string) error {
		client, err := p.client(c)
		if err != nil {
			return err
		}
		days, err := client.Analytics(c.Context(), pipe)
		if err != nil {
			return err
		}
		if len(days) == 0 {
			p.say(c, "Nobody has used pipe %s yet.", safe(pipe))
		}
		return showList(p, c, days, newTable("DAY", "WHAT", ">TIMES"), func(u d6tpipe.Usage) []string {
			return []string{u.Day, u.What, strconv.FormatInt(u.Count, 10)}
		})
	})
}

func newTransfer(p *program) *cobra.Command {
	s, to := new(subject), ""
	c := s.named(p, &cobra.Command{
		Use:   "transfer PIPE --to USERNAME",
		Short: "Give a pipe or a remote to another user",
		Long: `Give a pipe with its children, or a remote, to another user, who owns it from then on
and alone can give it back. Only the owner can do that.`,
		Example: "  d6tpipe transfer sales --to mary\n  d6tpipe transfer --remote warehouse --to mary",
	}, func(c *cobra.Command) error {
		if to == "" {
			return usage(c, errors.New("--to is missing: say whose it is to be"))
		}
		if err := plain("--to", to); err != nil {
			return usage(c, err)
		}
		client, err := p.client(c)
		if err != nil {
			return err
		}
		if s.remote != "" {
			err = client.TransferRemote(c.Context(), s.remote, to)
		} else {
			err = client.Transfer(c.Context(), s.pipe, to)
		}
		if err != nil {
			return err
		}
		p.say(c, "%s belongs to %s now.", fmt.Sprint(s), safe(to))
		return nil
	})
	c.Flags().StringVar(&to, "to", "", "`username` of the new owner")
	return c
}
