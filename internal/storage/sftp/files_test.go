package sftp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/sftp"
	"github.com/d6t/d6tpipe-go/internal/storage/sftp/sftptest"
	"github.com/d6t/d6tpipe-go/internal/storage/storagetest"
)

func TestSymlinks(t *testing.T) {
	t.Parallel()
	s := sftptest.Start(t)
	opts := overSSHD(t, s)
	outside := newRoot(t, s.Dir)
	require.NoError(t, os.WriteFile(filepath.Join(outside, "evil.csv"), []byte("outside"), 0o644))
	before := storagetest.TreeHash(t, outside)
	store := open(t, opts)
	storagetest.Put(t, store, "real/a", []byte("inside"))
	for link, target := range map[string]string{
		"file-in": "real/a", "file-out": filepath.Join(outside, "evil.csv"), "dir-in": "real", "dir-out": outside,
		"dangling": "nowhere", "loop": "loop", "real/up": "..",
	} {
		require.NoError(t, os.Symlink(target, filepath.Join(opts.Root, link)))
	}
	require.Equal(t, []string{"real/a"}, storagetest.Keys(storagetest.List(t, store, "")))
	require.Empty(t, storagetest.List(t, store, "dir-out/").Objects())
	require.Empty(t, storagetest.List(t, store, "dir-in/").Objects())

	m := store.Multipart()
	for _, key := range []string{"file-in", "file-out", "dangling", "loop", "dir-in", "dir-in/a", "dir-out/evil.csv", "real/up/real/a"} {
		_, err := store.Stat(t.Context(), key)
		require.ErrorIs(t, err, fs.ErrNotExist, "stat %s", key)
		for _, tag := range []string{"", "6-1"} {
			_, err = store.Open(t.Context(), storage.Object{Key: key, Tag: tag}, 0, -1)
			require.ErrorIs(t, err, fs.ErrNotExist, "open %s", key)
		}
		require.NoError(t, store.Remove(t.Context(), key), "remove %s", key)
	}
	for _, key := range []string{"dir-in/a", "dir-out/evil.csv", "dir-out/new", "dir-out/new/new", "dangling/new", "real/up/new"} {
		_, err := store.Put(t.Context(), key, strings.NewReader("x"), 1, storage.Cond{})
		require.Error(t, err, "put %s", key)
		_, err = m.Begin(t.Context(), key, 1, 1)
		require.Error(t, err, "begin %s", key)
	}
	for _, cond := range []storage.Cond{{}, {Absent: true}} {
		_, err := store.Put(t.Context(), "file-in", strings.NewReader("new"), 3, cond)
		require.Equal(t, cond.Absent, errors.Is(err, storage.ErrChanged), "%v", err)
	}
	storagetest.Put(t, store, "file-out", []byte("new"))
	storagetest.Put(t, store, "dir-out", []byte("new"))
	require.Equal(t, "inside", string(storagetest.Get(t, store, storage.Object{Key: "real/a"})), "the link was replaced, not written through")
	require.Equal(t, []string{"dir-out", "file-in", "file-out", "real/a"}, storagetest.Keys(storagetest.List(t, store, "")))
	require.Equal(t, before, storagetest.TreeHash(t, outside))
}

func TestSpecialFiles(t *testing.T) {
	t.Parallel()
	s := sftptest.Start(t)
	opts := overSSHD(t, s)
	store := open(t, opts)
	storagetest.Put(t, store, "a", nil)
	require.NoError(t, os.Mkdir(filepath.Join(opts.Root, "empty"), 0o755))
	if out, err := exec.Command("mkfifo", filepath.Join(opts.Root, "pipe")).CombinedOutput(); err != nil {
		t.Skipf("no pipes: %v %s", err, out)
	}
	require.Equal(t, []string{"a"}, storagetest.Keys(storagetest.List(t, store, "")))
	_, err := store.Open(t.Context(), storage.Object{Key: "pipe"}, 0, -1)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// TestTagsDiffer: versions of one size within a second have tags of their own, also
// across one of another size in between.
func TestTagsDiffer(t *testing.T) {
	t.Parallel()
	s := sftptest.Start(t)
	store := open(t, overSSHD(t, s))
	seen := map[string]bool{}
	for i := range 12 {
		obj := storagetest.Put(t, store, "a", make([]byte, i%3))
		require.False(t, seen[obj.Tag], "%s again", obj.Tag)
		seen[obj.Tag] = true
		require.Equal(t, obj, storagetest.List(t, store, "").Objects()[0])
	}
}

// TestChangedInPlace: other programs write into files where they are.
func TestChangedInPlace(t *testing.T) {
	t.Parallel()
	s := sftptest.Start(t)
	l := sftptest.StartLocal(t, sftptest.LocalConfig{Password: "secret"})
	for _, opts := range []sftp.Options{overSSHD(t, s), overLocal(t, l)} {
		store := open(t, opts)
		obj := storagetest.Put(t, store, "a", make([]byte, 9<<20))
		r, err := store.Open(t.Context(), obj, 0, -1)
		require.NoError(t, err)
		_, err = io.CopyN(io.Discard, r, 50_000)
		require.NoError(t, err)

		f, err := os.OpenFile(filepath.Join(opts.Root, "a"), os.O_WRONLY, 0)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte("other"), 8<<20)
		require.NoError(t, errors.Join(err, f.Close()))
		require.NoError(t, os.Chtimes(filepath.Join(opts.Root, "a"), time.Time{}, time.Now().Add(5*time.Second)))

		_, err = io.ReadAll(r)
		require.ErrorIs(t, err, storage.ErrChanged, "at the end of a file that was changed meanwhile")
		require.NoError(t, r.Close())
		_, err = store.Open(t.Context(), obj, 0, -1)
		require.ErrorIs(t, err, storage.ErrChanged)
		_, err = store.Put(t.Context(), "a", strings.NewReader(""), 0, storage.Cond{Tag: obj.Tag})
		require.ErrorIs(t, err, storage.ErrChanged)
		require.NoError(t, os.Truncate(filepath.Join(opts.Root, "a"), 1<<20))
		_, err = store.Open(t.Context(), obj, 0, -1)
		require.ErrorIs(t, err, storage.ErrChanged)
	}
}

