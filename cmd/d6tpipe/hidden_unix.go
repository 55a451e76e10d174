//go:build linux || darwin

package main

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// readHidden reads a line from a terminal that does not show it. Ctrl-D ends it with
// [io.EOF], which term.ReadPassword would wait through.
func readHidden(f *os.File) (line string, err error) {
	fd := int(f.Fd())
	was, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return "", err
	}
	hidden := *was
	hidden.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(fd, setTermios, &hidden); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, unix.IoctlSetTermios(fd, setTermios, was)) }()
	return readTyped(f)
}
