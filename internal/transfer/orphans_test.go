package transfer_test

import (
	"context"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/mem"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

func keptOf(orphans []transfer.Orphan) map[string]transfer.Reason {
	got := map[string]transfer.Reason{}
	for _, o := range orphans {
		got[string(o.Side)+" "+o.Key] = o.Kept
	}
	return got
}

func TestOrphans(t *testing.T) {
	store := remote(many(20))
	p := newPipe(t, store)
	p.must(pull, 20)
	for _, key := range []string{"dir1/file0001.csv", "dir2/file0002.csv"} {
		require.NoError(t, store.Remove(t.Context(), key))
	}
	for _, key := range []string{"dir3/file0003.csv", "dir4/file0004.csv"} {
		require.NoError(t, os.Remove(filepath.Join(p.dir, key)))
	}
	p.write("dir2/file0002.csv", "edited")
	p.write("mine", "never pushed")
	store.Plant("dir4/file0004.csv", []byte("changed there"))
	store.Plant("theirs", []byte("never pulled"))

	want := map[string]transfer.Reason{
		"local dir1/file0001.csv": "", "local dir2/file0002.csv": transfer.EditedHere, "local mine": transfer.OnlyHere,
		"remote dir3/file0003.csv": "", "remote dir4/file0004.csv": transfer.Modified, "remote theirs": transfer.OnlyThere,
	}
	before := tree(t, p.dir)
	orphans, err := p.RemoveOrphans(t.Context(), transfer.OrphanOptions{})
	require.NoError(t, err)
	require.Equal(t, want, keptOf(orphans))
	require.Equal(t, before, tree(t, p.dir), "a dry run by default")

	orphans, err = p.RemoveOrphans(t.Context(), transfer.OrphanOptions{Side: transfer.Local, Apply: true})
	require.NoError(t, err)
	require.Len(t, orphans, 3)
	require.NoFileExists(t, filepath.Join(p.dir, "dir1/file0001.csv"))
	require.FileExists(t, filepath.Join(p.dir, "dir2/file0002.csv"))
	require.FileExists(t, filepath.Join(p.dir, "mine"))

	_, err = p.RemoveOrphans(t.Context(), transfer.OrphanOptions{Side: transfer.Remote, Apply: true})
	require.NoError(t, err)
	_, err = store.Stat(t.Context(), "dir3/file0003.csv")
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = store.Stat(t.Context(), "theirs")
	require.NoError(t, err)

	_, err = p.RemoveOrphans(t.Context(), transfer.OrphanOptions{Apply: true, Force: true})
	require.NoError(t, err)
	orphans, err = p.RemoveOrphans(t.Context(), transfer.OrphanOptions{})
	require.NoError(t, err)
	require.Empty(t, orphans)
	files, err := p.Files(t.Context())
	require.NoError(t, err)
	require.Len(t, files, 16)
	p.must(pull, 0)
}

func TestOrphanGuards(t *testing.T) {
	setup := func(t *testing.T, n int) (*pipe, *faulty) {
		store := &faulty{Store: remote(many(n))}
		p := newPipe(t, store)
		p.must(pull, n)
		return p, store
	}
	drop := func(t *testing.T, store *faulty, n int) {
		for key := range many(n) {
			require.NoError(t, store.Remove(t.Context(), key))
		}
	}
	apply := transfer.OrphanOptions{Apply: true}
	forced := transfer.OrphanOptions{Apply: true, Force: true}

	t.Run("incomplete listing", func(t *testing.T) {
		p, store := setup(t, 5)
		drop(t, store, 3)
		store.listErr = fs.ErrPermission
		for _, opt := range []transfer.OrphanOptions{apply, forced, {}} {
			_, err := p.RemoveOrphans(t.Context(), opt)
			require.ErrorIs(t, err, fs.ErrPermission)
		}
		require.Len(t, tree(t, p.dir), 5)
	})
	t.Run("empty remote", func(t *testing.T) {
		p, store := setup(t, 5)
		drop(t, store, 5)
		orphans, err := p.RemoveOrphans(t.Context(), apply)
		require.ErrorIs(t, err, transfer.ErrRefused)
		require.Len(t, orphans, 5)
		require.Len(t, tree(t, p.dir), 5)
		_, err = p.RemoveOrphans(t.Context(), forced)
		require.NoError(t, err)
		require.Empty(t, tree(t, p.dir))
	})
	t.Run("empty folder", func(t *testing.T) {
		p, store := setup(t, 5)
		require.NoError(t, os.RemoveAll(p.dir))
		_, err := p.RemoveOrphans(t.Context(), apply)
		require.ErrorIs(t, err, transfer.ErrRefused)
		_, err = store.Stat(t.Context(), "dir1/file0001.csv")
		require.NoError(t, err)
	})
	for _, c := range []struct {
		files, gone int
		refused     bool
	}{{30, 15, false}, {30, 16, true}, {15, 10, false}, {15, 11, true}, {40, 11, false}} {
		p, store := setup(t, c.files)
		drop(t, store, c.gone)
		_, err := p.RemoveOrphans(t.Context(), apply)
		left := c.files - c.gone
		if c.refused {
			require.ErrorIs(t, err, transfer.ErrRefused, "%+v", c)
			left = c.files
		} else {
			require.NoError(t, err, "%+v", c)
		}
		require.Len(t, tree(t, p.dir), left, "%+v", c)
	}
}

func TestRemove(t *testing.T) {
	store := remote(many(6))
	p := newPipe(t, store)
	p.must(pull, 6)
	require.NoError(t, p.RemoveLocal(t.Context(), []string{"dir1/file0001.csv", "dir2/file0002.csv"}))
	require.NoDirExists(t, filepath.Join(p.dir, "dir1"))
	p.must(push, 0)
	require.NoError(t, p.RemoveRemote(t.Context(), []string{"dir1/file0001.csv", "dir3/file0003.csv"}))
	p.must(push, 0)
	p.must(pull, 1) // file0002
	files, err := p.Files(t.Context())
	require.NoError(t, err)
	require.Len(t, files, 5, "what is gone on both sides is forgotten")
	err = p.RemoveLocal(t.Context(), []string{"../x", "dir4/file0004.csv"})
	require.ErrorIs(t, err, transfer.ErrPartial)
	require.NoFileExists(t, filepath.Join(p.dir, "dir4/file0004.csv"))
}

// hooked is a store that calls hook when it is listed, and statHook when an object
// is looked at.
type hooked struct {
	*mem.Store
	hook     func()
	statHook func(key string)
}

func (h *hooked) Stat(ctx context.Context, key string) (storage.Object, error) {
	if h.statHook != nil {
		h.statHook(key)
	}
	return h.Store.Stat(ctx, key)
}

func (h *hooked) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	if h.hook != nil {
		h.hook()
	}
	return h.Store.List(ctx, prefix)
}

