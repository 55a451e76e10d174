package conform_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/leaktest"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/conform"
	"github.com/d6t/d6tpipe-go/internal/storage/dir"
	"github.com/d6t/d6tpipe-go/internal/storage/mem"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const scratch = "data/d6tpipe-check-1"

// open is a Remote.Open for a store in memory: closing it leaves the data, as
// closing a connection does.
func open(store storage.Store) func(context.Context) (storage.Store, error) {
	return func(context.Context) (storage.Store, error) { return &connection{Store: store}, nil }
}

// connection is a store that can be closed beside others on the same data.
type connection struct {
	storage.Store
	closed atomic.Bool
}

func (c *connection) ConditionalPut() bool         { return conditional(c.Store) }
func (c *connection) Multipart() storage.Multipart { return storage.MultipartOf(c.Store) }
func (c *connection) Close() error                 { c.closed.Store(true); return nil }

func conditional(s storage.Store) bool {
	c, ok := s.(storage.Conditional)
	return ok && c.ConditionalPut()
}

func (c *connection) shut() error {
	if c.closed.Load() {
		return fs.ErrClosed
	}
	return nil
}

func (c *connection) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	if err := c.shut(); err != nil {
		return func(yield func(storage.Object, error) bool) { yield(storage.Object{}, err) }
	}
	return c.Store.List(ctx, prefix)
}

func (c *connection) Stat(ctx context.Context, key string) (storage.Object, error) {
	if err := c.shut(); err != nil {
		return storage.Object{}, err
	}
	return c.Store.Stat(ctx, key)
}

func (c *connection) Open(ctx context.Context, obj storage.Object, off, n int64) (io.ReadCloser, error) {
	if err := c.shut(); err != nil {
		return nil, err
	}
	return c.Store.Open(ctx, obj, off, n)
}

func (c *connection) Put(ctx context.Context, key string, r io.Reader, size int64, cond storage.Cond) (storage.Object, error) {
	if err := c.shut(); err != nil {
		return storage.Object{}, err
	}
	return c.Store.Put(ctx, key, r, size, cond)
}

func (c *connection) Remove(ctx context.Context, key string) error {
	return errors.Join(c.shut(), c.Store.Remove(ctx, key))
}

// around returns a store with somebody's files in it.
func around(t *testing.T) *mem.Store {
	store := mem.New()
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	for _, key := range []string{"data/theirs.csv", "data/d6tpipe-check-10", "other"} {
		store.Plant(key, []byte(key))
	}
	return store
}

func keys(t *testing.T, store storage.Store) (all []string) {
	for obj, err := range store.List(t.Context(), "") {
		require.NoError(t, err)
		all = append(all, obj.Key)
	}
	slices.Sort(all)
	return all
}

func failed(r conform.Report) map[string]string {
	all := map[string]string{}
	for _, result := range r.Results {
		if result.Outcome == conform.Failed {
			all[result.Case] = result.Where + ": " + result.Reason
		}
	}
	return all
}

func TestMem(t *testing.T) {
	store := around(t)
	before := keys(t, store)
	var told []conform.Result
	report, err := conform.Run(t.Context(), conform.Remote{Open: open(store), Dir: scratch,
		Progress: func(r conform.Result) { told = append(told, r) }}, conform.Options{Timeout: time.Minute})
	require.NoError(t, err)
	require.Empty(t, failed(report))
	require.Len(t, report.Results, len(conform.Cases()))
	require.Equal(t, report.Results, told)
	require.Empty(t, report.Left)
	require.Equal(t, before, keys(t, store))
	require.Zero(t, store.Uploads())
	found := report.Found
	require.GreaterOrEqual(t, found.LongestKey, 800)
	found.LongestKey = 0
	require.Equal(t, conform.Capabilities{ConditionalPut: true, Multipart: true, PartSize: 64 << 10, Sums: "md5", ContentTags: true,
		TimeResolution: time.Nanosecond, CaseSensitive: true, KeepsForms: true, FileAndFolder: true}, found)
}

func TestDir(t *testing.T) {
	root := t.TempDir()
	report, err := conform.Run(t.Context(), conform.Remote{Dir: scratch, Open: func(context.Context) (storage.Store, error) { return dir.New(root) }}, conform.Options{})
	require.NoError(t, err)
	require.Empty(t, failed(report))
	require.Empty(t, report.Left)
	require.False(t, report.Found.ConditionalPut)
	require.True(t, report.Found.Multipart)
	require.True(t, report.Found.SerialParts)
	require.False(t, report.Found.ContentTags)
	skipped := 0
	for _, r := range report.Results {
		if r.Outcome == conform.NotApplicable {
			require.True(t, strings.HasPrefix(r.Case, "Multipart/"), r.Case)
			require.NotEmpty(t, r.Reason)
			skipped++
		}
	}
	require.Equal(t, 7, skipped, "its parts are too large for a cheap run")
}

