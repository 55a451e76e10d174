package dir_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/storagetest"
)

// rounds is how often a race is run.
func rounds() int {
	if os.Getenv("D6TPIPE_PROOF") != "" {
		return 10_000
	}
	return 500
}

// TestSymlinkSwap swaps a folder for a link to one outside, and back, as fast as
// it can, while every operation is tried below it. Nothing outside may be read,
// made, changed or removed.
func TestSymlinkSwap(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("symbolic links need a privilege")
	}
	around := t.TempDir()
	root, outside := filepath.Join(around, "root"), filepath.Join(around, "outside")
	for _, dir := range []string{filepath.Join(root, "real"), outside} {
		require.NoError(t, os.MkdirAll(dir, 0o755))
	}
	require.NoError(t, os.WriteFile(filepath.Join(outside, "file"), []byte("SECRET"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(root, "real", "file"), []byte("inside"), 0o644))
	require.NoError(t, os.Symlink(outside, filepath.Join(root, "link")))
	before := storagetest.TreeHash(t, outside)

	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		swap(root, stop)
	}()
	store := open(t, root)
	for i := range rounds() {
		tryEverything(t, store, i)
	}
	close(stop)
	<-done
	require.Equal(t, before, storagetest.TreeHash(t, outside))
}

// swap lets "dir" be the real folder and the link in turn.
func swap(root string, stop <-chan struct{}) {
	join := func(name string) string { return filepath.Join(root, name) }
	for {
		for _, name := range []string{"real", "link"} {
			_ = os.Rename(join(name), join("dir"))
			runtime.Gosched()
			_ = os.Rename(join("dir"), join(name)) // nobody else renames them
		}
		select {
		case <-stop:
			return
		default:
		}
	}
}

func tryEverything(t *testing.T, store storage.Store, round int) {
	ctx := t.Context()
	for obj, err := range store.List(ctx, "dir/") {
		if err == nil && strings.Contains(obj.Key, "file") {
			require.EqualValues(t, 6, obj.Size)
		}
	}
	if r, err := store.Open(ctx, storage.Object{Key: "dir/file"}, 0, -1); err == nil {
		data, err := io.ReadAll(r)
		require.NoError(t, errors.Join(err, r.Close()))
		require.NotEqual(t, "SECRET", string(data))
	}
	if round%10 == 0 { // it waits for the disk, and may fail; what it did is looked at in the end
		_, _ = store.Put(ctx, "dir/new", strings.NewReader("evil"), 4, storage.Cond{})
	}
	_ = store.Remove(ctx, "dir/new")
	_, _ = store.Stat(ctx, "dir/file")
}

// TestChangedInPlace: other programs write into files where they are.
func TestChangedInPlace(t *testing.T) {
	root := t.TempDir()
	store := open(t, root)
	obj := storagetest.Put(t, store, "a", make([]byte, 100_000))
	r, err := store.Open(t.Context(), obj, 0, -1)
	require.NoError(t, err)
	_, err = io.CopyN(io.Discard, r, 50_000)
	require.NoError(t, err)

	f, err := os.OpenFile(filepath.Join(root, "a"), os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("other"), 70_000)
	require.NoError(t, errors.Join(err, f.Close()))
	require.NoError(t, os.Chtimes(filepath.Join(root, "a"), time.Time{}, time.Now().Add(time.Second)))

	_, err = io.ReadAll(r)
	require.ErrorIs(t, err, storage.ErrChanged, "at the end of a file that was changed meanwhile")
	require.NoError(t, r.Close())
	_, err = store.Open(t.Context(), obj, 0, -1)
	require.ErrorIs(t, err, storage.ErrChanged)
	_, err = store.Put(t.Context(), "a", strings.NewReader(""), 0, storage.Cond{Tag: obj.Tag})
	require.ErrorIs(t, err, storage.ErrChanged)
}

// TestTagsDiffer: two writes of one size within a tick of the clock have tags of
// their own.
func TestTagsDiffer(t *testing.T) {
	store := open(t, t.TempDir())
	last := ""
	for i := range 200 {
		obj := storagetest.Put(t, store, "a", fmt.Appendf(nil, "%03d", i))
		require.NotEqual(t, last, obj.Tag)
		last = obj.Tag
		require.Equal(t, obj, storagetest.List(t, store, "").Objects()[0])
	}
}

