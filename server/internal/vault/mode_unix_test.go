//go:build unix

package vault_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/server/internal/vault"
)

// A new key file is its user's alone, whatever the umask; so is it after a rotation.
func TestMadeModes(t *testing.T) {
	for _, mask := range []int{0, 0o022, 0o077} {
		t.Run(fmt.Sprintf("%03o", mask), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a", "keys", "key.json")
			before := syscall.Umask(mask)
			defer syscall.Umask(before)
			keys := load(t, vault.Source{Make: path}, "")
			rotate(t, keys)
			for name, want := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): 0o700, filepath.Dir(filepath.Dir(path)): 0o700} {
				info, err := os.Stat(name)
				require.NoError(t, err)
				require.Equal(t, want, info.Mode().Perm(), name)
			}
		})
	}
}

// A pipe is not opened: nobody may ever write to it.
func TestPipeIsNoKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	_, err := vault.Load(t.Context(), vault.Source{File: path}, "")
	require.ErrorIs(t, err, vault.ErrKeyFormat)
}
