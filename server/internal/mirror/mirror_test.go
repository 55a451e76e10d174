package mirror_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/mem"
	"github.com/d6t/d6tpipe-go/internal/transfer"
	"github.com/d6t/d6tpipe-go/server/internal/mirror"
)

// A keeper keeps in memory.
type keeper struct {
	mu     sync.Mutex
	holder string
	body   []byte
	broken error // of the next claim
}

func (k *keeper) Holder(context.Context, string) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.holder, nil
}

func (k *keeper) Claim(_ context.Context, _, was, now string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.broken; err != nil {
		k.broken = nil
		return err
	}
	if k.holder != was {
		return mirror.ErrLost
	}
	k.holder = now
	return nil
}

func (k *keeper) Load(context.Context, string) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.body, nil
}

func (k *keeper) Save(_ context.Context, _, holder string, archive []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.holder != holder {
		return mirror.ErrLost
	}
	k.body = archive
	return nil
}

func open(t *testing.T, k *keeper, dir string) *mirror.Memory {
	t.Helper()
	m, err := mirror.Open(t.Context(), k, "m", dir)
	require.NoError(t, err)
	return m
}

func remember(t *testing.T, m *mirror.Memory, name, text string) {
	t.Helper()
	path := filepath.Join(m.State(), filepath.FromSlash(name))
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

func recall(t *testing.T, m *mirror.Memory, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(m.State(), filepath.FromSlash(name)))
	if !errors.Is(err, os.ErrNotExist) {
		require.NoError(t, err)
	}
	return string(text)
}

// TestMemoryDamaged: what was kept and cannot be read is forgotten, and the mirror goes on.
func TestMemoryDamaged(t *testing.T) {
	archive := func(names ...string) []byte {
		var out bytes.Buffer
		zip := gzip.NewWriter(&out)
		w := tar.NewWriter(zip)
		for _, name := range names {
			require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: 4}))
			_, err := w.Write([]byte("text"))
			require.NoError(t, err)
		}
		require.NoError(t, errors.Join(w.Close(), zip.Close()))
		return out.Bytes()
	}
	good := archive("manifest", "place")
	for name, body := range map[string][]byte{
		"no gzip": []byte("garbage"), "cut": good[:len(good)-12], "no tar": good[:20], "an entry of a newer version": archive("manifest", "newer"),
		"hostile": archive("manifest", "../../manifest"),
	} {
		k := &keeper{holder: "another", body: body}
		m := open(t, k, t.TempDir())
		require.ErrorIs(t, m.Forgot(), mirror.ErrDamaged, name)
		left, err := os.ReadDir(m.State())
		require.NoError(t, err)
		require.Empty(t, left, name)
		remember(t, m, "manifest", "anew")
		require.NoError(t, m.Save(t.Context()))
		m = open(t, k, t.TempDir())
		require.NoError(t, m.Forgot())
		require.Equal(t, "anew", recall(t, m, "manifest"))
	}
}

