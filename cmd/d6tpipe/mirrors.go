package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

func newMirrors(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:   "mirrors",
		Short: "Have the server bring the files of one pipe to another",
		Long: `Have the server bring the files of one pipe to another, on a schedule or when it is
asked to. They go through the server. A mirror that works from this machine, once, is
d6tpipe mirror SOURCE TARGET.

A mirror is yours alone, and may do what you may do: it reads a pipe that you may read,
and writes to one that you may write to. What it did and why not is told by
d6tpipe mirrors runs NAME.`,
		Example: "  d6tpipe mirrors create nightly --source vendor --target copies --cron '0 3 * * *' --delete\n  d6tpipe mirrors run nightly --wait\n  d6tpipe mirrors runs nightly",
	}, newMirrorsList(p), newMirrorsGet(p), newMirrorsCreate(p), newMirrorsUpdate(p), newMirrorsDelete(p),
		newMirrorsRun(p), newMirrorsPause(p, true), newMirrorsPause(p, false), newMirrorsRuns(p))
}

// onMirror is a command on one mirror, whose name is its argument.
func (p *program) onMirror(c *cobra.Command, do func(c *cobra.Command, client *d6tpipe.APIClient, name string) error) *cobra.Command {
	c.Args = exactly(1)
	c.RunE = func(c *cobra.Command, args []string) error {
		client, err := p.client(c)
		if err != nil {
			return err
		}
		return do(c, client, args[0])
	}
	c.ValidArgsFunction = func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		client, err := p.client(c)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return completeNames(p, c, func(d6tpipe.API) *d6tpipe.Collection[d6tpipe.MirrorSettings] { return client.Mirrors() })
	}
	return c
}

func newMirrorsList(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List your mirrors, and how their last runs went",
		Example: "  d6tpipe mirrors list\n  d6tpipe mirrors list --json | jq 'select(.failures)'",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := p.client(c)
			if err != nil {
				return err
			}
			var all []d6tpipe.MirrorSettings
			for m, err := range client.Mirrors().All(c.Context()) {
				if err != nil {
					return err
				}
				all = append(all, m)
			}
			if len(all) == 0 {
				p.say(c, "There are no mirrors yet; make one with: d6tpipe mirrors create NAME")
			}
			return showList(p, c, all, newTable("NAME", "FROM", "TO", "WHEN", "NEXT", "+LAST"), func(m d6tpipe.MirrorSettings) []string {
				return []string{m.Name, m.Source, m.Target, mirrorWhen(m), mirrorNext(m), mirrorLast(m)}
			})
		},
	}
}

func newMirrorsGet(p *program) *cobra.Command {
	return p.onMirror(&cobra.Command{
		Use:     "get NAME",
		Short:   "Show a mirror",
		Example: "  d6tpipe mirrors get nightly\n  d6tpipe mirrors get nightly --json",
	}, func(c *cobra.Command, client *d6tpipe.APIClient, name string) error {
		m, err := client.Mirrors().Get(c.Context(), name)
		if err != nil {
			return err
		}
		return p.show(c, m, func(w io.Writer) error { return showMirror(w, m) })
	})
}

func showMirror(w io.Writer, m d6tpipe.MirrorSettings) error {
	t := newTable()
	rows := [][2]string{
		{"name", m.Name}, {"from", m.Source}, {"to", m.Target}, {"when", mirrorWhen(m)}, {"next", mirrorNext(m)},
		{"include", m.Include}, {"exclude", m.Exclude}, {"merge", string(m.Merge)}, {"last", mirrorLast(m)},
	}
	if m.Delete {
		rows = append(rows, [2]string{"delete", "what is gone at the source"})
	}
	if m.Rate > 0 {
		rows = append(rows, [2]string{"rate", size(m.Rate) + " a second"})
	}
	for _, row := range rows {
		if row[1] != "" {
			t.add(row[0], row[1])
		}
	}
	return t.print(w)
}

// mirrorFlags are the settings of a mirror on a command line.
type mirrorFlags struct {
	d6tpipe.MirrorSettings
}