// faulty is a store with one fault: what is set takes the place of the store's own
// method.
type faulty struct {
	storage.Store
	list   func(yield func(storage.Object, error) bool, ctx context.Context, prefix string)
	stat   func(ctx context.Context, key string) (storage.Object, error)
	open   func(ctx context.Context, obj storage.Object, off, n int64) (io.ReadCloser, error)
	put    func(ctx context.Context, key string, r io.Reader, size int64, cond storage.Cond) (storage.Object, error)
	remove func(ctx context.Context, key string) error
}

func (f *faulty) ConditionalPut() bool         { return conditional(f.Store) }
func (f *faulty) Multipart() storage.Multipart { return storage.MultipartOf(f.Store) }

func (f *faulty) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	if f.list == nil {
		return f.Store.List(ctx, prefix)
	}
	return func(yield func(storage.Object, error) bool) { f.list(yield, ctx, prefix) }
}

func (f *faulty) Stat(ctx context.Context, key string) (storage.Object, error) {
	if f.stat == nil {
		return f.Store.Stat(ctx, key)
	}
	return f.stat(ctx, key)
}

func (f *faulty) Open(ctx context.Context, obj storage.Object, off, n int64) (io.ReadCloser, error) {
	if f.open == nil {
		return f.Store.Open(ctx, obj, off, n)
	}
	return f.open(ctx, obj, off, n)
}

func (f *faulty) Put(ctx context.Context, key string, r io.Reader, size int64, cond storage.Cond) (storage.Object, error) {
	if f.put == nil {
		return f.Store.Put(ctx, key, r, size, cond)
	}
	return f.put(ctx, key, r, size, cond)
}

func (f *faulty) Remove(ctx context.Context, key string) error {
	if f.remove == nil {
		return f.Store.Remove(ctx, key)
	}
	return f.remove(ctx, key)
}

