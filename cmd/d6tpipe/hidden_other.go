//go:build !linux && !darwin

package main

import (
	"os"

	"golang.org/x/term"
)

// readHidden reads a line from a terminal that does not show it.
func readHidden(f *os.File) (string, error) {
	word, err := term.ReadPassword(int(f.Fd()))
	return string(word), err
}