// TestAnyVersionMayShrink: without a tag the end is where it is.
func TestAnyVersionMayShrink(t *testing.T) {
	t.Parallel()
	l := sftptest.StartLocal(t, sftptest.LocalConfig{Password: "secret"})
	opts := overLocal(t, l)
	store := open(t, opts)
	storagetest.Put(t, store, "a", make([]byte, 9<<20))
	r, err := store.Open(t.Context(), storage.Object{Key: "a"}, 0, -1)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(filepath.Join(opts.Root, "a"), 4<<20))
	n, err := io.Copy(io.Discard, r)
	require.NoError(t, errors.Join(err, r.Close()))
	require.EqualValues(t, 4<<20, n)
}

// TestConditionsWithinOneStore: no server of this kind can promise it to all the
// world, but the callers of one Store do not overwrite each other.
func TestConditionsWithinOneStore(t *testing.T) {
	t.Parallel()
	l := sftptest.StartLocal(t, sftptest.LocalConfig{Password: "secret"})
	store := open(t, overLocal(t, l))
	for round := range 20 {
		var won atomic.Int32
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				_, err := store.Put(t.Context(), fmt.Sprint(round), strings.NewReader("x"), 1, storage.Cond{Absent: true})
				if err == nil {
					won.Add(1)
				}
			})
		}
		group.Wait()
		require.EqualValues(t, 1, won.Load())
	}
}

// TestAbsentAcrossStores: on OpenSSH, a new file is linked to its name, and that
// cannot be done twice.
func TestAbsentAcrossStores(t *testing.T) {
	t.Parallel()
	s := sftptest.Start(t)
	opts := overSSHD(t, s)
	opts.Connections = 1
	var stores []*sftp.Store
	for range 4 {
		stores = append(stores, open(t, opts))
	}
	for round := range 20 {
		var won atomic.Int32
		var group sync.WaitGroup
		for _, store := range stores {
			group.Go(func() {
				_, err := store.Put(t.Context(), fmt.Sprint(round), strings.NewReader("x"), 1, storage.Cond{Absent: true})
				if err == nil {
					won.Add(1)
				} else {
					requireIs(t, err, storage.ErrChanged)
				}
			})
		}
		group.Wait()
		require.EqualValues(t, 1, won.Load())
	}
}

