package atomicfile_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/atomicfile"
)

// writers are the two ways to write a file that holds old, or is missing.
var writers = map[string]func(ctx context.Context, path string, old, data []byte) error{
	"Write": func(_ context.Context, path string, _, data []byte) error { return atomicfile.Write(path, data, 0o600) },
	"Swap": func(ctx context.Context, path string, old, data []byte) error {
		return atomicfile.Swap(ctx, path, old, data, 0o600)
	},
}

func names(t *testing.T, dir string) (names []string) {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func content(t *testing.T, path string) string {
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}

func TestWriters(t *testing.T) {
	for name, write := range writers {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "a")
			require.NoError(t, write(t.Context(), path, nil, []byte("one")))
			require.NoError(t, write(t.Context(), path, []byte("one"), []byte{}))
			require.Empty(t, content(t, path))
			require.NoError(t, write(t.Context(), path, []byte{}, []byte("three")))
			require.Equal(t, "three", content(t, path))
			require.Equal(t, []string{"a"}, names(t, dir), "nothing is left beside it")

			require.ErrorIs(t, write(t.Context(), filepath.Join(dir, "none", "a"), nil, []byte("x")), fs.ErrNotExist)
			folder := filepath.Join(dir, "folder")
			require.NoError(t, os.Mkdir(folder, 0o700))
			require.Error(t, write(t.Context(), folder, nil, []byte("x")))
			require.Equal(t, []string{"a", "folder"}, names(t, dir), "nor after an error")
		})
	}
}

func TestMakeDir(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, atomicfile.MakeDir(dir))
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o755), info.Mode().Perm(), "a folder that exists stays as it is")
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.Error(t, atomicfile.MakeDir(file))
	require.Error(t, atomicfile.MakeDir(filepath.Join(file, "x")))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { require.NoError(t, atomicfile.MakeDir(filepath.Join(dir, "a", "b", "c"))) })
	}
	wg.Wait()
}

func TestSwapRefusesForeignChanges(t *testing.T) {
	for name, c := range map[string]struct {
		there, old []byte
	}{
		"other content": {[]byte("theirs"), []byte("mine")},
		"prefix":        {[]byte("mine and theirs"), []byte("mine")},
		"new file":      {[]byte("theirs"), nil},
		"new empty":     {[]byte{}, nil},
		"file is gone":  {nil, []byte("mine")},
		"empty is gone": {nil, []byte{}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "a")
			if c.there != nil {
				require.NoError(t, os.WriteFile(path, c.there, 0o600))
			}
			before := names(t, dir)
			require.ErrorIs(t, atomicfile.Swap(t.Context(), path, c.old, []byte("new"), 0o600), atomicfile.ErrChanged)
			require.Equal(t, before, names(t, dir))
			if c.there != nil {
				require.Equal(t, string(c.there), content(t, path))
			}
		})
	}
}

// Without any lock: of those who start from the same content one wins, and no
// acknowledged change is lost.
func TestSwapRace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "n")
	require.NoError(t, os.WriteFile(path, []byte("0"), 0o600))
	var acked, lost atomic.Int64
	var wg, read sync.WaitGroup
	const writers = 8
	read.Add(writers)
	for range writers {
		wg.Go(func() {
			for i := range 60 {
				old, err := os.ReadFile(path)
				if i == 0 { // all begin with the same content, however late each is
					read.Done()
					read.Wait()
				}
				require.NoError(t, err)
				n, err := strconv.Atoi(string(old))
				require.NoError(t, err)
				if err := atomicfile.Swap(t.Context(), path, old, []byte(strconv.Itoa(n+1)), 0o600); err == nil {
					acked.Add(1)
				} else {
					require.ErrorIs(t, err, atomicfile.ErrChanged)
					lost.Add(1)
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, strconv.FormatInt(acked.Load(), 10), content(t, path))
	require.Positive(t, acked.Load())
	require.Positive(t, lost.Load(), "they did collide")
	require.Equal(t, []string{"n"}, names(t, dir))
}

// A writer that died between its claim and its rename holds up the next one for
// a moment, not for ever.
func TestSwapAfterDeadWriter(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	claim := filepath.Join(dir, atomicfile.TempPrefix+"a-next")
	require.NoError(t, os.WriteFile(claim, []byte("dead"), 0o600))

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, atomicfile.Swap(ctx, path, nil, []byte("x"), 0o600), context.DeadlineExceeded)
	require.Equal(t, []string{filepath.Base(claim)}, names(t, dir))

	start := time.Now()
	require.NoError(t, atomicfile.Swap(t.Context(), path, nil, []byte("new"), 0o600))
	require.GreaterOrEqual(t, time.Since(start), 2*time.Second)
	require.Equal(t, "new", content(t, path))
	require.Equal(t, []string{"a"}, names(t, dir))
}

func TestSwapCancelled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, atomicfile.Swap(ctx, path, nil, []byte("x"), 0o600), context.Canceled)
	require.NoFileExists(t, path)
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "cfg.json")
	mine := []string{"cfg.json-1-00000000", "cfg.json-123456-0a1b2c3d", "cfg.json-next"}
	others := []string{"cfg.json-old-1-00000000", "cfg.json-old-next", "cfg.json", "other.json-1-00000000",
		"cfg.json-1-0000000", "cfg.json-1-0000000G", "cfg.json--00000000", "cfg.json-x"}
	for _, name := range append(mine, others...) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, atomicfile.TempPrefix+name), nil, 0o600))
	}
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	strays, err := atomicfile.Strays(path)
	require.NoError(t, err)
	require.Len(t, strays, len(mine))
	require.NoError(t, atomicfile.Sweep(path))
	require.Len(t, names(t, dir), len(others)+1)
	strays, err = atomicfile.Strays(path)
	require.NoError(t, err)
	require.Empty(t, strays)
	require.NoError(t, atomicfile.Sweep(filepath.Join(dir, "none", "a")), "no folder, nothing to sweep")
}

func TestLockWithinAProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	unlock, err := atomicfile.Lock(t.Context(), path)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = atomicfile.Lock(ctx, path)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, unlock())
	unlock, err = atomicfile.Lock(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, unlock())
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = atomicfile.Lock(cancelled, path)
	require.ErrorIs(t, err, context.Canceled)
	_, err = atomicfile.Lock(t.Context(), filepath.Join(t.TempDir(), "none", "a"))
	require.True(t, errors.Is(err, fs.ErrNotExist), fmt.Sprint(err))
}
