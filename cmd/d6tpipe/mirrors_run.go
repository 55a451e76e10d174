package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// runLook is how often it is looked whether a run has ended.
const runLook = time.Second

func newMirrorsRun(p *program) *cobra.Command {
	wait := false
	var o d6tpipe.MirrorRunOptions
	c := p.onMirror(&cobra.Command{
		Use:   "run NAME",
		Short: "Run a mirror now",
		Long: `Run a mirror now, once, paused or not; when it is at work, once more afterwards. With
--wait, wait for the end of that run and tell what it did. The exit code is then that
of d6tpipe mirror: 1 when it failed, 3 when some files were copied and others not, 4 for
a conflict, 5 for a refusal. Ctrl-C ends the waiting only.`,
		Example: "  d6tpipe mirrors run nightly\n  d6tpipe mirrors run nightly --wait && d6tpipe pull copies",
	}, func(c *cobra.Command, client *d6tpipe.APIClient, name string) error {
		m, err := client.RunMirror(c.Context(), name, o)
		if err != nil {
			return err
		}
		if !wait {
			p.say(c, "Mirror %s runs; d6tpipe mirrors runs %s tells what becomes of it.", safe(name), safe(name))
			return p.showJSON(c, m)
		}
		return p.waitMirror(c, client, m)
	})
	c.Flags().BoolVar(&wait, "wait", false, "wait for the end of the run")
	c.Flags().BoolVar(&o.Force, "force", false, "a mirror with --delete removes, this time, also what was edited or came from elsewhere, and however many")
	return c
}

// A runWait waits for the run that was asked for.
type runWait struct {
	*program
	c     *cobra.Command
	name  string
	due   time.Time // the run is the first one that is due then
	begun time.Time // of the waiting
	said  map[string]bool
}

// patience is how long a run may wait for its turn until people are told why it may.
const patience = 30 * time.Second

func (p *program) waitMirror(c *cobra.Command, client *d6tpipe.APIClient, m d6tpipe.MirrorSettings) error {
	if m.Next == nil {
		return errors.New("the server does not say when the run is due")
	}
	w := &runWait{program: p, c: c, name: m.Name, due: *m.Next, begun: time.Now(), said: map[string]bool{}}
	tick := time.NewTicker(runLook)
	defer tick.Stop()
	for {
		run, pending, err := w.ask(client)
		if err != nil && !errors.Is(err, d6tpipe.ErrUnavailable) || c.Context().Err() != nil {
			return errors.Join(c.Context().Err(), err)
		}
		if err == nil && !pending {
			return hint(fmt.Errorf("mirror %s: the run was called off, as it is when the mirror is paused", w.name), "Ask for it again with: d6tpipe mirrors run "+w.name)
		}
		if over, err := w.look(run, err); over {
			return err
		}
		select {
		case <-c.Context().Done():
			return c.Context().Err()
		case <-tick.C:
		}
	}
}

// ask returns the run, the zero run when it has not begun, and whether there is something
// to wait for. The mirror is asked first: what it does not run any more is among its runs.
func (w *runWait) ask(client *d6tpipe.APIClient) (run d6tpipe.Run, pending bool, err error) {
	m, err := client.Mirrors().Get(w.c.Context(), w.name)
	if err == nil {
		run, err = firstRun(w.c, client, w.name, w.due)
	}
	return run, run.ID != "" || m.Running || m.Next != nil, err
}

// look reports whether the waiting is over. A server that does not answer may be starting
// anew: what it ran is taken up again.
func (w *runWait) look(run d6tpipe.Run, unreachable error) (over bool, err error) {
	switch {
	case unreachable != nil:
		w.once("%s; the run goes on when the server is back", safe(unreachable.Error()))
	case run.Ended != nil:
		did, err := readRun(run)
		if err != nil || !did.Continues {
			return true, errors.Join(err, w.tellRun(w.c, run, did))
		}
		w.due = run.Due.Add(time.Microsecond)
		w.say(w.c, "%s so far; %s", count(did.Copied, "file"), safe(cmp.Or(did.Stopped, "it goes on when others had their turn")))
	case run.Began == nil && time.Since(w.begun) > patience:
		w.once("it waits for its turn: other mirrors run, or no server runs mirrors now (serve --mirrors)")
	}
	return false, nil
}

// once says something the first time.
func (w *runWait) once(format string, args ...any) {
	if !w.said[format] {
		w.said[format] = true
		w.say(w.c, format, args...)
	}
}

// firstRun is the first run that is due at a time or later; the zero run when there is
// none yet.
func firstRun(c *cobra.Command, client *d6tpipe.APIClient, name string, due time.Time) (first d6tpipe.Run, err error) {
	for run, err := range client.MirrorRuns(c.Context(), name) {
		if err != nil {
			return first, err
		}
		if run.Due.Before(due) {
			break
		}
		first = run
	}
	return first, nil
}

// A runError is that of a run of the server's, which says itself what to do.
type runError struct {
	text string
	kind error
}

func (e *runError) Error() string { return e.text }
func (e *runError) Unwrap() error { return e.kind }

// readRun reads what a run did.
func readRun(run d6tpipe.Run) (did d6tpipe.MirrorRun, err error) {
	if len(run.Detail) > 0 {
		if err := json.Unmarshal(run.Detail, &did); err != nil {
			return did, fmt.Errorf("what the run did cannot be read: %w", err)
		}
	}
	return did, nil
}

// tellRun tells what a run did. One that failed is an error.
func (p *program) tellRun(c *cobra.Command, run d6tpipe.Run, did d6tpipe.MirrorRun) error {
	for _, f := range did.Failed {
		p.say(c, "%s: %s", safe(f.Key), safe(f.Why))
	}
	p.say(c, "%s: %s, %s, %d removed, %d unchanged", run.State, count(did.Copied, "file"), size(did.Bytes), did.Removed, did.Unchanged)
	if did.Stopped != "" {
		p.say(c, "%s", safe(did.Stopped))
	}
	err := p.showJSON(c, run)
	if run.State != d6tpipe.RunFailed {
		return err
	}
	var failed error = errors.New("mirror " + run.Name + ": " + run.Error)
	switch kind := did.Err(); {
	case kind != nil:
		failed = &runError{failed.Error(), kind}
	case did.Copied > 0 && did.Failures > 0:
		failed = hint(partError(failed.Error()), "The server tries again by itself; d6tpipe mirrors get "+safe(run.Name)+" tells when.")
	}
	return errors.Join(failed, err)
}
