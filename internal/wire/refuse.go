package wire

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
)

// texts are what the handler says where an error has no words of its own. The
// Python client matches "Not found" byte by byte.
var texts = map[int]string{
	http.StatusBadRequest:            "The request is malformed.",
	http.StatusUnauthorized:          "Authentication credentials were not provided, or are not valid.",
	http.StatusForbidden:             "You do not have permission to perform this action.",
	http.StatusNotFound:              "Not found.",
	http.StatusConflict:              catalog.Taken,
	http.StatusGone:                  "The cursor has expired: begin without one.",
	http.StatusPreconditionFailed:    "Somebody else changed it in the meantime.",
	http.StatusRequestEntityTooLarge: "The request is too large.",
	http.StatusTooManyRequests:       "Request was throttled.",
	http.StatusNotImplemented:        "This server does not have that.",
	http.StatusServiceUnavailable:    "The server is busy, try again later.",
	http.StatusInternalServerError:   "Internal server error.",
}

// allow refuses other methods than those of the route. HEAD goes where GET does.
func allow(w http.ResponseWriter, r *http.Request, methods ...string) error {
	if slices.Contains(methods, r.Method) || r.Method == http.MethodHead && slices.Contains(methods, http.MethodGet) {
		return nil
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	return &d6tpipe.StatusError{Status: http.StatusMethodNotAllowed, Message: "Method not allowed."}
}

// A waiter is an error that knows after how many seconds it is worth trying again.
type waiter interface {
	error
	Seconds() int
}

// refuse writes err in the contract's form. What an unknown error says stays
// here: it may name files, hosts or worse.
func (h *handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // nobody listens any more
	}
	status := d6tpipe.HTTPStatus(err)
	body := ""
	field, said := new(d6tpipe.FieldError), new(d6tpipe.StatusError)
	switch {
	case errors.As(err, &said):
		status = said.Status
		body = `{"detail":` + ascii(said.Message) + `}`
	case errors.As(err, &field):
		body = `{` + ascii(field.Field) + `:[` + ascii(field.Reason) + `]}`
	default:
		body = `{"detail":` + ascii(texts[status]) + `}`
	}
	if status >= http.StatusInternalServerError {
		h.options.Log.Log(r.Context(), level(status), "refused", "method", r.Method, "status", status, "error", err)
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Token")
	}
	if wait := *new(waiter); errors.As(err, &wait) {
		w.Header().Set("Retry-After", strconv.Itoa(max(1, wait.Seconds())))
	}
	drain(r)
	write(w, answer{status: status, body: []byte(body)})
}

// level is how much an answer 5xx is worth to who runs the server. Only 500 is a fault of
// the server itself: what it does not have is asked for in ordinary use, and other
// machines fail, or all come at once, as they do.
func level(status int) slog.Level {
	switch status {
	case http.StatusInternalServerError:
		return slog.LevelError
	case http.StatusNotImplemented:
		return slog.LevelInfo
	}
	return slog.LevelWarn
}

// drain reads some of a body that nobody wanted, because a client that is still
// writing would see a reset connection instead of the answer.
func drain(r *http.Request) {
	_, _ = io.CopyN(io.Discard, r.Body, 4<<20)
}

// write sends an answer with headers that do no harm to a program and some good
// when a browser gets here.
func write(w http.ResponseWriter, a answer) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	header.Set("Referrer-Policy", "no-referrer")
	maps.Copy(header, a.header)
	if a.status == http.StatusNoContent || a.status == http.StatusNotModified {
		w.WriteHeader(a.status)
		return
	}
	header.Set("Content-Type", "application/json")
	if a.stream != nil {
		w.WriteHeader(a.status)
		copyBody(w, a.stream)
		return
	}
	header.Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

// ascii quotes text as a JSON string of ASCII only: the Python client matches
// fragments of the raw bytes.
func ascii(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r >= ' ' && r <= '~':
			b.WriteRune(r)
		case r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
