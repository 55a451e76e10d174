package main

import "golang.org/x/sys/unix"

// The calls for the settings of a terminal.
const (
	getTermios = unix.TCGETS
	setTermios = unix.TCSETS
)
