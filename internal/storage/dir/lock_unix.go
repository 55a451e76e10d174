//go:build unix

package dir

import (
	"errors"
	"os"
	"syscall"
)

// lockUpload keeps other processes from writing to an upload, or giving it its name,
// until f is closed. Where there are no locks it does nothing.
func lockUpload(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errOthers
	}
	return nil
}
