package dir_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/dir"
	"github.com/d6t/d6tpipe-go/internal/storage/storagetest"
)

// An upload's ID comes from a file that anybody may have written.
func TestUploadOfAnotherName(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "victim"), []byte("victim"), 0o644))
	store, err := dir.New(folder)
	require.NoError(t, err)
	m := storage.MultipartOf(store)
	for _, id := range []string{"", "../victim", "/../victim", "victim", "00112233445566778899aabbccddeef", "zz112233445566778899aabbccddeeff"} {
		u := storage.Upload{Key: "a", ID: id, Size: 6, PartSize: 10, Serial: true}
		_, err := m.Arrived(t.Context(), u)
		require.ErrorIs(t, err, fs.ErrInvalid, id)
		_, err = m.Send(t.Context(), u, 0, bytes.NewReader([]byte("pirate")), 6)
		require.ErrorIs(t, err, fs.ErrInvalid, id)
		_, err = m.Finish(t.Context(), u, []storage.Part{{Size: 6}}, storage.Cond{})
		require.ErrorIs(t, err, fs.ErrInvalid, id)
		require.ErrorIs(t, m.Abort(t.Context(), u), fs.ErrInvalid, id)
	}
	require.Equal(t, []string{"victim"}, storagetest.Keys(storagetest.List(t, store, "")))
}

// An upload outlives the process that began it, but not for ever.
func TestUploadsAreSwept(t *testing.T) {
	folder := t.TempDir()
	store, err := dir.New(folder)
	require.NoError(t, err)
	_, err = storage.MultipartOf(store).Begin(t.Context(), "a", 10, 1)
	require.NoError(t, err)
	_, err = dir.New(folder)
	require.NoError(t, err)
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Len(t, entries, 1, "somebody may come back for it")
	old := time.Now().Add(-8 * 24 * time.Hour)
	require.NoError(t, os.Chtimes(filepath.Join(folder, entries[0].Name()), old, old))
	_, err = dir.New(folder)
	require.NoError(t, err)
	entries, err = os.ReadDir(folder)
	require.NoError(t, err)
	require.Empty(t, entries)
}