func (f *mirrorFlags) add(p *program, c *cobra.Command) {
	c.Flags().StringVar(&f.Source, "source", "", "`PIPE` that is read")
	c.Flags().StringVar(&f.Target, "target", "", "`PIPE` that is written")
	for _, name := range []string{"source", "target"} {
		_ = c.RegisterFlagCompletionFunc(name, p.completePipes)
	}
	intervalFlag(c, &f.Schedule.Every, "every", "`time` between two runs, such as 15m, 12h or 7d")
	c.Flags().StringVar(&f.Schedule.Cron, "cron", "", "cron `expression`, such as '0 3 * * *'")
	c.Flags().StringVar(&f.Schedule.TimeZone, "time-zone", "", "`zone` of the cron expression, such as Europe/Berlin (default UTC)")
	intervalFlag(c, &f.Schedule.Jitter, "jitter", "put each run off by a random `time` of up to this")
	c.Flags().StringVar(&f.Include, "include", "", "only files that match `PATTERN`, such as '*.csv|*.parquet'")
	c.Flags().StringVar(&f.Exclude, "exclude", "", "no files that match `PATTERN`")
	addOneOf(c, &f.Merge, "merge", "what becomes of files that were changed at the target", d6tpipe.MergeFail, d6tpipe.MergeKeep, d6tpipe.MergeOverwrite)
	c.Flags().BoolVar(&f.Delete, "delete", false, "remove from the target what is gone at the source")
	c.Flags().Var((*byteRate)(&f.Rate), "rate", "`BYTES` a second at most, such as 500kB or 20MiB (default: no limit)")
}

// update is what the command line says is to change. The schedule is one thing.
func (f *mirrorFlags) update(c *cobra.Command) d6tpipe.MirrorUpdate {
	u := d6tpipe.MirrorUpdate{
		Source: said(c, "source", &f.Source), Target: said(c, "target", &f.Target),
		Include: said(c, "include", &f.Include), Exclude: said(c, "exclude", &f.Exclude),
		Merge: said(c, "merge", &f.Merge), Delete: said(c, "delete", &f.Delete), Rate: said(c, "rate", &f.Rate),
	}
	for _, name := range []string{"every", "cron", "time-zone", "jitter"} {
		u.Schedule = cmp.Or(u.Schedule, said(c, name, &f.Schedule))
	}
	return u
}

// said is the value when its flag is on the command line, and nil else.
func said[T any](c *cobra.Command, name string, value *T) *T {
	if c.Flags().Changed(name) {
		return value
	}
	return nil
}

func newMirrorsCreate(p *program) *cobra.Command {
	var f mirrorFlags
	c := p.onMirror(&cobra.Command{
		Use:   "create NAME",
		Short: "Make a mirror",
		Long: `Make a mirror that the server runs: every so often, at the times of a cron expression,
or, without either, when d6tpipe mirrors run asks for it. What is new or changed at the
source is copied; what somebody else changed at the target is a conflict, and the run
fails, unless --merge says what to do. With --delete, what is gone at the source is
removed from the target afterwards, if a mirror put it there and nobody changed it; a
run that would remove more than ten files and more than half fails, unless it is asked
for by d6tpipe mirrors run --force.`,
		Example: `  d6tpipe mirrors create nightly --source vendor --target copies --cron '0 3 * * *' --time-zone Europe/Berlin
  d6tpipe mirrors create feed --source partner --target sales --every 15m --include '*.csv' --rate 20MiB`,
	}, func(c *cobra.Command, client *d6tpipe.APIClient, name string) error {
		m := f.MirrorSettings
		m.Name = name
		if m.Source == "" || m.Target == "" {
			return usage(c, errors.New("name both pipes, with --source and --target"))
		}
		m, err := client.Mirrors().Create(c.Context(), m)
		if errors.Is(err, d6tpipe.ErrExists) {
			err = hint(err, "d6tpipe mirrors update changes it.")
		}
		if err != nil {
			return err
		}
		p.say(c, "Mirror %s brings %s to %s, %s.", safe(m.Name), safe(m.Source), safe(m.Target), safe(mirrorWhen(m)))
		return p.showJSON(c, m)
	})
	c.ValidArgsFunction = cobra.NoFileCompletions
	f.add(p, c)
	return c
}

func newMirrorsUpdate(p *program) *cobra.Command {
	var f mirrorFlags
	c := p.onMirror(&cobra.Command{
		Use:   "update NAME",
		Short: "Change settings of a mirror",
		Long: `Change the settings that flags say, and leave the others; the schedule is replaced
whole, and --every 0s leaves none. A run that is at work ends, and the next one goes on
where it was, with the new settings.`,
		Example: "  d6tpipe mirrors update nightly --every 6h\n  d6tpipe mirrors update nightly --merge overwrite --delete=false",
	}, func(c *cobra.Command, client *d6tpipe.APIClient, name string) error {
		u := f.update(c)
		if u == (d6tpipe.MirrorUpdate{}) {
			return usage(c, fmt.Errorf("there is nothing to change in %s; say what with flags", safe(name)))
		}
		m, err := client.UpdateMirror(c.Context(), name, u)
		if err != nil {
			return err
		}
		p.say(c, "Mirror %s brings %s to %s, %s.", safe(m.Name), safe(m.Source), safe(m.Target), safe(mirrorWhen(m)))
		return p.showJSON(c, m)
	})
	f.add(p, c)
	return c
}

