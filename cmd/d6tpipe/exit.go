package main

import (
	"context"
	"errors"
	"io/fs"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// The exit codes, the same for all commands. Scripts rely on them.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitPartial     = 3
	exitConflict    = 4
	exitRefused     = 5
	exitInterrupted = 130 // as shells have it for SIGINT
)

// exitCode tells how the program ends. What went through in part comes first:
// its causes may be conflicts and refusals.
func exitCode(err error) int {
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, d6tpipe.ErrPartial):
		return exitPartial
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, d6tpipe.ErrRefused):
		return exitRefused
	case errors.Is(err, d6tpipe.ErrConflict):
		return exitConflict
	}
	return exitFailure
}

// message is the text of an error for people.
func message(err error) string {
	var told *interruptedError
	if errors.Is(err, context.Canceled) && !errors.As(err, &told) && !errors.Is(err, d6tpipe.ErrPartial) {
		return "interrupted"
	}
	return err.Error()
}

// An interruptedError is a transfer that a signal has ended. Its text says what was
// done until then.
type interruptedError struct {
	text string
	err  error
}

func (e *interruptedError) Error() string { return e.text }
func (e *interruptedError) Unwrap() error { return e.err }

// A hintedError is an error with the line that says what to do.
type hintedError struct {
	error
	hint string
}

func (e *hintedError) Unwrap() error { return e.error }

// hint gives an error a line of advice; nil stays nil.
func hint(err error, advice string) error {
	if err == nil {
		return nil
	}
	return &hintedError{err, advice}
}

// advice is the second line of an error: what to do. It is "" when the error
// says it itself or nobody knows.
func advice(err error) string {
	var hinted *hintedError
	var run *runError
	var usage *usageError
	switch {
	case errors.As(err, &hinted):
		return hinted.hint
	case errors.As(err, &run):
		return ""
	case errors.As(err, &usage):
		return "See " + usage.command + " --help."
	}
	for _, a := range advices {
		if errors.Is(err, a.kind) {
			return a.text
		}
	}
	return ""
}

// advices are looked through in order: a cause stands before what it causes.
var advices = []struct {
	kind error
	text string
}{
	{d6tpipe.ErrUnauthorized, "Log in with: d6tpipe login USERNAME"},
	{d6tpipe.ErrKeyring, "Or set D6TPIPE_TOKEN, or keep the token in a file: d6tpipe profiles set --token-file FILE"},
	{d6tpipe.ErrPermission, "Ask the owner for it, or who administers the server; d6tpipe whoami tells who you are here."},
	{d6tpipe.ErrPartial, "Run it again for the rest."},
	{d6tpipe.ErrConflict, "d6tpipe status shows both sides; --merge keep or --merge overwrite decides."},
	{d6tpipe.ErrRateLimited, "Wait a minute and try again."},
	{d6tpipe.ErrUnavailable, "Try again later; d6tpipe doctor looks for the reason."},
	{d6tpipe.ErrDamaged, "It was left as it is: mend it by hand, or bring it back from a backup."},
	{fs.ErrPermission, "Look at the permissions of the file or folder."},
}
