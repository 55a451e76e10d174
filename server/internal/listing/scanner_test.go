package listing_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/filelist"
	"github.com/d6t/d6tpipe-go/internal/leaktest"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/mem"
	"github.com/d6t/d6tpipe-go/internal/wire"
	"github.com/d6t/d6tpipe-go/server/internal/dial"
	"github.com/d6t/d6tpipe-go/server/internal/listing"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// A shelf is a storage of pipes for tests: one folder in memory, and what goes wrong
// with it.
type shelf struct {
	storage.Store
	where   d6tpipe.Storage
	scans   atomic.Int64
	working atomic.Int64
	most    atomic.Int64
	take    time.Duration // a scan
	after   bool          // it takes that after the last file, and not before the first
	seen    atomic.Int64  // scans that have given all files
	full    atomic.Int64  // the most of those
	broken  error         // half-way through a scan
	openErr error
	panics  bool
}

func newShelf(keys ...string) *shelf {
	s := &shelf{Store: mem.New(), where: d6tpipe.Storage{Protocol: d6tpipe.ProtocolS3, Location: "bucket", Dir: "pipe"}}
	for _, key := range keys {
		s.put(key, key)
	}
	return s
}

func (s *shelf) put(key, content string) {
	_, err := s.Put(context.Background(), key, strings.NewReader(content), int64(len(content)), storage.Cond{})
	if err != nil {
		panic(err)
	}
}

func (s *shelf) Close() error { return nil }

func (s *shelf) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		s.scans.Add(1)
		rise(&s.most, s.working.Add(1))
		defer s.working.Add(-1)
		var seen []storage.Object
		for obj, err := range s.Store.List(ctx, prefix) {
			if err != nil {
				yield(obj, err)
				return
			}
			seen = append(seen, obj)
		}
		if !s.after && !s.work(ctx, yield) {
			return
		}
		for n, obj := range seen {
			if s.broken != nil && n >= len(seen)/2 {
				yield(storage.Object{}, s.broken)
				return
			}
			if !yield(obj, nil) {
				return
			}
		}
		if s.after {
			rise(&s.full, s.seen.Add(1))
			defer s.seen.Add(-1)
			s.work(ctx, yield)
		}
	}
}

// work takes its time.
func (s *shelf) work(ctx context.Context, yield func(storage.Object, error) bool) bool {
	select {
	case <-time.After(s.take):
	case <-ctx.Done():
		yield(storage.Object{}, ctx.Err())
		return false
	}
	if s.panics {
		panic("CANARY of a driver")
	}
	return true
}

// rise makes the most at least now.
func rise(most *atomic.Int64, now int64) {
	for was := most.Load(); now > was && !most.CompareAndSwap(was, now); was = most.Load() {
	}
}

func (s *shelf) open(context.Context, string) (listing.Source, error) {
	return listing.Source{Store: s, Where: s.where}, s.openErr
}

func (s *shelf) pipe(t *testing.T, maxAge time.Duration) listing.Pipe {
	t.Helper()
	view, err := listing.View(s.where)
	require.NoError(t, err)
	return listing.Pipe{ID: "p", View: view, MaxAge: maxAge}
}

func scanner(t *testing.T, s *shelf, cfg listing.Config) *listing.Scanner {
	t.Helper()
	if cfg.Cache == nil {
		cfg.Cache = listing.NewMemory()
	}
	if cfg.Open == nil {
		cfg.Open = s.open
	}
	sc, err := listing.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sc.Close()) })
	return sc
}

// keys reads the document of a listing.
func keys(t *testing.T, l wire.Listing) (found []string) {
	t.Helper()
	doc := read(t, l)
	for obj := range doc.Listing.All() {
		found = append(found, obj.Key)
	}
	return found
}

func read(t *testing.T, l wire.Listing) filelist.Document {
	t.Helper()
	body, done, err := l.Body(t.Context())
	require.NoError(t, err)
	defer done()
	zip, err := gzip.NewReader(bytes.NewReader(body))
	require.NoError(t, err)
	doc, err := filelist.Read(zip, filelist.Limits{})
	require.NoError(t, err)
	return doc
}