// TestMemory: what is newest goes on, whoever has it.
func TestMemory(t *testing.T) {
	k, here, there := &keeper{}, t.TempDir(), t.TempDir()
	m := open(t, k, here)
	for _, name := range []string{"manifest", "place", "uploads/0123456789abcdef"} {
		remember(t, m, name, "first "+name)
	}
	remember(t, m, "manifest.lock", "not worth it")
	require.NoError(t, m.Save(t.Context()))

	// Killed before it was kept: the folder knows more.
	m = open(t, k, here)
	remember(t, m, "manifest", "second")
	m = open(t, k, here)
	require.Equal(t, "second", recall(t, m, "manifest"))

	// Another server has what was kept, and the first one cannot keep anything any more.
	late := m
	m = open(t, k, there)
	require.Equal(t, "first manifest", recall(t, m, "manifest"))
	require.Equal(t, "first place", recall(t, m, "place"))
	require.Equal(t, "first uploads/0123456789abcdef", recall(t, m, "uploads/0123456789abcdef"))
	require.Empty(t, recall(t, m, "manifest.lock"))
	require.ErrorIs(t, late.Save(t.Context()), mirror.ErrLost)
	remember(t, m, "manifest", "third")
	require.NoError(t, m.Save(t.Context()))

	// The first one's folder is out of date now.
	m = open(t, k, here)
	require.Equal(t, "third", recall(t, m, "manifest"))

	// A crash just before, or just after, the claim.
	remember(t, m, "manifest", "fourth")
	k.broken = errors.New("the network")
	_, err := mirror.Open(t.Context(), k, "m", here)
	require.Error(t, err)
	m = open(t, k, here)
	require.Equal(t, "fourth", recall(t, m, "manifest"))

	// The source has changed: everything is forgotten.
	k.holder, k.body = "", nil
	m = open(t, k, here)
	require.Empty(t, recall(t, m, "manifest"))
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	for _, id := range []string{"a", "b"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, id, "state"), 0o700))
	}
	require.NoError(t, mirror.Sweep(dir, func() (map[string]bool, error) { return map[string]bool{"a": true}, nil }))
	require.DirExists(t, filepath.Join(dir, "a"))
	require.NoDirExists(t, filepath.Join(dir, "b"))
	require.Error(t, mirror.Sweep(dir, func() (map[string]bool, error) { return nil, errors.New("no database") }))
	require.DirExists(t, filepath.Join(dir, "a"), "who is not known to be gone stays")
	require.NoError(t, mirror.Sweep(filepath.Join(dir, "missing"), nil))
}

// TestRate: two mirrors share a rate, and one of them has less for itself.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, all, own = 8 << 20, 1 << 20, 1 << 18
		store := mem.New()
		store.Plant("a", bytes.Repeat([]byte("x"), size))
		shared := mirror.NewRate(all)
		begin, took := time.Now(), [2]time.Duration{}
		var g errgroup.Group
		for i, l := range []storage.Store{mirror.Limited(store, shared, mirror.NewRate(own)), mirror.Limited(store, shared, mirror.NewRate(0))} {
			g.Go(func() error {
				obj, err := l.Stat(t.Context(), "a")
				if err != nil {
					return err
				}
				body, err := l.Open(t.Context(), obj, 0, -1)
				if err != nil {
					return err
				}
				n, err := io.Copy(io.Discard, body)
				if err == nil && n != size {
					err = fmt.Errorf("%d bytes", n)
				}
				took[i] = time.Since(begin)
				return errors.Join(err, body.Close())
			})
		}
		require.NoError(t, g.Wait())
		require.InDelta(t, (size / own * time.Second).Seconds(), took[0].Seconds(), 2)
		require.InDelta(t, (size / (all - own) * time.Second).Seconds(), took[1].Seconds(), 4)
	})
}

// TestRateStops: who waits for a rate hears that the run has ended.
func TestRateStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.New()
		store.Plant("a", make([]byte, 1<<20))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		obj, err := store.Stat(ctx, "a")
		require.NoError(t, err)
		body, err := mirror.Limited(store, mirror.NewRate(1<<16)).Open(ctx, obj, 0, -1)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, body)
		require.Error(t, err)
		require.NoError(t, body.Close())
	})
}

func TestWorkers(t *testing.T) {
	require.Equal(t, 32, mirror.Workers(0, 0))
	require.Equal(t, 4, mirror.Workers(4<<20, 0))
	require.Equal(t, 1, mirror.Workers(2_000_000, 0), "one part after the other")
	require.Equal(t, 1, mirror.Workers(1<<30, 1<<16))
}

// A mute store vouches for no sum.
type mute struct{ *mem.Store }

func (m mute) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		for obj, err := range m.Store.List(ctx, prefix) {
			if obj.Sum = ""; !yield(obj, err) {
				return
			}
		}
	}
}

func (m mute) Stat(ctx context.Context, key string) (storage.Object, error) {
	obj, err := m.Store.Stat(ctx, key)
	obj.Sum = ""
	return obj, err
}

func (m mute) Open(ctx context.Context, obj storage.Object, off, n int64) (io.ReadCloser, error) {
	body, err := m.Store.Open(ctx, obj, off, n)
	return struct{ io.ReadCloser }{body}, err
}

