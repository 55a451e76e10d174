package dir_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/leaktest"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/dir"
	"github.com/d6t/d6tpipe-go/internal/storage/storagetest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func open(t *testing.T, path string) *dir.Store {
	t.Helper()
	store, err := dir.New(path)
	require.NoError(t, err)
	return store
}

// world makes a folder with a remote in it, and returns the remote's folder and a
// function that fails the test when anything around it has changed.
func world(t *testing.T) (root string, check func()) {
	t.Helper()
	around := t.TempDir()
	root = filepath.Join(around, "some", "where", "remote")
	for _, path := range []string{"evil", "some/evil.csv", "some/where/remote2/a", "some/where/remote-private/b"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(around, path)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(around, path), []byte("outside"), 0o644))
	}
	require.NoError(t, os.Mkdir(root, 0o755))
	hash := func() string {
		aside := filepath.Join(t.TempDir(), "remote")
		require.NoError(t, os.Rename(root, aside))
		defer func() { require.NoError(t, os.Rename(aside, root)) }()
		return storagetest.TreeHash(t, around)
	}
	before := hash()
	return root, func() {
		t.Helper()
		require.Equal(t, before, hash(), "something outside the remote has changed")
	}
}

func TestStore(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storage.Store {
		root, check := world(t)
		t.Cleanup(func() {
			requireNoTemps(t, root)
			check()
		})
		return open(t, root)
	})
}

func TestMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "not", "there")
	storagetest.Missing(t, open(t, path))
	require.NoDirExists(t, path)

	_, err := dir.New("")
	require.Error(t, err)
}

// TestComesAndGoes: the folder of a mount is there, then not, then again.
func TestComesAndGoes(t *testing.T) {
	root := filepath.Join(t.TempDir(), "mount")
	require.NoError(t, os.Mkdir(root, 0o755))
	store := open(t, root)
	storagetest.Put(t, store, "a", []byte("a"))
	require.NoError(t, os.Rename(root, root+"2"))
	storagetest.Missing(t, store)
	require.NoError(t, os.Rename(root+"2", root))
	require.Equal(t, []string{"a"}, storagetest.Keys(storagetest.List(t, store, "")))
}

func TestHostile(t *testing.T) {
	root, check := world(t)
	store := open(t, root)
	planted := storagetest.Hostile(t, store, func(key string) error {
		if key == "" || strings.ContainsAny(key, "/\x00") && filepath.ToSlash(filepath.Clean(key)) != key || !filepath.IsLocal(key) {
			return errors.New("no name below a folder")
		}
		if strings.HasPrefix(filepath.Base(key), ".d6tpipe-tmp-") {
			return errors.New("is ignored, not refused")
		}
		path := filepath.Join(root, key)
		return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("evil"), 0o644))
	})
	if runtime.GOOS == "linux" {
		require.GreaterOrEqual(t, planted, 80, "ext4 and its kin take nearly every name")
	}
	check()
}

func TestSymlinks(t *testing.T) {
	root, check := world(t)
	store := open(t, root)
	storagetest.Put(t, store, "real/a", []byte("inside"))
	for name, target := range map[string]string{
		"file-in": "real/a", "file-out": "../../evil.csv", "file-abs": filepath.Join(root, "real", "a"), "dir-in": "real",
		"dir-out": "../..", "dangling": "nowhere", "loop": "loop", "real/up": "..",
	} {
		require.NoError(t, os.Symlink(target, filepath.Join(root, filepath.FromSlash(name))))
	}
	require.Equal(t, []string{"real/a"}, storagetest.Keys(storagetest.List(t, store, "")))

	for _, key := range []string{"file-in", "file-out", "file-abs", "dangling", "loop", "dir-in", "dir-in/a", "dir-out/evil.csv", "real/up/real/a"} {
		_, err := store.Stat(t.Context(), key)
		require.ErrorIs(t, err, os.ErrNotExist, "stat %s", key)
		_, err = store.Open(t.Context(), storage.Object{Key: key}, 0, -1)
		require.ErrorIs(t, err, os.ErrNotExist, "open %s", key)
		require.NoError(t, store.Remove(t.Context(), key), "remove %s", key)
	}
	for _, key := range []string{"dir-in/a", "dir-out/evil.csv", "dir-out/new", "dangling/new", "real/up/new", "dir-in"} {
		_, err := store.Put(t.Context(), key, strings.NewReader("x"), 1, storage.Cond{})
		if key == "dir-in" {
			require.NoError(t, err, "a link's name may be taken")
			continue
		}
		require.Error(t, err, "put %s", key)
	}
	storagetest.Put(t, store, "file-in", []byte("new"))
	storagetest.Put(t, store, "file-out", []byte("new"))
	require.Equal(t, "inside", string(storagetest.Get(t, store, storage.Object{Key: "real/a"})), "the link was replaced, not written through")
	require.Equal(t, []string{"dir-in", "file-in", "file-out", "real/a"}, storagetest.Keys(storagetest.List(t, store, "")))
	check()
}

func TestSpecialFiles(t *testing.T) {
	root := t.TempDir()
	store := open(t, root)
	storagetest.Put(t, store, "a", nil)
	require.NoError(t, os.Mkdir(filepath.Join(root, "empty"), 0o755))
	makeFIFO(t, filepath.Join(root, "pipe"))
	require.Equal(t, []string{"a"}, storagetest.Keys(storagetest.List(t, store, "")))
	_, err := store.Open(t.Context(), storage.Object{Key: "pipe"}, 0, -1)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func requireNoTemps(t *testing.T, root string) {
	t.Helper()
	temps, err := filepath.Glob(filepath.Join(root, ".d6tpipe-tmp-*"))
	require.NoError(t, err)
	require.Empty(t, temps)
}
