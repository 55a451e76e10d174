package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

func TestTally(t *testing.T) {
	tally, now := newTally(), time.Unix(1e9, 0)
	if got := tally.reached(); got != "before anything was moved" {
		t.Error(got)
	}
	tell := func(kind d6tpipe.EventKind, key string, bytes int64, err error) {
		tally.add(d6tpipe.Event{Kind: kind, Key: key, Action: d6tpipe.ActionDownload, Bytes: bytes, Err: err}, now)
	}
	expect := func(want string) {
		t.Helper()
		if got := tally.reached(); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
	tally.add(d6tpipe.Event{Kind: d6tpipe.EventPlanned, Files: 4, Bytes: 4 << 10}, now)
	expect("after 0 of 4 files, 0 B of 4.0 KiB")
	tell(d6tpipe.EventStarted, "a", 1<<10, nil)
	tell(d6tpipe.EventMoved, "a", 1<<9, nil)
	expect("after 0 of 4 files, 512 B of 4.0 KiB")
	tell(d6tpipe.EventMoved, "a", -1<<9, nil) // it begins again
	expect("after 0 of 4 files, 0 B of 4.0 KiB")
	tell(d6tpipe.EventDone, "a", 0, nil) // the rest was there already
	expect("after 1 of 4 files, 1.0 KiB of 4.0 KiB")
	now = now.Add(time.Second)
	tell(d6tpipe.EventStarted, "c", 1<<10, nil)
	now = now.Add(time.Second)
	tell(d6tpipe.EventStarted, "b", 1<<10, nil)
	if got := strings.Join(tally.busy(), " "); got != "c b" {
		t.Errorf("under way: %s", got)
	}
	tell(d6tpipe.EventMoved, "b", 1<<9, nil)
	tell(d6tpipe.EventFailed, "b", 0, errors.New("gone")) // nobody waits for it any more
	expect("after 1 of 3 files, 1.0 KiB of 3.0 KiB")
	tell(d6tpipe.EventMoved, "c", 1<<9, nil)
	tell(d6tpipe.EventFailed, "c", 0, context.Canceled) // the next run does
	expect("after 1 of 3 files, 1.5 KiB of 3.0 KiB")
	tally.add(d6tpipe.Event{Kind: d6tpipe.EventDone, Key: "x", Action: d6tpipe.ActionAdopt}, now)
	expect("after 1 of 3 files, 1.5 KiB of 3.0 KiB")
	tally.add(d6tpipe.Event{Kind: d6tpipe.EventPlanned, Files: 1, Bytes: 10}, now) // another plan takes its place
	expect("after 0 of 1 file, 0 B of 10 B")
}

func TestPace(t *testing.T) {
	tally, now := newTally(), time.Unix(1e9, 0)
	tell := func(kind d6tpipe.EventKind, bytes int64) {
		tally.add(d6tpipe.Event{Kind: kind, Key: "a", Action: d6tpipe.ActionUpload, Files: 1, Bytes: bytes}, now)
	}
	tell(d6tpipe.EventPlanned, 100<<20)
	tell(d6tpipe.EventStarted, 100<<20)
	if got := tally.pace(now); got != "" {
		t.Error(got)
	}
	for range 100 {
		now = now.Add(100 * time.Millisecond)
		tell(d6tpipe.EventMoved, 200<<10)
	}
	if got := tally.pace(now); got != "2.0 MiB/s, 41s left" {
		t.Errorf("%q", got)
	}
	if n := len(tally.rate.samples); n > 2*int(meterSpan/meterStep)+2 {
		t.Errorf("%d samples are kept", n)
	}
	now = now.Add(4 * time.Second) // nothing moves
	if got := tally.rate.at(now); got > 1.2*(1<<20) || got < 0.8*(1<<20) {
		t.Errorf("%v bytes a second", got)
	}
	now = now.Add(time.Minute)
	if got := tally.pace(now); got != "" {
		t.Errorf("%q", got)
	}
}

func TestClock(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Millisecond: "1s", 59 * time.Second: "59s", 90*time.Minute + 400*time.Millisecond: "1h30m0s", 1000 * time.Hour: "long", -time.Second: "long",
	} {
		if got := clock(d); got != want {
			t.Errorf("%v: %s, not %s", d, got, want)
		}
	}
}

func TestCopyVisible(t *testing.T) {
	var out strings.Builder
	if err := copyVisible(&out, strings.NewReader("a\tb\r\nred \x1b[31m ü \xff\xc2\x9b \u202e\u0000")); err != nil {
		t.Fatal(err)
	}
	if want := "a\tb\r\nred \\u001b[31m ü \\xff\\u009b \\u202e\\u0000"; out.String() != want {
		t.Errorf("%q, not %q", out.String(), want)
	}
	if err := copyVisible(failing{}, strings.NewReader("text")); err == nil {
		t.Error("a failure was swallowed")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("full") }

// Long lists are cut, each kind for itself, and --verbose has them all.
func TestNames(t *testing.T) {
	for _, verbose := range []bool{false, true} {
		var out strings.Builder
		n := (&program{verbose: verbose}).names(&out)
		for range mostNames + 3 {
			n.add("failed", "bad\x1b[31m", "why\n")
		}
		n.add("refused", "x", "")
		n.end()
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		want := mostNames + 2
		if verbose {
			want = mostNames + 4
		}
		if len(lines) != want || lines[0] != `  failed    bad\u001b[31m: why\n` {
			t.Errorf("%d lines: %q", len(lines), lines[0])
		}
		if more := strings.HasSuffix(out.String(), "failed    and 3 more; --verbose names them\n"); more == verbose {
			t.Errorf("%q", out.String())
		}
	}
}
