package listing

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A Scanner scans pipes and serves their listings. It is safe for concurrent use.
// Use [New], and [Scanner.Close] at the end.
type Scanner struct {
	cfg   Config
	ctx   context.Context // ends with Close
	stop  context.CancelFunc
	slots chan struct{}
	work  sync.WaitGroup

	mu     sync.Mutex
	pipes  map[string]*flights // those that are scanned, or wait for it
	failed map[string]failure
	closed bool
}

// flights are the scans of one pipe: the one at work, and the one after it.
type flights struct{ running, next *flight }

// A flight is a scan that any number of callers wait for.
type flight struct {
	after time.Time // the latest moment that somebody wants it to begin after
	began time.Time // set when it runs
	done  chan struct{}
	err   error // set before done is closed
}

// A failure is a storage that could not be listed.
type failure struct {
	at   time.Time
	view string // "" when not even that is known
	err  error
}

// maxFailures is how many failures are remembered; beyond that all are forgotten.
const maxFailures = 10_000

// New returns a scanner. It does no work before it is asked for some.
func New(cfg Config) (*Scanner, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Scanner{cfg: cfg.WithDefaults(), pipes: map[string]*flights{}, failed: map[string]failure{}}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.slots = make(chan struct{}, s.cfg.Scans)
	return s, nil
}

// Close ends all scans and waits for them.
func (s *Scanner) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.work.Wait()
	return nil
}

// scan waits for a scan that begins after need and sees the pipe as p has it. The
// scan goes on when ctx ends: others may wait for it, and what it finds is kept.
func (s *Scanner) scan(ctx context.Context, p Pipe, need time.Time) error {
	f, err := s.join(p.ID, need)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-f.done:
		return f.err
	}
}

// join returns the scan of a pipe that begins after need: the one at work, the one
// after it, or a new one.
func (s *Scanner) join(id string, need time.Time) (*flight, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pipes[id]
	switch {
	case s.closed, p == nil && len(s.pipes) >= s.cfg.Scans+s.cfg.Waiting:
		return nil, errBusy
	case p == nil:
		p = &flights{}
		s.pipes[id] = p
		s.work.Go(func() { s.drive(id, p) })
	case p.running != nil && p.running.began.After(need):
		return p.running, nil
	}
	if p.next == nil {
		p.next = &flight{done: make(chan struct{})}
	}
	if need.After(p.next.after) {
		p.next.after = need
	}
	return p.next, nil
}

// drive carries out the scans of one pipe, one after the other, until nobody wants
// another.
func (s *Scanner) drive(id string, p *flights) {
	for s.begin(id, p) {
		view, err := s.safeScan(id, p.running.began)
		s.end(id, p, view, err)
	}
}

// begin waits for a slot and makes the next scan the one at work. Until then others
// may join it. It reports false when there is none.
func (s *Scanner) begin(id string, p *flights) bool {
	s.mu.Lock()
	if p.next == nil {
		delete(s.pipes, id)
		s.mu.Unlock()
		return false
	}
	s.mu.Unlock()
	select {
	case s.slots <- struct{}{}:
	case <-s.ctx.Done(): // the scan ends as it begins
		s.slots <- struct{}{}
	}
	s.mu.Lock()
	after := p.next.after
	s.mu.Unlock()
	s.waitUntil(after)
	s.mu.Lock()
	defer s.mu.Unlock()
	p.running, p.next = p.next, nil
	p.running.began = s.cfg.Now()
	return true
}

// waitUntil waits until it is later than after by the least that is kept of times: a
// microsecond, or as far as a replica's clock is ahead, within reason.
func (s *Scanner) waitUntil(after time.Time) {
	if wait := after.Add(time.Microsecond).Sub(s.cfg.Now()); wait > 0 {
		time.Sleep(min(wait, time.Second))
	}
}

func (s *Scanner) end(id string, p *flights, view string, err error) {
	<-s.slots
	s.mu.Lock()
	defer s.mu.Unlock()
	f := p.running
	p.running = nil
	delete(s.failed, id)
	if err != nil && s.ctx.Err() == nil {
		if len(s.failed) >= maxFailures {
			clear(s.failed)
		}
		s.failed[id] = failure{s.cfg.Now(), view, err}
		s.cfg.Log.Warn("a pipe could not be listed", "record", id, "reason", reason(err), "error", err, "took", s.cfg.Now().Sub(f.began))
	}
	f.err = err
	close(f.done)
}

// failing returns the error of a scan that failed a short while ago.
func (s *Scanner) failing(p Pipe, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.failed[p.ID]
	if !ok || f.view != "" && f.view != p.View || now.Sub(f.at) > s.cfg.Pause {
		return nil
	}
	return f.err
}

// safeScan keeps a driver that panics from taking the server with it.
func (s *Scanner) safeScan(id string, began time.Time) (view string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.Time)
	defer cancel()
	return s.look(ctx, id, began)
}
