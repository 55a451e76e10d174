package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

func newSchedule(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:   "schedule",
		Short: "Have the server look for files that came past it",
		Long: `Have the server scan pipes by itself, so that pulls, changes, mirrors and webhooks know
of files that nobody pushed with d6tpipe. A scan that fails leaves what is known as it
was, says why, and is tried again: after a minute, and after twice as long each time, up
to six hours.`,
		Example: "  d6tpipe schedule set sales --every 15m\n  d6tpipe schedule list",
	}, newScheduleSet(p), newScheduleList(p), newScheduleGet(p), newSchedulePause(p, true), newSchedulePause(p, false), newScheduleDelete(p))
}

func newScheduleSet(p *program) *cobra.Command {
	var s d6tpipe.Schedule
	c := p.pipeFirst(&cobra.Command{
		Use:   "set PIPE",
		Short: "Say when a pipe is scanned",
		Long: `Say when a pipe is scanned: every so often, or at the times of a cron expression of
five fields (minute, hour, day of the month, month, day of the week). It takes the place
of the former schedule, and begins with a scan at once, unless that was the same. Who
administers the pipe may.`,
		Example: `  d6tpipe schedule set sales --every 15m --jitter 1m
  d6tpipe schedule set sales --cron '0 6 * * 1-5' --time-zone Europe/Berlin`,
	}, 0, func(c *cobra.Command, pipe string, _ []string) error {
		if (s.Every == 0) == (s.Cron == "") {
			return usage(c, errors.New("say when: either with --every or with --cron"))
		}
		client, err := p.client(c)
		if err != nil {
			return err
		}
		state, err := client.SetSchedule(c.Context(), pipe, s)
		return p.tellSchedule(c, state, err)
	})
	intervalFlag(c, &s.Every, "every", "`time` between two scans, such as 15m, 12h or 7d")
	c.Flags().StringVar(&s.Cron, "cron", "", "cron `expression`, such as '0 6 * * 1-5'")
	c.Flags().StringVar(&s.TimeZone, "time-zone", "", "`zone` of the cron expression, such as Europe/Berlin (default UTC)")
	intervalFlag(c, &s.Jitter, "jitter", "put each scan off by a random `time` of up to this")
	c.Flags().BoolVar(&s.Paused, "paused", false, "keep the schedule and scan nothing yet")
	return c
}

// intervalFlag is a flag for a time as people write it.
func intervalFlag(c *cobra.Command, into *d6tpipe.Interval, name, help string) {
	c.Flags().TextVar(into, name, d6tpipe.Interval(0), help)
	c.Flags().Lookup(name).DefValue = "" // nothing to show
}

// tellSchedule tells what a schedule is now.
func (p *program) tellSchedule(c *cobra.Command, state d6tpipe.ScheduleState, err error) error {
	if err != nil {
		return err
	}
	p.say(c, "Pipe %s is scanned %s.", safe(state.Name), safe(whenText(state.Schedule)))
	return p.showJSON(c, state)
}

func newScheduleList(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the schedules of the pipes that you may read",
		Example: "  d6tpipe schedule list\n  d6tpipe schedule list --json | jq 'select(.failures)'",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := p.client(c)
			if err != nil {
				return err
			}
			all, err := client.Schedules(c.Context())
			if err != nil {
				return err
			}
			if len(all) == 0 {
				p.say(c, "No pipe that you may read has a schedule.")
			}
			return showList(p, c, all, newTable("PIPE", "WHEN", "NEXT", "LAST", "+RESULT"), func(s d6tpipe.ScheduleState) []string {
				return []string{s.Name, whenText(s.Schedule), nextText(s), lastText(s), resultText(s)}
			})
		},
	}
}