// TestTagsDifferInOneTick gives the old file the very time that the new one has.
func TestTagsDifferInOneTick(t *testing.T) {
	root := t.TempDir()
	store := open(t, root)
	storagetest.Put(t, store, "a", nil)
	var old string
	spy := readerFunc(func([]byte) (int, error) {
		temps, err := filepath.Glob(filepath.Join(root, ".d6tpipe-tmp-*"))
		require.NoError(t, err)
		info, err := os.Stat(temps[0])
		require.NoError(t, err)
		require.NoError(t, os.Chtimes(filepath.Join(root, "a"), time.Time{}, info.ModTime()))
		obj, err := store.Stat(t.Context(), "a")
		require.NoError(t, err)
		old = obj.Tag
		return 0, io.EOF
	})
	obj, err := store.Put(t.Context(), "a", spy, 0, storage.Cond{})
	require.NoError(t, err)
	require.NotEqual(t, old, obj.Tag)
	require.Equal(t, obj, storagetest.List(t, store, "").Objects()[0])
}

// TestConditionsWithinOneStore: no remote of this kind can promise it to all the
// world, but the callers of one Store do not overwrite each other.
func TestConditionsWithinOneStore(t *testing.T) {
	store := open(t, t.TempDir())
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

func TestSweep(t *testing.T) {
	root := t.TempDir()
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Skip("no program to let die: ", err)
	}
	name := tempOfThisProcess(t, root)
	mine := strings.SplitN(strings.TrimPrefix(name, ".d6tpipe-tmp-"), "-", 2)[1]
	write := func(name string, age time.Duration) {
		path := filepath.Join(root, name)
		require.NoError(t, os.WriteFile(path, nil, 0o644))
		require.NoError(t, os.Chtimes(path, time.Time{}, time.Now().Add(-age)))
	}
	gone := []string{fmt.Sprintf(".d6tpipe-tmp-%d-%s", dead.Process.Pid, mine), ".d6tpipe-tmp-of-the-past"}
	write(gone[0], 0)
	write(gone[1], 25*time.Hour)
	kept := []string{
		fmt.Sprintf(".d6tpipe-tmp-%d-%s", os.Getpid(), mine),              // it lives
		fmt.Sprintf(".d6tpipe-tmp-%d-0123456789abcdef", dead.Process.Pid), // another machine's
		".d6tpipe-tmp-young", "data.csv", ".d6tpipe-lock-x",
	}
	for _, name := range kept {
		write(name, time.Hour)
	}
	write("old.csv", 1000*time.Hour)

	store := open(t, root)
	for _, name := range gone {
		require.NoFileExists(t, filepath.Join(root, name))
	}
	for _, name := range append(kept, "old.csv") {
		require.FileExists(t, filepath.Join(root, name))
	}
	l, err := storage.Collect(t.Context(), store, "")
	require.NoError(t, err)
	require.Equal(t, []string{"data.csv", "old.csv"}, storagetest.Keys(l))
	require.Len(t, l.Refused, 1, "a lock of ours is refused, temporary files are not even listed")
}

// tempOfThisProcess catches the name of a temporary file while it is there.
func tempOfThisProcess(t *testing.T, root string) (name string) {
	t.Helper()
	spy := readerFunc(func([]byte) (int, error) {
		temps, err := filepath.Glob(filepath.Join(root, ".d6tpipe-tmp-*"))
		require.NoError(t, err)
		require.Len(t, temps, 1)
		name = filepath.Base(temps[0])
		return 0, io.EOF
	})
	_, err := open(t, root).Put(t.Context(), "a", spy, 0, storage.Cond{})
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(root, "a")))
	return name
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestKill kills a process that puts, again and again: what is there is whole, and
// the next New leaves no stray.
func TestKill(t *testing.T) {
	if os.Getenv("DIR_TEST_PUTS_INTO") != "" {
		putForever(t, os.Getenv("DIR_TEST_PUTS_INTO"))
	}
	root := t.TempDir()
	kills := 20
	if os.Getenv("D6TPIPE_PROOF") != "" {
		kills = 500
	}
	for i := range kills {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestKill$")
		cmd.Env = append(os.Environ(), "DIR_TEST_PUTS_INTO="+root)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		_, err = io.ReadFull(out, make([]byte, 1)) // it has begun
		require.NoError(t, err)
		time.Sleep(time.Duration(i*7919%13_000) * time.Microsecond) // a random instant is the point
		require.NoError(t, cmd.Process.Kill())
		require.Error(t, cmd.Wait())

		store := open(t, root)
		requireNoTemps(t, root)
		for _, obj := range storagetest.List(t, store, "").Objects() {
			data := storagetest.Get(t, store, obj)
			require.True(t, bytes.Equal(data, bytes.Repeat(data[:1], 300_000)), "torn")
		}
	}
}

func putForever(t *testing.T, root string) {
	store := open(t, root)
	for i := 0; ; i++ {
		data := bytes.Repeat([]byte{byte(i)}, 300_000)
		if _, err := store.Put(context.Background(), fmt.Sprintf("folder%d/a", i%3), bytes.NewReader(data), 300_000, storage.Cond{}); err != nil {
			t.Fatal(err)
		}
		fmt.Print(".")
	}
}
