package remotefs_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/md5"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/leaktest"
	"github.com/d6t/d6tpipe-go/internal/remotefs"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/dir"
	"github.com/d6t/d6tpipe-go/internal/storage/mem"
	"github.com/d6t/d6tpipe-go/internal/storage/s3"
	"github.com/d6t/d6tpipe-go/internal/storage/s3/s3test"
	"github.com/d6t/d6tpipe-go/internal/storage/storagetest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// counted counts the requests to a store and can change what its readers return.
type counted struct {
	storage.Store
	lists, stats, opens, closes, bytes atomic.Int64
	streams                            bool
	listErr                            error
	change                             func(off int64, r io.ReadCloser) io.ReadCloser
}

func (c *counted) Streams() bool { return c.streams }

func (c *counted) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	c.lists.Add(1)
	if c.listErr != nil {
		return func(yield func(storage.Object, error) bool) { yield(storage.Object{}, c.listErr) }
	}
	return c.Store.List(ctx, prefix)
}

func (c *counted) Stat(ctx context.Context, key string) (storage.Object, error) {
	c.stats.Add(1)
	return c.Store.Stat(ctx, key)
}

func (c *counted) Open(ctx context.Context, obj storage.Object, off, n int64) (io.ReadCloser, error) {
	c.opens.Add(1)
	r, err := c.Store.Open(ctx, obj, off, n)
	if err != nil {
		return nil, err
	}
	r = &countedBody{r, &c.bytes}
	if c.change != nil {
		r = c.change(off, r)
	}
	return r, nil
}

func (c *counted) Close() error { c.closes.Add(1); return c.Store.Close() }

type countedBody struct {
	io.ReadCloser
	n *atomic.Int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}

func open(t *testing.T, store storage.Store, change ...func(*remotefs.Config)) (*remotefs.FS, *counted) {
	t.Helper()
	c := &counted{Store: store}
	cfg := remotefs.Config{Open: func(context.Context) (storage.Store, func(string) bool, error) { return c, nil, nil }}
	for _, change := range change {
		change(&cfg)
	}
	f := remotefs.New(t.Context(), cfg)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f, c
}

func small(c *remotefs.Config) { c.Block, c.Cache = 1000, 4000 }

var stores = map[string]func(*testing.T) storage.Store{
	"mem": func(*testing.T) storage.Store { return mem.New() },
	"dir": func(t *testing.T) storage.Store {
		s, err := dir.New(t.TempDir())
		require.NoError(t, err)
		return s
	},
	"s3": func(t *testing.T) storage.Store {
		g := s3test.Start(t)
		s, err := s3.New(s3.Options{Endpoint: g.Endpoint, Region: g.Region, Bucket: g.Bucket(t), AccessKey: g.AccessKey, SecretKey: g.SecretKey})
		require.NoError(t, err)
		return s
	},
}

func TestFSTest(t *testing.T) {
	for name, newStore := range stores {
		for _, streams := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/streams=%v", name, streams), func(t *testing.T) {
				store := newStore(t)
				keys := []string{"a.csv", "empty", "folder/b.csv", "folder/deep/er/c", "z z/ü#?.csv"}
				for i, key := range keys {
					storagetest.Put(t, store, key, storagetest.Bytes(uint64(i), i*1700))
				}
				storagetest.Put(t, store, "empty", nil)
				f, c := open(t, store, small)
				c.streams = streams
				require.NoError(t, fstest.TestFS(f, keys...))
				require.EqualValues(t, 1, c.lists.Load())
				for _, bad := range []string{"", "/a.csv", "a.csv/", "../a.csv", "./a.csv"} {
					_, err := f.Open(bad)
					require.ErrorIs(t, err, fs.ErrInvalid, bad)
				}
				_, err := f.Stat("folder/no")
				require.ErrorIs(t, err, fs.ErrNotExist)
				_, err = f.ReadFile("folder")
				require.Error(t, err)
				_, err = f.ReadDir("a.csv")
				require.Error(t, err)
				info, err := f.Stat("a.csv")
				require.NoError(t, err)
				require.EqualValues(t, 0o444, info.Mode())
				require.Equal(t, "a.csv", info.Sys().(storage.Object).Key)
				found, err := fs.Glob(f, "*/*.csv")
				require.NoError(t, err)
				require.Equal(t, []string{"folder/b.csv", "z z/ü#?.csv"}, found)
			})
		}
	}
}

