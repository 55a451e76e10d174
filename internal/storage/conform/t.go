package conform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// T is what a case checks with. A check that fails ends the case, and what came
// after it is not looked at; in a goroutine of [T.spawn] it ends that.
type T struct {
	*shared
	ctx   context.Context
	full  bool
	group sync.WaitGroup

	mu      sync.Mutex
	failure *failure // the first one
	skipped string
}

// shared is what the cases of a run hand on.
type shared struct {
	found   *Capabilities
	objects *[]storage.Object // samples of what was there before
	outside int               // bytes of each key that are not the case's
}

type failure struct {
	reason, where string
	err           error
}

// What ends a case early, as a panic that its runner knows.
type (
	stopped       struct{}
	notApplicable string
)

// large is the size of an object that a remote may take in several pieces.
func (t *T) large() int {
	if t.full {
		return 9 << 20
	}
	return 192 << 10
}

// many returns full, or few in a run that must be cheap.
func (t *T) many(full, few int) int {
	if t.full {
		return full
	}
	return few
}

// spawn runs f beside the case, which does not end before it.
func (t *T) spawn(f func()) { t.group.Go(func() { t.protect(f) }) }

// each runs f for the numbers below n, a few at a time, and waits.
func (t *T) each(n, workers int, f func(i int)) {
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			t.protect(func() {
				for i := worker; i < n; i += workers {
					f(i)
				}
			})
		})
	}
	group.Wait()
	t.stopIfFailed()
}

func (t *T) stopIfFailed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failure != nil {
		panic(stopped{})
	}
}

func (t *T) skip(reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.skipped = reason
}

// note keeps the first failure.
func (t *T) note(err error, format string, args ...any) { t.noteAt(where(), err, format, args...) }

func (t *T) noteAt(where string, err error, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failure == nil {
		t.failure = &failure{fmt.Sprintf(format, args...), where, err}
	}
}

func (t *T) fail(err error, about []any, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if len(about) > 0 {
		text = fmt.Sprintf(about[0].(string), about[1:]...) + ": " + text
	}
	t.note(err, "%s", text)
	panic(stopped{})
}

// where is the line of the case that checks.
func where() string {
	var pcs [20]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		frame, more := frames.Next()
		if file := filepath.Base(frame.File); file != "t.go" || !more {
			return fmt.Sprintf("%s:%d", file, frame.Line)
		}
	}
}

// The checks. What about says, a format and its arguments, begins the message.

func (t *T) noError(err error, about ...any) {
	if err != nil {
		t.fail(err, about, "wanted no error, got: %v", err)
	}
}

func (t *T) isError(err error, about ...any) {
	if err == nil {
		t.fail(nil, about, "wanted an error, got none")
	}
}

// errorIs wants one of kinds.
func (t *T) errorIs(err, kind error, about ...any) {
	if err == nil {
		t.fail(nil, about, "wanted the error %q, got none", kind)
	}
	if !errors.Is(err, kind) {
		t.fail(err, about, "wanted an error that matches %q, got: %v", kind, err)
	}
}

func (t *T) that(ok bool, format string, args ...any) {
	if !ok {
		t.fail(nil, nil, format, args...)
	}
}

func equal[V comparable](t *T, want, got V, about ...any) {
	if want != got {
		t.fail(nil, about, "wanted %v, got %v", quote(want), quote(got))
	}
}

func quote(v any) any {
	if s, ok := v.(string); ok {
		return fmt.Sprintf("%.200q", s)
	}
	return v
}

func (t *T) bytes(want, got []byte, about ...any) {
	if len(want) != len(got) {
		t.fail(nil, about, "wanted %d bytes, got %d", len(want), len(got))
	}
	for i := range want {
		if want[i] != got[i] {
			t.fail(nil, about, "the byte at %d of %d is not the one that was put", i, len(want))
		}
	}
}

