package d6tpipe

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-resty/resty/v2"
)

const (
	maxMessage = 1 << 10  // bytes of what a server says that go into an error
	maxField   = 64       // bytes of a field's name in an error
	maxRows    = 200_000  // rows of one answer, so that 16 MiB of "{}," stay 16 MiB
	unique     = "unique" // how the contract says that a name is taken
)

// An answerError is a server's refusal: the status, and what the body says more
// exactly.
type answerError struct {
	status *StatusError
	more   error // a *FieldError or a sentinel; may be nil
	after  time.Duration
}

// RetryAfter is how long the server asks to wait, for who tries again; 0 is unknown.
func (e *answerError) RetryAfter() time.Duration { return e.after }

func (e *answerError) Error() string { return e.status.Error() }

// Unwrap makes both halves visible to errors.Is and errors.As.
func (e *answerError) Unwrap() []error {
	if e.more == nil {
		return []error{e.status}
	}
	return []error{e.status, e.more}
}

// answerErr makes an error of an answer that is no success. Secrets that the
// server echoes are blotted out.
func answerErr(status int, body []byte, secrets ...Secret) *answerError {
	message, field := parseRefusal(body, secrets...)
	e := &answerError{status: &StatusError{Status: status, Message: message}}
	switch {
	case status >= 300 && status < 400:
		e.status.Message = "the redirect is not followed, because it leaves the server's origin or changes the request"
		e.more = ErrUnavailable
	case field == nil:
	case status == http.StatusConflict, status == http.StatusBadRequest && strings.Contains(field.Reason, unique):
		field.Kind = ErrExists
		e.more = field
	case status == http.StatusBadRequest, status == http.StatusUnprocessableEntity:
		e.more = field
	}
	return e
}

// parseRefusal reads {"detail": "..."} and {"field": ["...", ...], ...}, the two
// forms of the contract's refusals. Anything else says nothing.
func parseRefusal(body []byte, secrets ...Secret) (message string, first *FieldError) {
	var fields map[string]json.RawMessage
	if decodeJSON(body, &fields) != nil {
		return "", nil
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		reason := clean(sentences(fields[name]), maxMessage, secrets)
		switch {
		case reason == "":
		case name == "detail" || name == "non_field_errors":
			parts = append(parts, reason)
		default:
			name = clean(name, maxField, secrets)
			parts = append(parts, name+": "+reason)
			if first == nil {
				first = &FieldError{Field: name, Reason: reason}
			}
		}
		if len(parts) == 8 {
			break
		}
	}
	return clean(strings.Join(parts, "; "), maxMessage, nil), first
}

// sentences is the text of a JSON string or of a list of such.
func sentences(raw json.RawMessage) string {
	var one string
	if decodeJSON(raw, &one) == nil {
		return one
	}
	var many []string
	if decodeJSON(raw, &many) == nil {
		return strings.Join(many, " ")
	}
	return ""
}

// clean makes a server's text fit for an error: no secrets, no control
// characters, at most limit bytes, whole runes.
func clean(text string, limit int, secrets []Secret) string {
	blot := func(text string) string {
		for _, secret := range secrets {
			if secret != "" {
				text = strings.ReplaceAll(text, string(secret), redacted)
			}
		}
		return text
	}
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == utf8.RuneError, !unicode.IsPrint(r):
			return -1
		}
		return r
	}, blot(text)) // before: a password may have characters that go; after: the server may have put some in
	text = strings.TrimSpace(blot(text))
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}

