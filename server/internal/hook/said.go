package hook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/d6t/d6tpipe-go/server/internal/dial"
)

// verdict says what a status means.
func verdict(status int) error {
	switch {
	case status >= 200 && status < 300:
		return nil
	case status >= 300 && status < 400:
		return fmt.Errorf("the answer was %s: redirects are not followed; enter the address that it leads to", name(status))
	case status == http.StatusGone:
		return fmt.Errorf("the answer was %s: the receiver wants no messages any more", name(status))
	}
	return fmt.Errorf("the answer was %s", name(status))
}

func name(status int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", status, http.StatusText(status)))
}

// explain says in words for users what went wrong before there was an answer. They hold
// neither the address, in which there may be a secret, nor what names were resolved to.
func explain(err error, timeout time.Duration) error {
	var inURL *url.Error
	if errors.As(err, &inURL) {
		err = inURL.Err
	}
	var (
		dns         *net.DNSError
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		system      syscall.Errno
		netErr      net.Error
	)
	switch {
	case errors.Is(err, context.Canceled):
		return errors.New("the server was told to end before there was an answer")
	case errors.Is(err, dial.ErrForbidden):
		return err
	case errors.As(err, &dns) && dns.IsNotFound:
		return errors.New("there is no host of this name")
	case errors.As(err, &dns):
		return errors.New("the name of the host could not be looked up")
	case errors.As(err, &certificate):
		return fmt.Errorf("the certificate is not to be trusted: %s", clean(certificate.Err.Error()))
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return errors.New("what answers there does not speak TLS")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return fmt.Errorf("there was no answer within %s", timeout)
	case errors.As(err, &system):
		return errors.New(system.Error())
	}
	return errors.New("the connection was cut, or what came over it was no HTTP")
}

// said is the beginning of an answer for people to read: one line, in which nothing
// can do harm to a terminal, and without what the receiver had from us in confidence.
func said(body []byte, to Target) string {
	text := string(body)
	for _, form := range confidential(to) {
		text = strings.ReplaceAll(text, form, "***")
	}
	return clean(text[:min(len(text), maxSaid)])
}

// shortest is how long a part of an address is at least that may be a secret.
const shortest = 8

// confidential are the forms in which an answer may repeat the secrets, and parts of
// the address that may be some; the longest ones first.
func confidential(to Target) (forms []string) {
	for _, secret := range to.Secrets {
		forms = append(forms, secret, strings.TrimPrefix(secret, "whsec_"))
	}
	if u, err := url.Parse(to.URL); err == nil {
		forms = append(forms, to.URL, u.RequestURI(), u.Path, u.RawQuery)
		forms = append(forms, strings.FieldsFunc(u.RequestURI(), func(r rune) bool { return strings.ContainsRune("/?&=;", r) })...)
		forms = append(forms, strings.Split(u.Path, "/")...)
		for name, values := range u.Query() {
			forms = append(append(forms, name), values...)
		}
	}
	forms = slices.DeleteFunc(forms, func(form string) bool { return len(form) < shortest })
	slices.SortFunc(forms, func(a, b string) int { return len(b) - len(a) })
	return forms
}

// clean escapes what is no text.
func clean(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case r == '\n':
			b.WriteString(`\n`)
		case unicode.IsPrint(r):
			b.WriteString(text[i : i+n])
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		i += n
	}
	return b.String()
}