func TestKeep(t *testing.T) {
	t.Parallel()
	s := sftptest.Start(t)
	for keep, want := range map[string]string{"": ".", "pipe": "pipe", "pipe/sub/": "pipe/sub", "pipe/sub/deep/er": "pipe/sub/deep"} {
		opts := overSSHD(t, s)
		opts.Keep = keep
		store := open(t, opts)
		storagetest.Put(t, store, "pipe/sub/deep/a", nil)
		require.NoError(t, store.Remove(t.Context(), "pipe/sub/deep/a"))
		require.DirExists(t, filepath.Join(opts.Root, want))
		entries, err := os.ReadDir(filepath.Join(opts.Root, want))
		require.NoError(t, err)
		require.Empty(t, entries, keep)
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	s := sftptest.Start(t)
	opts := overSSHD(t, s)
	store := open(t, opts)
	storagetest.Put(t, store, "folder/x", nil)
	plant := func(name string, age time.Duration) string {
		path := filepath.Join(opts.Root, name)
		require.NoError(t, os.WriteFile(path, nil, 0o644))
		require.NoError(t, os.Chtimes(path, time.Time{}, time.Now().Add(-age)))
		return path
	}
	stale := []string{plant(".d6tpipe-tmp-1", 25*time.Hour), plant("folder/.d6tpipe-tmp-2", 25*time.Hour)}
	kept := []string{plant(".d6tpipe-tmp-3", 23*time.Hour), plant("folder/old.csv", 1000*time.Hour), plant("folder/.d6tpipe-old-1", 1000*time.Hour)}
	resumed := plant(".d6tpipe-tmp-4", 25*time.Hour)

	l, err := storage.Collect(t.Context(), store, "")
	require.NoError(t, err)
	require.Equal(t, []string{"folder/old.csv", "folder/x"}, storagetest.Keys(l))
	require.Len(t, l.Refused, 1, "a file that was moved aside is somebody's data")
	_, err = store.Stat(t.Context(), "folder/x")
	require.NoError(t, err)
	for _, path := range append(stale, kept...) {
		require.FileExists(t, path, "nothing is swept by those who only read")
	}
	require.NoError(t, os.Chtimes(resumed, time.Time{}, time.Now()))
	storagetest.Put(t, store, "y", nil)
	for _, path := range stale {
		require.NoFileExists(t, path)
	}
	for _, path := range append(kept, resumed) {
		require.FileExists(t, path)
	}
}

// TestUploadOfAnother refuses what a damaged journal says.
func TestUploadOfAnother(t *testing.T) {
	t.Parallel()
	l := sftptest.StartLocal(t, sftptest.LocalConfig{Password: "secret"})
	opts := overLocal(t, l)
	store := open(t, opts)
	m := store.Multipart()
	storagetest.Put(t, store, "precious", []byte("x"))
	good, err := m.Begin(t.Context(), "a", 10, 1)
	require.NoError(t, err)
	require.EqualValues(t, 16<<20, good.PartSize)
	for _, id := range []string{
		"", "precious", "../precious", good.ID + "/../../precious", good.ID[1:], good.ID + "00", strings.ToUpper(good.ID), "0x" + good.ID[2:],
		good.ID[:31] + "g", good.ID + "-parts", good.ID[:30] + "/.", strings.Repeat(" ", 32),
	} {
		if id == good.ID {
			continue // no letter in it
		}
		u := good
		u.ID = id
		requireInvalid(t, m, u)
	}
	for _, u := range []storage.Upload{{Key: "a", ID: good.ID, Size: 10}, {Key: "a", ID: good.ID, PartSize: 10}, {Key: "a", ID: good.ID, Size: -1, PartSize: 1}} {
		requireInvalid(t, m, u)
	}
	for _, n := range []int{-1, 1, 5} {
		_, err := m.Send(t.Context(), good, n, strings.NewReader("0123456789"), 10)
		require.ErrorIs(t, err, fs.ErrInvalid)
	}
	_, err = m.Send(t.Context(), good, 0, strings.NewReader("012345678"), 9)
	require.ErrorIs(t, err, fs.ErrInvalid)
	_, err = m.Finish(t.Context(), good, []storage.Part{{Number: 0, Size: 10}}, storage.Cond{})
	require.ErrorIs(t, err, fs.ErrInvalid, "the part did not arrive, whatever the journal says")
	require.Equal(t, []string{"precious"}, storagetest.Keys(storagetest.List(t, store, "")))
}

func requireInvalid(t *testing.T, m storage.Multipart, u storage.Upload) {
	t.Helper()
	_, err := m.Arrived(t.Context(), u)
	require.ErrorIs(t, err, fs.ErrInvalid, u.ID)
	_, err = m.Send(t.Context(), u, 0, strings.NewReader("0123456789"), 10)
	require.ErrorIs(t, err, fs.ErrInvalid, u.ID)
	_, err = m.Finish(t.Context(), u, nil, storage.Cond{})
	require.ErrorIs(t, err, fs.ErrInvalid, u.ID)
	require.ErrorIs(t, m.Abort(t.Context(), u), fs.ErrInvalid, u.ID)
}

// TestArrivedIsTrue: a part that breaks off while it is sent a second time, with
// other bytes, is not there any more, whatever the size of the file.
func TestArrivedIsTrue(t *testing.T) {
	t.Parallel()
	s := sftptest.Start(t)
	store := open(t, overSSHD(t, s))
	m := store.Multipart()
	content := storagetest.Bytes(1, 40<<20)
	u, err := m.Begin(t.Context(), "folder/a", int64(len(content)), 1<<20)
	require.NoError(t, err)
	require.Equal(t, 3, u.Parts())
	send := func(n int, r io.Reader) (storage.Part, error) {
		_, size := u.Part(n)
		return m.Send(t.Context(), u, n, r, size)
	}
	part := func(n int) []byte { off, size := u.Part(n); return content[off : off+size] }

	_, err = send(2, bytes.NewReader(part(2)))
	require.NoError(t, err)
	requireArrived(t, m, u, 2)
	_, err = send(0, bytes.NewReader(part(0)))
	require.NoError(t, err)
	requireArrived(t, m, u, 0, 2)
	_, err = m.Finish(t.Context(), u, []storage.Part{{Number: 0, Size: 16 << 20}, {Number: 2, Size: 8 << 20}}, storage.Cond{})
	require.ErrorIs(t, err, fs.ErrInvalid, "one is missing")
	_, err = send(0, &killer{r: bytes.NewReader(make([]byte, 16<<20)), at: 4 << 20, kill: s.KillSessions})
	require.ErrorIs(t, err, storage.ErrTemporary)
	requireArrived(t, m, u, 2)

	var parts []storage.Part
	for _, n := range []int{0, 1} {
		p, err := send(n, bytes.NewReader(part(n)))
		require.NoError(t, err)
		parts = append(parts, p)
	}
	obj, err := m.Finish(t.Context(), u, append(parts, storage.Part{Number: 2, Size: 8 << 20}), storage.Cond{})
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, storagetest.Get(t, store, obj)))
}