func TestOrphansFolderGoesMeanwhile(t *testing.T) {
	h := &hooked{Store: remote(map[string]string{"a": "1", "b": "2", "c": "3"})}
	p := newPipe(t, h)
	p.must(pull, 3)
	backdate(t, p, "a", "b", "c")
	time.Sleep(10 * time.Millisecond)
	p.must(pull, 0)
	p.must(pull, 0)
	require.NoError(t, h.Remove(t.Context(), "a"))
	h.hook = func() { time.Sleep(100 * time.Millisecond); os.RemoveAll(p.dir) }
	_, err := p.RemoveOrphans(t.Context(), transfer.OrphanOptions{Side: transfer.Local, Apply: true})
	require.NoError(t, err)
}

// Between the listing and the removal somebody may put another version there.
func TestRemoveRemoteSynced(t *testing.T) {
	h := &hooked{Store: remote(many(3))}
	p := newPipe(t, h)
	p.must(pull, 3)
	h.Plant("dir2/file0002.csv", []byte("theirs"))
	h.Plant("never-pulled.csv", []byte("theirs"))
	h.statHook = func(key string) {
		if key == "dir1/file0001.csv" {
			h.Plant(key, []byte("theirs, meanwhile"))
		}
	}
	require.ErrorIs(t, p.RemoveRemoteSynced(t.Context()), storage.ErrChanged)
	listing, err := p.ScanRemote(t.Context())
	require.NoError(t, err)
	var keys []string
	for _, o := range listing.Objects() {
		keys = append(keys, o.Key)
	}
	require.Equal(t, []string{"dir1/file0001.csv", "dir2/file0002.csv", "never-pulled.csv"}, keys)
}
