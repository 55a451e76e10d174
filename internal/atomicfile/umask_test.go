//go:build unix

package atomicfile_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/atomicfile"
)

// The umask neither opens nor closes the file. It is the process's, so this test
// does not run beside others.
func TestUmask(t *testing.T) {
	for _, umask := range []int{0o000, 0o022, 0o077, 0o177} {
		for _, perm := range []fs.FileMode{0o600, 0o644} {
			old := syscall.Umask(umask)
			dir := filepath.Join(t.TempDir(), "x", "y")
			path := filepath.Join(dir, "a")
			err := atomicfile.MakeDir(dir)
			if err == nil {
				err = atomicfile.Write(path, []byte("x"), perm)
			}
			if err == nil {
				err = atomicfile.Swap(t.Context(), path, []byte("x"), []byte("y"), perm)
			}
			syscall.Umask(old)
			require.NoError(t, err)
			info, err := os.Stat(path)
			require.NoError(t, err)
			require.Equal(t, perm, info.Mode().Perm(), "umask %o", umask)
			for d := range 2 {
				info, err = os.Stat(filepath.Join(dir, []string{".", ".."}[d]))
				require.NoError(t, err)
				require.Equal(t, fs.FileMode(0o700), info.Mode().Perm(), "umask %o", umask)
			}
		}
	}
}