// faults break a store, each in one way, and name a case that must see it.
var faults = map[string]struct {
	seenBy string
	breaks func(s storage.Store, f *faulty)
}{
	"conditions are not looked at": {"Cond/absent", func(s storage.Store, f *faulty) {
		f.put = func(ctx context.Context, key string, r io.Reader, size int64, _ storage.Cond) (storage.Object, error) {
			return s.Put(ctx, key, r, size, storage.Cond{})
		}
	}},
	"conditions are checked beforehand": {"Cond/race for a new name", func(s storage.Store, f *faulty) {
		f.put = func(ctx context.Context, key string, r io.Reader, size int64, cond storage.Cond) (storage.Object, error) {
			now, err := s.Stat(ctx, key)
			if cond.Absent && err == nil || cond.Tag != "" && (err != nil || now.Tag != cond.Tag) {
				return storage.Object{}, storage.ErrChanged
			}
			time.Sleep(10 * time.Millisecond) // the gap in which others come: by a clock that waits for them
			return s.Put(ctx, key, r, size, storage.Cond{})
		}
	}},
	"a reader that ends early is enough": {"Put/a reader that is wrong", func(s storage.Store, f *faulty) {
		f.put = func(ctx context.Context, key string, r io.Reader, _ int64, cond storage.Cond) (storage.Object, error) {
			data, err := io.ReadAll(r)
			if err != nil {
				return storage.Object{}, err
			}
			return s.Put(ctx, key, bytes.NewReader(data), int64(len(data)), cond)
		}
	}},
	"a failed put leaves a stump": {"Put/a failed one keeps the old", func(s storage.Store, f *faulty) {
		f.put = func(ctx context.Context, key string, r io.Reader, size int64, cond storage.Cond) (storage.Object, error) {
			obj, err := s.Put(ctx, key, r, size, cond)
			if err != nil && storage.CheckPut(key, size, cond) == nil && cond == (storage.Cond{}) {
				_, _ = s.Put(context.WithoutCancel(ctx), key, strings.NewReader("x"), 1, cond)
			}
			return obj, err
		}
	}},
	"the first byte of a range is missing": {"Open/ranges", func(s storage.Store, f *faulty) {
		f.open = func(ctx context.Context, obj storage.Object, off, n int64) (io.ReadCloser, error) {
			if off > 0 {
				off++
			}
			return s.Open(ctx, obj, off, n)
		}
	}},
	"ranges are not looked at": {"Open/ranges", func(s storage.Store, f *faulty) {
		f.open = func(ctx context.Context, obj storage.Object, off, _ int64) (io.ReadCloser, error) {
			return s.Open(ctx, obj, min(off, 0), -1)
		}
	}},
	"any version will do": {"Open/a version that is gone", func(s storage.Store, f *faulty) {
		f.open = func(ctx context.Context, obj storage.Object, off, n int64) (io.ReadCloser, error) {
			obj.Tag = ""
			return s.Open(ctx, obj, off, n)
		}
	}},
	"reading goes on after a cancel": {"Open/canceled", func(s storage.Store, f *faulty) {
		f.open = func(ctx context.Context, obj storage.Object, off, n int64) (io.ReadCloser, error) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			return s.Open(context.WithoutCancel(ctx), obj, off, n)
		}
	}},
	"a prefix is a folder": {"List/sibling prefix", func(s storage.Store, f *faulty) {
		f.list = func(yield func(storage.Object, error) bool, ctx context.Context, prefix string) {
			for obj, err := range s.List(ctx, prefix) {
				if rest := strings.TrimPrefix(obj.Key, prefix); err == nil && prefix != "" && !strings.HasSuffix(prefix, "/") && !strings.HasPrefix(rest, "/") {
					continue
				}
				if !yield(obj, err) {
					return
				}
			}
		}
	}},
	"a listing ends early": {"List/many keys", func(s storage.Store, f *faulty) {
		f.list = func(yield func(storage.Object, error) bool, ctx context.Context, prefix string) {
			n := 0
			for obj, err := range s.List(ctx, prefix) {
				if n++; n > 20 || !yield(obj, err) {
					return
				}
			}
		}
	}},
	"a listing that is cancelled just ends": {"List/canceled meanwhile", func(s storage.Store, f *faulty) {
		f.list = func(yield func(storage.Object, error) bool, ctx context.Context, prefix string) {
			for obj, err := range s.List(ctx, prefix) {
				if err != nil || !yield(obj, err) {
					return
				}
			}
		}
	}},
	"every listing doubles a name": {"List/what Put returned", func(s storage.Store, f *faulty) {
		f.list = func(yield func(storage.Object, error) bool, ctx context.Context, prefix string) {
			for obj, err := range s.List(ctx, prefix) {
				if !yield(obj, err) || err == nil && !yield(obj, err) {
					return
				}
			}
		}
	}},
	"times are an hour off": {"List/what Put returned", func(s storage.Store, f *faulty) {
		f.list = func(yield func(storage.Object, error) bool, ctx context.Context, prefix string) {
			for obj, err := range s.List(ctx, prefix) {
				obj.ModTime = obj.ModTime.Add(time.Hour)
				if !yield(obj, err) {
					return
				}
			}
		}
	}},
	"a sum is of something else": {"List/a sum is the content's", func(s storage.Store, f *faulty) {
		f.put = func(ctx context.Context, key string, r io.Reader, size int64, cond storage.Cond) (storage.Object, error) {
			obj, err := s.Put(ctx, key, r, size, cond)
			obj.Sum = "md5:00000000000000000000000000000000"
			return obj, err
		}
	}},
	"a missing file is an unknown error": {"Open/missing", func(s storage.Store, f *faulty) {
		f.stat = func(ctx context.Context, key string) (storage.Object, error) {
			obj, err := s.Stat(ctx, key)
			if errors.Is(err, fs.ErrNotExist) {
				err = errors.New("550")
			}
			return obj, err
		}
	}},
	"to remove a missing file is an error": {"Remove/missing", func(s storage.Store, f *faulty) {
		f.remove = func(ctx context.Context, key string) error {
			if _, err := s.Stat(ctx, key); err != nil {
				return err
			}
			return s.Remove(ctx, key)
		}
	}},
	"to remove a folder removes what is in it": {"Remove/a folder stays", func(s storage.Store, f *faulty) {
		f.remove = func(ctx context.Context, key string) error {
			for obj, err := range s.List(ctx, key+"/") {
				if err == nil {
					err = s.Remove(ctx, obj.Key)
				}
				if err != nil {
					return err
				}
			}
			return s.Remove(ctx, key)
		}
	}},
	"names are unescaped once too often": {"Names/strange", func(s storage.Store, f *faulty) {
		f.put = func(ctx context.Context, key string, r io.Reader, size int64, cond storage.Cond) (storage.Object, error) {
			obj, err := s.Put(ctx, strings.ReplaceAll(key, "%20", " "), r, size, cond)
			obj.Key = key
			return obj, err
		}
	}},
	"it panics": {"List/empty", func(_ storage.Store, f *faulty) {
		f.list = func(yield func(storage.Object, error) bool, _ context.Context, prefix string) {
			if !strings.HasSuffix(prefix, "folder/") {
				return
			}
			panic("a bug")
		}
	}},
}

