package httpd

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"net/netip"
	"regexp"
	"sync"
)

// A request is what we know about an HTTP request besides itself. Handlers reach
// it through its context.
type request struct {
	id    string
	route string // a template, never a path
	kind  kind
	peer  netip.Addr
	https bool
	bare  bool // came straight from the peer: no proxy, known or not, says otherwise

	slots   chan struct{} // where the request has its place; nil is nowhere
	resting bool          // it has let another one have it

	mu   sync.Mutex
	user string
}

type requestKey struct{}

func requestOf(ctx context.Context) *request {
	r, _ := ctx.Value(requestKey{}).(*request)
	return r
}

// Peer returns the address of whoever sent the request that ctx belongs to: of
// the client, where a trusted proxy tells it, else of the other end of the
// connection. It is the zero Addr where there is none.
func Peer(ctx context.Context) netip.Addr {
	if r := requestOf(ctx); r != nil {
		return r.peer
	}
	return netip.Addr{}
}

// RequestID returns the id of the request that ctx belongs to, "" for none. The
// log and the answer's X-Request-Id name it.
func RequestID(ctx context.Context) string {
	if r := requestOf(ctx); r != nil {
		return r.id
	}
	return ""
}

// Scheme returns "https" when the client speaks TLS, to us or to a trusted proxy,
// and "http" otherwise.
func Scheme(ctx context.Context) string {
	if r := requestOf(ctx); r != nil && r.https {
		return "https"
	}
	return "http"
}

// SetUser tells the log who sent the request that ctx belongs to.
func SetUser(ctx context.Context, username string) {
	if q := requestOf(ctx); q != nil {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.user = username
	}
}

func (q *request) username() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.user
}

// identify finds out who asks for what, and puts it into the context.
func (s *Server) identify(next http.Handler) http.Handler {
	routes := newRouteTable(s.config.Routes)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := &request{}
		q.kind, q.route = routes.find(r, s.config)
		trusted := q.origin(r, s.config.TrustedProxies)
		if q.id = r.Header.Get("X-Request-Id"); !trusted || !goodID.MatchString(q.id) {
			q.id = newID()
		}
		if !trusted { // whoever believes such headers further in must not believe a stranger's
			for _, name := range forwarding {
				r.Header.Del(name)
			}
		}
		header := w.Header()
		header.Set("X-Request-Id", q.id)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		if q.https {
			header.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestKey{}, q)))
	})
}

var goodID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