func requireArrived(t *testing.T, m storage.Multipart, u storage.Upload, want ...int) {
	t.Helper()
	arrived, err := m.Arrived(t.Context(), u)
	require.NoError(t, err)
	var got []int
	for _, p := range arrived {
		got = append(got, p.Number)
	}
	require.Equal(t, want, got)
}

// TestKill kills a process that uploads in parts, again and again: what is said to
// have arrived has.
func TestKill(t *testing.T) {
	if root := os.Getenv("SFTP_TEST_ROOT"); root != "" {
		sendForever(t, root)
	}
	t.Parallel()
	s := sftptest.Start(t)
	opts := overSSHD(t, s)
	key := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(key, s.Key, 0o600))
	store := open(t, opts)
	m := store.Multipart()
	content := storagetest.Bytes(1, 48<<20)
	kills := 5
	if os.Getenv("D6TPIPE_PROOF") == "1" {
		kills = 100
	}
	for i := range kills {
		u, err := m.Begin(t.Context(), "a", int64(len(content)), 1)
		require.NoError(t, err)
		cmd := exec.Command(os.Args[0], "-test.run", "^TestKill$")
		cmd.Env = append(os.Environ(), "SFTP_TEST_ROOT="+opts.Root, "SFTP_TEST_ID="+u.ID, "SFTP_TEST_HOST="+s.Host, "SFTP_TEST_USER="+s.User, "SFTP_TEST_PIN="+s.Fingerprint, "SFTP_TEST_KEY="+key)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		_, err = io.ReadFull(out, make([]byte, 1)) // it has begun
		require.NoError(t, err)
		time.Sleep(time.Duration(i*7919%200) * time.Millisecond) // a random instant is the point
		require.NoError(t, cmd.Process.Kill())
		require.Error(t, cmd.Wait())

		arrived, err := m.Arrived(t.Context(), u)
		require.NoError(t, err)
		file, err := os.ReadFile(filepath.Join(opts.Root, ".d6tpipe-tmp-"+u.ID))
		require.NoError(t, err)
		for _, p := range arrived {
			off, size := u.Part(p.Number)
			require.True(t, bytes.Equal(content[off:off+size], file[off:off+size]), "part %d", p.Number)
		}
		require.NoError(t, m.Abort(t.Context(), u))
	}
}

func sendForever(t *testing.T, root string) {
	key, err := os.ReadFile(os.Getenv("SFTP_TEST_KEY"))
	require.NoError(t, err)
	store, err := sftp.New(sftp.Options{Host: os.Getenv("SFTP_TEST_HOST"), User: os.Getenv("SFTP_TEST_USER"), Key: key, Fingerprint: os.Getenv("SFTP_TEST_PIN"), Root: root})
	require.NoError(t, err)
	content := storagetest.Bytes(1, 48<<20)
	u := storage.Upload{Key: "a", ID: os.Getenv("SFTP_TEST_ID"), Size: int64(len(content)), PartSize: 16 << 20}
	_, err = store.Stat(context.Background(), "a")
	require.ErrorIs(t, err, fs.ErrNotExist)
	fmt.Print(".") // the parent waits for it
	for {
		var group sync.WaitGroup
		for n := range u.Parts() {
			off, size := u.Part(n)
			group.Go(func() {
				_, err := store.Multipart().Send(context.Background(), u, n, bytes.NewReader(content[off:off+size]), size)
				if err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
	}
}