// A large file costs a request for each MiB, whoever reads it.
func TestRequests(t *testing.T) {
	data := storagetest.Bytes(1, 10<<20)
	for name, read := range map[string]func(*remotefs.FS) ([]byte, error){
		"ReadFile": func(f *remotefs.FS) ([]byte, error) { return f.ReadFile("big") },
		"4 KiB": func(f *remotefs.FS) ([]byte, error) {
			file, err := f.Open("big")
			require.NoError(t, err)
			var all bytes.Buffer
			_, err = io.CopyBuffer(struct{ io.Writer }{&all}, file, make([]byte, 4096))
			return all.Bytes(), err
		},
		"ReadAt": func(f *remotefs.FS) ([]byte, error) {
			file, err := f.Open("big")
			require.NoError(t, err)
			return io.ReadAll(io.NewSectionReader(file.(io.ReaderAt), 0, 1<<30))
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := mem.New()
			storagetest.Put(t, store, "big", data)
			f, c := open(t, store)
			got, err := read(f)
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, got))
			require.EqualValues(t, 10, c.opens.Load())
			require.EqualValues(t, len(data), c.bytes.Load(), "nothing comes twice")
			require.Zero(t, c.stats.Load())
			_, err = read(f)
			require.NoError(t, err)
			require.EqualValues(t, 10, c.opens.Load(), "it is in the cache")
		})
	}
}

// Reading ahead begins with the second block, so that a look at the beginning costs
// one.
func TestReadAhead(t *testing.T) {
	store := mem.New()
	storagetest.Put(t, store, "big", storagetest.Bytes(1, 10_000))
	f, c := open(t, store, small)
	file, err := f.Open("big")
	require.NoError(t, err)
	_, err = io.ReadFull(file, make([]byte, 10))
	require.NoError(t, err)
	require.EqualValues(t, 1, c.opens.Load())
	_, err = io.ReadFull(file, make([]byte, 995))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return c.opens.Load() == 4 }, time.Minute, time.Millisecond, "the second, and two more")
	_, err = file.(io.Seeker).Seek(8000, io.SeekStart)
	require.NoError(t, err)
	_, err = io.ReadFull(file, make([]byte, 10))
	require.NoError(t, err)
	require.NoError(t, file.Close())
	require.EqualValues(t, 5, c.opens.Load(), "a jump is no reading on")
}

func TestZipAndCSV(t *testing.T) {
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	for i := range 20 {
		part, err := w.CreateHeader(&zip.FileHeader{Name: fmt.Sprintf("part-%02d.csv", i), Method: zip.Store})
		require.NoError(t, err)
		_, err = fmt.Fprintf(part, "n,random\n%d,%x\n", i, storagetest.Bytes(uint64(i), 512<<10))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	store := mem.New()
	storagetest.Put(t, store, "archive.zip", archive.Bytes())
	f, c := open(t, store)
	file, err := f.Open("archive.zip")
	require.NoError(t, err)
	info, err := file.Stat()
	require.NoError(t, err)
	require.Greater(t, info.Size(), int64(20<<20))
	r, err := zip.NewReader(file.(io.ReaderAt), info.Size())
	require.NoError(t, err)
	require.Len(t, r.File, 20)
	require.LessOrEqual(t, c.opens.Load(), int64(2), "the directory lies at the end")
	part, err := r.Open("part-07.csv")
	require.NoError(t, err)
	rows, err := csv.NewReader(part).ReadAll()
	require.NoError(t, err)
	require.Equal(t, "7", rows[1][0])
	require.Equal(t, hex.EncodeToString(storagetest.Bytes(7, 512<<10)), rows[1][1])
	require.LessOrEqual(t, c.opens.Load(), int64(5))
}

// What changes on the remote is never mixed with what was there.
func TestChanged(t *testing.T) {
	for name, newStore := range stores {
		for _, streams := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/streams=%v", name, streams), func(t *testing.T) {
				store := newStore(t)
				one, two := storagetest.Bytes(1, 3<<20), storagetest.Bytes(2, 3<<20)
				storagetest.Put(t, store, "a", one)
				f, c := open(t, store, func(cfg *remotefs.Config) { cfg.Block = 1 << 18 })
				c.streams = streams
				file, err := f.Open("a")
				require.NoError(t, err)
				got := make([]byte, 100)
				_, err = io.ReadFull(file, got)
				require.NoError(t, err)
				require.Equal(t, one[:100], got)
				storagetest.Put(t, store, "a", two)
				rest, err := io.ReadAll(file)
				if err == nil { // a stream may go on with the version that it began with
					require.True(t, streams)
					require.True(t, bytes.Equal(one[100:], rest))
				} else {
					require.ErrorIs(t, err, storage.ErrChanged)
				}
				require.True(t, bytes.HasPrefix(one[100:], rest))
				_, err = file.(io.ReaderAt).ReadAt(make([]byte, 10), 2<<20)
				require.ErrorIs(t, err, storage.ErrChanged)
				_, err = f.ReadFile("a")
				require.ErrorIs(t, err, storage.ErrChanged, "the listing is the old one")

				f.Refresh()
				now, err := f.ReadFile("a")
				require.NoError(t, err)
				require.True(t, bytes.Equal(two, now))
				require.NoError(t, store.Remove(t.Context(), "a"))
				f.Refresh()
				_, err = f.Open("a")
				require.ErrorIs(t, err, fs.ErrNotExist)
			})
		}
	}
}

