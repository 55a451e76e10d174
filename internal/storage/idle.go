package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"
)

// ErrIdle says that a remote moved no byte for too long. It matches
// [ErrTemporary].
var ErrIdle = fmt.Errorf("%w: no byte moved for too long", ErrTemporary)

// Idle returns store with an end to every wait: a call, a read, or the next object
// of a listing that takes longer than timeout without moving a byte fails with
// [ErrIdle]. How long the caller takes in between does not count. What moves without
// the caller's seeing it, drivers say with [Moved], and that others are at it, with
// [Queue]. It belongs within [Retry].
func Idle(store Store, timeout time.Duration) Store { return &idle{store, timeout} }

type idle struct {
	Store
	timeout time.Duration
}

func (i *idle) ConditionalPut() bool { return conditional(i.Store) }
func (i *idle) Streams() bool        { return Streams(i.Store) }

func (i *idle) Multipart() Multipart {
	if m := MultipartOf(i.Store); m != nil {
		return &idleParts{m, i}
	}
	return nil
}

type idleParts struct {
	Multipart
	i *idle
}

func (m *idleParts) Begin(ctx context.Context, key string, size, unit int64) (Upload, error) {
	ctx, a := m.i.start(ctx)
	defer a.end()
	u, err := m.Multipart.Begin(ctx, key, size, unit)
	return u, a.explain(err)
}

func (m *idleParts) Arrived(ctx context.Context, u Upload) ([]Part, error) {
	ctx, a := m.i.start(ctx)
	defer a.end()
	parts, err := m.Multipart.Arrived(ctx, u)
	return parts, a.explain(err)
}

func (m *idleParts) Send(ctx context.Context, u Upload, n int, r io.Reader, size int64) (Part, error) {
	ctx, a := m.i.start(ctx)
	defer a.end()
	part, err := m.Multipart.Send(ctx, u, n, &idleSource{r, a}, size)
	return part, a.explain(err)
}

func (m *idleParts) Finish(ctx context.Context, u Upload, parts []Part, cond Cond) (Object, error) {
	ctx, a := m.i.start(ctx)
	defer a.end()
	obj, err := m.Multipart.Finish(ctx, u, parts, cond)
	return obj, a.explain(err)
}

func (m *idleParts) Abort(ctx context.Context, u Upload) error {
	ctx, a := m.i.start(ctx)
	defer a.end()
	return a.explain(m.Multipart.Abort(ctx, u))
}

// alarm ends a context when nothing moves for too long.
type alarm struct {
	timeout time.Duration
	ctx     context.Context
	cancel  context.CancelCauseFunc

	mu     sync.Mutex
	timer  *time.Timer
	last   time.Time        // when something moved
	paused bool             // it is the caller's turn, or the call is over
	queued int              // goroutines of the call that wait for their turn
	others func() time.Time // when something moved for those whose turn it is
}

func (i *idle) start(ctx context.Context) (context.Context, *alarm) {
	ctx, cancel := context.WithCancelCause(ctx)
	a := &alarm{timeout: i.timeout, ctx: ctx, cancel: cancel, last: time.Now()}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.timer = time.AfterFunc(i.timeout, a.ring)
	return context.WithValue(ctx, alarmKey{}, a), a
}

// alarmKey is where the context of a call has its alarm.
type alarmKey struct{}

func alarmOf(ctx context.Context) *alarm {
	a, _ := ctx.Value(alarmKey{}).(*alarm)
	return a
}

// Moved tells the [Idle] that the call of ctx is made through, if there is one, that
// it does not stand still. Drivers call it where bytes come that their caller does
// not see: an answer, or a piece of a listing.
func Moved(ctx context.Context) {
	if a := alarmOf(ctx); a != nil {
		a.moved()
	}
}

// Queue tells the [Idle] that the call of ctx is made through, if there is one, that
// it waits for others to make room, until done is called. As long as something moves
// for them, the wait goes on; moved returns when it last did, and must be quick. They
// may stand still for twice the time: those who hang are ended after once the time,
// and leave their room to the call.
func Queue(ctx context.Context, moved func() time.Time) (done func()) {
	a := alarmOf(ctx)
	if a == nil {
		return func() {}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queued++
	a.others = moved
	return a.turn
}

// turn ends a wait.
func (a *alarm) turn() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queued--
	a.last = time.Now()
}

// ring is called when it may be time to give up.
func (a *alarm) ring() {
	a.mu.Lock()
	defer a.mu.Unlock()
	rest := a.timeout - time.Since(a.last)
	if a.queued > 0 {
		rest = max(rest, 2*a.timeout-time.Since(a.others()))
	}
	switch {
	case a.paused:
	case rest > 0:
		a.timer.Reset(rest)
	default:
		a.cancel(ErrIdle)
	}
}

func (a *alarm) moved() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = time.Now()
}

func (a *alarm) pause() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.paused = true
	a.timer.Stop()
}

func (a *alarm) resume() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.paused = false
	a.last = time.Now()
	a.timer.Reset(a.timeout)
}

func (a *alarm) end() {
	a.pause()
	a.cancel(nil)
}

// explain puts the cause in the place of the cancellation that it led to.
func (a *alarm) explain(err error) error {
	if err != nil && !errors.Is(err, io.EOF) && errors.Is(context.Cause(a.ctx), ErrIdle) {
		return ErrIdle
	}
	return err
}

func (i *idle) Stat(ctx context.Context, key string) (Object, error) {
	ctx, a := i.start(ctx)
	defer a.end()
	obj, err := i.Store.Stat(ctx, key)
	return obj, a.explain(err)
}

func (i *idle) Remove(ctx context.Context, key string) error {
	ctx, a := i.start(ctx)
	defer a.end()
	return a.explain(i.Store.Remove(ctx, key))
}

func (i *idle) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		ctx, a := i.start(ctx)
		defer a.end()
		for obj, err := range i.Store.List(ctx, prefix) {
			a.pause()
			if !yield(obj, a.explain(err)) || err != nil {
				return
			}
			a.resume()
		}
	}
}

func (i *idle) Put(ctx context.Context, key string, r io.Reader, size int64, cond Cond) (Object, error) {
	ctx, a := i.start(ctx)
	defer a.end()
	obj, err := i.Store.Put(ctx, key, &idleSource{r, a}, size, cond)
	return obj, a.explain(err)
}

// idleSource does not count the time that the source takes.
type idleSource struct {
	r io.Reader
	a *alarm
}

func (s *idleSource) Sum() string {
	s.a.pause() // it may have to be read
	defer s.a.resume()
	return SumOf(s.r)
}

func (s *idleSource) Read(p []byte) (int, error) {
	s.a.pause()
	defer s.a.resume()
	return s.r.Read(p)
}

func (i *idle) Open(ctx context.Context, obj Object, off, n int64) (io.ReadCloser, error) {
	ctx, a := i.start(ctx)
	body, err := i.Store.Open(ctx, obj, off, n)
	if err != nil {
		defer a.end()
		return nil, a.explain(err)
	}
	a.pause()
	return &idleReader{body, a}, nil
}

type idleReader struct {
	body io.ReadCloser
	a    *alarm
}

func (r *idleReader) Read(p []byte) (int, error) {
	r.a.resume()
	defer r.a.pause()
	n, err := r.body.Read(p)
	return n, r.a.explain(err)
}

func (r *idleReader) Sum() string { return SumOf(r.body) }

func (r *idleReader) Close() error {
	defer r.a.end()
	return r.body.Close()
}