func TestListing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf("b.csv", "a.csv", "sub/c.csv")
		sc, p := scanner(t, s, listing.Config{}), s.pipe(t, time.Minute)
		ask := func() wire.Listing {
			l, err := sc.Files(t.Context(), p, false)
			require.NoError(t, err)
			require.Empty(t, l.Stale)
			require.Equal(t, time.Minute, l.MaxAge)
			return l
		}
		first := ask()
		require.Equal(t, []string{"a.csv", "b.csv", "sub/c.csv"}, keys(t, first))
		require.Equal(t, int64(1), s.scans.Load())
		for obj := range s.Store.List(t.Context(), "") {
			got, ok := read(t, first).Listing.Find(obj.Key)
			require.True(t, ok)
			require.Equal(t, obj, got, "the tag is the driver's, so that manifests agree")
		}

		time.Sleep(50 * time.Second)
		s.put("d.csv", "behind the server's back")
		require.Equal(t, first.Tag, ask().Tag)
		require.Equal(t, int64(1), s.scans.Load(), "it is young enough")

		time.Sleep(11 * time.Second)
		second := ask()
		require.Equal(t, int64(2), s.scans.Load())
		require.NotEqual(t, first.Tag, second.Tag)
		require.Len(t, keys(t, second), 4)

		time.Sleep(2 * time.Minute)
		third := ask()
		require.Equal(t, int64(3), s.scans.Load())
		require.Equal(t, second.Tag, third.Tag, "the same files are the same listing")
		require.Equal(t, second.Seen, third.Seen)
		require.True(t, third.Scanned.After(second.Scanned))
		require.Equal(t, second.Seen, read(t, third).ScannedAt)

		require.NoError(t, s.Remove(t.Context(), "d.csv")) // as at first, and yet another document
		time.Sleep(2 * time.Minute)
		require.NotEqual(t, first.Tag, ask().Tag)
	})
}

// TestRefresh: whoever asks for a new listing gets that of a scan that began after
// the question, also when one is at work already.
func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf("a")
		s.take = 10 * time.Second
		sc, p := scanner(t, s, listing.Config{}), s.pipe(t, time.Hour)
		var wg sync.WaitGroup
		got := make([]wire.Listing, 12)
		fetch := func(i int, refresh bool) {
			wg.Go(func() {
				l, err := sc.Files(t.Context(), p, refresh)
				if err != nil {
					t.Error(err)
				}
				got[i] = l
			})
		}
		for i := range 5 {
			fetch(i, false)
		}
		time.Sleep(5 * time.Second)
		require.Equal(t, int64(1), s.scans.Load(), "five share one scan")
		s.put("b", "came while the scan was at work, which did not see it")
		for i := 5; i < 10; i++ {
			fetch(i, true)
		}
		fetch(10, false)
		time.Sleep(time.Second)
		fetch(11, true)
		wg.Wait()
		require.Equal(t, int64(2), s.scans.Load(), "those after it share the next one")
		require.Equal(t, int64(1), s.most.Load())
		for i, l := range got {
			want := []string{"a", "b"}
			if i < 5 || i == 10 {
				want = nil // whichever is the last when it is read
			}
			if want != nil {
				require.Equal(t, want, keys(t, l), i)
			}
		}
		require.Equal(t, got[5].Tag, got[9].Tag)
		require.NotEqual(t, got[0].Tag, got[5].Tag)
	})
}

