package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"
)

// ErrIdle says that a remote moved no byte for too long. It matches
// [ErrTemporary].
var ErrIdle = fmt.Errorf("%w: no byte moved for too long", ErrTemporary)

// Idle returns store with an end to every wait: a call, a read, or the next object
// of a listing that takes longer than timeout without moving a byte fails with
// [ErrIdle]. How long the caller takes in between does not count. It belongs
// within [Retry].
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

// alarm ends a context when it is left alone for too long.
type alarm struct {
	timeout time.Duration
	timer   *time.Timer
	ctx     context.Context
	cancel  context.CancelCauseFunc
}

func (i *idle) start(ctx context.Context) (context.Context, *alarm) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &alarm{i.timeout, time.AfterFunc(i.timeout, func() { cancel(ErrIdle) }), ctx, cancel}
}

func (a *alarm) moved() { a.timer.Reset(a.timeout) }
func (a *alarm) pause() { a.timer.Stop() }

func (a *alarm) end() {
	a.timer.Stop()
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
			a.moved()
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
	defer s.a.moved()
	return SumOf(s.r)
}

func (s *idleSource) Read(p []byte) (int, error) {
	s.a.pause()
	defer s.a.moved()
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
	r.a.moved()
	defer r.a.pause()
	n, err := r.body.Read(p)
	return n, r.a.explain(err)
}

func (r *idleReader) Sum() string { return SumOf(r.body) }

func (r *idleReader) Close() error {
	defer r.a.end()
	return r.body.Close()
}
