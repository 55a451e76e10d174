package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
)

type handler struct {
	service Service
	options Options
}

// An answer is what a route has to say.
type answer struct {
	status int
	body   json.RawMessage
	header http.Header // instead of those that say that nothing may be kept
	stream io.Reader   // the body, when it is not in body
	done   func()      // when the body was sent, or cannot be; may be nil
}

func (a answer) end() {
	if a.done != nil {
		a.done()
	}
}

// ServeHTTP finds the route, carries it out and writes the answer. A panic
// becomes a 500 that tells nothing.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if p := recover(); p != nil {
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(p)
			}
			h.options.Log.Error("panic", "method", r.Method, "panic", fmt.Sprint(p))
			h.refuse(w, r, errors.New("panic"))
		}
	}()
	serve, err := h.route(w, r)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	a, err := serve(r.Context())
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	defer a.end() // a broken connection is a panic
	write(w, a)
}

// A call is a route with its arguments bound.
type call func(ctx context.Context) (answer, error)

// route reads the path. It cleans double and missing slashes itself: a redirect
// would break the Python client's PATCH, PUT, DELETE and POST.
func (h *handler) route(w http.ResponseWriter, r *http.Request) (call, error) {
	path, ok := segments(r.URL.EscapedPath())
	if !ok || len(path) < 2 || path[0] != "v1" || path[1] != "api" {
		return nil, d6tpipe.ErrNotFound
	}
	path = path[2:]
	switch {
	case len(path) == 0:
		return h.root(w, r)
	case path[0] == "accounts":
		return h.accounts(w, r, path[1:])
	case path[0] == catalog.Pipes || path[0] == catalog.Remotes:
		return h.records(w, r, path[0], path[1:])
	case path[0] == "groups":
		return h.groups(w, r, path[1:])
	case path[0] == "audit":
		return h.audit(w, r, path[1:])
	case path[0] == "mirrors":
		return h.mirrors(w, r, path[1:])
	case path[0] == "schedules":
		return h.schedules(w, r, path[1:])
	case path[0] == "admin":
		return h.admin(w, r, path[1:])
	}
	return nil, d6tpipe.ErrNotFound
}

// segments splits an escaped path at its slashes and unescapes the parts, so
// that an escaped slash stays within its part.
func segments(escaped string) ([]string, bool) {
	var path []string
	for part := range strings.SplitSeq(escaped, "/") {
		if part == "" {
			continue
		}
		part, err := url.PathUnescape(part)
		if err != nil {
			return nil, false
		}
		path = append(path, part)
	}
	return path, true
}

func (h *handler) root(w http.ResponseWriter, r *http.Request) (call, error) {
	if err := allow(w, r, http.MethodGet); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (answer, error) {
		s, err := h.open(ctx, r)
		if err != nil {
			return answer{}, err
		}
		body, err := s.WhoAmI(ctx)
		return answer{status: http.StatusOK, body: body}, err
	}, nil
}

// accounts are POST accounts/, POST accounts/token/, DELETE accounts/{u}/ and POST
// accounts/{u}/token/, which resets the token. The first two ignore the token: the
// Python client sends a stale one along.
func (h *handler) accounts(w http.ResponseWriter, r *http.Request, path []string) (call, error) {
	switch {
	case len(path) == 0:
		return h.register(w, r), allow(w, r, http.MethodPost)
	case len(path) == 1 && path[0] == "token" && r.Method != http.MethodDelete:
		return h.login(w, r), allow(w, r, http.MethodPost)
	case len(path) == 1:
		return h.unregister(r, path[0]), allow(w, r, http.MethodDelete)
	case len(path) == 2 && path[1] == "token":
		return h.reset(r, path[0]), allow(w, r, http.MethodPost)
	}
	return nil, d6tpipe.ErrNotFound
}

func (h *handler) register(w http.ResponseWriter, r *http.Request) call {
	return func(ctx context.Context) (answer, error) {
		var form Registration
		if err := h.form(w, r, &form); err != nil {
			return answer{}, err
		}
		token, err := h.service.Register(ctx, form)
		return tokenAnswer(http.StatusCreated, token), err
	}
}

func (h *handler) login(w http.ResponseWriter, r *http.Request) call {
	return func(ctx context.Context) (answer, error) {
		var form Registration
		if err := h.form(w, r, &form); err != nil {
			return answer{}, err
		}
		token, err := h.service.Login(ctx, form.Username, form.Password)
		return tokenAnswer(http.StatusOK, token), err
	}
}

func (h *handler) unregister(r *http.Request, username string) call {
	return func(ctx context.Context) (answer, error) {
		s, err := h.open(ctx, r)
		if err != nil {
			return answer{}, err
		}
		return answer{status: http.StatusNoContent}, s.Unregister(ctx, username)
	}
}

// reset answers with a new token; the old one is good for nothing any more.
func (h *handler) reset(r *http.Request, username string) call {
	return func(ctx context.Context) (answer, error) {
		s, err := h.open(ctx, r)
		if err != nil {
			return answer{}, err
		}
		body, err := s.Do(ctx, catalog.Create, "accounts/"+username+"/token", "", nil)
		return answer{status: http.StatusOK, body: body}, err
	}
}

func tokenAnswer(status int, token string) answer {
	body, _ := json.Marshal(map[string]string{"token": token}) // strings always marshal
	return answer{status: status, body: body}
}

// open reads the Authorization header and returns the caller's session.
func (h *handler) open(ctx context.Context, r *http.Request) (Session, error) {
	headers := r.Header.Values("Authorization")
	if len(headers) == 0 {
		return h.service.Open(ctx, "")
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	token = strings.TrimSpace(token)
	if len(headers) > 1 || !strings.EqualFold(scheme, "Token") || token == "" || strings.ContainsAny(token, " \t") {
		return nil, d6tpipe.ErrUnauthorized
	}
	return h.service.Open(ctx, token)
}

// form reads a body that must be an object of strings.
func (h *handler) form(w http.ResponseWriter, r *http.Request, v any) error {
	body, err := h.body(w, r)
	if err != nil {
		return err
	}
	if json.Unmarshal(body, v) != nil {
		return malformed("This is no JSON object of the right fields.")
	}
	return nil
}

// body reads the request's body: JSON of bounded size and depth, or nothing.
// Its Content-Type does not matter.
func (h *handler) body(w http.ResponseWriter, r *http.Request) (json.RawMessage, error) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.options.MaxBody))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return nil, &d6tpipe.StatusError{
			Status:  http.StatusRequestEntityTooLarge,
			Message: fmt.Sprintf("The body is larger than %d bytes.", h.options.MaxBody),
		}
	}
	if err != nil {
		return nil, malformed("The body could not be read to its end.")
	}
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return nil, nil
	}
	if !shallow(data) || !json.Valid(data) {
		return nil, malformed("The body is no JSON, or nested too deeply.")
	}
	return data, nil
}

func malformed(reason string) error {
	return &d6tpipe.StatusError{Status: http.StatusBadRequest, Message: reason}
}

// shallow reports whether JSON is nested at most 200 deep. The Python client
// can read no more than about 1,000.
func shallow(data []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		}
		if depth > 200 {
			return false
		}
	}
	return true
}