// A store inParts takes files in parts of a size, as a bucket does.
type inParts struct {
	*mem.Store
	size int64
}

func (s inParts) Multipart() storage.Multipart { return bigParts{s.Store.Multipart(), s.size} }

type bigParts struct {
	storage.Multipart
	size int64
}

func (b bigParts) Begin(ctx context.Context, key string, size, _ int64) (storage.Upload, error) {
	return b.Multipart.Begin(ctx, key, size, b.size)
}

// TestRateGoesOn: a mirror that is held to a rate and is killed has whole parts of what it
// has copied, which are not copied again.
func TestRateGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, rate, part = 60 << 20, 2_000_000, 16 << 20
		from, to, state := mem.New(), mem.New(), t.TempDir()
		from.Plant("big", bytes.Repeat([]byte("0123456789abcdef"), size/16))
		copied := func(ctx context.Context) (took time.Duration, err error) {
			began := time.Now()
			s, err := transfer.Open(transfer.Config{From: mirror.Limited(mute{from}, mirror.NewRate(rate)), Store: mirror.Limited(inParts{to, part}), State: state, Workers: mirror.Workers(rate)})
			require.NoError(t, err)
			_, _, _, err = s.Mirror(ctx, transfer.MirrorOptions{})
			return time.Since(began), errors.Join(err, s.Close())
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		time.AfterFunc(15*time.Second, cancel) // a deadline is seen before it comes
		_, err := copied(ctx)
		require.ErrorIs(t, err, context.Canceled)
		took, err := copied(t.Context())
		require.NoError(t, err)
		require.LessOrEqual(t, took, (size-part)/rate*time.Second+2*time.Second, "by the clock of the test")
	})
}

// TestResult: at most a hundred files are named, and what was there already is unchanged.
func TestResult(t *testing.T) {
	report := &transfer.Report{Files: 2, Bytes: 10, Unchanged: 3, Refused: []*storage.KeyError{{Key: "CON", Reason: "reserved"}}}
	for i := range 150 {
		report.Results = append(report.Results, transfer.Result{Key: fmt.Sprint(i), Status: transfer.StatusFailed, Err: errors.New("why\x00 " + strings.Repeat("x", 1000))})
	}
	report.Results = append(report.Results, transfer.Result{Status: transfer.StatusSkipped}, transfer.Result{Status: transfer.StatusDone, Action: transfer.Adopt})
	r := mirror.Result(report, []transfer.Orphan{{Key: "a", Removed: true}, {Key: "b", Err: errors.New("no")}})
	require.Equal(t, 152, r.Failures)
	require.Len(t, r.Failed, 100)
	require.Less(t, len(r.Failed[0].Why), 600)
	require.NotContains(t, r.Failed[0].Why, "\x00")
	r.Failed = nil
	require.Equal(t, d6tpipe.MirrorRun{Copied: 2, Bytes: 10, Removed: 1, Unchanged: 4, Skipped: 1, Failures: 152}, r)
	require.Equal(t, d6tpipe.MirrorRun{}, mirror.Result(nil, nil))
}

// TestWhy: an owner reads what to do, and nothing of the server's network.
func TestWhy(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 21}, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for want, err := range map[string]error{
		"a storage cannot be reached: connection refused":           fmt.Errorf("list: %w", refused),
		"You may not read it.":                                      &d6tpipe.StatusError{Status: 403, Message: "You may not read it."},
		"2 files were copied and 1 were not, the first \"k\": gone": &transfer.PartialError{Succeeded: 2, Failed: []transfer.Failure{{Key: "k", Err: errors.New("gone")}}},
	} {
		require.Equal(t, want, mirror.Why(err))
	}
	require.Contains(t, mirror.Why(&transfer.ConflictError{Direction: transfer.Mirror, Keys: []string{"a"}}), "Set merge")
	require.Contains(t, mirror.Why(fmt.Errorf("%w: 11 of 12", transfer.ErrRefused)), "run it once with force")
}
