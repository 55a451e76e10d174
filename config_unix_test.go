//go:build unix

package d6tpipe_test

import "syscall"

func setUmask(mask int) int { return syscall.Umask(mask) }
