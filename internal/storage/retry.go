package storage

import (
	"context"
	"errors"
	"hash/maphash"
	"io"
	"iter"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// A RetryPolicy says how often and how patiently [Retry] tries again. The zero
// value of each field means its default.
type RetryPolicy struct {
	Attempts int           // of one call, or without progress in a stream; 0 means 6
	First    time.Duration // the wait before the second attempt, then doubled each time; 0 means 200 ms
	Longest  time.Duration // that the wait grows to; 0 means 20 s

	// PatienceMax is the longest wait that a remote may ask for (Retry-After);
	// when it asks for more, its error is returned at once. 0 means 2 min.
	PatienceMax time.Duration

	// OnRetry, when set, is told of each failure that is followed by another
	// attempt. It is called from the goroutine that waits.
	OnRetry func(op, key string, err error, wait time.Duration)
}

func (p RetryPolicy) withDefaults() RetryPolicy {
	p.Attempts = orDefault(p.Attempts, 6)
	p.First = orDefault(p.First, 200*time.Millisecond)
	p.Longest = orDefault(p.Longest, 20*time.Second)
	p.PatienceMax = orDefault(p.PatienceMax, 2*time.Minute)
	return p
}

func orDefault[T int | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// Retry returns store with another attempt after every failure that may pass:
// [ErrTemporary] and errors of the network, never any other and never after ctx
// has ended. The waits grow exponentially and are drawn at random from the upper
// half of each step, so that many clients do not come back at once.
//
//   - A listing starts again and leaves out what was yielded before.
//   - A reader goes on where it broke off when its object has a Tag, so that the
//     two halves are of one version; without one it fails.
//   - A Put starts again when its reader is an [io.Seeker], or was not read yet.
//     When the first answer got lost, the second attempt of a conditional Put may
//     fail with [ErrChanged] although the object that is there now is its own.
func Retry(store Store, policy RetryPolicy) Store {
	return &retry{store, policy.withDefaults()}
}

type retry struct {
	Store
	policy RetryPolicy
}

func (r *retry) ConditionalPut() bool { return conditional(r.Store) }
func (r *retry) Streams() bool        { return Streams(r.Store) }

func (r *retry) Multipart() Multipart {
	if m := MultipartOf(r.Store); m != nil {
		return &retryParts{m, r}
	}
	return nil
}

// retryParts sends parts again as a Put is. An upload that was begun twice, because
// the first answer got lost, leaves one that nobody knows of.
type retryParts struct {
	Multipart
	r *retry
}

func (m *retryParts) Begin(ctx context.Context, key string, size, unit int64) (u Upload, err error) {
	err = m.r.do(ctx, "begin", key, func() (err error) {
		u, err = m.Multipart.Begin(ctx, key, size, unit)
		return err
	})
	return u, err
}

func (m *retryParts) Arrived(ctx context.Context, u Upload) (parts []Part, err error) {
	err = m.r.do(ctx, "look at the parts of", u.Key, func() (err error) {
		parts, err = m.Multipart.Arrived(ctx, u)
		return err
	})
	return parts, err
}

func (m *retryParts) Send(ctx context.Context, u Upload, n int, src io.Reader, size int64) (part Part, err error) {
	err = m.r.send(ctx, "send", u.Key, src, func(src io.Reader) (err error) {
		part, err = m.Multipart.Send(ctx, u, n, src, size)
		return err
	})
	return part, err
}

func (m *retryParts) Finish(ctx context.Context, u Upload, parts []Part, cond Cond) (obj Object, err error) {
	err = m.r.do(ctx, "finish", u.Key, func() (err error) {
		obj, err = m.Multipart.Finish(ctx, u, parts, cond)
		return err
	})
	return obj, err
}

func (m *retryParts) Abort(ctx context.Context, u Upload) error {
	return m.r.do(ctx, "abort", u.Key, func() error { return m.Multipart.Abort(ctx, u) })
}

// do calls try until it succeeds, fails for good, or the attempts are used up.
func (r *retry) do(ctx context.Context, op, key string, try func() error) error {
	for failures := 1; ; failures++ {
		err := try()
		if err == nil || !r.again(ctx, op, key, failures, err) {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// again reports whether it has waited and another attempt is due after this many
// failures in a row.
func (r *retry) again(ctx context.Context, op, key string, failures int, err error) bool {
	wait := r.wait(failures)
	var asked interface{ RetryAfter() time.Duration }
	if errors.As(err, &asked) {
		wait = max(wait, asked.RetryAfter())
	}
	if failures >= r.policy.Attempts || wait > max(r.policy.PatienceMax, r.policy.Longest) || !mayPass(err) || ctx.Err() != nil {
		return false
	}
	if r.policy.OnRetry != nil {
		r.policy.OnRetry(op, key, err, wait)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return true
}

func (r *retry) wait(failures int) time.Duration {
	step := r.policy.Longest
	if shift := failures - 1; shift < 30 {
		step = min(step, r.policy.First<<shift)
	}
	return step/2 + rand.N(step/2+1)
}

// mayPass looks for a context's error first: a deadline is a net.Error too. So is
// every error number of the operating system, which is one of the network only
// inside of another net.Error: a missing folder or a full disk does not pass.
func mayPass(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	var network net.Error
	if !errors.As(err, &network) {
		return errors.Is(err, ErrTemporary)
	}
	_, number := network.(syscall.Errno)
	return !number || errors.Is(err, ErrTemporary)
}

func (r *retry) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		var seen yielded
		stopped := false
		for failures := 1; ; failures++ {
			before := seen.count
			err := r.list(ctx, prefix, &seen, func(obj Object) bool {
				stopped = !yield(obj, nil)
				return !stopped
			})
			if seen.count > before {
				failures = 1
			}
			if err == nil || stopped {
				return
			}
			if !r.again(ctx, "list", prefix, failures, err) {
				yield(Object{}, err)
				return
			}
			seen.startOver()
		}
	}
}

// list goes through one listing and yields what earlier attempts have not seen. A
// key that the remote doubles stays doubled: the caller must learn of it.
func (r *retry) list(ctx context.Context, prefix string, seen *yielded, yield func(Object) bool) error {
	for obj, err := range r.Store.List(ctx, prefix) {
		if err != nil {
			return err
		}
		if !seen.add(obj.Key) {
			continue
		}
		if !yield(obj) {
			return nil
		}
	}
	return ctx.Err()
}

// yielded are the keys that a listing has yielded, for the case that it has to start
// over. Of each it keeps 128 bits of hash with seeds that nobody knows: a listing of
// a million would otherwise be held twice, and two keys that share them are less
// likely than a bit that flips in memory.
type yielded struct {
	count int
	seeds [2]maphash.Seed
	now   [][][2]uint64          // of this attempt, in chunks: to grow a list takes two of it
	done  map[[2]uint64]struct{} // of those before; nil when there are none
}

const yieldedChunk = 1 << 10

// add reports whether no earlier attempt had the key.
func (y *yielded) add(key string) bool {
	if y.count == 0 {
		y.seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}
	}
	hash := [2]uint64{maphash.String(y.seeds[0], key), maphash.String(y.seeds[1], key)}
	if _, ok := y.done[hash]; ok {
		return false
	}
	y.count++
	last := len(y.now) - 1
	if last < 0 || len(y.now[last]) == yieldedChunk {
		y.now = append(y.now, make([][2]uint64, 0, yieldedChunk))
		last++
	}
	y.now[last] = append(y.now[last], hash)
	return true
}

func (y *yielded) startOver() {
	if y.done == nil {
		y.done = make(map[[2]uint64]struct{}, y.count)
	}
	for _, chunk := range y.now {
		for _, hash := range chunk {
			y.done[hash] = struct{}{}
		}
	}
	y.now = nil
}

func (r *retry) Stat(ctx context.Context, key string) (obj Object, err error) {
	err = r.do(ctx, "stat", key, func() (err error) {
		obj, err = r.Store.Stat(ctx, key)
		return err
	})
	return obj, err
}

func (r *retry) Remove(ctx context.Context, key string) error {
	return r.do(ctx, "remove", key, func() error { return r.Store.Remove(ctx, key) })
}

func (r *retry) Put(ctx context.Context, key string, src io.Reader, size int64, cond Cond) (obj Object, err error) {
	err = r.send(ctx, "put", key, src, func(src io.Reader) (err error) {
		obj, err = r.Store.Put(ctx, key, src, size, cond)
		return err
	})
	return obj, err
}

// send is do for what reads src, which is rewound before each further attempt.
func (r *retry) send(ctx context.Context, op, key string, src io.Reader, try func(io.Reader) error) error {
	again := newRewinder(src)
	for failures := 1; ; failures++ {
		err := try(again)
		if err == nil || !again.possible() || !r.again(ctx, op, key, failures, err) {
			return err
		}
		if err := errors.Join(ctx.Err(), again.rewind()); err != nil {
			return err
		}
	}
}

// rewinder is a reader that can start again where it began, or knows that it
// cannot.
type rewinder struct {
	io.Reader
	seeker io.Seeker // nil when there is none
	start  int64
	read   atomic.Bool
}

func newRewinder(r io.Reader) *rewinder {
	w := &rewinder{Reader: r}
	if s, ok := r.(io.Seeker); ok {
		if start, err := s.Seek(0, io.SeekCurrent); err == nil {
			w.seeker, w.start = s, start
		}
	}
	return w
}

func (w *rewinder) Read(p []byte) (int, error) {
	w.read.Store(true)
	return w.Reader.Read(p)
}

func (w *rewinder) Sum() string { return SumOf(w.Reader) }

func (w *rewinder) possible() bool { return w.seeker != nil || !w.read.Load() }

func (w *rewinder) rewind() error {
	if w.seeker == nil {
		return nil
	}
	_, err := w.seeker.Seek(w.start, io.SeekStart)
	return err
}

func (r *retry) Open(ctx context.Context, obj Object, off, n int64) (io.ReadCloser, error) {
	body, err := r.open(ctx, obj, off, n)
	if err != nil || obj.Tag == "" {
		return body, err
	}
	return &resumed{ctx: ctx, retry: r, obj: obj, off: off, n: n, body: body}, nil
}

func (r *retry) open(ctx context.Context, obj Object, off, n int64) (body io.ReadCloser, err error) {
	err = r.do(ctx, "open", obj.Key, func() (err error) {
		body, err = r.Store.Open(ctx, obj, off, n)
		return err
	})
	return body, err
}

// resumed is a reader of the rest of a range: from off on, n bytes or all.
type resumed struct {
	ctx      context.Context
	retry    *retry
	obj      Object
	off, n   int64
	body     io.ReadCloser
	failures int // in a row
}

func (r *resumed) Read(p []byte) (int, error) {
	for {
		n, err := r.body.Read(p)
		r.off += int64(n)
		if r.n > 0 {
			r.n -= int64(n)
		}
		if n > 0 {
			r.failures = 0
			if err != io.EOF {
				err = nil // it will come again
			}
		}
		if err == nil || err == io.EOF {
			return n, err
		}
		if err := r.reopen(err); err != nil {
			return 0, err
		}
	}
}

func (r *resumed) reopen(cause error) error {
	r.failures++
	if !r.retry.again(r.ctx, "read", r.obj.Key, r.failures, cause) {
		return cause
	}
	body, err := r.retry.open(r.ctx, r.obj, r.off, r.n)
	if err != nil {
		return err
	}
	_ = r.body.Close() // it has failed already
	r.body = body
	return nil
}

func (r *resumed) Sum() string  { return SumOf(r.body) }
func (r *resumed) Close() error { return r.body.Close() }