// flip changes the byte at a place of an object.
func flip(at int64) func(int64, io.ReadCloser) io.ReadCloser {
	return func(off int64, r io.ReadCloser) io.ReadCloser { return &flipped{r, at - off} }
}

type flipped struct {
	io.ReadCloser
	at int64
}

func (f *flipped) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if f.at >= 0 && f.at < int64(n) {
		p[f.at] ^= 1
	}
	f.at -= int64(n)
	return n, err
}

// A file that was read whole is what the remote vouches for, or its end is not
// given out.
func TestCorrupt(t *testing.T) {
	for _, streams := range []bool{false, true} {
		store := mem.New()
		data := storagetest.Bytes(1, 10_500)
		wrong := bytes.Clone(data)
		wrong[7777] ^= 1
		storagetest.Put(t, store, "a", data)
		f, c := open(t, store, func(cfg *remotefs.Config) { cfg.Block, cfg.Cache = 1000, 20_000 })
		c.streams, c.change = streams, flip(7777)
		got, err := f.ReadFile("a")
		require.ErrorIs(t, err, remotefs.ErrCorrupt)
		for _, bytes := range [][]byte{data, wrong} {
			sum := md5.Sum(bytes)
			require.ErrorContains(t, err, hex.EncodeToString(sum[:]))
		}
		require.Less(t, len(got), len(data))

		file, err := f.Open("a")
		require.NoError(t, err)
		_, err = io.ReadFull(file, make([]byte, len(data)))
		require.ErrorIs(t, err, remotefs.ErrCorrupt, "who knows the size sees it too")
		_, err = file.Read(make([]byte, 1))
		require.ErrorIs(t, err, remotefs.ErrCorrupt, "and again")
		_, err = file.(io.Seeker).Seek(5, io.SeekStart)
		require.NoError(t, err)
		_, err = file.Read(make([]byte, 1))
		require.ErrorIs(t, err, remotefs.ErrCorrupt)

		c.change = nil
		got, err = f.ReadFile("a")
		require.NoError(t, err, "the cache has nothing of it any more")
		require.Equal(t, data, got)
	}
}

// summed is a reader that has learned of a sum.
type summed struct {
	io.ReadCloser
	sum string
}

func (s summed) Sum() string { return s.sum }

func TestLearnedSum(t *testing.T) {
	store := mem.New()
	storagetest.Put(t, store, "a", []byte("123456789"))
	for sum, good := range map[string]bool{"crc64nvme:ae8b14860a799888": true, "crc64nvme:ae8b14860a799889": false, "crc32:unknown": true} {
		for _, streams := range []bool{false, true} {
			f, c := open(t, store, func(cfg *remotefs.Config) { cfg.Block = 4 })
			c.Store = struct{ storage.Store }{noClose{store}}
			c.streams = streams
			c.change = func(_ int64, r io.ReadCloser) io.ReadCloser { return summed{r, sum} }
			_, err := f.ReadFile("a")
			require.Equal(t, good, err == nil, "%s %v", sum, err)
		}
	}
}

