package httpfile

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

func byStatus(status int) error {
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusProxyAuthRequired:
		return fs.ErrPermission
	case status == http.StatusNotFound, status == http.StatusGone:
		return fs.ErrNotExist
	case status == http.StatusPreconditionFailed:
		return storage.ErrChanged
	case status == http.StatusNotImplemented, status == http.StatusMethodNotAllowed:
		return errors.ErrUnsupported
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500:
		return storage.ErrTemporary
	}
	return nil
}

// An answerError is an answer that says no.
type answerError struct {
	status int
	kind   error // may be nil
	after  time.Duration
}

func (e *answerError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("the remote answered %d %s", e.status, http.StatusText(e.status)))
}

func (e *answerError) Unwrap() error { return e.kind }

// RetryAfter is how long the remote asked to be left alone.
func (e *answerError) RetryAfter() time.Duration { return e.after }

// refused makes an error of an answer. A bearer token that is not good any more is
// told from a request that had none (RFC 6750, 3.1).
func refused(resp *http.Response) error {
	e := &answerError{status: resp.StatusCode, kind: byStatus(resp.StatusCode), after: retryAfter(resp.Header.Get("Retry-After"))}
	if resp.StatusCode == http.StatusUnauthorized && strings.Contains(resp.Header.Get("WWW-Authenticate"), "invalid_token") {
		e.kind = storage.ErrExpired
	}
	return e
}

// retryAfter reads the header's two forms (RFC 9110, 10.2.3).
func retryAfter(value string) time.Duration {
	if seconds, err := strconv.Atoi(value); err == nil {
		return time.Duration(max(seconds, 0)) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}

// fail wraps the error of a call once. The text never holds a query.
func (s *Store) fail(op, key string, err error) error {
	if err == nil {
		return nil
	}
	err = withoutURL(err)
	path := s.base.Host + s.base.Path
	if !s.single {
		path += key
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}

// withoutURL takes the address, with its query, out of an error of package http.
func withoutURL(err error) error {
	var request *url.Error
	if errors.As(err, &request) {
		return request.Err
	}
	return err
}

// networkError is an error of the connection, as opposed to an answer. All but
// certificates that do not fit may pass.
func networkError(ctx context.Context, err error) error {
	var certificate *tls.CertificateVerificationError
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.As(err, &certificate) || errors.Is(err, fs.ErrClosed) || errors.Is(err, fs.ErrPermission) { // the last is who dials
		return err
	}
	return &brokenError{err}
}

type brokenError struct{ err error }

func (e *brokenError) Error() string {
	if errors.Is(e.err, io.EOF) || errors.Is(e.err, io.ErrUnexpectedEOF) {
		return "the connection was closed early"
	}
	return e.err.Error()
}

func (e *brokenError) Unwrap() error { return e.err }

func (e *brokenError) Is(target error) bool { return target == storage.ErrTemporary }
