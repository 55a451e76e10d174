package transfer_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// A file that was forgotten, and is restored with its old time, is new.
func TestStaleJournal(t *testing.T) {
	store := remote(map[string]string{"a.csv": "precious", "b.csv": "b"})
	p := newPipe(t, store)
	p.must(pull, 2)
	// as if killed before the manifest's batch: journal has it, manifest does not
	entries, err := p.Files(t.Context())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(p.state, "journal"), transfer.AppendBatch(nil, entries), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(p.state, "manifest"), transfer.EncodeManifest(nil), 0o600))
	p.must(pull, 0) // recalls, nothing to do
	backup := filepath.Join(t.TempDir(), "backup")
	info, err := os.Stat(filepath.Join(p.dir, "a.csv"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(backup, []byte("precious"), 0o644))
	require.NoError(t, p.RemoveRemote(t.Context(), []string{"a.csv"}))
	require.NoError(t, p.RemoveLocal(t.Context(), []string{"a.csv"}))
	p.must(pull, 0) // forgets a.csv
	// cp -p from the backup
	p.write("a.csv", "precious")
	require.NoError(t, os.Chtimes(filepath.Join(p.dir, "a.csv"), info.ModTime(), info.ModTime()))
	p.must(push, 1)
	_, err = p.RemoveOrphans(t.Context(), transfer.OrphanOptions{Side: transfer.Local, Apply: true})
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(p.dir, "a.csv"))
	_, err = store.Stat(t.Context(), "a.csv")
	require.NoError(t, err)
}
