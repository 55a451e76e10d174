// Package wire serves a repo API over HTTP, in the words of the Python client
// d6tpipe: its paths, slashes, status codes and texts, for both of its
// generations. What lies behind is a [Service] (a server with accounts) or a
// plain [catalog.Backend]; package wire knows neither storage nor users.
package wire

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"

	"github.com/d6t/d6tpipe-go/internal/catalog"
)

// A Service is a repo API with accounts. It is safe for concurrent use. Its
// errors are those of package d6tpipe: a sentinel becomes its status code, a
// FieldError {"field": ["reason"]}, and a StatusError is sent as it is, which is
// how a service says a text of its own.
type Service interface {
	// Register opens an account and returns its token.
	Register(ctx context.Context, form Registration) (token string, err error)
	// Login returns the token of an account, the same one as ever.
	Login(ctx context.Context, username, password string) (token string, err error)
	// Open returns what the holder of token may see and do; "" is anybody. A
	// token that nobody has is ErrUnauthorized. Sessions are made per request.
	Open(ctx context.Context, token string) (Session, error)
}

// Registration is the form that opens an account.
type Registration struct {
	Username string `json:"username"`
	Email    string `json:"email"`
	Password string `json:"password"`
}

// A Session is the repo API as one caller sees it. Besides the collections its
// Backend has the sub-resources "<collection>/<name>/permissions" (List, and Do
// with Create) and "pipes/<name>/credentials" (Do with Get; the query is the
// body, {"role": "read", "renew": true}). Others answer [d6tpipe.ErrNotFound] where
// there are none: "<collection>/<name>/owner" (Update), "pipes/<name>/analytics"
// (List, and the page is a query with before and limit), "pipes/<name>/urls" (Create), "groups" with names of two segments and
// "groups/<organisation>/<team>/members", "audit" (List, and
// the page is a query with pipe, remote, before and limit), "accounts/<user>/token"
// (Create), and what a server does by itself: "schedules" (List), "pipes/<name>/schedule"
// (Get, Replace, Update, Delete), "pipes/<name>/webhooks" with names, and below these "test"
// (Create) and "deliveries" (List, in pages), "mirrors" with names, and below these "runs"
// (Create, and List in pages), and "admin/jobs" (List, in pages by kind and state).
type Session interface {
	catalog.Backend

	// Authorize reports whether the caller may carry out verb on the record
	// called name below path, ErrPermission or ErrNotFound otherwise. It is asked
	// before the request's body is read: who may not write learns nothing about what
	// would be valid.
	Authorize(ctx context.Context, verb catalog.Verb, path, name string) error
	// WhoAmI returns {"username": ..., "message": ...}, or ErrUnauthorized.
	WhoAmI(ctx context.Context) (json.RawMessage, error)
	// Unregister closes the account called username, if it is the caller's.
	Unregister(ctx context.Context, username string) error
}

// Options of a handler. The zero value is usable.
type Options struct {
	// MaxBody is the size of a request's body in bytes; 1 MiB.
	MaxBody int64
	// Log is told of answers 5xx, without bodies and headers; nil is silent.
	Log *slog.Logger
}

// New returns the handler of everything below /v1/api/. It finds its way itself
// and never redirects: whoever mounts it below a mux must hand it paths as they
// came, double slashes and all.
func New(s Service, o Options) http.Handler {
	if o.MaxBody <= 0 {
		o.MaxBody = 1 << 20
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &handler{service: s, options: o}
}

// Handler serves a plain catalogue: everybody may do everything, there are no
// accounts and no permissions.
func Handler(b catalog.Backend) http.Handler { return New(plain{b}, Options{}) }