// TestReadersRefresh: one who only reads cannot keep a storage busy by asking for new
// scans, and is told when the answer is older than the question; who writes gets his.
func TestReadersRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf("a")
		s.take = 100 * time.Millisecond
		sc, p := scanner(t, s, listing.Config{}), s.pipe(t, time.Hour)
		p.Account, p.Reader = "reader", true
		writer := p
		writer.Account, writer.Reader = "writer", false
		refresh := func(p listing.Pipe, fresh bool) wire.Listing {
			t.Helper()
			before := time.Now()
			l, err := sc.Files(t.Context(), p, true)
			require.NoError(t, err)
			require.Equal(t, fresh, l.Stale == "", l.Stale)
			require.Equal(t, fresh, !l.Scanned.Before(before.Truncate(time.Microsecond)))
			if fresh {
				require.Zero(t, l.Again)
			}
			return l
		}
		refresh(p, true)
		for range 1000 {
			refresh(p, false)
		}
		require.Equal(t, int64(1), s.scans.Load())
		l, err := sc.Files(t.Context(), p, false)
		require.NoError(t, err)
		require.Empty(t, l.Stale, "who did not ask for more is not told of less")
		refresh(writer, true)
		require.Equal(t, int64(2), s.scans.Load())

		s.put("b", "pushed")
		_, err = sc.Changed(t.Context(), writer)
		require.NoError(t, err)
		require.Equal(t, []string{"a", "b"}, keys(t, refresh(p, true)), "a change that was told is seen at once")
		require.Equal(t, int64(3), s.scans.Load())
		time.Sleep(2*time.Second + time.Millisecond)
		refresh(p, true)
		require.Equal(t, int64(4), s.scans.Load())

		// A storage that takes long rests for as long.
		s.take = time.Minute
		time.Sleep(time.Hour)
		refresh(p, true)
		time.Sleep(59 * time.Second)
		again := refresh(p, false).Again
		require.Equal(t, time.Second+time.Millisecond, again, "it says for how long")
		time.Sleep(again - 2*time.Millisecond)
		refresh(p, false)
		time.Sleep(2 * time.Millisecond)
		require.Equal(t, int64(5), s.scans.Load())

		// Readers share the scan that is at work, a writer's comes after it.
		var wg sync.WaitGroup
		wg.Go(func() { refresh(p, true) })
		time.Sleep(30 * time.Second)
		for range 10 {
			wg.Go(func() { refresh(p, false) })
		}
		wg.Go(func() { refresh(writer, true) })
		wg.Wait()
		require.Equal(t, int64(7), s.scans.Load())

		// A failure is not tried again at once either.
		s.take, s.broken = 100*time.Millisecond, errors.New("broken")
		time.Sleep(time.Hour)
		for range 10 {
			refresh(p, false)
		}
		require.Equal(t, int64(8), s.scans.Load())
		time.Sleep(3 * time.Second)
		refresh(p, false)
		require.Equal(t, int64(9), s.scans.Load())
		refresh(writer, false)
		require.Equal(t, int64(10), s.scans.Load())
	})
}

// TestReplicasRefresh: a scan that another replica has just made is as good.
func TestReplicasRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf("a")
		cfg := listing.Config{Cache: listing.NewMemory()}
		one, other, p := scanner(t, s, cfg), scanner(t, s, cfg), s.pipe(t, time.Hour)
		p.Reader = true
		_, err := one.Files(t.Context(), p, true)
		require.NoError(t, err)
		time.Sleep(time.Second)
		l, err := other.Files(t.Context(), p, true)
		require.NoError(t, err)
		require.NotEmpty(t, l.Stale)
		require.Equal(t, int64(1), s.scans.Load())
		require.Equal(t, time.Second+time.Millisecond, l.Again)
		time.Sleep(l.Again)
		l, err = other.Files(t.Context(), p, true)
		require.NoError(t, err)
		require.Empty(t, l.Stale)
		require.Equal(t, int64(2), s.scans.Load())
	})
}

// TestScansOfOneAccount: however many pipes somebody has listed, others get their turn.
func TestScansOfOneAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf("a")
		s.take = time.Second
		sc, p := scanner(t, s, listing.Config{Scans: 4, OfOne: 2, WaitOne: 10}), s.pipe(t, time.Minute)
		var wg sync.WaitGroup
		var crowd atomic.Int64
		for i := range 15 {
			p := p
			p.ID, p.Account = fmt.Sprint(i), "greedy"
			wg.Go(func() {
				_, err := sc.Files(t.Context(), p, false)
				var no *d6tpipe.StatusError
				if errors.As(err, &no) && no.Status == 503 {
					crowd.Add(1)
				} else if err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Second / 2)
		require.Equal(t, int64(2), s.working.Load())
		start := time.Now()
		p.ID, p.Account = "of another", "other"
		_, err := sc.Files(t.Context(), p, false)
		require.NoError(t, err)
		require.Equal(t, time.Second, time.Since(start))
		wg.Wait()
		require.Equal(t, int64(3), s.most.Load())
		require.Equal(t, int64(5), crowd.Load())
		p.ID, p.Account = "later", "greedy"
		_, err = sc.Files(t.Context(), p, false)
		require.NoError(t, err, "the account is free again")
	})
}

