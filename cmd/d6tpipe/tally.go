package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// A tally counts what the events of a transfer tell. It is safe for concurrent use.
type tally struct {
	mu      sync.Mutex
	planned bool
	files   int64 // that are done
	ofFiles int64
	bytes   int64 // of files that are done, and what is there of those under way
	ofBytes int64
	moved   int64                // bytes that went over the wire, which the rate is of
	active  map[string]*underWay // by key
	rate    meter
}

// underWay is one file that is being moved.
type underWay struct {
	since       time.Time
	size, moved int64
}

func newTally() *tally { return &tally{active: map[string]*underWay{}} }

// add counts an event. It reports whether a file was moved by it.
func (t *tally) add(e d6tpipe.Event, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	moves := slices.Contains([]d6tpipe.Action{d6tpipe.ActionDownload, d6tpipe.ActionUpload, d6tpipe.ActionVerify, d6tpipe.ActionImport}, e.Action)
	switch {
	case e.Kind == d6tpipe.EventPlanned: // a second plan takes the place of the first
		t.planned, t.files, t.bytes = true, 0, 0
		t.ofFiles, t.ofBytes = int64(e.Files), e.Bytes
		clear(t.active)
	case !moves:
	case e.Kind == d6tpipe.EventStarted:
		t.active[e.Key] = &underWay{since: now, size: e.Bytes}
	case e.Kind == d6tpipe.EventMoved:
		t.move(e.Key, e.Bytes, now)
	case e.Kind == d6tpipe.EventDone:
		t.end(e.Key, true)
	case e.Kind == d6tpipe.EventFailed && !errors.Is(e.Err, context.Canceled): // what a signal stopped is still to come
		t.end(e.Key, false)
	}
}

func (t *tally) move(key string, n int64, now time.Time) {
	f := t.active[key]
	if f == nil { // a Verify does not tell that it starts with a file
		f = &underWay{since: now}
		t.active[key] = f
	}
	f.moved += n
	f.size = max(f.size, f.moved)
	t.bytes += n
	t.moved += max(n, 0)
	t.rate.add(now, t.moved)
}

// end counts a file that is done with all of its bytes, whether they went over the
// wire or were there already. What failed has none, and nobody waits for them.
func (t *tally) end(key string, done bool) {
	f := t.active[key]
	if f == nil {
		return
	}
	delete(t.active, key)
	if done {
		t.files++
		t.bytes += f.size - f.moved
		return
	}
	t.bytes -= f.moved
	t.ofFiles--
	t.ofBytes -= f.size
}

// counts are the numbers at one moment.
func (t *tally) counts() (files, ofFiles, bytes, ofBytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.files, t.ofFiles, t.bytes, t.ofBytes
}

// reached tells how far a transfer came.
func (t *tally) reached() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.planned {
		return "before anything was moved"
	}
	return fmt.Sprintf("after %d of %s, %s of %s", t.files, count(int(t.ofFiles), "file"), size(t.bytes), size(t.ofBytes))
}

// pace tells how fast it goes and how long it will take: "3.1 MiB/s, 12s left".
func (t *tally) pace(now time.Time) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	perSecond := t.rate.at(now)
	if perSecond < 1 {
		return ""
	}
	text := size(int64(perSecond)) + "/s"
	if left := t.ofBytes - t.bytes; left > 0 && perSecond > 0 {
		text += ", " + clock(time.Duration(float64(left)/perSecond*float64(time.Second))) + " left"
	}
	return text
}

// clock writes a time that is left, in whole seconds. What is a guess of days is none.
func clock(d time.Duration) string {
	if d < 0 || d >= 100*time.Hour {
		return "long"
	}
	return max(d, time.Second).Round(time.Second).String()
}

// busy names the files under way, those that take longest first.
func (t *tally) busy() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	keys := make([]string, 0, len(t.active))
	for key := range t.active {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b string) int {
		if c := t.active[a].since.Compare(t.active[b].since); c != 0 {
			return c
		}
		return slices.Compare([]byte(a), []byte(b))
	})
	return keys
}

// A meter measures a rate over the last seconds.
type meter struct{ samples []sample }

type sample struct {
	at    time.Time
	total int64
}

const (
	meterSpan = 8 * time.Second
	meterStep = 200 * time.Millisecond
)

// add notes that total was reached.
func (m *meter) add(now time.Time, total int64) {
	if n := len(m.samples); n > 1 && now.Sub(m.samples[n-2].at) < meterStep {
		m.samples[n-1] = sample{now, total}
		return
	}
	m.forget(now)
	m.samples = append(m.samples, sample{now, total})
}

// forget lets go of what is too long ago; one stays to measure from.
func (m *meter) forget(now time.Time) {
	for len(m.samples) > 1 && now.Sub(m.samples[0].at) > meterSpan {
		m.samples = m.samples[1:]
	}
}

// at is the rate a second: of what stands still, it goes down.
func (m *meter) at(now time.Time) float64 {
	m.forget(now)
	if len(m.samples) < 2 {
		return 0
	}
	first, last := m.samples[0], m.samples[len(m.samples)-1]
	span := now.Sub(first.at).Seconds()
	if span <= 0 {
		return 0
	}
	return float64(last.total-first.total) / span
}
