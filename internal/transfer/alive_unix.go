//go:build unix

package transfer

import (
	"errors"
	"syscall"
)

// alive reports whether a process of this machine has the id.
func alive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}
