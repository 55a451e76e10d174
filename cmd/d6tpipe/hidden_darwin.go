package main

import "golang.org/x/sys/unix"

// The calls for the settings of a terminal.
const (
	getTermios = unix.TIOCGETA
	setTermios = unix.TIOCSETA
)