func TestFaults(t *testing.T) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := around(t)
				before := keys(t, store)
				broken := &faulty{Store: store}
				fault.breaks(store, broken)
				report, err := conform.Run(t.Context(), conform.Remote{Open: open(broken), Dir: scratch}, conform.Options{Timeout: time.Minute})
				require.NoError(t, err)
				found := failed(report)
				require.NotEmpty(t, found[fault.seenBy], "%v", found)
				t.Log(len(found), found[fault.seenBy])
				for _, key := range without(keys(t, store), before) {
					require.Contains(t, report.Left, key, "what is left is told")
				}
				require.Empty(t, without(before, keys(t, store)), "and what others have stays")
			})
		})
	}
}

func without(all, others []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(others, s) })
}

// TestHangs: a store that ignores its context is told, and nobody waits for it.
func TestHangs(t *testing.T) { synctest.Test(t, testHangs) }

func testHangs(t *testing.T) {
	stop := make(chan struct{})
	ended := make(chan struct{})
	store := around(t)
	broken := &faulty{Store: store, stat: func(context.Context, string) (storage.Object, error) {
		<-stop
		close(ended)
		return storage.Object{}, fs.ErrNotExist
	}}
	report, err := conform.Run(t.Context(), conform.Remote{Open: open(broken), Dir: scratch}, conform.Options{Timeout: time.Second})
	require.ErrorContains(t, err, "does not return")
	last := report.Results[len(report.Results)-1]
	require.Equal(t, conform.Failed, last.Outcome)
	require.Contains(t, last.Reason, "does not return")
	close(stop)
	<-ended
}

// TestCancel: whenever the context ends, the run ends, and nothing stays behind.
func TestCancel(t *testing.T) {
	store := around(t)
	before := keys(t, store)
	for _, after := range []int64{0, 1, 5, 30, 200, 300} {
		ctx, cancel := context.WithCancel(t.Context())
		var n atomic.Int64
		counting := &faulty{Store: store}
		counting.put = func(ctx context.Context, key string, r io.Reader, size int64, cond storage.Cond) (storage.Object, error) {
			if n.Add(1) > after {
				cancel()
			}
			return store.Put(context.WithoutCancel(ctx), key, r, size, cond)
		}
		report, err := conform.Run(ctx, conform.Remote{Open: open(counting), Dir: scratch}, conform.Options{})
		require.ErrorIs(t, err, context.Canceled)
		require.Less(t, len(report.Results), len(conform.Cases()))
		require.Empty(t, report.Left)
		require.Equal(t, before, keys(t, store))
		require.Zero(t, store.Uploads())
		cancel()
	}
}

func TestNotEmpty(t *testing.T) {
	store := around(t)
	_, err := conform.Run(t.Context(), conform.Remote{Open: open(store), Dir: "data"}, conform.Options{})
	require.ErrorContains(t, err, "not empty")
	require.Len(t, keys(t, store), 3)
}

func TestLeft(t *testing.T) {
	store := around(t)
	broken := &faulty{Store: store, remove: func(_ context.Context, key string) error { return fs.ErrPermission }}
	report, err := conform.Run(t.Context(), conform.Remote{Open: open(broken), Dir: scratch}, conform.Options{})
	require.NoError(t, err)
	require.Contains(t, failed(report), "Remove/then it is gone")
	require.NotEmpty(t, report.Left)
	require.Subset(t, report.Left, without(keys(t, store), []string{"data/theirs.csv", "data/d6tpipe-check-10", "other"}))
	require.NotContains(t, report.Left, "data/theirs.csv")
}

func TestReadOnly(t *testing.T) {
	store := around(t)
	before := keys(t, store)
	noWrites := &faulty{Store: store,
		put: func(context.Context, string, io.Reader, int64, storage.Cond) (storage.Object, error) {
			t.Error("it writes")
			return storage.Object{}, fs.ErrPermission
		},
		remove: func(context.Context, string) error { t.Error("it removes"); return fs.ErrPermission }}
	report, err := conform.Run(t.Context(), conform.Remote{Open: open(noWrites), Dir: "data", ReadOnly: true}, conform.Options{})
	require.NoError(t, err)
	require.Empty(t, failed(report))
	require.Len(t, report.Results, len(conform.ReadOnlyCases()))
	require.Equal(t, "md5", report.Found.Sums)
	require.Equal(t, before, keys(t, store))

	empty, err := conform.Run(t.Context(), conform.Remote{Open: open(noWrites), Dir: "nothing", ReadOnly: true}, conform.Options{})
	require.NoError(t, err)
	require.Empty(t, failed(empty))
	for name, breaks := range map[string]string{"any version will do": "Read/a version that is gone",
		"ranges are not looked at": "Read/ranges", "a missing file is an unknown error": "Read/missing"} {
		broken := &faulty{Store: store}
		faults[name].breaks(store, broken)
		report, err := conform.Run(t.Context(), conform.Remote{Open: open(broken), ReadOnly: true}, conform.Options{})
		require.NoError(t, err)
		require.Contains(t, slices.Collect(maps.Keys(failed(report))), breaks)
	}
}
