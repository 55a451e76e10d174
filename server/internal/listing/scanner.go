package listing

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// A Scanner scans pipes and serves their listings. It is safe for concurrent use.
// Use [New], and [Scanner.Close] at the end.
type Scanner struct {
	cfg   Config
	ctx   context.Context // ends with Close
	stop  context.CancelFunc
	slots chan struct{} // of what users ask for
	large chan struct{} // of those of them that are large
	ours  chan struct{} // of what only schedules ask for
	work  sync.WaitGroup
	sent  *bodies

	mu       sync.Mutex
	pipes    map[string]*flights // those that are scanned, or wait for it
	accounts map[string]*account // of those
	last     map[string]outcome
	damaged  map[string]string // tags of listings that cannot be read, by record
	closed   bool
}

// flights are the scans of one pipe: the one at work, and the one after it. They count
// for the account that asked first, whoever joins it; a schedule is none.
type flights struct {
	running, next *flight
	of            *account // nil is nobody's
}

// An account is somebody who has pipes scanned.
type account struct {
	name         string
	pipes        int
	slots, large chan struct{}
}

// A flight is a scan that any number of callers wait for.
type flight struct {
	after time.Time // the latest moment that somebody wants it to begin after
	began time.Time // set when it runs
	done  chan struct{}
	err   error // set before done is closed

	refused int // names that cannot be used; set before done is closed

	users chan struct{}   // closed when a user wants it, and not only a schedule
	seats []chan struct{} // that it sits in while it runs
	large bool            // it sits in one of the large ones

	kept    bool               // it goes on whoever still waits
	waiting int                // for it, of those without whom it ends
	given   bool               // up: nobody waits any more
	ctx     context.Context    // set when it runs
	stop    context.CancelFunc // of ctx
}

// isGiven gives the flight up when nobody wants it, and reports whether it is given up.
func (f *flight) isGiven() bool {
	f.given = f.given || !f.kept && f.waiting == 0
	if f.given && f.stop != nil {
		f.stop()
	}
	return f.given
}

// An outcome is how the last scan of a pipe in this process ended.
type outcome struct {
	began, ended time.Time
	view         string // "" when not even that is known
	err          error
}

// maxOutcomes is how many outcomes are remembered; beyond that all are forgotten.
const maxOutcomes = 10_000

// New returns a scanner. It does no work before it is asked for some.
func New(cfg Config) (*Scanner, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Scanner{cfg: cfg.WithDefaults(), pipes: map[string]*flights{}, accounts: map[string]*account{}, last: map[string]outcome{}, damaged: map[string]string{}}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.slots, s.large, s.ours = make(chan struct{}, s.cfg.Scans), make(chan struct{}, s.cfg.Large), make(chan struct{}, s.cfg.Scheduled)
	s.sent = newBodies(s.cfg, s.isWhole)
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
	f, err := s.join(p, need, true)
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
// after it, or a new one. One that is kept goes on whoever leaves, and is a user's; the
// others are schedules', count in waiting, and call leave.
func (s *Scanner) join(p Pipe, need time.Time, keep bool) (*flight, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errBusy
	}
	f, err := s.after(p, need, keep)
	switch {
	case err != nil:
		return nil, err
	case keep:
		f.kept = true
	default:
		f.waiting++
	}
	return f, nil
}

// after finds or makes the scan that begins after need; the caller holds the lock.
func (s *Scanner) after(p Pipe, need time.Time, user bool) (*flight, error) {
	f := s.pipes[p.ID]
	if f != nil && f.running != nil && f.running.began.After(need) && !f.running.given {
		return f.running, nil
	}
	if f == nil || user && f.of == nil {
		var err error
		if f, err = s.start(p, f, user); err != nil {
			return nil, err
		}
	}
	if f.next == nil {
		f.next = &flight{done: make(chan struct{}), users: make(chan struct{})}
	}
	if user && !f.next.ofUser() {
		close(f.next.users)
	}
	if need.After(f.next.after) {
		f.next.after = need
	}
	return f.next, nil
}

// ofUser reports whether a user wants it; the caller holds the lock of the scanner.
func (f *flight) ofUser() bool {
	select {
	case <-f.users:
		return true
	default:
		return false
	}
}

// leave is for who waits no longer for a flight that he does not keep. It reports
// whether the flight is at work still for that, and ends now.
func (s *Scanner) leave(f *flight) (ends bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.waiting--
	return f.stop != nil && f.isGiven()
}

// start makes the scans of a pipe that has none, or that has those of a schedule and
// counts for an account now; the caller holds the lock.
func (s *Scanner) start(p Pipe, f *flights, user bool) (*flights, error) {
	if f == nil && user && len(s.pipes)-len(s.ours) >= s.cfg.Scans+s.cfg.Waiting {
		return nil, errBusy
	}
	of, err := s.count(p.Account)
	if err != nil {
		return nil, err
	}
	if f != nil {
		f.of = of
		return f, nil
	}
	f = &flights{of: of}
	s.pipes[p.ID] = f
	s.work.Go(func() { s.drive(p.ID, f) })
	return f, nil
}

