package httpd

import (
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics count requests by method, template and status: a few hundred series,
// whatever is asked for.
type metrics struct {
	registry    *prometheus.Registry
	requests    *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	bytes       *prometheus.CounterVec
	refused     *prometheus.CounterVec
	connections *prometheus.GaugeVec
	evicted     prometheus.Counter
}

func newMetrics(registry *prometheus.Registry, version string) (*metrics, error) {
	m := &metrics{
		registry: registry,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "d6tpipe_http_requests_total", Help: "Requests that were answered; 499 is a client that did not wait.",
		}, []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "d6tpipe_http_request_seconds", Help: "Time from the headers of a request to the end of its answer.",
			Buckets: []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60, 600},
		}, []string{"route"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "d6tpipe_http_bytes_total", Help: "Bytes of bodies, in from clients and out to them.",
		}, []string{"route", "direction"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "d6tpipe_http_refused_total", Help: "What was refused or given up, because there were too many connections or requests, or no time.",
		}, []string{"limit"}),
		connections: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "d6tpipe_http_connections", Help: "Open connections, waiting for a request or busy with one."}, []string{"state"}),
		evicted:     prometheus.NewCounter(prometheus.CounterOpts{Name: "d6tpipe_http_evicted_total", Help: "Waiting connections that were closed to make room."}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "d6tpipe_build_info", Help: "Always 1.", ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version()},
	})
	build.Set(1)
	for _, limit := range []string{"connections", "requests", "time"} {
		m.refused.WithLabelValues(limit)
	}
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.bytes, m.refused, m.connections, m.evicted, build} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("httpd: metrics: %w", err)
		}
	}
	for _, c := range []prometheus.Collector{collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := registry.Register(c); err != nil && !errors.As(err, &prometheus.AlreadyRegisteredError{}) {
			return nil, fmt.Errorf("httpd: metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) observe(q *request, method string, w *recorder, in int64, took time.Duration) {
	m.requests.WithLabelValues(method, q.route, strconv.Itoa(w.status)).Inc()
	m.seconds.WithLabelValues(q.route).Observe(took.Seconds())
	m.bytes.WithLabelValues(q.route, "in").Add(float64(in))
	m.bytes.WithLabelValues(q.route, "out").Add(float64(w.out))
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// metricsPage shows the metrics to those who may see them. To others there is
// none. A request that a proxy sent on comes from the proxy's address, not its
// client's, so that only a trusted one, which tells the client's, is heard.
func (s *Server) metricsPage() http.Handler {
	page := s.metrics.handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if q := requestOf(r.Context()); !q.bare || !within(q.peer, s.config.MetricsFrom) {
			fail(w, r, http.StatusNotFound)
			return
		}
		page.ServeHTTP(w, r)
	})
}