// networkFailure explains a request that got no answer. The address, which
// [url.Error] would print, stays out of it. A request that never left may be
// repeated whatever its method.
func networkFailure(err error, safe bool, limits Limits, secrets ...Secret) *failure {
	if wrapped := new(url.Error); errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	switch {
	case errors.Is(err, resty.ErrResponseBodyTooLarge):
		return &failure{err: fmt.Errorf("%w: the answer is longer than %d bytes; Limits.Answer allows more", ErrTooLarge, limits.Answer)}
	case errors.Is(err, context.DeadlineExceeded):
		return &failure{err: fmt.Errorf("%w: no whole answer in time", ErrUnavailable), again: safe}
	}
	f := &failure{err: fmt.Errorf("%w: %w", ErrUnavailable, err), again: safe}
	if text := err.Error(); clean(text, maxMessage, secrets) != text {
		f.err = fmt.Errorf("%w: %s", ErrUnavailable, clean(text, maxMessage, secrets))
	}
	if dial := new(net.OpError); errors.As(err, &dial) && dial.Op == "dial" {
		f.again = true
	}
	if untrusted := new(tls.CertificateVerificationError); errors.As(err, &untrusted) {
		f.again = false
	}
	return f
}

// secretsIn returns the passwords and credentials in the body of a request, the longest
// first: one may begin another. What is as short as "r" stays out: to blot it out would
// blot out every text.
func secretsIn(body json.RawMessage) (secrets []Secret) {
	var fields struct {
		Password                                       string
		Credentials, ReadCredentials, WriteCredentials Credentials
	}
	if len(body) == 0 || decodeJSON(body, &fields) != nil {
		return nil
	}
	var gather func(c Credentials)
	gather = func(c Credentials) {
		for name, v := range c {
			if set, ok := v.(map[string]any); ok {
				gather(set)
			} else if secret := c.Value(name); len(secret) > 3 { // also of what is a number
				secrets = append(secrets, secret)
			}
		}
	}
	for _, c := range []Credentials{fields.Credentials, fields.ReadCredentials, fields.WriteCredentials} {
		gather(c)
	}
	secrets = append(secrets, Secret(fields.Password))
	slices.SortFunc(secrets, func(a, b Secret) int { return len(b) - len(a) })
	return secrets
}

// decodeList reads a bare array of objects, or one page of the Django REST
// framework.
func decodeList(body []byte) (rows []json.RawMessage, next string, err error) {
	body = bytes.Trim(body, " \t\r\n")
	if len(body) > 0 && body[0] == '{' {
		var page struct {
			Results json.RawMessage `json:"results"`
			Next    string          `json:"next"`
		}
		if err := decodeJSON(body, &page); err != nil {
			return nil, "", err
		}
		body, next = page.Results, page.Next
	}
	rows, err = splitArray(body)
	return rows, next, err
}

// splitArray returns the objects of a JSON array as parts of data. It neither
// copies nor parses them twice, so a hostile list costs little more than itself.
func splitArray(data []byte) ([]json.RawMessage, error) {
	if len(data) == 0 || data[0] != '[' || !json.Valid(data) {
		return nil, errors.New("the list is no JSON array")
	}
	var rows []json.RawMessage
	depth, start, quoted := 0, 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case quoted && c != '"':
		case depth == 1 && c != '{' && c != ',' && c != ']' && !isSpace(c):
			return nil, errors.New("the list has a row that is no JSON object")
		case c == '"':
			quoted = !quoted
		case c == '{' || c == '[':
			if depth++; depth == 2 {
				start = i
			}
		case c == '}' || c == ']':
			if depth--; depth == 1 {
				rows = append(rows, data[start:i+1:i+1])
			}
		}
		if len(rows) > maxRows {
			return nil, fmt.Errorf("%w: the list has more than %d rows", ErrTooLarge, maxRows)
		}
	}
	return rows, nil
}

// orderRows sorts rows by name, which a server need not have done.
func orderRows(rows []json.RawMessage) {
	type named struct {
		name string
		row  json.RawMessage
	}
	all := make([]named, len(rows))
	for i, row := range rows {
		var rec struct{ Name string }
		_ = decodeJSON(row, &rec) // a row without a name is found out by its reader
		all[i] = named{rec.Name, row}
	}
	slices.SortStableFunc(all, func(a, b named) int { return strings.Compare(a.name, b.name) })
	for i := range all {
		rows[i] = all[i].row
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }
