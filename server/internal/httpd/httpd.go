// Package httpd is what stands between the network and the handlers of the
// server: connections and their limits, deadlines, TLS, proxies, logs, metrics,
// health and the API's description. It knows neither accounts nor storage: those
// are handlers and checks that it is given.
//
// A request goes through these rooms, from the outside in:
//
//	conns.go     connections are counted, and idle ones closed when there are too many
//	request.go   the request gets its id, its route and its true peer
//	record.go    what came of it is logged and measured; a panic becomes a 500
//	limit.go     too many at a time are told to come back
//	pace.go      who keeps us waiting is cut off, who is only slow to finish is not
//	mux.go       the path decides: the API, managed storage, or one of our own pages
package httpd

import (
	"cmp"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/d6t/d6tpipe-go/internal/wire"
)

// Config of a [Server]. API is required, the rest has defaults.
type Config struct {
	// API answers everything below /v1/ that httpd does not answer itself, and
	// what nobody else answers. It gets paths as they came.
	API http.Handler
	// Storage answers every path outside of /v1/ but our own; nil leaves them to
	// the API's 404. It gets paths as they came.
	Storage http.Handler
	// Routes are the API's, for the names of requests in logs and metrics; nil is
	// [wire.Routes].
	Routes []wire.Route
	// Checks must pass for /readyz to say so.
	Checks []Check

	// TrustedProxies are the addresses whose X-Forwarded-For and
	// X-Forwarded-Proto are believed; none by default.
	TrustedProxies []netip.Prefix
	// MetricsFrom are the peers that may read /metrics; nil is loopback. It does
	// not bind [Server.Metrics].
	MetricsFrom []netip.Prefix
	// NoMetrics takes /metrics off the main address, for when [Server.Metrics]
	// is served on another one.
	NoMetrics bool
	// Certificate turns TLS on.
	Certificate *Certificate

	// ShutdownTimeout is how long running requests may take after Serve was told
	// to end; 30 s.
	ShutdownTimeout time.Duration
	// DrainTime is how long, before that, new requests are still served while
	// /readyz already says no, so that a load balancer looks elsewhere; none.
	DrainTime time.Duration

	Limits Limits
	// Log is told of each request and of what goes wrong; nil is silent.
	Log *slog.Logger
	// Registry takes the metrics; nil is a new one.
	Registry *prometheus.Registry
	// Version is shown by the metrics and the API's description.
	Version string
}

// Limits are what one server takes on. Zero values mean the defaults.
type Limits struct {
	// Connections at a time; 10,000, or three quarters of the files that the
	// system lets the process have. When there are more, those that wait longest
	// for a request are closed; when none waits, further ones are answered 503.
	Connections int
	// Requests to the API at a time, 1,024, and Transfers to and from managed
	// storage, 512. Further ones are answered 503 with Retry-After.
	Requests, Transfers int
	// Header is the size of a request's headers in bytes; 64 KiB.
	Header int
	// Body is the size of the body of a request to the API in bytes; 16 MiB. The
	// API has a lower limit of its own.
	Body int64

	// HeaderTime is how long a request's headers may take to arrive; 10 s.
	HeaderTime time.Duration
	// IdleTime is how long a connection may wait for its next request; 2 min.
	IdleTime time.Duration
	// RequestTime bounds a request to the API, from its headers to its answer;
	// 5 min. Managed storage has no such bound.
	RequestTime time.Duration
	// StallTime is how long a body, in either direction, may move no byte; 60 s.
	StallTime time.Duration
	// GraceTime and MinRate bound slow bodies: the client may keep us waiting for
	// GraceTime, 30 s, and for a second more for every MinRate bytes, 1 KiB, that
	// move.
	GraceTime time.Duration
	MinRate   int64
}

// withDefaults fills in what is zero.
func (l Limits) withDefaults() Limits {
	l.Connections = cmp.Or(l.Connections, connectionsFor(openFiles()))
	l.Requests = cmp.Or(l.Requests, 1024)
	l.Transfers = cmp.Or(l.Transfers, 512)
	l.Header = cmp.Or(l.Header, 64<<10)
	l.Body = cmp.Or(l.Body, 16<<20)
	l.HeaderTime = cmp.Or(l.HeaderTime, 10*time.Second)
	l.IdleTime = cmp.Or(l.IdleTime, 2*time.Minute)
	l.RequestTime = cmp.Or(l.RequestTime, 5*time.Minute)
	l.StallTime = cmp.Or(l.StallTime, time.Minute)
	l.GraceTime = cmp.Or(l.GraceTime, 30*time.Second)
	l.MinRate = cmp.Or(l.MinRate, 1<<10)
	return l
}

// connectionsFor leaves a quarter of the files to the database, the storage and
// what lies behind them.
func connectionsFor(files uint64) int {
	if files == 0 || files/4*3 > 10_000 {
		return 10_000
	}
	return max(1, int(files/4*3))
}

func (c Config) withDefaults() Config {
	c.Limits = c.Limits.withDefaults()
	if c.Routes == nil {
		c.Routes = wire.Routes()
	}
	if c.MetricsFrom == nil {
		c.MetricsFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	c.ShutdownTimeout = cmp.Or(c.ShutdownTimeout, 30*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	return c
}

// A Server is the front of the repo API. It serves once.
type Server struct {
	config  Config
	conns   *conns
	metrics *metrics
	ready   *readiness
	handler http.Handler

	inflight inflight
}

// New puts a server together; it listens when [Server.Serve] is called.
func New(c Config) (*Server, error) {
	if c.API == nil {
		return nil, errors.New("httpd: there is no API")
	}
	c = c.withDefaults()
	s := &Server{config: c, ready: newReadiness(c.Checks, c.Log)}
	var err error
	if s.metrics, err = newMetrics(c.Registry, c.Version); err != nil {
		return nil, err
	}
	s.conns = newConns(c.Limits.Connections, s.metrics)
	mux, err := s.mux()
	if err != nil {
		return nil, err
	}
	s.handler = s.identify(s.record(s.paced(s.overload(mux))))
	return s, nil
}

// Handler returns everything but the connections: for tests, and for who listens
// on his own. It relies on the caller for the limits of connections and headers.
func (s *Server) Handler() http.Handler { return s.handler }

// Metrics returns what /metrics shows, for a listener of its own that only the
// administrator reaches: it does not ask who reads.
func (s *Server) Metrics() http.Handler { return s.metrics.handler() }
