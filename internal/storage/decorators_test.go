package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/mem"
	"github.com/d6t/d6tpipe-go/internal/storage/storagetest"
)

// flaky fails as often as errs says before it does anything; a stream fails after
// every 10 bytes.
type flaky struct {
	storage.Store
	errs  []error
	calls int
}

func (f *flaky) next() error {
	f.calls++
	if len(f.errs) == 0 {
		return nil
	}
	err := f.errs[0]
	f.errs = f.errs[1:]
	return err
}

func (f *flaky) Stat(ctx context.Context, key string) (storage.Object, error) {
	if err := f.next(); err != nil {
		return storage.Object{}, err
	}
	return f.Store.Stat(ctx, key)
}

func (f *flaky) Remove(ctx context.Context, key string) error {
	if err := f.next(); err != nil {
		return err
	}
	return f.Store.Remove(ctx, key)
}

func (f *flaky) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		err := f.next()
		n := 0
		for obj, listErr := range f.Store.List(ctx, prefix) {
			if err != nil && n == 3 {
				break
			}
			n++
			if !yield(obj, listErr) {
				return
			}
		}
		if err != nil {
			yield(storage.Object{}, err)
		}
	}
}

func (f *flaky) Put(ctx context.Context, key string, r io.Reader, size int64, cond storage.Cond) (storage.Object, error) {
	if err := f.next(); err != nil {
		_, readErr := io.CopyN(io.Discard, r, size/2)
		return storage.Object{}, errors.Join(err, readErr)
	}
	return f.Store.Put(ctx, key, r, size, cond)
}

func (f *flaky) Open(ctx context.Context, obj storage.Object, off, n int64) (io.ReadCloser, error) {
	r, err := f.Store.Open(ctx, obj, off, n)
	if err == nil && len(f.errs) > 0 {
		broken := io.MultiReader(io.LimitReader(r, 10), readErrors{f})
		r = struct {
			io.Reader
			io.Closer
		}{broken, r}
	}
	return r, err
}

type readErrors struct{ f *flaky }

func (r readErrors) Read([]byte) (int, error) { return 0, r.f.next() }

func temporary(n int) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = fmt.Errorf("%w: 503", storage.ErrTemporary)
	}
	return errs
}

func TestRetryWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var waits []time.Duration
		f := &flaky{Store: mem.New(), errs: temporary(5)}
		s := storage.Retry(f, storage.RetryPolicy{OnRetry: func(op, key string, err error, wait time.Duration) {
			require.Equal(t, "stat a", op+" "+key)
			require.ErrorIs(t, err, storage.ErrTemporary)
			waits = append(waits, wait)
		}})
		storagetest.Put(t, f.Store, "a", nil)
		begin := time.Now()
		_, err := s.Stat(t.Context(), "a")
		require.NoError(t, err)
		require.Len(t, waits, 5)
		var sum time.Duration
		for i, wait := range waits {
			step := 200 * time.Millisecond << i
			require.GreaterOrEqual(t, wait, step/2)
			require.LessOrEqual(t, wait, step)
			sum += wait
		}
		require.Equal(t, sum, time.Since(begin), "it waits as long as it says")

		f.errs = temporary(6)
		_, err = s.Stat(t.Context(), "a")
		require.ErrorIs(t, err, storage.ErrTemporary, "six attempts, and no more")
		require.Empty(t, f.errs)
	})
}

type askedError struct{ after time.Duration }

func (e askedError) Error() string             { return "slow down" }
func (e askedError) Is(target error) bool      { return target == storage.ErrTemporary }
func (e askedError) RetryAfter() time.Duration { return e.after }

func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{Store: mem.New(), errs: []error{fmt.Errorf("stat: %w", askedError{time.Minute})}}
		s := storage.Retry(f, storage.RetryPolicy{})
		begin := time.Now()
		require.NoError(t, s.Remove(t.Context(), "a"))
		require.Equal(t, time.Minute, time.Since(begin))

		f.errs = []error{askedError{time.Hour}}
		begin = time.Now()
		require.ErrorIs(t, s.Remove(t.Context(), "a"), storage.ErrTemporary)
		require.Zero(t, time.Since(begin), "an hour is not waited for")
	})
}

