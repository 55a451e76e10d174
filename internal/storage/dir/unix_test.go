//go:build unix

package dir_test

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/dir"
)

func makeFIFO(t *testing.T, path string) { require.NoError(t, syscall.Mkfifo(path, 0o644)) }

// TestUploadOfTwo: two processes that go on with the same upload do not tear it, nor
// the file that it becomes.
func TestUploadOfTwo(t *testing.T) {
	folder := t.TempDir()
	one, err := dir.New(folder)
	require.NoError(t, err)
	two, err := dir.New(folder)
	require.NoError(t, err)
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	a, b := storage.MultipartOf(one), storage.MultipartOf(two)
	u, err := a.Begin(t.Context(), "big", int64(len(data)), 1<<18)
	require.NoError(t, err)
	r, w := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		_, err := a.Send(t.Context(), u, 0, r, int64(len(data)))
		sent <- err
	}()
	_, err = w.Write(data[:1000])
	require.NoError(t, err)
	_, err = b.Send(t.Context(), u, 0, bytes.NewReader(data), int64(len(data)))
	require.ErrorIs(t, err, storage.ErrTemporary)
	_, err = w.Write(data[1000:])
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, <-sent)
	late, err := os.OpenFile(filepath.Join(folder, ".d6tpipe-up-"+u.ID), os.O_RDWR, 0)
	require.NoError(t, err)
	defer late.Close()
	require.NoError(t, syscall.Flock(int(late.Fd()), syscall.LOCK_EX))
	_, err = b.Finish(t.Context(), u, []storage.Part{{Size: int64(len(data))}}, storage.Cond{})
	require.ErrorIs(t, err, storage.ErrTemporary, "somebody is still writing")
	require.NoError(t, syscall.Flock(int(late.Fd()), syscall.LOCK_UN))
	_, err = b.Finish(t.Context(), u, []storage.Part{{Size: int64(len(data))}}, storage.Cond{})
	require.NoError(t, err)
	_, err = a.Send(t.Context(), u, 0, bytes.NewReader(data), int64(len(data)))
	require.ErrorIs(t, err, fs.ErrNotExist)
	there, err := os.ReadFile(filepath.Join(folder, "big"))
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, there))
}
