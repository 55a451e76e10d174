package httpd

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

// overload answers 503 to what is too much. Health is always told: a balancer
// that gets no answer would take a busy server for a dead one.
func (s *Server) overload(next http.Handler) http.Handler {
	requests := make(chan struct{}, s.config.Limits.Requests)
	transfers := make(chan struct{}, s.config.Limits.Transfers)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		slots := requests
		switch requestOf(r.Context()).kind {
		case kindHealth:
			next.ServeHTTP(w, r)
			return
		case kindStorage:
			slots = transfers
		}
		if isSpare(r.Context()) {
			s.metrics.refused.WithLabelValues("connections").Inc()
			w.Header().Set("Connection", "close")
			busy(w, r)
			return
		}
		select {
		case slots <- struct{}{}:
			q := requestOf(r.Context())
			q.slots = slots
			defer q.release()
			next.ServeHTTP(w, r)
		default:
			s.metrics.refused.WithLabelValues("requests").Inc()
			busy(w, r)
		}
	})
}

// Rest lets another request have the place of the one that ctx belongs to, which waits
// for something that takes a while. Resume takes a place again, and waits for one: the
// error is that of the context that ends before. Until then the request is not to do
// anything.
func Rest(ctx context.Context) (resume func(context.Context) error) {
	q := requestOf(ctx)
	if q == nil || q.slots == nil {
		return func(context.Context) error { return nil }
	}
	q.release()
	return q.resume
}

// release gives the place back, if the request has it.
func (q *request) release() {
	if !q.resting {
		<-q.slots
	}
	q.resting = true
}

func (q *request) resume(ctx context.Context) error {
	select {
	case q.slots <- struct{}{}:
		q.resting = false
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func busy(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Retry-After", "1")
	fail(w, r, http.StatusServiceUnavailable)
}

// bounded gives the API its time and its size of bodies, and keeps from it what
// the page of another site makes a browser send: programs send no such thing.
func (s *Server) bounded(api http.Handler) http.Handler {
	limits, origins := s.config.Limits, http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if origins.Check(r) != nil {
			fail(w, r, http.StatusForbidden)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), limits.RequestTime)
		defer cancel()
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = http.MaxBytesReader(w, r.Body, limits.Body)
		}
		said := &recorder{ResponseWriter: w}
		api.ServeHTTP(said, r.WithContext(ctx))
		// The API says nothing when its context ends, because then nobody listens.
		if said.status == 0 && errors.Is(ctx.Err(), context.DeadlineExceeded) && r.Context().Err() == nil {
			s.metrics.refused.WithLabelValues("time").Inc()
			busy(w, r)
		}
	})
}

// inflight counts what runs. A WaitGroup would not do: requests may begin while
// somebody waits.
type inflight struct {
	mu    sync.Mutex
	n     int
	empty chan struct{} // closed when n gets to 0; nil when nobody waits
}

func (f *inflight) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
}

func (f *inflight) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n--; f.n == 0 && f.empty != nil {
		close(f.empty)
		f.empty = nil
	}
}

// wait waits until nothing runs, at most for d, and returns how much still does.
func (f *inflight) wait(d time.Duration) int {
	f.mu.Lock()
	if f.n == 0 {
		f.mu.Unlock()
		return 0
	}
	if f.empty == nil {
		f.empty = make(chan struct{})
	}
	empty := f.empty
	f.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-empty:
		return 0
	case <-timer.C:
		return f.count()
	}
}

func (f *inflight) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}