func TestRetryOnlyWhatMayPass(t *testing.T) {
	reset := &net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	for name, c := range map[string]struct {
		err   error
		calls int
	}{
		"temporary": {storage.ErrTemporary, 2}, "idle": {storage.ErrIdle, 2}, "reset": {reset, 2}, "wrapped": {fmt.Errorf("stat: %w", reset), 2},
		"not there": {fs.ErrNotExist, 1}, "forbidden": {fs.ErrPermission, 1}, "changed": {storage.ErrChanged, 1}, "expired": {storage.ErrExpired, 1},
		"no such file": {&fs.PathError{Op: "open", Path: "a", Err: syscall.ENOENT}, 1}, "disk full": {&fs.PathError{Op: "write", Path: "a", Err: syscall.ENOSPC}, 1},
		"unknown": {errors.New("unknown"), 1}, "canceled": {context.Canceled, 1}, "deadline": {context.DeadlineExceeded, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &flaky{Store: mem.New(), errs: []error{c.err}}
				err := storage.Retry(f, storage.RetryPolicy{}).Remove(t.Context(), "a")
				require.Equal(t, c.calls, f.calls)
				require.Equal(t, c.calls == 2, err == nil)
			})
		})
	}
}

func TestRetryEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, call := range []func(context.Context, storage.Store) error{
			func(ctx context.Context, s storage.Store) error { return s.Remove(ctx, "a") },
			func(ctx context.Context, s storage.Store) error { _, err := storage.Collect(ctx, s, ""); return err },
			func(ctx context.Context, s storage.Store) error {
				_, err := s.Put(ctx, "a", strings.NewReader(""), 0, storage.Cond{})
				return err
			},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			begin := time.Now()
			err := call(ctx, storage.Retry(&flaky{Store: mem.New(), errs: temporary(100)}, storage.RetryPolicy{}))
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, 50*time.Millisecond, time.Since(begin))
			cancel()
		}
	})
}

func TestRetryList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{Store: mem.New(), errs: temporary(4)}
		for i := range 10 {
			storagetest.Put(t, f.Store, fmt.Sprint(i), nil)
		}
		s := storage.Retry(f, storage.RetryPolicy{})
		l := storagetest.List(t, s, "")
		require.Len(t, l.Objects(), 10, "each once")
		require.Equal(t, 5, f.calls)

		f.errs = append(temporary(2), fs.ErrPermission)
		l, err := storage.Collect(t.Context(), s, "")
		require.ErrorIs(t, err, fs.ErrPermission)
		require.False(t, l.Complete())
	})
}

func TestRetryPut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{Store: mem.New(), errs: temporary(3)}
		s := storage.Retry(f, storage.RetryPolicy{})
		r := strings.NewReader("skipped and sent")
		_, err := io.CopyN(io.Discard, r, 8)
		require.NoError(t, err)
		obj, err := s.Put(t.Context(), "a", r, 8, storage.Cond{})
		require.NoError(t, err)
		require.Equal(t, "and sent", string(storagetest.Get(t, f.Store, obj)))
		require.Equal(t, 4, f.calls)

		f.errs, f.calls = temporary(3), 0
		_, err = s.Put(t.Context(), "b", io.LimitReader(strings.NewReader("hello"), 5), 5, storage.Cond{})
		require.ErrorIs(t, err, storage.ErrTemporary)
		require.Equal(t, 1, f.calls, "what was read is gone")
		_, err = f.Store.Stat(t.Context(), "b")
		require.ErrorIs(t, err, fs.ErrNotExist)

		f.errs = temporary(3)
		_, err = s.Put(t.Context(), "c", io.LimitReader(strings.NewReader("x"), 1), 1, storage.Cond{})
		require.NoError(t, err, "nothing was read before the failure (1/2 is 0)")
	})
}

func TestRetryOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := storagetest.Bytes(1, 100)
		for _, r := range [][2]int64{{0, -1}, {0, 100}, {7, 50}, {95, 20}} {
			f := &flaky{Store: mem.New()}
			s := storage.Retry(f, storage.RetryPolicy{Attempts: 2})
			obj := storagetest.Put(t, f.Store, "a", data)
			end := int64(100)
			if r[1] >= 0 {
				end = min(end, r[0]+r[1])
			}
			f.errs = temporary(int(end-r[0]) / 10)
			body, err := s.Open(t.Context(), obj, r[0], r[1])
			require.NoError(t, err)
			got, err := io.ReadAll(body)
			require.NoError(t, err, "two attempts suffice, because each makes progress")
			require.NoError(t, body.Close())
			require.Empty(t, f.errs)
			require.True(t, bytes.Equal(data[r[0]:end], got))
		}
		f := &flaky{Store: mem.New()}
		s := storage.Retry(f, storage.RetryPolicy{})
		old := storagetest.Put(t, f.Store, "a", data)
		f.errs = temporary(1)
		body, err := s.Open(t.Context(), old, 0, -1)
		require.NoError(t, err)
		storagetest.Put(t, f.Store, "a", storagetest.Bytes(2, 100))
		_, err = io.ReadAll(body)
		require.ErrorIs(t, err, storage.ErrChanged, "two versions are never spliced")

		f.errs = temporary(1)
		body, err = s.Open(t.Context(), storage.Object{Key: "a"}, 0, -1)
		require.NoError(t, err)
		_, err = io.ReadAll(body)
		require.ErrorIs(t, err, storage.ErrTemporary, "without a tag nobody knows what would follow")
	})
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var read, written, wire atomic.Int64
		f := &flaky{Store: mem.New()}
		below := storage.Watch(f, storage.Meter{Written: func(_ string, n int) { wire.Add(int64(n)) }})
		s := storage.Watch(storage.Retry(below, storage.RetryPolicy{}), storage.Meter{
			Read:    func(key string, n int) { require.Equal(t, "a", key); read.Add(int64(n)) },
			Written: func(key string, n int) { require.Equal(t, "a", key); written.Add(int64(n)) },
		})
		f.errs = temporary(2)
		obj := storagetest.Put(t, s, "a", make([]byte, 1000))
		require.EqualValues(t, 1000, written.Load(), "net of what was sent again")
		require.EqualValues(t, 2000, wire.Load(), "500 + 500 + 1000")
		storagetest.Get(t, s, obj)
		require.EqualValues(t, 1000, read.Load())
	})
}

// slow waits before each call and each 10 bytes.
type slow struct {
	storage.Store
	by time.Duration
}

func (s slow) wait(ctx context.Context) error {
	select {
	case <-time.After(s.by):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("slow: %w", ctx.Err())
	}
}

func (s slow) Stat(ctx context.Context, key string) (storage.Object, error) {
	if err := s.wait(ctx); err != nil {
		return storage.Object{}, err
	}
	return s.Store.Stat(ctx, key)
}

func (s slow) Remove(ctx context.Context, key string) error {
	return errors.Join(s.wait(ctx), s.Store.Remove(ctx, key))
}

func (s slow) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		for obj, err := range s.Store.List(context.WithoutCancel(ctx), prefix) {
			if waitErr := s.wait(ctx); waitErr != nil {
				yield(storage.Object{}, waitErr)
				return
			}
			if !yield(obj, err) {
				return
			}
		}
	}
}

func (s slow) Put(ctx context.Context, key string, r io.Reader, size int64, cond storage.Cond) (storage.Object, error) {
	return s.Store.Put(ctx, key, slowReader{ctx, s, io.LimitReader(r, size)}, size, cond)
}

func (s slow) Open(ctx context.Context, obj storage.Object, off, n int64) (io.ReadCloser, error) {
	body, err := s.Store.Open(context.WithoutCancel(ctx), obj, off, n)
	return struct {
		io.Reader
		io.Closer
	}{slowReader{ctx, s, body}, body}, err
}

type slowReader struct {
	ctx context.Context
	s   slow
	r   io.Reader
}

func (r slowReader) Read(p []byte) (int, error) {
	if err := r.s.wait(r.ctx); err != nil {
		return 0, err
	}
	return r.r.Read(p[:min(10, len(p))])
}

func TestIdle(t *testing.T) {
	for name, c := range map[string]struct {
		by   time.Duration
		want error
	}{"slow but moving": {900 * time.Millisecond, nil}, "stalled": {1100 * time.Millisecond, storage.ErrIdle}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := mem.New()
				obj := storagetest.Put(t, store, "a", make([]byte, 100))
				storagetest.Put(t, store, "b", nil)
				s := storage.Idle(slow{store, c.by}, time.Second)
				ctx := t.Context()

				_, err := s.Stat(ctx, "a")
				require.ErrorIs(t, err, c.want)
				_, err = storage.Collect(ctx, s, "")
				require.ErrorIs(t, err, c.want)
				_, err = s.Put(ctx, "c", bytes.NewReader(make([]byte, 100)), 100, storage.Cond{})
				require.ErrorIs(t, err, c.want)
				body, err := s.Open(ctx, obj, 0, -1)
				require.NoError(t, err)
				time.Sleep(time.Hour) // the caller may take its time
				got, err := io.ReadAll(body)
				require.ErrorIs(t, err, c.want)
				require.Equal(t, c.want == nil, len(got) == 100)
				require.NoError(t, body.Close())
				require.ErrorIs(t, s.Remove(ctx, "a"), c.want)
				if c.want != nil {
					require.ErrorIs(t, err, storage.ErrTemporary)
					require.NotErrorIs(t, err, context.Canceled, "it was not the caller")
				}
			})
		})
	}
}