type noClose struct{ storage.Store }

func (noClose) Close() error { return nil }

// Only who reads all of it from the beginning can be told; others get their bytes.
func TestPartsAreNotVerified(t *testing.T) {
	store := mem.New()
	data := storagetest.Bytes(1, 5000)
	storagetest.Put(t, store, "a", data)
	f, c := open(t, store, small)
	c.change = flip(3333)
	file, err := f.Open("a")
	require.NoError(t, err)
	s := file.(io.ReadSeeker)
	_, err = s.Seek(4000, io.SeekStart)
	require.NoError(t, err)
	rest, err := io.ReadAll(s)
	require.NoError(t, err)
	require.Equal(t, data[4000:], rest)
	_, err = s.Seek(0, io.SeekStart)
	require.NoError(t, err)
	_, err = io.ReadAll(s)
	require.ErrorIs(t, err, remotefs.ErrCorrupt, "and from the beginning again")

	c.change = nil
	file, err = f.Open("a")
	require.NoError(t, err)
	s = file.(io.ReadSeeker)
	_, err = io.ReadFull(s, make([]byte, 3000))
	require.NoError(t, err)
	_, err = s.Seek(1000, io.SeekStart)
	require.NoError(t, err)
	rest, err = io.ReadAll(s)
	require.NoError(t, err, "what was read twice is no other sum")
	require.Equal(t, data[1000:], rest)
}

// Who has looked at the beginning, and then reads from there, gets it verified.
func TestVerifiedAfterALook(t *testing.T) {
	store := mem.New()
	storagetest.Put(t, store, "a", storagetest.Bytes(1, 5000))
	f, c := open(t, store, small)
	c.change = flip(3333)
	file, err := f.Open("a")
	require.NoError(t, err)
	_, err = io.ReadFull(file, make([]byte, 100))
	require.NoError(t, err)
	_, err = file.(io.Seeker).Seek(0, io.SeekStart)
	require.NoError(t, err)
	_, err = io.ReadAll(file)
	require.ErrorIs(t, err, remotefs.ErrCorrupt)
}

func TestReadAtOffsets(t *testing.T) {
	store := mem.New()
	storagetest.Put(t, store, "a", storagetest.Bytes(1, 2500))
	f, _ := open(t, store, small)
	file, err := f.Open("a")
	require.NoError(t, err)
	r := file.(io.ReaderAt)
	for _, off := range []int64{-1, -1000, -2000} {
		_, err = r.ReadAt(make([]byte, 1), off)
		require.ErrorIs(t, err, fs.ErrInvalid)
	}
	for _, off := range []int64{2500, 2501, 1 << 62} {
		n, err := r.ReadAt(make([]byte, 1), off)
		require.Zero(t, n)
		require.Equal(t, io.EOF, err)
	}
}

// The blocks that were used last stay.
func TestCacheOrder(t *testing.T) {
	store := mem.New()
	storagetest.Put(t, store, "a", storagetest.Bytes(1, 10_000))
	f, c := open(t, store, small)
	file, err := f.Open("a")
	require.NoError(t, err)
	for i, step := range []struct{ block, opens int64 }{{0, 1}, {1, 2}, {2, 3}, {3, 4}, {0, 4}, {4, 5}, {0, 5}, {1, 6}} {
		_, err := file.(io.ReaderAt).ReadAt(make([]byte, 10), step.block*1000)
		require.NoError(t, err)
		require.Equal(t, step.opens, c.opens.Load(), "step %d", i)
	}
}

