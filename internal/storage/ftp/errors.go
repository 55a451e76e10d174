package ftp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

var (
	errStopped   = errors.New("the caller wants no more")
	errOutOfStep = fmt.Errorf("%w: the server's answers are out of step", storage.ErrTemporary)
	errCut       = fmt.Errorf("%w: the data connection was cut short", storage.ErrTemporary)
	errNoEnd     = fmt.Errorf("%w: the encrypted data ended without the server's word that it was all (close_notify of TLS)", storage.ErrTemporary)
)

// A reply is a server's answer to a command.
type reply struct {
	code int
	text string
}

func (r reply) good() bool { return r.code/100 == 2 }

// A replyError is an answer that says no. Its kind may be set by who has found out
// more than the code says.
type replyError struct {
	reply
	verb string // of the command
	kind error
}

func (e *replyError) Error() string {
	text := fmt.Sprintf("the server answered %s with %d", e.verb, e.code)
	if e.text != "" {
		text += " " + e.text
	}
	switch e.code {
	case 452, 552:
		text += " (no space is left, or a quota is used up)"
	}
	return text
}

func (e *replyError) Unwrap() error { return e.kind }

// newReplyError makes an error of an answer. The text goes into it, short and
// printable, except where the command held the password, or where the server
// repeats it.
func newReplyError(command string, r reply, password string) *replyError {
	verb, _, _ := strings.Cut(command, " ")
	text, _, _ := strings.Cut(r.text, "\n")
	text = strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 {
			return '?'
		}
		return c
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "")
	}
	if verb == "PASS" || verb == "USER" || password != "" && strings.Contains(r.text, password) {
		text = ""
	}
	return &replyError{reply: reply{r.code, text}, verb: verb, kind: kindOf(r.code)}
}

// kindOf is what a code means by itself. 550 and 553 may mean that something is
// missing or that it is not allowed: [conn.find] finds out.
func kindOf(code int) error {
	switch code {
	case 530, 532, 331, 332, 430, 431, 533, 534:
		return fs.ErrPermission
	case 500, 501, 502, 503, 504:
		return errors.ErrUnsupported
	}
	if code/100 == 4 {
		return storage.ErrTemporary
	}
	return nil
}

// refused reports whether err is an answer that says no for good.
func refused(err error) bool {
	var e *replyError
	return errors.As(err, &e) && e.code/100 == 5 && e.code != 530
}

func unsupported(err error) bool { return errors.Is(err, errors.ErrUnsupported) }

// denied is err when what it is about is there.
func denied(err error) error {
	var e *replyError
	if errors.As(err, &e) && e.kind == nil && e.code != 552 {
		return &replyError{e.reply, e.verb, fs.ErrPermission}
	}
	return err
}

// brokenError is an error of a connection, as opposed to an answer. All but
// certificates that are wrong may pass.
func brokenError(err error) error {
	var certificate *tls.CertificateVerificationError
	switch {
	case err == nil, errors.As(err, &certificate), errors.Is(err, errPin):
		return err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: the connection was closed early", storage.ErrTemporary)
	}
	return fmt.Errorf("%w: %w", storage.ErrTemporary, err)
}

// fail wraps the error of a call once.
func fail(ctx context.Context, op, key string, err error) error {
	if err == nil || errors.Is(err, errStopped) {
		return err
	}
	if ctxErr := ctx.Err(); ctxErr != nil {
		err = ctxErr
	}
	return &fs.PathError{Op: op, Path: key, Err: err}
}
