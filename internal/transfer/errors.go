package transfer

import (
	"errors"
	"fmt"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// The kinds of failure, beside those of package storage.
var (
	// ErrConflict says that both sides changed; see [ConflictError].
	ErrConflict = errors.New("conflict")
	// ErrPartial says that some files went through and others did not; see
	// [PartialError].
	ErrPartial = errors.New("partly done")
	// ErrRefused says that a removal was refused because it could lose data.
	ErrRefused = errors.New("refused for safety")
	// ErrDamaged says that the manifest cannot be read. It was left as it is.
	ErrDamaged = errors.New("damaged manifest")
	// ErrNewer says that a newer version of the program wrote the manifest. It
	// was left as it is.
	ErrNewer = errors.New("manifest of a newer version")
	// ErrEdited says that a local file changed while it was looked at or sent.
	ErrEdited = errors.New("the local file has changed")
	// ErrCorrupt says that other bytes arrived than were announced; see
	// [VerifyError].
	ErrCorrupt = errors.New("corrupt transfer")
)

// A ConflictError names the files for which a plan cannot be applied. Nothing
// was moved. It matches [ErrConflict].
type ConflictError struct {
	Direction Direction
	Keys      []string
}

func (e *ConflictError) Error() string {
	hint := "edited on both sides"
	if e.Direction == Push {
		hint = "the remote has changed, pull first"
	}
	return fmt.Sprintf("%v: %s: %s", ErrConflict, hint, quoted(e.Keys))
}

// Unwrap returns [ErrConflict].
func (e *ConflictError) Unwrap() error { return ErrConflict }

// A PartialError names the files that did not go through, and why. It matches
// [ErrPartial] and all of its causes.
type PartialError struct {
	Failed    []Failure           // sorted by key; conflicts that came up on the way are among them
	Refused   []*storage.KeyError // names that cannot be used
	Succeeded int                 // files that went through
}

// A Failure is one file that did not go through.
type Failure struct {
	Key string
	Err error
}

func (e *PartialError) Error() string {
	var parts []string
	if len(e.Failed) > 0 {
		parts = append(parts, fmt.Sprintf("%d failed (%q: %v)", len(e.Failed), e.Failed[0].Key, e.Failed[0].Err))
	}
	if len(e.Refused) > 0 {
		parts = append(parts, fmt.Sprintf("%d refused (%v)", len(e.Refused), e.Refused[0]))
	}
	return fmt.Sprintf("%v: %d files done, %s", ErrPartial, e.Succeeded, strings.Join(parts, ", "))
}

// Unwrap returns [ErrPartial] and the causes.
func (e *PartialError) Unwrap() []error {
	causes := []error{ErrPartial}
	for _, f := range e.Failed {
		causes = append(causes, f.Err)
	}
	for _, r := range e.Refused {
		causes = append(causes, r)
	}
	return causes
}

// A VerifyError says in what the bytes that arrived, here or there, differ from what
// was announced. It matches [ErrCorrupt].
type VerifyError struct {
	Key  string
	What string // "size", or the kind of a sum
	Want string // as announced
	Got  string // as arrived; "" when the remote only refused it
}

func (e *VerifyError) Error() string {
	if e.Got == "" {
		return fmt.Sprintf("%v: %q: the remote refused what it received, of which the %s is not %s", ErrCorrupt, e.Key, e.What, e.Want)
	}
	return fmt.Sprintf("%v: %q: %s is %s, announced was %s", ErrCorrupt, e.Key, e.What, e.Got, e.Want)
}

// Unwrap returns [ErrCorrupt].
func (e *VerifyError) Unwrap() error { return ErrCorrupt }

// corrupted is what the error of a remote means that got other bytes than were sent;
// crc is the sum of these. Other errors stay what they are.
func corrupted(key string, crc uint64, err error) error {
	if !errors.Is(err, storage.ErrCorrupt) {
		return err
	}
	var sum *storage.SumError
	if errors.As(err, &sum) {
		return &VerifyError{key, sum.Kind, sum.Want, sum.Got}
	}
	return &VerifyError{Key: key, What: kindCRC, Want: hexCRC(crc)}
}

// corruptTag is the version that a failed Put has left of other bytes than were sent.
func corruptTag(err error) string {
	var sum *storage.SumError
	if errors.As(err, &sum) {
		return sum.Tag
	}
	return ""
}

// quoted lists the first few keys.
func quoted(keys []string) string {
	const most = 5
	var b strings.Builder
	for i, key := range keys[:min(len(keys), most)] {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", key)
	}
	if len(keys) > most {
		fmt.Fprintf(&b, " and %d more", len(keys)-most)
	}
	return b.String()
}