// TestStoragesThatHang: of accounts whose storages let all that they ask for hang, from the
// beginning or after many names, three keep nobody else waiting, who gets a new listing at
// once, of a large pipe too.
func TestStoragesThatHang(t *testing.T) {
	for _, files := range []int{1, 12} {
		synctest.Test(t, func(t *testing.T) {
			hangs, s := newShelf(), newShelf()
			for i := range files {
				hangs.put(fmt.Sprint(i), "")
			}
			for i := range 12 {
				s.put(fmt.Sprint(i), "")
			}
			hangs.after, hangs.take, s.take = true, time.Hour, time.Second
			sc := scanner(t, s, listing.Config{Small: 10, Open: func(ctx context.Context, id string) (listing.Source, error) {
				if strings.HasPrefix(id, "hangs") {
					return hangs.open(ctx, id)
				}
				return s.open(ctx, id)
			}})
			var wg sync.WaitGroup
			ctx, cancel := context.WithCancel(t.Context())
			defer wg.Wait()
			defer cancel()
			hang := func(accounts, pipes int) {
				for i := range accounts * pipes {
					p := hangs.pipe(t, time.Hour)
					p.ID, p.Account = fmt.Sprint("hangs", i), fmt.Sprint("hangs", i%accounts)
					wg.Go(func() { _, _ = sc.Files(ctx, p, true) })
				}
				synctest.Wait()
			}
			ask := func(account string) {
				p, began := s.pipe(t, time.Hour), time.Now()
				p.Account = account
				l, err := sc.Files(t.Context(), p, true)
				require.NoError(t, err)
				require.Empty(t, l.Stale)
				require.Len(t, keys(t, l), 12)
				require.Equal(t, time.Second, time.Since(began).Truncate(time.Millisecond))
			}
			hang(2, 10)
			ask("a third")
			if files == 1 { // hardly anything in memory
				hang(7, 2)
				ask("an eighth")
			}
		})
	}
}

// TestLargeScans: however many pipes are scanned, few of them have many files at a time, and
// one of an account. It is known of those that were listed before, and else found out.
func TestLargeScans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf("a", "b", "c")
		s.after, s.take = true, time.Second
		sc, p := scanner(t, s, listing.Config{Small: 2, Large: 2}), s.pipe(t, time.Hour)
		for _, atWork := range []int64{8, 2} { // two of each account, until it is known
			s.most.Store(0)
			var wg sync.WaitGroup
			began := time.Now()
			for i := range 12 {
				p := p
				p.ID, p.Account = fmt.Sprint(i), fmt.Sprint(i%4)
				wg.Go(func() {
					if _, err := sc.Files(t.Context(), p, true); err != nil {
						t.Error(err)
					}
				})
			}
			p := p
			p.ID, p.Account = "alone", "0"
			wg.Go(func() {
				if _, err := sc.Files(t.Context(), p, true); err != nil {
					t.Error(err)
				}
			})
			wg.Wait()
			require.Equal(t, int64(2), s.full.Load())
			require.Equal(t, atWork, s.most.Load())
			require.GreaterOrEqual(t, time.Since(began), 7*time.Second, "thirteen, two at a time")
		}
		// What has waited too long ends and takes no slot along.
		s.take = 8 * time.Minute
		var wg sync.WaitGroup
		for i := range 3 {
			p := p
			p.ID, p.Account = fmt.Sprint("new", i), fmt.Sprint(i)
			wg.Go(func() { _, _ = sc.Files(t.Context(), p, true) })
		}
		wg.Wait()
		s.take = time.Second
		l, err := sc.Files(t.Context(), p, true)
		require.NoError(t, err)
		require.Empty(t, l.Stale)
	})
}