// count counts one more pipe for an account; the caller holds the lock.
func (s *Scanner) count(name string) (*account, error) {
	if name == "" {
		return nil, nil
	}
	of := s.accounts[name]
	if of == nil {
		of = &account{name: name, slots: make(chan struct{}, s.cfg.OfOne), large: make(chan struct{}, 1)}
		s.accounts[name] = of
	}
	if of.pipes >= s.cfg.WaitOne {
		return nil, errCrowd
	}
	of.pipes++
	return of, nil
}

// finish forgets the scans of a pipe that has no more; the caller holds the lock.
func (s *Scanner) finish(id string, f *flights) {
	delete(s.pipes, id)
	if f.of == nil {
		return
	}
	if f.of.pipes--; f.of.pipes == 0 {
		delete(s.accounts, f.of.name)
	}
}

// drive carries out the scans of one pipe, one after the other, until nobody wants
// another.
func (s *Scanner) drive(id string, p *flights) {
	for s.begin(id, p) {
		view, err := s.safeScan(id, p)
		s.end(id, p, view, err)
	}
}

// begin waits for a slot and makes the next scan the one at work. Until then others
// may join it. It reports false when there is none.
func (s *Scanner) begin(id string, p *flights) bool {
	s.mu.Lock()
	if p.next == nil {
		s.finish(id, p)
		s.mu.Unlock()
		return false
	}
	f := p.next
	s.mu.Unlock()
	s.sit(id, p, f)
	s.mu.Lock()
	after := p.next.after
	s.mu.Unlock()
	s.waitUntil(after)
	s.mu.Lock()
	defer s.mu.Unlock()
	p.running, p.next = p.next, nil
	p.running.began = s.cfg.Now()
	p.running.ctx, p.running.stop = context.WithTimeout(s.ctx, s.cfg.Time)
	p.running.isGiven() // then it ends as it begins
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
	f := p.running
	for _, seat := range f.seats {
		<-seat
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	p.running = nil
	f.stop()
	if s.ctx.Err() == nil && !f.given {
		if len(s.last) >= maxOutcomes {
			clear(s.last)
		}
		s.last[id] = outcome{f.began, now, view, err}
		if err != nil {
			s.cfg.Log.Warn("a pipe could not be listed", "record", id, "reason", reason(err), "error", err, "took", now.Sub(f.began))
		}
	}
	f.err = err
	close(f.done)
}

// isDamaged reports whether the listing with this tag was found to be damaged.
func (s *Scanner) isDamaged(id, tag string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return tag != "" && s.damaged[id] == tag
}

// isWhole tells whether the body of a listing is what was saved; one that is not is
// never gone by again.
func (s *Scanner) isWhole(key bodyKey, body []byte, err error) error {
	if err == nil {
		err = checkBody(body)
	}
	if errors.Is(err, ErrDamaged) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.damaged) >= maxOutcomes {
			clear(s.damaged)
		}
		s.damaged[key.id] = key.tag
	}
	return err
}

// checkBody reads a body to the sum at its end.
func checkBody(body []byte) error {
	zip, err := gzip.NewReader(bytes.NewReader(body))
	if err == nil {
		_, err = io.Copy(io.Discard, zip)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil
}

// failing returns the error of a scan that failed no longer ago than pause.
func (s *Scanner) failing(p Pipe, now time.Time, pause time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.last[p.ID]
	if !ok || o.view != "" && o.view != p.View || now.Sub(o.ended) > pause {
		return nil
	}
	return o.err
}

// lately returns when the scan of a pipe began that is at work, or that ended less than
// a pause ago, which is for a storage to rest; zero when there is none.
func (s *Scanner) lately(id string, now time.Time) (began time.Time, pause time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.last[id]
	pause = max(s.cfg.Interval, o.ended.Sub(o.began))
	if f := s.pipes[id]; f != nil && f.running != nil {
		return f.running.began, pause
	}
	if !o.began.IsZero() && now.Sub(o.ended) <= pause {
		return o.began, pause
	}
	return time.Time{}, pause
}

// rests returns for how long a reader's refresh brings nothing newer than head, unless
// files are changed meanwhile; 0 is unknown.
func (s *Scanner) rests(id string, head Record) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, now := s.last[id], s.cfg.Now()
	rest := head.Scanned.Add(s.cfg.Interval).Sub(now) // of a replica's scan
	if !o.began.IsZero() {
		rest = max(rest, max(s.cfg.Interval, o.ended.Sub(o.began))-now.Sub(o.ended))
	}
	if rest < 0 {
		return 0
	}
	return rest + time.Millisecond // the moment itself is still too early
}

// safeScan keeps a driver that panics from taking the server with it.
func (s *Scanner) safeScan(id string, p *flights) (view string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	f := p.running
	if err := f.ctx.Err(); err != nil { // nobody wants it any more
		return "", err
	}
	return s.look(f.ctx, id, f, func() error { return s.sitLarge(f.ctx, p, f) })
}
