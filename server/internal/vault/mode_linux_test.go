package vault_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/server/internal/vault"
)

const (
	nobody = 65534
	alice  = 12345
)

// as runs f as another user: Linux has users by thread, and this one ends with the
// goroutine, which never unlocks it.
func as(uid int, f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		const same = ^uintptr(0)
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, same, uintptr(uid), same); errno != 0 {
			result <- errno
			return
		}
		result <- f()
	}()
	return <-result
}

// Whose file, with which mode, is taken by whom.
func TestModes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to have files of several users")
	}
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	for i, c := range []struct {
		owner int
		mode  fs.FileMode
		user  int
		want  error
	}{
		{0, 0o600, 0, nil},
		{0, 0o400, 0, nil},
		{0, 0o700, 0, nil},
		{0, 0o640, 0, nil},
		{0, 0o440, 0, nil},
		{0, 0o644, 0, vault.ErrKeyUnsafe},
		{0, 0o604, 0, vault.ErrKeyUnsafe},
		{0, 0o660, 0, vault.ErrKeyUnsafe},
		{0, 0o620, 0, vault.ErrKeyUnsafe},
		{0, 0o610, 0, vault.ErrKeyUnsafe},
		{0, 0o602, 0, vault.ErrKeyUnsafe},
		{0, 0o601, 0, vault.ErrKeyUnsafe},
		{alice, 0o600, 0, vault.ErrKeyUnsafe},
		{alice, 0o600, alice, nil},
		{alice, 0o400, alice, nil},
		{alice, 0o640, alice, vault.ErrKeyUnsafe},
		{alice, 0o604, alice, vault.ErrKeyUnsafe},
		{alice, 0o644, nobody, vault.ErrKeyUnsafe},
		{alice, 0o600, nobody, fs.ErrPermission},
		{0, 0o600, alice, fs.ErrPermission},
		{0, 0o640, alice, nil}, // of the group that this process is in
		{0, 0o644, alice, vault.ErrKeyUnsafe},
	} {
		t.Run(fmt.Sprintf("%d %04o %d", c.owner, c.mode, c.user), func(t *testing.T) {
			path := filepath.Join(dir, fmt.Sprint(i))
			require.NoError(t, os.WriteFile(path, []byte(raw(1)), 0o600))
			require.NoError(t, os.Chown(path, c.owner, -1))
			require.NoError(t, os.Chmod(path, c.mode))
			err := as(c.user, func() error {
				_, err := vault.Load(t.Context(), vault.Source{Make: path}, "")
				return err
			})
			require.ErrorIs(t, err, c.want)
			require.Equal(t, raw(1), content(t, path))
			if c.want == vault.ErrKeyUnsafe {
				require.Regexp(t, `chmod 600|chown \d+`, err.Error(), "it says what to do")
			}
		})
	}
}

// A file that a group reads would not be readable after a rotation, so it is left alone.
func TestRotateLeavesGroupFiles(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, whose files alone a group may read")
	}
	keys, path := newKeys(t)
	require.NoError(t, os.Chmod(path, 0o640))
	before := content(t, path)
	_, err := keys.Rotate(t.Context())
	require.ErrorIs(t, err, vault.ErrKeyFixed)
	require.Equal(t, before, content(t, path))
}
