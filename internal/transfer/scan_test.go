package transfer_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// TestScanLocal: a scan sees what a plain walk sees, in the order of the keys, however
// the folder is made up.
func TestScanLocal(t *testing.T) {
	for name, keys := range map[string][]string{
		"nothing":          nil,
		"one":              {"a"},
		"folders in order": {"a!", "a!b/x", "a-/x", "a/w", "a/x!/y", "a/x/y", "a0", "b"},
		"nested":           {strings.Repeat("d/", 60) + "f"},
		"a large folder":   append(numbered("", 600), append(numbered("0000100-/", 10), numbered("0000200.csv.d/", 251)...)...),
		"many folders":     spread(40, 7),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, key := range keys {
				lay(t, dir, key)
			}
			want := walked(t, dir)
			for way, scan := range transfer.Scans {
				l, err := scan(t.Context(), dir)
				require.NoError(t, err)
				require.Empty(t, l.Refused)
				got := make([]string, 0, len(l.Files))
				for _, f := range l.Files {
					info, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(f.Key)))
					require.NoError(t, err)
					require.Equal(t, info.Size(), f.Size)
					require.Equal(t, transfer.StampOf(info.ModTime()), f.ModTime)
					require.False(t, f.Irregular)
					got = append(got, f.Key)
				}
				require.Equal(t, want, got, way)
			}
		})
	}
}

// TestScansAgree: names that are refused, links and our own files are the same in both
// ways, and so is what the system knows of a file.
func TestScansAgree(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	lay(t, out, "secret/file")
	for _, key := range []string{"a", "back\\slash/x", "ok/b", "ok/nul.csv", "ok/.D6TPIPE-x", ".d6tpipe/x", "end./x", "z"} {
		lay(t, dir, key)
	}
	require.NoError(t, os.Symlink(filepath.Join(out, "secret"), filepath.Join(dir, "link")))
	require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "ok", "dangling")))
	here, err := transfer.Scans["here"](t.Context(), dir)
	require.NoError(t, err)
	there, err := transfer.Scans["any system"](t.Context(), dir)
	require.NoError(t, err)
	require.Equal(t, there, here)
	var keys, links, refused []string
	for _, f := range here.Files {
		keys = append(keys, f.Key)
		if f.Irregular {
			links = append(links, f.Key)
		}
	}
	for _, e := range here.Refused {
		refused = append(refused, e.Key)
	}
	require.Equal(t, []string{"a", "link", "ok/b", "ok/dangling", "z"}, keys)
	require.Equal(t, []string{"link", "ok/dangling"}, links)
	require.Equal(t, []string{"back\\slash", "end.", "ok/nul.csv"}, refused)
}

// TestScanFails: a folder that cannot be read is an error and not an empty one, in a
// part of a large folder too, and so is a context that ended.
func TestScanFails(t *testing.T) {
	for way, scan := range transfer.Scans {
		t.Run(way, func(t *testing.T) {
			dir := t.TempDir()
			for _, key := range numbered("sub/", 251) {
				lay(t, dir, key)
			}
			_, err := scan(t.Context(), filepath.Join(dir, "sub", "0000000.csv"))
			require.Error(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			l, err := scan(ctx, dir)
			require.ErrorIs(t, err, context.Canceled)
			require.Empty(t, l.Files)
		})
	}
	broken := errors.New("input/output error")
	for name, sub := range map[string]*transfer.FakeFolder{
		"not to be opened": {Enter: fs.ErrPermission},
		"not to be read":   {Names: broken},
		"half read":        {In: map[string]*transfer.FakeFolder{"f": nil}, Names: broken},
		"further below":    {In: map[string]*transfer.FakeFolder{"a": {}, "b": {Names: broken}}},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := around(sub).Scan(t.Context())
			require.True(t, errors.Is(err, broken) || errors.Is(err, fs.ErrPermission), err)
			require.Empty(t, l.Files)
		})
	}
}

// TestScanGone: a folder that is gone when it is entered, or is a link or a file by
// then, is left out, and all else is seen.
func TestScanGone(t *testing.T) {
	for _, gone := range []error{fs.ErrNotExist, transfer.ErrNotFolder} {
		for name, sub := range map[string]*transfer.FakeFolder{"entered": {Enter: &fs.PathError{Op: "open", Path: "sub", Err: gone}}, "below": {
			In: map[string]*transfer.FakeFolder{"a": {Enter: gone}}}} {
			l, err := around(sub).Scan(t.Context())
			require.NoError(t, err, "%s: %v", name, gone)
			keys := []string{}
			for _, f := range l.Files {
				keys = append(keys, f.Key)
			}
			require.Equal(t, []string{"a", "z/f"}, keys)
		}
	}
}

// around is a folder with sub and others in it.
func around(sub *transfer.FakeFolder) *transfer.FakeFolder {
	return &transfer.FakeFolder{In: map[string]*transfer.FakeFolder{"a": nil, "sub": sub, "z": {In: map[string]*transfer.FakeFolder{"f": nil}}}}
}

// TestScanWhileFilesGo: files and folders vanish, and folders become links, while they
// are looked at. Nothing is seen that lies outside, and what stays is always seen.
func TestScanWhileFilesGo(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	lay(t, out, "secret")
	for _, key := range spread(20, 5) {
		lay(t, dir, "stays/"+key)
	}
	stop := make(chan struct{})
	var changer sync.WaitGroup
	changer.Go(func() {
		moving := filepath.Join(dir, "moving")
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.MkdirAll(filepath.Join(moving, "sub"), 0o755)
			_ = os.WriteFile(filepath.Join(moving, "sub", "f"), nil, 0o644)
			_ = os.RemoveAll(moving)
			_ = os.Symlink(out, moving)
			_ = os.Remove(moving)
		}
	})
	defer changer.Wait()
	defer close(stop)
	rounds := 40
	if os.Getenv("D6TPIPE_PROOF") != "" {
		rounds = 2_000
	}
	for range rounds {
		for _, scan := range transfer.Scans {
			l, err := scan(t.Context(), dir)
			require.NoError(t, err)
			n := 0
			for _, f := range l.Files {
				require.NotContains(t, f.Key, "secret")
				if strings.HasPrefix(f.Key, "stays/") {
					n++
				}
			}
			require.Equal(t, 100, n)
		}
	}
}

func lay(t *testing.T, dir, key string) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(key))
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(filepath.Base(key)), 0o644))
}

func numbered(prefix string, n int) (keys []string) {
	for i := range n {
		keys = append(keys, fmt.Sprintf("%s%07d.csv", prefix, i))
	}
	return keys
}

func spread(folders, files int) (keys []string) {
	for i := range folders {
		keys = append(keys, numbered(fmt.Sprintf("d%02d/e%d/", i/4, i%4), files)...)
	}
	return keys
}

// walked are the keys of all files below dir, sorted.
func walked(t *testing.T, dir string) []string {
	t.Helper()
	keys := []string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		require.NoError(t, storage.CheckKey(filepath.ToSlash(rel)))
		keys = append(keys, filepath.ToSlash(rel))
		return err
	}))
	slices.Sort(keys)
	return keys
}