// TestChanged: what was listed before files changed is not given out as good, also
// when that scan is still at work.
func TestChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf("a")
		s.take = 10 * time.Second
		sc, p := scanner(t, s, listing.Config{}), s.pipe(t, time.Hour)
		done := make(chan error, 1)
		go func() {
			_, err := sc.Files(t.Context(), p, false)
			done <- err
		}()
		time.Sleep(5 * time.Second)
		s.put("b", "pushed")
		at, err := sc.Changed(t.Context(), p)
		require.NoError(t, err)
		time.Sleep(time.Second)
		l, err := sc.Files(t.Context(), p, false)
		require.NoError(t, err)
		require.NoError(t, <-done)
		require.Equal(t, []string{"a", "b"}, keys(t, l))
		require.True(t, l.Scanned.After(at))
		require.Equal(t, int64(2), s.scans.Load(), "the notice began it, and the question joined")

		_, err = sc.Changed(t.Context(), p) // a scan begins without being asked for
		require.NoError(t, err)
		time.Sleep(20 * time.Second)
		require.Equal(t, int64(3), s.scans.Load())
		_, err = sc.Files(t.Context(), p, false)
		require.NoError(t, err)
		require.Equal(t, int64(3), s.scans.Load())

		p.MaxAge = 0 // nobody goes by it: it is not worth a scan
		_, err = sc.Changed(t.Context(), p)
		require.NoError(t, err)
		time.Sleep(20 * time.Second)
		l, err = sc.Files(t.Context(), p, false)
		require.NoError(t, err)
		require.Equal(t, int64(3), s.scans.Load())
		require.Zero(t, l.MaxAge)
	})
}

// TestHalfAScan: a scan that fails half-way leaves the old listing, which then says
// so; without one it is an error. The storage is left alone for a while.
func TestHalfAScan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf("a", "b", "c", "d")
		sc, p := scanner(t, s, listing.Config{}), s.pipe(t, time.Minute)
		s.broken = fmt.Errorf("%w: CANARY 10.0.0.1", fs.ErrPermission)
		_, err := sc.Files(t.Context(), p, false)
		var no *d6tpipe.StatusError
		require.ErrorAs(t, err, &no)
		require.Equal(t, 502, no.Status)
		require.Contains(t, err.Error(), "does not let the server in")
		require.NotContains(t, err.Error(), "CANARY")
		_, err = sc.Files(t.Context(), p, false)
		require.ErrorAs(t, err, &no)
		require.Equal(t, int64(1), s.scans.Load(), "not again so soon")

		time.Sleep(31 * time.Second)
		s.broken = nil
		good, err := sc.Files(t.Context(), p, false)
		require.NoError(t, err)
		require.Len(t, keys(t, good), 4)

		time.Sleep(2 * time.Minute)
		s.put("e", "new")
		s.broken = errors.New("CANARY")
		for _, refresh := range []bool{false, true} {
			before := s.scans.Load()
			l, err := sc.Files(t.Context(), p, refresh)
			require.NoError(t, err)
			require.Equal(t, before+1, s.scans.Load(), "a refresh asks again at once")
			require.Equal(t, good.Tag, l.Tag)
			require.Equal(t, good.Scanned, l.Scanned)
			require.Equal(t, "the storage failed", l.Stale)
			require.Len(t, keys(t, l), 4)
		}
		before := s.scans.Load()
		l, err := sc.Files(t.Context(), p, false)
		require.NoError(t, err)
		require.NotEmpty(t, l.Stale)
		require.Equal(t, before, s.scans.Load())

		s.broken = nil
		l, err = sc.Files(t.Context(), p, true)
		require.NoError(t, err)
		require.Empty(t, l.Stale)
		require.Len(t, keys(t, l), 5)
	})
}

