package d6tpipe

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// The kinds of failure. Every error of this package that has one of these
// causes matches it with [errors.Is]; no caller needs to read an error's text.
// An error that a cancelled or expired context caused matches
// [context.Canceled] or [context.DeadlineExceeded] and none of these.
var (
	// ErrInvalid says that a setting, an argument or a request is malformed.
	// [FieldError] names the field.
	ErrInvalid = errors.New("invalid")
	// ErrUnauthorized says that the server does not know the token, or that
	// there is none.
	ErrUnauthorized = errors.New("not logged in")
	// ErrPermission says that the caller is known but may not do this.
	ErrPermission = errors.New("permission denied")
	// ErrNotFound says that there is no record or file of that name.
	ErrNotFound = errors.New("not found")
	// ErrExists says that the name is taken.
	ErrExists = errors.New("already exists")
	// ErrConflict says that both sides changed since they last agreed: files
	// that were edited here and there, or a push against a remote that moved on.
	ErrConflict = errors.New("conflict")
	// ErrCursorExpired says that a change feed does not reach back to a cursor any
	// more, or has begun anew: what changed since then is seen by comparing all.
	ErrCursorExpired = errors.New("cursor expired")
	// ErrTooLarge says that an answer or a request is over its limit.
	ErrTooLarge = errors.New("too large")
	// ErrRateLimited says that the server wants fewer requests.
	ErrRateLimited = errors.New("rate limited")
	// ErrUnsupported says that this implementation, storage or version cannot
	// do what was asked.
	ErrUnsupported = errors.New("unsupported")
	// ErrUnavailable says that the server could not be reached or could not
	// answer; the same call may succeed later.
	ErrUnavailable = errors.New("unavailable")

	// ErrRefused says that an operation was refused because it could lose data:
	// a hostile file name, a deletion that does not follow from complete
	// knowledge.
	ErrRefused = errors.New("refused for safety")
	// ErrPartial says that a pull or push went through for some files and not
	// for others; the report tells which.
	ErrPartial = errors.New("partly done")
	// ErrDamaged says that a file of ours (catalogue, config, manifest) cannot
	// be read. It was left as it is.
	ErrDamaged = errors.New("damaged file")
	// ErrKeyring says that the keyring of the operating system cannot be used.
	ErrKeyring = errors.New("keyring unavailable")
)

// byStatus is the one table between kinds of failure and HTTP status codes.
// The client reads it from left to right, the server from right to left.
var byStatus = []struct {
	status int
	kind   error
}{
	{http.StatusBadRequest, ErrInvalid},
	{http.StatusUnauthorized, ErrUnauthorized},
	{http.StatusForbidden, ErrPermission},
	{http.StatusNotFound, ErrNotFound},
	{http.StatusConflict, ErrExists},
	{http.StatusGone, ErrCursorExpired},
	{http.StatusPreconditionFailed, ErrConflict},
	{http.StatusRequestEntityTooLarge, ErrTooLarge},
	{http.StatusTooManyRequests, ErrRateLimited},
	{http.StatusNotImplemented, ErrUnsupported},
	{http.StatusServiceUnavailable, ErrUnavailable},
}

// HTTPStatus returns the status code with which the repo API reports err, 200
// for nil and 500 for an error of no known kind.
func HTTPStatus(err error) int {
	if err == nil {
		return http.StatusOK
	}
	for _, row := range byStatus {
		if errors.Is(err, row.kind) {
			return row.status
		}
	}
	return http.StatusInternalServerError
}

// Error tells which operation on which thing failed, and why. It has the shape
// of [io/fs.PathError].
type Error struct {
	Op   string // what was tried, such as "create pipe" or "pull"
	Name string // the remote, pipe, profile or file; may be empty
	Err  error  // the cause
}

func (e *Error) Error() string {
	if e.Name == "" {
		return e.Op + ": " + e.Err.Error()
	}
	return fmt.Sprintf("%s %q: %v", e.Op, e.Name, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// FieldError says what is wrong with one field of a record. It matches Kind,
// which is [ErrInvalid] when nil.
type FieldError struct {
	Field  string // the field's JSON name, such as "options"
	Reason string // a sentence
	Kind   error  // ErrInvalid (nil) or ErrExists
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Reason }

// Unwrap returns the kind of the error.
func (e *FieldError) Unwrap() error {
	if e.Kind == nil {
		return ErrInvalid
	}
	return e.Kind
}

// StatusError is an answer of a repo API that is not a success.
type StatusError struct {
	Status  int    // the HTTP status code
	Message string // what the server says, without control characters, at most 1 KiB
}

func (e *StatusError) Error() string {
	text := fmt.Sprintf("server answered %d %s", e.Status, http.StatusText(e.Status))
	if e.Message == "" {
		return strings.TrimSpace(text)
	}
	return text + ": " + e.Message
}

// Is reports whether the status code stands for the kind of failure target.
func (e *StatusError) Is(target error) bool {
	for _, row := range byStatus {
		if row.status == e.Status {
			return row.kind == target
		}
	}
	switch { // what has no row is told by its class (RFC 9110, section 15)
	case e.Status >= 500 || e.Status == http.StatusRequestTimeout:
		return target == ErrUnavailable
	case e.Status >= 400:
		return target == ErrInvalid
	}
	return false
}
