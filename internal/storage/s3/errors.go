package s3

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

var (
	errClosed   = fmt.Errorf("s3: %w", fs.ErrClosed)
	errNoLength = errors.New("the remote does not say how long the object is")
)

// byCode is what S3's error codes mean; byStatus is for all others.
var byCode = map[string]error{
	"NoSuchBucket": fs.ErrNotExist,
	"NoSuchKey":    fs.ErrNotExist,
	"NoSuchUpload": fs.ErrNotExist,

	"AccessDenied":          fs.ErrPermission,
	"InvalidAccessKeyId":    fs.ErrPermission,
	"XAdminUserNotFound":    fs.ErrPermission, // versitygw's word for it
	"SignatureDoesNotMatch": fs.ErrPermission,
	"InvalidToken":          fs.ErrPermission,

	"ExpiredToken":          storage.ErrExpired,
	"ExpiredTokenException": storage.ErrExpired,
	"TokenRefreshRequired":  storage.ErrExpired,

	"PreconditionFailed":         storage.ErrChanged,
	"ConditionalRequestConflict": storage.ErrTemporary, // two at once; the next try tells who won

	"InternalError":             storage.ErrTemporary, // also within a 200, at the end of an upload in parts
	"ServiceUnavailable":        storage.ErrTemporary,
	"SlowDown":                  storage.ErrTemporary,
	"RequestTimeout":            storage.ErrTemporary, // a 400
	"BadDigest":                 storage.ErrCorrupt,   // on the way
	"XAmzContentSHA256Mismatch": storage.ErrCorrupt,
	"IncompleteBody":            storage.ErrTemporary,
	"OperationAborted":          storage.ErrTemporary,
}

func byStatus(status int) error {
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return fs.ErrPermission
	case status == http.StatusNotFound:
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

// An answerError is an answer that says no. Its text holds the code and the
// status and nothing else that the remote wrote: messages of S3 and its kin quote
// requests, and with them signatures.
type answerError struct {
	code   string
	status int
	region string // where the bucket is, when it is elsewhere
	kind   error  // may be nil
	after  time.Duration
}

func (e *answerError) Error() string {
	text := fmt.Sprintf("%s (%d)", word(e.code), e.status)
	if e.region != "" {
		text += ", the bucket is in region " + word(e.region)
	}
	return text
}

func (e *answerError) Unwrap() error { return e.kind }

// RetryAfter is how long the remote asked to be left alone.
func (e *answerError) RetryAfter() time.Duration { return e.after }

// word lets nothing but a code through.
func word(s string) string {
	if s == "" || len(s) > 64 || strings.ContainsFunc(s, odd) {
		return "error"
	}
	return s
}

func odd(r rune) bool {
	return r != '-' && r != '.' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
}

// fail wraps the error of a call once. The text never holds a URL.
func (c *call) fail(err error) error {
	if err == nil {
		return nil
	}
	if ctxErr := c.ctx.Err(); ctxErr != nil {
		err = ctxErr
	}
	var answer minio.ErrorResponse
	var request *url.Error
	switch {
	case errors.As(err, &answer):
		err = c.answered(answer)
	case errors.As(err, &request):
		err = request.Err
	}
	var no *answerError
	if errors.As(err, &no) && no.region != "" && c.store.move(no.region) {
		no.kind = storage.ErrTemporary
	}
	return &fs.PathError{Op: c.op, Path: c.store.opts.Bucket + "/" + c.key, Err: err}
}

func (c *call) answered(resp minio.ErrorResponse) error {
	e := &answerError{code: resp.Code, status: resp.StatusCode, after: c.after}
	kind, known := byCode[resp.Code]
	if e.kind = kind; !known {
		e.kind = byStatus(resp.StatusCode)
	}
	if resp.Code == otherRegion {
		e.region = resp.Region
	}
	return e
}

// networkError is an error of the connection, as opposed to an answer. All but
// certificates that do not fit may pass.
func networkError(ctx context.Context, err error) error {
	var certificate *tls.CertificateVerificationError
	if ctx.Err() != nil || errors.As(err, &certificate) || errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrInvalid) { // the last two are who dials, or signs
		return err
	}
	return &brokenError{err}
}

type brokenError struct{ err error }

// Error avoids the word EOF: minio-go looks for it in texts and replaces the
// error by one that quotes the URL.
func (e *brokenError) Error() string {
	if errors.Is(e.err, io.EOF) || errors.Is(e.err, io.ErrUnexpectedEOF) {
		return "the connection was closed early"
	}
	return strings.ReplaceAll(e.err.Error(), "EOF", "end of file")
}

func (e *brokenError) Unwrap() error { return e.err }

func (e *brokenError) Is(target error) bool { return target == storage.ErrTemporary }