func TestReasons(t *testing.T) {
	for text, err := range map[string]error{
		"too many files": nil, "too long": context.DeadlineExceeded, "does not connect to its storage": &dial.ForbiddenError{Host: "CANARY"},
		"no such folder": fs.ErrNotExist, "cannot be reached": storage.ErrTemporary, "does not let the server in": storage.ErrExpired,
		"settings cannot be used": &d6tpipe.FieldError{Field: "x", Reason: "CANARY"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newShelf("a", "b")
			cfg := listing.Config{}
			if s.openErr = err; err == nil {
				cfg.MaxFiles = 1
			}
			_, got := scanner(t, s, cfg).Files(t.Context(), s.pipe(t, time.Minute), false)
			require.ErrorContains(t, got, text)
			require.NotContains(t, got.Error(), "CANARY")
		})
	}
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf("a", "b", "c")
		for _, cfg := range []listing.Config{{MaxFiles: 2}, {MaxBytes: 40}} {
			_, err := scanner(t, s, cfg).Files(t.Context(), s.pipe(t, time.Minute), false)
			require.ErrorContains(t, err, "too many files")
		}
		l, err := scanner(t, s, listing.Config{MaxFiles: 3}).Files(t.Context(), s.pipe(t, time.Minute), false)
		require.NoError(t, err)
		require.Len(t, keys(t, l), 3)

		s.take = time.Hour
		start := time.Now()
		_, err = scanner(t, s, listing.Config{Time: time.Minute}).Files(t.Context(), s.pipe(t, time.Minute), false)
		require.ErrorContains(t, err, "too long")
		require.Equal(t, time.Minute, time.Since(start))
	})
}

// TestScansAtOnce: of many pipes a few are scanned at a time, some wait, and the
// others are told to come back.
func TestScansAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf("a")
		s.take = time.Second
		sc, p := scanner(t, s, listing.Config{Scans: 3, Waiting: 7}), s.pipe(t, time.Minute)
		var wg sync.WaitGroup
		var busy atomic.Int64
		for i := range 15 {
			p := p
			p.ID = fmt.Sprint(i)
			wg.Go(func() {
				for range 3 {
					_, err := sc.Files(t.Context(), p, false)
					var no *d6tpipe.StatusError
					if errors.As(err, &no) && no.Status == 503 {
						busy.Add(1)
						continue
					}
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		start := time.Now()
		wg.Wait()
		require.Equal(t, int64(3), s.most.Load())
		require.Equal(t, int64(10), s.scans.Load())
		require.Equal(t, int64(15), busy.Load(), "five pipes, three times")
		require.Equal(t, 4*time.Second, time.Since(start))
	})
}

// TestWhoLeaves: a scan goes on when the one who asked for it has left.
func TestWhoLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf("a")
		s.take = 10 * time.Second
		sc, p := scanner(t, s, listing.Config{}), s.pipe(t, time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := sc.Files(ctx, p, false)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, int64(1), s.working.Load())
		time.Sleep(10 * time.Second)
		_, err = sc.Files(t.Context(), p, false)
		require.NoError(t, err)
		require.Equal(t, int64(1), s.scans.Load())
	})
}

// TestClose ends scans and waits for them; what comes after is refused.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf("a")
		s.take = time.Hour
		sc, p := scanner(t, s, listing.Config{}), s.pipe(t, time.Minute)
		_, err := sc.Changed(t.Context(), p)
		require.NoError(t, err)
		failed := make(chan error, 1)
		go func() {
			_, err := sc.Files(t.Context(), p, true)
			failed <- err
		}()
		time.Sleep(time.Second)
		start := time.Now()
		require.NoError(t, sc.Close())
		require.Zero(t, time.Since(start))
		require.Zero(t, s.working.Load())
		require.ErrorContains(t, <-failed, "shutting down")
		_, err = sc.Files(t.Context(), p, true)
		require.Error(t, err)
	})
}

// TestDriverPanics: it is an error of that pipe.
func TestDriverPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf("a")
		s.panics = true
		sc, p := scanner(t, s, listing.Config{}), s.pipe(t, time.Minute)
		_, err := sc.Files(t.Context(), p, false)
		require.ErrorContains(t, err, "storage failed")
		require.NotContains(t, err.Error(), "CANARY")
		s.panics = false
		_, err = sc.Files(t.Context(), p, true)
		require.NoError(t, err)
	})
}

