//go:build unix

package httpd

import "syscall"

// openFiles is how many files and connections the system lets this process have,
// 0 when it does not say.
func openFiles() uint64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return uint64(limit.Cur) //nolint:unconvert // it is signed on some systems
}
