package storage

import (
	"errors"
	"fmt"
)

// ErrCorrupt says that a remote received other bytes than were sent to it; see
// [SumError]. To send them again may help, once.
var ErrCorrupt = errors.New("the remote received other bytes than were sent")

// A SumError is an ErrCorrupt that a remote showed by the sum of what it received.
type SumError struct {
	Kind string // as an Object's Sum begins
	Want string // of what was sent, in hex
	Got  string // of what was received
	Tag  string // of the object that has these bytes now; "" when there is none
}

func (e *SumError) Error() string {
	return fmt.Sprintf("%v: their %s is %s, and was %s", ErrCorrupt, e.Kind, e.Got, e.Want)
}

// Unwrap returns [ErrCorrupt].
func (e *SumError) Unwrap() error { return ErrCorrupt }