// However many read at a time, so many blocks at most are on their way.
func TestLoadsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.New()
		storagetest.Put(t, store, "a", storagetest.Bytes(1, 100_000))
		c := &counted{Store: stuck{store}}
		f := remotefs.New(t.Context(), remotefs.Config{Block: 1000, Open: func(context.Context) (storage.Store, func(string) bool, error) { return c, nil, nil }})
		file, err := f.Open("a")
		require.NoError(t, err)
		var group sync.WaitGroup
		for i := range int64(50) {
			group.Go(func() { _, _ = file.(io.ReaderAt).ReadAt(make([]byte, 10), i*1000) })
		}
		synctest.Wait()
		require.EqualValues(t, 8, c.opens.Load())
		require.NoError(t, f.Close())
		group.Wait()
		require.EqualValues(t, 8, c.opens.Load())
	})
}

// deaf is a store whose Open takes no notice of its context.
type deaf struct {
	storage.Store
	stop chan struct{}
}

func (d deaf) Open(context.Context, storage.Object, int64, int64) (io.ReadCloser, error) {
	<-d.stop
	return nil, fs.ErrPermission
}

// Nobody waits for a store that takes no notice.
func TestCancelOfADeafStore(t *testing.T) {
	store := mem.New()
	storagetest.Put(t, store, "a", storagetest.Bytes(1, 3000))
	c := &counted{Store: deaf{store, make(chan struct{})}}
	ctx, cancel := context.WithCancel(t.Context())
	f := remotefs.New(ctx, remotefs.Config{Open: func(context.Context) (storage.Store, func(string) bool, error) { return c, nil, nil }})
	file, err := f.Open("a")
	require.NoError(t, err)
	result := make(chan error)
	go func() { _, err := file.Read(make([]byte, 10)); result <- err }()
	require.Eventually(t, func() bool { return c.opens.Load() > 0 }, time.Minute, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-result, context.Canceled)
	close(c.Store.(deaf).stop)
	require.NoError(t, f.Close())
}

func TestShortAndLong(t *testing.T) {
	for name, change := range map[string]func(int64, io.ReadCloser) io.ReadCloser{
		"short": func(_ int64, r io.ReadCloser) io.ReadCloser { return body{io.LimitReader(r, 999), r} },
		"long": func(_ int64, r io.ReadCloser) io.ReadCloser {
			return body{io.MultiReader(r, bytes.NewReader([]byte("x"))), r}
		},
		"empty": func(_ int64, r io.ReadCloser) io.ReadCloser { return body{bytes.NewReader(nil), r} },
	} {
		for _, streams := range []bool{false, true} {
			store := mem.New()
			storagetest.Put(t, store, "a", storagetest.Bytes(1, 3000))
			f, c := open(t, store, small)
			c.change, c.streams = change, streams
			_, err := f.ReadFile("a")
			if streams && name == "long" {
				require.NoError(t, err, "what comes behind the end is not read")
				continue
			}
			require.ErrorIs(t, err, io.ErrUnexpectedEOF, "%s %v", name, streams)
			c.change = nil
			_, err = f.ReadFile("a")
			require.NoError(t, err, "a failure is not kept")
		}
	}
}

type body struct {
	io.Reader
	io.Closer
}

// An object without a tag is at least not read across a change that its time or
// size tells of.
func TestUntagged(t *testing.T) {
	store := mem.New()
	storagetest.Put(t, store, "a", storagetest.Bytes(1, 3000))
	f, c := open(t, &untagged{Store: store}, small)
	_, err := f.ReadFile("a")
	require.NoError(t, err)
	require.EqualValues(t, 3, c.stats.Load())
	f.Refresh()
	_, err = f.Stat("a")
	require.NoError(t, err)
	storagetest.Put(t, store, "a", storagetest.Bytes(2, 3001))
	f.Refresh()
	_, err = f.Stat("a")
	require.NoError(t, err)
	storagetest.Put(t, store, "a", storagetest.Bytes(2, 3002))
	_, err = f.ReadFile("a")
	require.ErrorIs(t, err, storage.ErrChanged)
}

type untagged struct{ storage.Store }

func (u *untagged) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		for obj, err := range u.Store.List(ctx, prefix) {
			obj.Tag, obj.Sum = "", ""
			if !yield(obj, err) {
				return
			}
		}
	}
}