func (t *T) sameKeys(want, got []string, about ...any) {
	want = slices.Sorted(slices.Values(want))
	if slices.Equal(want, got) {
		return
	}
	missing, extra := without(want, got), without(got, want)
	t.fail(nil, about, "wanted %d names, got %d; missing: %s; not asked for: %s", len(want), len(got), few(missing), few(extra))
}

func without(all, others []string) (rest []string) {
	for _, s := range all {
		if !slices.Contains(others, s) {
			rest = append(rest, s)
		}
	}
	return rest
}

func few(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	const most = 5
	text := fmt.Sprintf("%.300q", names[:min(len(names), most)])
	if len(names) > most {
		text += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return text
}

// same checks that two views of an object agree. What a Put returns may lack the
// time, and some answers round it to seconds.
func (t *T) same(want, got storage.Object, about ...any) {
	if !want.ModTime.IsZero() && !got.ModTime.IsZero() && want.ModTime.Sub(got.ModTime).Abs() > time.Second {
		t.fail(nil, about, "wanted the time %v, got %v", want.ModTime, got.ModTime)
	}
	want.ModTime, got.ModTime = time.Time{}, time.Time{}
	if got.Sum == "" {
		want.Sum = "" // an answer may vouch for more than a listing
	}
	if want != got {
		t.fail(nil, about, "wanted key %q, size %d, tag %q, sum %q, got %q, %d, %q, %q",
			want.Key, want.Size, want.Tag, want.Sum, got.Key, got.Size, got.Tag, got.Sum)
	}
}

// What cases do with a store.

func (t *T) put(s storage.Store, key string, data []byte) storage.Object {
	obj, err := s.Put(t.ctx, key, bytes.NewReader(data), int64(len(data)), storage.Cond{})
	t.noError(err, "put %.100q", key)
	return obj
}

func (t *T) get(s storage.Store, obj storage.Object) []byte {
	data, err := read(t.ctx, s, obj, 0, -1)
	t.noError(err, "read %.100q", obj.Key)
	return data
}

// list is a complete listing with nothing to refuse in it.
func (t *T) list(s storage.Store, prefix string) storage.Listing {
	l, err := storage.Collect(t.ctx, s, prefix)
	t.noError(err, "list %q", prefix)
	if len(l.Refused) > 0 {
		t.fail(l.Refused[0], nil, "list %q: it holds a name that nobody put there: %v", prefix, l.Refused[0])
	}
	return l
}

// holds checks that the names below prefix are keys and no others.
func (t *T) holds(s storage.Store, prefix string, keys ...string) {
	t.sameKeys(keys, Keys(t.list(s, prefix)), "list %q", prefix)
}

// gone checks that there is no object of that name.
func (t *T) gone(s storage.Store, key string) {
	_, err := s.Stat(t.ctx, key)
	t.errorIs(err, fs.ErrNotExist, "stat %q", key)
}

// Keys returns the names in a listing, sorted.
func Keys(l storage.Listing) []string {
	keys := make([]string, len(l.Objects()))
	for i, obj := range l.Objects() {
		keys[i] = obj.Key
	}
	return keys
}

// Bytes returns n bytes that look random and are the same for the same seed.
func Bytes(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	data := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(data) // never fails
	return data
}

func read(ctx context.Context, store storage.Store, obj storage.Object, off, n int64) ([]byte, error) {
	data, _, err := readSum(ctx, store, obj, off, n)
	return data, err
}

// readSum also returns what the reader has learned of the whole object.
func readSum(ctx context.Context, store storage.Store, obj storage.Object, off, n int64) ([]byte, string, error) {
	r, err := store.Open(ctx, obj, off, n)
	if err != nil {
		return nil, "", err
	}
	data, err := io.ReadAll(r)
	return data, storage.SumOf(r), errors.Join(err, r.Close())
}

func put(ctx context.Context, s storage.Store, key, data string, cond storage.Cond) (storage.Object, error) {
	return s.Put(ctx, key, strings.NewReader(data), int64(len(data)), cond)
}
