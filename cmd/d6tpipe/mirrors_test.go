package main

import (
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// TestMirrorRunText: what a run did stands before why it did no more.
func TestMirrorRunText(t *testing.T) {
	t.Parallel()
	for want, run := range map[string]d6tpipe.Run{
		"":                                     {},
		"2 files, 3 B, 0 removed, 1 unchanged": {Detail: []byte(`{"copied":2,"bytes":3,"unchanged":1}`)},
		"1 file, 3 B, 0 removed, 0 unchanged; it was paused":    {Detail: []byte(`{"copied":1,"bytes":3,"unchanged":0,"stopped":"it was paused"}`)},
		"1 file, 3 B, 0 removed, 0 unchanged; the disk is full": {Error: "the disk is full", Detail: []byte(`{"copied":1,"bytes":3}`)},
		"the host is down": {Error: "the host is down", Detail: []byte(`{"copied":0}`)},
	} {
		if got := mirrorRunText(run); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}

// TestTellRun: what a run has left is named, and its server tries it again.
func TestTellRun(t *testing.T) {
	t.Parallel()
	var told strings.Builder
	c := &cobra.Command{}
	c.SetErr(&told)
	run := d6tpipe.Run{Name: "nightly", State: d6tpipe.RunFailed, Error: "1 file was not copied"}
	err := (&program{}).tellRun(c, run, d6tpipe.MirrorRun{Copied: 2, Failures: 1, Failed: []d6tpipe.MirrorFailure{{Key: "b.csv", Why: "it is locked"}}})
	if exitCode(err) != exitPartial || !strings.HasPrefix(advice(err), "The server tries again by itself") {
		t.Errorf("%v, exit code %d, advice %q", err, exitCode(err), advice(err))
	}
	if !strings.Contains(told.String(), "b.csv: it is locked\n") {
		t.Errorf("told: %s", told.String())
	}
}

// TestMirrorsRunWait: who waits for a run is told once what keeps it, and waits for all of
// its turns.
func TestMirrorsRunWait(t *testing.T) {
	t.Parallel()
	due := time.Date(2026, 11, 26, 6, 0, 0, 0, time.UTC)
	ended := due.Add(time.Hour)
	var out, told strings.Builder
	c := &cobra.Command{}
	c.SetOut(&out)
	c.SetErr(&told)
	w := &runWait{program: &program{}, c: c, name: "nightly", due: due, begun: time.Now(), said: map[string]bool{}}
	look := func(over bool, run d6tpipe.Run, unreachable error) {
		t.Helper()
		got, err := w.look(run, unreachable)
		if got != over || err != nil {
			t.Fatalf("over is %v, error %v", got, err)
		}
	}
	look(false, d6tpipe.Run{}, nil)
	if told.Len() > 0 {
		t.Errorf("too early: %s", told.String())
	}
	look(false, d6tpipe.Run{}, d6tpipe.ErrUnavailable)
	look(false, d6tpipe.Run{}, d6tpipe.ErrUnavailable)
	w.begun = w.begun.Add(-2 * patience)
	look(false, d6tpipe.Run{}, nil)
	look(false, d6tpipe.Run{}, nil)
	look(false, d6tpipe.Run{Due: due, Began: &due}, nil)
	for _, want := range []string{"server is back", "no server runs mirrors"} {
		if strings.Count(told.String(), want) != 1 {
			t.Errorf("%q is not told once: %s", want, told.String())
		}
	}
	look(false, d6tpipe.Run{Due: due, Ended: &ended, State: d6tpipe.RunDone, Detail: []byte(`{"copied":7,"continues":true}`)}, nil)
	if !w.due.After(due) || !strings.Contains(told.String(), "7 files so far") {
		t.Errorf("it does not wait for the next turn: %s", told.String())
	}
	look(false, d6tpipe.Run{Due: w.due, Ended: &ended, State: d6tpipe.RunDone, Detail: []byte(`{"copied":8,"stopped":"it was changed","continues":true}`)}, nil)
	if !strings.Contains(told.String(), "8 files so far; it was changed") {
		t.Errorf("why it ends is not told: %s", told.String())
	}
	look(true, d6tpipe.Run{Due: w.due, Ended: &ended, State: d6tpipe.RunDone, Detail: []byte(`{"copied":9}`)}, nil)
	if !strings.Contains(told.String(), "done: 9 files") {
		t.Errorf("what was done is not told: %s", told.String())
	}
}
