package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"sync"
	"time"
)

// How Renew goes about it.
const (
	renewMargin = 5 * time.Minute  // before the expiry, or a fifth of the lifetime when that is less
	renewPause  = 10 * time.Second // between attempts as long as the old credentials do
	freshFor    = time.Minute      // so long credentials that were refused at once are not asked for again
)

// Renew returns store with fresh credentials before those that it was opened with
// run out, which is at expires (zero: nobody knows), and after [ErrExpired],
// whatever the clock says. open then returns the same remote, opened with fresh
// credentials, and when those run out; its context ends when Renew's store is
// closed. It is never called twice at a time.
//
//   - Before the expiry, at the first call within the last 5 minutes or the last
//     fifth of the lifetime, calls go on with the old credentials meanwhile.
//   - A call that fails with ErrExpired waits for the fresh ones and then fails
//     with an error that matches [ErrTemporary] too, so that [Retry], around it,
//     tries again. When fresh credentials that were got for that reason are
//     refused as expired before they were good for anything, that is final, and
//     for a minute no others are asked for.
//   - Stores are closed when their last reader or call is done. What cannot be
//     closed is an error of Close.
//
// What store can do besides a Store, the ones that open returns must be able to do
// too; an [Upload] goes on with another one.
func Renew(store Store, expires time.Time, open func(context.Context) (Store, time.Time, error)) Store {
	ctx, cancel := context.WithCancel(context.Background())
	r := &renewed{open: open, ctx: ctx, cancel: cancel}
	r.current = r.born(store, expires)
	return r
}

type renewed struct {
	open   func(context.Context) (Store, time.Time, error)
	ctx    context.Context // of renewals
	cancel context.CancelFunc
	group  sync.WaitGroup // of the renewal that is on its way

	mu      sync.Mutex
	current *life
	lives   []*life  // not closed yet
	renewal *renewal // that is on its way; nil when none is
	next    time.Time
	closed  bool
	errs    []error // of closing stores
}

// A life is a store with the credentials of one period. Its fields are under the
// lock of renewed.
type life struct {
	store   Store
	opened  time.Time
	expires time.Time // zero: unknown
	users   int       // readers and calls
	retired bool      // another one has taken its place
	expired bool      // the remote says so
	proven  bool      // the remote has accepted the credentials
	instead bool      // of one that had expired
}

// A renewal is one call of open, for all who wait for it.
type renewal struct {
	done chan struct{}
	err  error
}

// born starts the life of a store. An expiry that has passed already tells more of
// the clocks than of the credentials.
func (r *renewed) born(store Store, expires time.Time) *life {
	l := &life{store: store, opened: time.Now(), expires: expires}
	if !expires.After(l.opened) {
		l.expires = time.Time{}
	}
	r.lives = append(r.lives, l)
	return l
}

// due reports whether it is time for fresh credentials.
func (l *life) due(now time.Time) bool {
	return !l.expires.IsZero() && !now.Before(l.expires.Add(-min(renewMargin, l.expires.Sub(l.opened)/5)))
}

// over reports whether the credentials have run out, by the clock.
func (l *life) over(now time.Time) bool { return !l.expires.IsZero() && !now.Before(l.expires) }

// use returns the store for one call, which ends with leave.
func (r *renewed) use(ctx context.Context) (*life, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		if r.closed {
			return nil, fs.ErrClosed
		}
		l, now := r.current, time.Now()
		if !l.expired && (!l.due(now) || now.Before(r.next)) {
			l.users++
			return l, nil
		}
		renewal := r.start()
		if !l.expired && !l.over(now) {
			l.users++
			return l, nil
		}
		if err := r.wait(ctx, renewal); err != nil && (l.expired || ctx.Err() != nil) {
			return nil, err
		} // else the clock may be wrong
	}
}

// start begins a renewal unless one is on its way.
func (r *renewed) start() *renewal {
	if r.renewal != nil {
		return r.renewal
	}
	flight := &renewal{done: make(chan struct{})}
	r.renewal = flight
	r.group.Go(func() {
		store, expires, err := r.open(r.ctx)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.renewal = nil
		flight.err = err
		if err == nil {
			old := r.current
			r.current = r.born(store, expires)
			r.current.instead = old.expired
			old.retired = true
			r.sweep(old)
		} else {
			r.next = time.Now().Add(renewPause)
		}
		close(flight.done)
	})
	return flight
}

// wait gives the lock away until the renewal is done or ctx has ended.
func (r *renewed) wait(ctx context.Context, flight *renewal) error {
	r.mu.Unlock()
	defer r.mu.Lock()
	select {
	case <-flight.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	switch {
	case r.ctx.Err() != nil:
		return fs.ErrClosed
	case flight.err != nil:
		return fmt.Errorf("%w, and there are no fresh ones: %w", ErrExpired, flight.err)
	}
	return nil
}

// sweep closes a store that nobody needs any more.
func (r *renewed) sweep(l *life) {
	if !l.retired || l.users > 0 {
		return
	}
	for i, other := range r.lives {
		if other == l {
			r.lives = append(r.lives[:i], r.lives[i+1:]...)
			r.errs = append(r.errs, l.store.Close())
			return
		}
	}
}

// leave ends a use.
func (r *renewed) leave(l *life) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l.users--
	r.sweep(l)
}