func TestManyReaders(t *testing.T) {
	store := mem.New()
	data := storagetest.Bytes(1, 200_000)
	for _, key := range []string{"a", "b", "c"} {
		storagetest.Put(t, store, key, data)
	}
	f, _ := open(t, store, small)
	var group sync.WaitGroup
	file, err := f.Open("a")
	require.NoError(t, err)
	for i := range 8 {
		group.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for range 300 {
				off, n := r.Int64N(int64(len(data))), r.IntN(5000)
				got := make([]byte, n)
				n, err := file.(io.ReaderAt).ReadAt(got, off)
				if err != nil && err != io.EOF || !bytes.Equal(got[:n], data[off:min(off+int64(len(got)), int64(len(data)))]) {
					t.Errorf("%d bytes at %d: %d, %v", len(got), off, n, err)
				}
				if most := remotefs.Held(f); most > 4000+4*1000 {
					t.Errorf("%d bytes are held", most)
				}
			}
			got, err := f.ReadFile(string(rune('a' + i%3)))
			if err != nil || !bytes.Equal(got, data) {
				t.Error(err)
			}
		})
	}
	group.Wait()
	require.LessOrEqual(t, remotefs.Held(f), int64(4000))
}

func TestFilterAndHostileNames(t *testing.T) {
	store := mem.New()
	for _, key := range []string{"a.csv", "b.txt", "folder/c.csv", "only-txt/d.txt", "../evil.csv", "Up.csv", "up.csv", "x/CON.csv"} {
		store.Plant(key, []byte(key))
	}
	f := remotefs.New(t.Context(), remotefs.Config{Open: func(context.Context) (storage.Store, func(string) bool, error) {
		return store, func(key string) bool { return key[len(key)-4:] == ".csv" }, nil
	}})
	defer f.Close()
	var seen []string
	require.NoError(t, fs.WalkDir(f, ".", func(path string, _ fs.DirEntry, err error) error {
		seen = append(seen, path)
		return err
	}))
	require.Equal(t, []string{".", "a.csv", "folder", "folder/c.csv"}, seen)
	_, err := f.Open("b.txt")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestEmpty(t *testing.T) {
	f, _ := open(t, mem.New())
	require.NoError(t, fstest.TestFS(f))
	entries, err := f.ReadDir(".")
	require.NoError(t, err)
	require.Empty(t, entries)
}

// A failure to connect or to list is told, and not kept.
func TestFailures(t *testing.T) {
	broken := errors.New("broken")
	store := &counted{Store: mem.New(), listErr: broken}
	storagetest.Put(t, store, "a", nil)
	fail := true
	f := remotefs.New(t.Context(), remotefs.Config{
		Open: func(context.Context) (storage.Store, func(string) bool, error) {
			if fail {
				return nil, nil, fs.ErrPermission
			}
			return store, nil, nil
		},
		Explain: func(err error) error { return fmt.Errorf("explained: %w", err) }})
	_, err := f.Stat("a")
	require.ErrorIs(t, err, fs.ErrPermission)
	require.ErrorContains(t, err, "explained")
	fail = false
	_, err = f.Stat("a")
	require.ErrorIs(t, err, broken)
	store.listErr = nil
	_, err = f.Stat("a")
	require.NoError(t, err)
	_, err = f.Stat("b")
	require.ErrorContains(t, err, "explained")
	require.NoError(t, f.Close())
	require.NoError(t, f.Close())
	require.EqualValues(t, 1, store.closes.Load())
	for name, call := range map[string]func() error{
		"stat": func() error { _, err := f.Stat("a"); return err },
		"open": func() error { _, err := f.Open("a"); return err },
	} {
		require.ErrorIs(t, call(), fs.ErrClosed, name)
	}
}

// stuck is a store whose readers wait for the end of their context.
type stuck struct{ storage.Store }

func (s stuck) Open(ctx context.Context, _ storage.Object, _, _ int64) (io.ReadCloser, error) {
	return stuckBody{ctx}, nil
}

type stuckBody struct{ ctx context.Context }

func (b stuckBody) Read([]byte) (int, error) { <-b.ctx.Done(); return 0, b.ctx.Err() }
func (stuckBody) Close() error               { return nil }

func TestCancelAndClose(t *testing.T) {
	for _, streams := range []bool{false, true} {
		for name, want := range map[string]error{"cancel": context.Canceled, "close": fs.ErrClosed} {
			t.Run(fmt.Sprintf("%s/streams=%v", name, streams), func(t *testing.T) {
				store := mem.New()
				storagetest.Put(t, store, "a", storagetest.Bytes(1, 3000))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				c := &counted{Store: stuck{store}, streams: streams}
				f := remotefs.New(ctx, remotefs.Config{Block: 100, Open: func(context.Context) (storage.Store, func(string) bool, error) { return c, nil, nil }})
				file, err := f.Open("a")
				require.NoError(t, err)
				results := make(chan error, 3)
				go func() { _, err := file.Read(make([]byte, 10)); results <- err }()
				go func() { _, err := file.(io.ReaderAt).ReadAt(make([]byte, 3000), 0); results <- err }()
				go func() { _, err := f.ReadFile("a"); results <- err }()
				require.Eventually(t, func() bool { return c.opens.Load() > 0 }, time.Minute, time.Millisecond)
				if name == "cancel" {
					cancel()
				} else {
					require.NoError(t, f.Close())
				}
				for range 3 {
					require.ErrorIs(t, <-results, want)
				}
				_, err = file.Stat()
				require.ErrorIs(t, err, want)
				_, err = f.ReadDir(".")
				require.ErrorIs(t, err, want)
				require.Eventually(t, func() bool { return c.closes.Load() == 1 }, time.Minute, time.Millisecond)
				require.NoError(t, file.Close())
			})
		}
	}
}

func TestClosedFile(t *testing.T) {
	store := mem.New()
	storagetest.Put(t, store, "f/a", []byte("hello"))
	f, _ := open(t, store)
	for _, name := range []string{"f/a", "f"} {
		file, err := f.Open(name)
		require.NoError(t, err)
		require.NoError(t, file.Close())
		require.NoError(t, file.Close())
		_, err = file.Stat()
		require.ErrorIs(t, err, fs.ErrClosed)
		_, err = file.Read(make([]byte, 1))
		require.Error(t, err)
		if r, ok := file.(io.ReaderAt); ok {
			_, err = r.ReadAt(make([]byte, 1), 0)
			require.ErrorIs(t, err, fs.ErrClosed)
			_, err = file.(io.Seeker).Seek(0, 0)
			require.ErrorIs(t, err, fs.ErrClosed)
		}
	}
}

// One stream is enough for who reads on, where ranges cost more.
func TestStreams(t *testing.T) {
	store := mem.New()
	data := storagetest.Bytes(1, 5000)
	storagetest.Put(t, store, "a", data)
	f, c := open(t, store, small)
	c.streams = true
	file, err := f.Open("a")
	require.NoError(t, err)
	s := file.(io.ReadSeeker)
	all, err := io.ReadAll(s)
	require.NoError(t, err)
	require.Equal(t, data, all)
	require.EqualValues(t, 1, c.opens.Load())
	_, err = s.Seek(-10, io.SeekEnd)
	require.NoError(t, err)
	all, err = io.ReadAll(s)
	require.NoError(t, err)
	require.Equal(t, data[4990:], all)
	require.EqualValues(t, 2, c.opens.Load())
	require.NoError(t, file.Close())
}

func TestSub(t *testing.T) {
	store := mem.New()
	storagetest.Put(t, store, "a/b/c.csv", []byte("hello"))
	storagetest.Put(t, store, "a2/x", nil)
	f, c := open(t, store)
	sub, err := fs.Sub(f, "a/b")
	require.NoError(t, err)
	require.NoError(t, fstest.TestFS(sub, "c.csv"))
	entries, err := fs.ReadDir(sub, ".")
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == "c.csv" }))
	again, err := fs.Sub(f, "a")
	require.NoError(t, err)
	again, err = fs.Sub(again, "b")
	require.NoError(t, err)
	got, err := fs.ReadFile(again, "c.csv")
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))
	_, err = fs.Stat(sub, "../a2")
	require.ErrorIs(t, err, fs.ErrInvalid)
	_, err = fs.Sub(f, "../x")
	require.ErrorIs(t, err, fs.ErrInvalid)
	require.EqualValues(t, 1, c.lists.Load())
}