func newScheduleGet(p *program) *cobra.Command {
	return p.pipeFirst(&cobra.Command{
		Use:     "get PIPE",
		Short:   "Show when a pipe is scanned, and how it went",
		Example: "  d6tpipe schedule get sales\n  d6tpipe schedule get sales --json",
	}, 0, func(c *cobra.Command, pipe string, _ []string) error {
		client, err := p.client(c)
		if err != nil {
			return err
		}
		s, err := client.Schedule(c.Context(), pipe)
		if err != nil {
			return err
		}
		return p.show(c, s, func(w io.Writer) error {
			t := newTable()
			t.add("pipe", s.Name)
			t.add("when", whenText(s.Schedule))
			t.add("next", nextText(s))
			t.add("last", lastText(s))
			t.add("result", resultText(s))
			return t.print(w)
		})
	})
}

func newSchedulePause(p *program, paused bool) *cobra.Command {
	word, short := "resume", "Scan a pipe on its schedule again"
	if paused {
		word, short = "pause", "Keep the schedule of a pipe, and scan nothing"
	}
	return p.pipeFirst(&cobra.Command{
		Use:     word + " PIPE",
		Short:   short,
		Example: "  d6tpipe schedule " + word + " sales",
	}, 0, func(c *cobra.Command, pipe string, _ []string) error {
		client, err := p.client(c)
		if err != nil {
			return err
		}
		state, err := client.PauseSchedule(c.Context(), pipe, paused)
		return p.tellSchedule(c, state, err)
	})
}

func newScheduleDelete(p *program) *cobra.Command {
	return p.pipeFirst(&cobra.Command{
		Use:     "delete PIPE",
		Short:   "Scan a pipe on a schedule no more",
		Example: "  d6tpipe schedule delete sales",
	}, 0, func(c *cobra.Command, pipe string, _ []string) error {
		client, err := p.client(c)
		if err != nil {
			return err
		}
		if err := client.DeleteSchedule(c.Context(), pipe); err != nil {
			return err
		}
		p.say(c, "Pipe %s has no schedule any more.", safe(pipe))
		return p.showJSON(c, deletion{pipe, true})
	})
}

// whenText is a schedule for people.
func whenText(s d6tpipe.Schedule) string {
	text := "only when somebody asks"
	switch {
	case s.Every != 0:
		text = "every " + s.Every.String()
	case s.Cron != "":
		text = strings.TrimSpace("at " + s.Cron + " " + s.TimeZone)
	}
	if s.Jitter != 0 {
		text += " + up to " + s.Jitter.String()
	}
	if s.Paused {
		text += ", but paused"
	}
	return text
}

func nextText(s d6tpipe.ScheduleState) string {
	switch {
	case s.Running:
		return "now"
	case s.Next == nil:
		return ""
	}
	return s.Next.Local().Format(time.DateTime)
}

func lastText(s d6tpipe.ScheduleState) string {
	if s.Last == nil || s.Last.Ended == nil {
		return ""
	}
	return s.Last.Ended.Local().Format(time.DateTime)
}

// resultText is what the last run did, or why it did not.
func resultText(s d6tpipe.ScheduleState) string {
	switch {
	case s.Last == nil:
		return ""
	case s.Failures > 1:
		return "failed " + strconv.Itoa(s.Failures) + " times: " + s.Last.Error
	}
	return runText(*s.Last)
}

// runText is what a run did, or why it did not.
func runText(r d6tpipe.Run) string {
	switch r.State {
	case d6tpipe.RunFailed:
		return "failed: " + r.Error
	case d6tpipe.RunDone:
		return detailText(r)
	}
	return string(r.State)
}

// detailText is what a run did.
func detailText(r d6tpipe.Run) string {
	switch r.Kind {
	case "mirror":
		return mirrorRunText(r)
	case "webhook":
		return webhookRunText(r)
	}
	var scan d6tpipe.ScanRun
	if r.Kind != "scan" || json.Unmarshal(r.Detail, &scan) != nil {
		return string(r.Detail)
	}
	text := fmt.Sprintf("%s, %s", count(scan.Files, "file"), size(scan.Bytes))
	if scan.Changed {
		text += ", changed"
	}
	if scan.Refused > 0 {
		text += ", " + count(scan.Refused, "more name") + " that cannot be used"
	}
	return text
}
