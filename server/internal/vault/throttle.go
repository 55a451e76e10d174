package vault

import (
	"context"
	"fmt"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// ThrottleOptions are for [NewThrottle]; the zero value is the default. A negative
// limit is no limit.
type ThrottleOptions struct {
	Window        time.Duration    // in which the limits hold; 15 minutes if 0
	Failures      int              // of one peer with one account; 10 if 0
	PeerFailures  int              // of one peer with all accounts; 100 if 0
	Registrations int              // tries of one peer; 20 if 0
	Waiting       int              // attempts that wait for others; 256 if 0
	Rows          int              // keys that are counted apart in each table; 65536 if 0
	Now           func() time.Time // time.Now if nil
}

func (o ThrottleOptions) withDefaults() ThrottleOptions {
	if o.Window == 0 {
		o.Window = 15 * time.Minute
	}
	for _, d := range []struct {
		limit *int
		value int
	}{{&o.Failures, 10}, {&o.PeerFailures, 100}, {&o.Registrations, 20}, {&o.Waiting, 256}, {&o.Rows, 1 << 16}} {
		if *d.limit == 0 {
			*d.limit = d.value
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// A Throttle caps the guesses at passwords. In no stretch of time as long as the
// window can one peer fail more often than the limits say, however many attempts it
// makes at once: an attempt that might be one failure too many waits for those
// before it. A success takes no failure back, so that nobody buys new guesses with it.
//
// It counts in the memory of its process: n replicas give a peer n times as many
// guesses, and a restart gives it new ones. That memory is bounded (see table),
// whatever names and addresses are made up. It keeps its own counts rather than
// httprate's, which are of requests whatever comes of them, let through up to
// twice the limit around the end of a window, and grow with the number of keys.
type Throttle struct {
	o     ThrottleOptions
	start time.Time
	seed  maphash.Seed

	mu            sync.Mutex
	pairs         *table
	peers         *table
	registrations *table
	waiting       int
	finished      chan struct{} // closed when an attempt ends
}

// NewThrottle makes a throttle that has seen no failure yet.
func NewThrottle(o ThrottleOptions) *Throttle {
	o = o.withDefaults()
	return &Throttle{
		o:             o,
		start:         o.Now(),
		seed:          maphash.MakeSeed(),
		pairs:         newTable(o.Failures, o.Window, o.Rows),
		peers:         newTable(o.PeerFailures, o.Window, o.Rows),
		registrations: newTable(o.Registrations, o.Window, o.Rows),
		finished:      make(chan struct{}),
	}
}

// A ThrottledError refuses an attempt before anything is looked up for it.
type ThrottledError struct {
	Wait time.Duration // until the next attempt is let in
}

// Error says how long to wait.
func (e *ThrottledError) Error() string {
	return fmt.Sprintf("%v; try again in %d seconds", ErrThrottled, e.Seconds())
}

// Is makes it an [ErrThrottled].
func (e *ThrottledError) Is(target error) bool { return target == ErrThrottled }

// Seconds is the wait for the header Retry-After: whole seconds, at least 1.
func (e *ThrottledError) Seconds() int {
	return max(1, int((e.Wait+time.Second-1)/time.Second))
}

// An Attempt is a login that was let in. It must end with [Attempt.Done], and with
// [Attempt.Fail] before it if the password was wrong or there is no such user.
type Attempt struct {
	t     *Throttle
	lines []line
	ended bool
}

// Login lets an attempt in, or returns a [ThrottledError]. account is the name as
// users are looked up by it, whether there is such a user or not, and peer is the
// address of who asks, not what a header says unless a trusted proxy wrote it. An
// IPv6 peer is its /64: that is what one customer gets. When ctx ends while the
// attempt waits for others, or too many wait, the error is [ErrBusy].
func (t *Throttle) Login(ctx context.Context, account string, peer netip.Addr) (*Attempt, error) {
	from := network(peer)
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		now := t.elapsed()
		a := &Attempt{t: t, lines: []line{
			t.pairs.line(maphash.Comparable(t.seed, pair{account, from}), now),
			t.peers.line(maphash.Comparable(t.seed, from), now),
		}}
		if room, err := a.enter(now); err != nil {
			return nil, err
		} else if room {
			return a, nil
		}
		if err := t.wait(ctx); err != nil {
			return nil, err
		}
	}
}

// pair is what the narrowest limit is for.
type pair struct {
	account string
	from    netip.Prefix
}

// Fail says that the attempt was a wrong guess.
func (a *Attempt) Fail() { a.end(true) }

// Done ends the attempt. After Fail it does nothing.
func (a *Attempt) Done() { a.end(false) }

// Register lets a registration in, or returns a [ThrottledError]. Every one counts,
// whatever comes of it.
func (t *Throttle) Register(peer netip.Addr) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.elapsed()
	a := &Attempt{t: t, lines: []line{t.registrations.line(maphash.Comparable(t.seed, network(peer)), now)}}
	_, err := a.enter(now) // there is room: nobody stays inside
	if err == nil {
		a.leave(true)
	}
	return err
}

// network is what counts as one peer.
func network(peer netip.Addr) netip.Prefix {
	peer = peer.Unmap()
	bits := peer.BitLen()
	if peer.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(peer, bits).Masked() // a prefix has no zone
}

// elapsed is the time since the start: a clock that is set does not change it.
func (t *Throttle) elapsed() time.Duration { return t.o.Now().Sub(t.start) }

// wait waits until some attempt has ended. It is called, and returns, with mu held.
func (t *Throttle) wait(ctx context.Context) error {
	if t.waiting >= t.o.Waiting {
		return ErrBusy
	}
	t.waiting++
	finished := t.finished
	t.mu.Unlock()
	var err error
	select {
	case <-finished:
	case <-ctx.Done():
		err = fmt.Errorf("%w: %w", ErrBusy, ctx.Err())
	}
	t.mu.Lock()
	t.waiting--
	return err
}

// enter takes a place in each row, all or none. room is false if attempts that
// have not ended yet could use the places up.
func (a *Attempt) enter(now time.Duration) (room bool, err error) {
	var wait time.Duration
	room = true
	for _, l := range a.lines {
		wait = max(wait, l.table.blocked(l.row, now))
		room = room && l.table.room(l.row)
	}
	switch {
	case wait > 0:
		err = &ThrottledError{Wait: wait}
	case room:
		for _, l := range a.lines {
			l.row.inside++
		}
		return true, nil
	}
	for _, l := range a.lines {
		l.table.tidy(l.key)
	}
	return false, err
}

func (a *Attempt) end(failed bool) {
	a.t.mu.Lock()
	defer a.t.mu.Unlock()
	if a.ended {
		return
	}
	a.leave(failed)
	close(a.t.finished)
	a.t.finished = make(chan struct{})
}

func (a *Attempt) leave(failed bool) {
	a.ended = true
	now := a.t.elapsed()
	for _, l := range a.lines {
		l.row.inside--
		if failed {
			l.table.failed(l.row, now)
		}
		l.table.tidy(l.key)
	}
}