// TestMoved: a listing is one of a place and of filters. What was listed of others
// counts for nothing.
func TestMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf("a.csv", "b.txt")
		sc := scanner(t, s, listing.Config{})
		seen := map[string]bool{}
		for i, change := range []func(){
			func() {},
			func() { s.where.Dir = "other" },
			func() { s.where.Location = "elsewhere" },
			func() { s.where.Options = []byte(`{"endpoint_url":"https://s3.example.com"}`) },
			func() { s.where.Filters = []d6tpipe.Filter{{Include: "*.csv"}} },
			func() { s.where.Filters = append(s.where.Filters, d6tpipe.Filter{Prefix: "x", Include: "x/*"}) },
		} {
			change()
			l, err := sc.Files(t.Context(), s.pipe(t, time.Hour), false)
			require.NoError(t, err)
			require.Equal(t, int64(i+1), s.scans.Load())
			require.False(t, seen[l.Tag], "the tag of another place, though the files are the same")
			seen[l.Tag] = true
			want := []string{"a.csv", "b.txt"}
			if i > 3 {
				want = want[:1]
			}
			require.Equal(t, want, keys(t, l))
		}
		old := s.pipe(t, time.Hour)
		s.where.Dir = "moved while it was scanned"
		_, err := sc.Files(t.Context(), old, true)
		require.ErrorContains(t, err, "moved")
	})
	_, err := listing.View(d6tpipe.Storage{Protocol: d6tpipe.ProtocolDir, Location: "/data"})
	require.ErrorIs(t, err, d6tpipe.ErrUnsupported, "a folder of the server is not the client's of that name")
}

// TestFilteredNames: who sees a part of the names learns none of the others, and of
// bad names why they cannot be used.
func TestFilteredNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf("a.csv", "CANARY.txt")
		s.Store = hostile{s.Store}
		s.where.Filters = []d6tpipe.Filter{{Include: "*.csv"}, {Exclude: "x*"}}
		l, err := scanner(t, s, listing.Config{}).Files(t.Context(), s.pipe(t, time.Hour), false)
		require.NoError(t, err)
		doc := read(t, l)
		require.Equal(t, []string{"a.csv"}, keys(t, l))
		require.Len(t, doc.Listing.Refused, 2)
		require.Equal(t, "../up.csv", doc.Listing.Refused[0].Key)
		require.Equal(t, "canary.csv", doc.Listing.Refused[1].Key)
		require.NotContains(t, fmt.Sprint(*doc.Listing.Refused[1]), "CANARY")
	})
}

// hostile also has names that cannot be used.
type hostile struct{ storage.Store }

func (h hostile) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		for obj, err := range h.Store.List(ctx, prefix) {
			if !yield(obj, err) {
				return
			}
		}
		for _, key := range []string{"../up.csv", "../up.txt", "canary.csv", "CANARY.csv/CANARY.txt"} {
			if !yield(storage.Object{Key: key, Size: 1, Tag: "x"}, nil) {
				return
			}
		}
	}
}

// TestMemory: what came later stays, whoever comes last.
func TestMemory(t *testing.T) {
	m, at := listing.NewMemory(), time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	require.NoError(t, m.Changed(t.Context(), "p", at))
	require.NoError(t, m.Save(t.Context(), "p", listing.Record{Tag: "new", Scanned: at, Body: []byte("new")}, listing.Changes{}))
	require.NoError(t, m.Save(t.Context(), "p", listing.Record{Tag: "old", Scanned: at.Add(-time.Second), Body: []byte("old")}, listing.Changes{}))
	require.NoError(t, m.Confirm(t.Context(), "p", "old", at.Add(time.Hour)))
	require.NoError(t, m.Confirm(t.Context(), "p", "new", at.Add(-time.Hour)))
	require.NoError(t, m.Changed(t.Context(), "p", at.Add(-time.Hour)))
	head, err := m.Head(t.Context(), "p")
	require.NoError(t, err)
	require.Equal(t, listing.Record{Tag: "new", Scanned: at, Changed: at, Size: 3}, head)
	_, err = m.Body(t.Context(), "p", "old")
	require.ErrorIs(t, err, fs.ErrNotExist)
	body, err := m.Body(t.Context(), "p", "new")
	require.NoError(t, err)
	require.Equal(t, "new", string(body))
	require.NoError(t, m.Confirm(t.Context(), "p", "new", at.Add(time.Hour)))
	head, err = m.Head(t.Context(), "p")
	require.NoError(t, err)
	require.Equal(t, at.Add(time.Hour), head.Scanned)
}

func TestConfig(t *testing.T) {
	_, err := listing.New(listing.Config{})
	require.Error(t, err)
}