func newMirrorsDelete(p *program) *cobra.Command {
	return p.onMirror(&cobra.Command{
		Use:     "delete NAME",
		Short:   "Remove a mirror with its history; the files stay",
		Example: "  d6tpipe mirrors delete nightly",
	}, func(c *cobra.Command, client *d6tpipe.APIClient, name string) error {
		if err := client.Mirrors().Delete(c.Context(), name); err != nil {
			return err
		}
		p.say(c, "Deleted mirror %s.", safe(name))
		return p.showJSON(c, deletion{name, true})
	})
}

func newMirrorsPause(p *program, paused bool) *cobra.Command {
	word, short, done := "resume", "Run a mirror on its schedule again", "goes on"
	if paused {
		word, short, done = "pause", "Run a mirror no more for now, and end the run that is at work", "is paused"
	}
	return p.onMirror(&cobra.Command{
		Use:     word + " NAME",
		Short:   short,
		Example: "  d6tpipe mirrors " + word + " nightly",
	}, func(c *cobra.Command, client *d6tpipe.APIClient, name string) error {
		m, err := client.PauseMirror(c.Context(), name, paused)
		if err != nil {
			return err
		}
		p.say(c, "Mirror %s %s.", safe(name), done)
		return p.showJSON(c, m)
	})
}

func newMirrorsRuns(p *program) *cobra.Command {
	limit := 20
	c := p.onMirror(&cobra.Command{
		Use:     "runs NAME",
		Short:   "Tell what a mirror did, and why not, the newest first",
		Example: "  d6tpipe mirrors runs nightly\n  d6tpipe mirrors runs nightly --limit 1 --json | jq .detail.failed",
	}, func(c *cobra.Command, client *d6tpipe.APIClient, name string) error {
		if limit < 1 {
			return usage(c, errors.New("--limit must be 1 or more"))
		}
		var runs []d6tpipe.Run
		for run, err := range client.MirrorRuns(c.Context(), name) {
			if err != nil {
				return err
			}
			if runs = append(runs, run); len(runs) == limit {
				break
			}
		}
		return showList(p, c, runs, newTable("DUE", "STATE", ">TOOK", "+WHAT"), func(r d6tpipe.Run) []string {
			return []string{r.Due.Local().Format(time.DateTime), string(r.State), took(r), mirrorRunText(r)}
		})
	})
	c.Flags().IntVar(&limit, "limit", limit, "at most so many `runs`")
	return c
}

// took is how long a run was at work.
func took(r d6tpipe.Run) string {
	if r.Began == nil || r.Ended == nil {
		return ""
	}
	return duration(r.Ended.Sub(*r.Began))
}

// mirrorRunText is what a run did, and why not more.
func mirrorRunText(r d6tpipe.Run) string {
	var did d6tpipe.MirrorRun
	text := ""
	if len(r.Detail) > 0 && json.Unmarshal(r.Detail, &did) == nil && (r.Error == "" || did.Copied+did.Removed > 0) {
		text = fmt.Sprintf("%s, %s, %d removed, %d unchanged", count(did.Copied, "file"), size(did.Bytes), did.Removed, did.Unchanged)
	}
	if did.Stopped != "" {
		text += "; " + did.Stopped
	}
	switch {
	case r.Error == "":
		return text
	case text == "":
		return r.Error
	}
	return text + "; " + r.Error
}

func mirrorWhen(m d6tpipe.MirrorSettings) string {
	s := m.Schedule
	s.Paused = m.Paused
	return whenText(s)
}

func mirrorNext(m d6tpipe.MirrorSettings) string {
	switch {
	case m.Running:
		return "now"
	case m.Next == nil:
		return ""
	}
	return m.Next.Local().Format(time.DateTime)
}

func mirrorLast(m d6tpipe.MirrorSettings) string {
	if m.Last == nil {
		return ""
	}
	return string(m.Last.State) + ": " + mirrorRunText(*m.Last)
}