// works is a driver of which only it knows what moves.
type works struct {
	storage.Store
	by func(ctx context.Context) error
}

func (w works) Stat(ctx context.Context, _ string) (storage.Object, error) {
	return storage.Object{}, w.by(ctx)
}

// List yields two objects while it works.
func (w works) List(ctx context.Context, _ string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		result := make(chan error)
		go func() { result <- w.by(ctx) }()
		_ = yield(storage.Object{Key: "a"}, nil) && yield(storage.Object{Key: "b"}, <-result)
	}
}

func pass(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestIdleIsTold: what a driver says to move is no standstill; what it says in the
// caller's turn neither begins nor ends one.
func TestIdleIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		storage.Moved(t.Context()) // to nobody
		storage.Queue(t.Context(), time.Now)()
		move := func(ctx context.Context) error {
			for range 10 {
				if err := pass(ctx, 900*time.Millisecond); err != nil {
					return err
				}
				storage.Moved(ctx)
			}
			return pass(ctx, 900*time.Millisecond)
		}
		s := storage.Idle(works{by: move}, time.Second)
		_, err := s.Stat(t.Context(), "a")
		require.NoError(t, err)
		for _, err := range s.List(t.Context(), "") {
			require.NoError(t, err)
			time.Sleep(time.Hour)
		}
		_, err = storage.Idle(works{by: func(ctx context.Context) error {
			return errors.Join(move(ctx), pass(ctx, 200*time.Millisecond))
		}}, time.Second).Stat(t.Context(), "a")
		require.ErrorIs(t, err, storage.ErrIdle)
	})
}

// TestIdleQueue: in a queue it is the others who must move.
func TestIdleQueue(t *testing.T) {
	for name, c := range map[string]struct {
		move, wait, work time.Duration // until others stop, until it is its turn, and then
		after            time.Duration // it is given up; 0 is never
	}{
		"others move":         {time.Hour, time.Hour, 900 * time.Millisecond, 0},
		"others hang":         {time.Minute, time.Minute + 1900*time.Millisecond, 900 * time.Millisecond, 0},
		"others hang on":      {time.Minute, time.Hour, 0, time.Minute + 2*time.Second},
		"nobody moves":        {0, time.Hour, 0, 2 * time.Second},
		"it hangs in the end": {time.Hour, time.Hour, time.Minute, time.Hour + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				moved := func() time.Time {
					if time.Since(begin) < c.move {
						return time.Now()
					}
					return begin.Add(c.move)
				}
				_, err := storage.Idle(works{by: func(ctx context.Context) error {
					done := storage.Queue(ctx, moved)
					err := pass(ctx, c.wait)
					done()
					return errors.Join(err, pass(ctx, c.work))
				}}, time.Second).Stat(t.Context(), "a")
				if c.after == 0 {
					require.NoError(t, err)
					return
				}
				require.ErrorIs(t, err, storage.ErrIdle)
				require.Equal(t, c.after, time.Since(begin))
			})
		})
	}
}

func TestIdleSourceMayTakeItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := storage.Idle(mem.New(), time.Second)
		r, w := io.Pipe()
		go func() {
			time.Sleep(time.Hour)
			_, err := w.Write([]byte("late"))
			_ = w.CloseWithError(err) // never fails
		}()
		_, err := s.Put(t.Context(), "a", r, 4, storage.Cond{})
		require.NoError(t, err)
	})
}

// doubled lists a key twice.
type doubled struct{ storage.Store }

func (d doubled) List(context.Context, string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		_ = yield(storage.Object{Key: "a", Tag: "1"}, nil) && yield(storage.Object{Key: "a", Tag: "2"}, nil)
	}
}

func TestRetryDoesNotHideDoubledKeys(t *testing.T) {
	l, err := storage.Collect(t.Context(), storage.Retry(doubled{mem.New()}, storage.RetryPolicy{}), "")
	require.NoError(t, err)
	require.Empty(t, l.Objects())
	require.Len(t, l.Refused, 1)
}
