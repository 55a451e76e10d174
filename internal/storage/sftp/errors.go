package sftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"unicode/utf8"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// The codes of a status.
const (
	codeOK         = 0
	codeEOF        = 1
	codeNoFile     = 2
	codePermission = 3
	codeFailure    = 4
	codeNoConn     = 6
	codeConnLost   = 7
	codeUnsupp     = 8
)

var byCode = map[uint32]error{
	codeEOF:        io.EOF,
	codeNoFile:     fs.ErrNotExist,
	codePermission: fs.ErrPermission,
	codeNoConn:     storage.ErrTemporary,
	codeConnLost:   storage.ErrTemporary,
	codeUnsupp:     errors.ErrUnsupported,
}

// failure is a status that no sentinel says: a full disk, a name that is taken.
type failure struct {
	code uint32
	text string // the server's words
}

func (e *failure) Error() string {
	s := "the server says no, code " + strconv.Itoa(int(e.code))
	if e.text != "" {
		s += ": " + strconv.Quote(e.text)
	}
	return s
}

// statusError reads a status; nil means that it was done.
func statusError(body []byte) error {
	p := parser{buf: body}
	code := p.uint32()
	if p.bad {
		return errMalformed
	}
	if code == codeOK {
		return nil
	}
	if err, ok := byCode[code]; ok {
		return err
	}
	text := p.string()
	if len(text) > 200 || !utf8.ValidString(text) {
		text = ""
	}
	return &failure{code, text}
}

// brokenError is the end of a connection; the same call may succeed on another.
// It wraps nothing: the end of a connection is not the end of a file, and one that
// was closed is not a closed Store.
type brokenError struct{ text string }

func (e *brokenError) Error() string        { return e.text }
func (e *brokenError) Is(target error) bool { return target == storage.ErrTemporary }

// broken is the error of all calls on a connection that ended with err.
func broken(err error) error {
	switch {
	case errors.Is(err, errMalformed), errors.Is(err, errClosed):
		return err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &brokenError{"the server closed the connection"}
	}
	return &brokenError{"the connection broke: " + err.Error()}
}

// errClosed is what every call gets after Close.
var errClosed = fmt.Errorf("sftp: %w", fs.ErrClosed)

// fail wraps the error of an operation on a key once. When ctx has ended, that is
// why.
func fail(ctx context.Context, op, key string, err error) error {
	var refused *storage.KeyError
	var wrapped *fs.PathError
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err == nil || errors.As(err, &refused) || errors.As(err, &wrapped) {
		return err
	}
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: an end where there is none", errMalformed)
	}
	return &fs.PathError{Op: op, Path: key, Err: err}
}