// judge looks at how a use went: nil, or what it failed with. It returns the error
// that the caller gets.
func (r *renewed) judge(ctx context.Context, l *life, err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !errors.Is(err, ErrExpired) {
		l.proven = l.proven || err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrChanged)
		return err
	}
	if l.instead && !l.proven && time.Since(l.opened) < freshFor {
		return err
	}
	l.expired = true
	if !l.retired {
		if waitErr := r.renewFor(ctx, l); waitErr != nil {
			return waitErr
		}
	}
	return &renewedError{err}
}

// renewFor waits until another life has taken the place of l.
func (r *renewed) renewFor(ctx context.Context, l *life) error {
	for !l.retired {
		if r.closed {
			return fs.ErrClosed
		}
		if err := r.wait(ctx, r.start()); err != nil {
			return err
		}
	}
	return nil
}

// renewedError is an ErrExpired after which there are fresh credentials.
type renewedError struct{ err error }

func (e *renewedError) Error() string   { return e.err.Error() + "; there are fresh ones now" }
func (e *renewedError) Unwrap() []error { return []error{e.err, ErrTemporary} }

// do makes one call with the store of the day.
func (r *renewed) do(ctx context.Context, call func(Store) error) error {
	l, err := r.use(ctx)
	if err != nil {
		return err
	}
	defer r.leave(l)
	return r.judge(ctx, l, call(l.store))
}

// now is the store of the day for questions that no remote is asked.
func (r *renewed) now() Store {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current.store
}

func (r *renewed) ConditionalPut() bool { return conditional(r.now()) }
func (r *renewed) Streams() bool        { return Streams(r.now()) }

func (r *renewed) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		l, err := r.use(ctx)
		if err != nil {
			yield(Object{}, err)
			return
		}
		defer r.leave(l)
		seen := 0
		for obj, err := range l.store.List(ctx, prefix) {
			if seen++; err != nil || seen == 1 {
				err = r.judge(ctx, l, err)
			}
			if !yield(obj, err) || err != nil {
				return
			}
		}
	}
}

func (r *renewed) Stat(ctx context.Context, key string) (obj Object, err error) {
	err = r.do(ctx, func(store Store) (err error) {
		obj, err = store.Stat(ctx, key)
		return err
	})
	return obj, err
}

func (r *renewed) Put(ctx context.Context, key string, src io.Reader, size int64, cond Cond) (obj Object, err error) {
	err = r.do(ctx, func(store Store) (err error) {
		obj, err = store.Put(ctx, key, src, size, cond)
		return err
	})
	return obj, err
}

func (r *renewed) Remove(ctx context.Context, key string) error {
	return r.do(ctx, func(store Store) error { return store.Remove(ctx, key) })
}

func (r *renewed) Open(ctx context.Context, obj Object, off, n int64) (io.ReadCloser, error) {
	l, err := r.use(ctx)
	if err != nil {
		return nil, err
	}
	body, err := l.store.Open(ctx, obj, off, n)
	if err := r.judge(ctx, l, err); err != nil {
		r.leave(l)
		return nil, err
	}
	return &renewedReader{ctx: ctx, r: r, life: l, body: body}, nil
}

// renewedReader keeps its store open.
type renewedReader struct {
	ctx  context.Context
	r    *renewed
	life *life
	body io.ReadCloser
	once sync.Once
}

func (b *renewedReader) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	if err != nil && errors.Is(err, ErrExpired) {
		err = b.r.judge(b.ctx, b.life, err)
	}
	return n, err
}

func (b *renewedReader) Sum() string { return SumOf(b.body) }

func (b *renewedReader) Close() error {
	defer b.once.Do(func() { b.r.leave(b.life) })
	return b.body.Close()
}

func (r *renewed) Multipart() Multipart {
	if MultipartOf(r.now()) != nil {
		return &renewedParts{r}
	}
	return nil
}

type renewedParts struct{ r *renewed }

func (m *renewedParts) do(ctx context.Context, call func(Multipart) error) error {
	return m.r.do(ctx, func(store Store) error {
		parts := MultipartOf(store)
		if parts == nil {
			return fmt.Errorf("uploads in parts: %w by the storage as it was opened again", errors.ErrUnsupported)
		}
		return call(parts)
	})
}

func (m *renewedParts) Begin(ctx context.Context, key string, size, unit int64) (u Upload, err error) {
	err = m.do(ctx, func(parts Multipart) (err error) {
		u, err = parts.Begin(ctx, key, size, unit)
		return err
	})
	return u, err
}

func (m *renewedParts) Arrived(ctx context.Context, u Upload) (arrived []Part, err error) {
	err = m.do(ctx, func(parts Multipart) (err error) {
		arrived, err = parts.Arrived(ctx, u)
		return err
	})
	return arrived, err
}

func (m *renewedParts) Send(ctx context.Context, u Upload, n int, src io.Reader, size int64) (part Part, err error) {
	err = m.do(ctx, func(parts Multipart) (err error) {
		part, err = parts.Send(ctx, u, n, src, size)
		return err
	})
	return part, err
}

func (m *renewedParts) Finish(ctx context.Context, u Upload, arrived []Part, cond Cond) (obj Object, err error) {
	err = m.do(ctx, func(parts Multipart) (err error) {
		obj, err = parts.Finish(ctx, u, arrived, cond)
		return err
	})
	return obj, err
}

func (m *renewedParts) Abort(ctx context.Context, u Upload) error {
	return m.do(ctx, func(parts Multipart) error { return parts.Abort(ctx, u) })
}

// Close ends a renewal that is on its way.
func (r *renewed) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.group.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.lives {
		r.errs = append(r.errs, l.store.Close())
	}
	r.lives = nil
	return errors.Join(r.errs...)
}
