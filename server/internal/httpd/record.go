package httpd

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// A recorder notes what is answered.
type recorder struct {
	http.ResponseWriter
	status int // 0 until there is an answer
	out    int64
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.out += int64(n)
	return n, err
}

// Unwrap is how [http.ResponseController] gets to the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// A countedBody counts what a handler reads, and a transport that still reads
// when the handler is done.
type countedBody struct {
	io.ReadCloser
	in atomic.Int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.in.Add(int64(n))
	return n, err
}

// statusGone is what logs and metrics call a request whose sender did not wait.
// No client sees it.
const statusGone = 499

// record logs and measures what next does. A panic becomes a 500 that tells
// nothing or, when the answer has begun, a connection that breaks.
func (s *Server) record(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		s.inflight.begin()
		defer s.inflight.end()
		rec := &recorder{ResponseWriter: w}
		body := &countedBody{ReadCloser: r.Body}
		if r.Body != nil && r.Body != http.NoBody { // a proxy must still see that there is none
			r.Body = body
		}
		abort := s.shielded(next, rec, r)
		if !abort && rec.status == 0 {
			if abort = r.Context().Err() != nil; abort {
				rec.status = statusGone // an empty 200 would be taken for a success
			} else {
				rec.status = http.StatusOK
			}
		}
		s.observe(r, rec, body.in.Load(), time.Since(start), abort)
		if abort {
			panic(http.ErrAbortHandler)
		}
	})
}

// shielded calls next and reports whether the connection must be broken, because
// the answer is not whole.
func (s *Server) shielded(next http.Handler, w *recorder, r *http.Request) (abort bool) {
	defer func() {
		switch p := recover(); {
		case p == nil:
		case isAbort(p):
			abort = true
		default:
			s.config.Log.LogAttrs(r.Context(), slog.LevelError, "panic",
				slog.String("id", RequestID(r.Context())), slog.String("panic", panicText(p)), slog.String("stack", string(debug.Stack())))
			if abort = w.status != 0; !abort {
				fail(w, r, http.StatusInternalServerError)
			}
		}
	}()
	next.ServeHTTP(w, r)
	return false
}

func isAbort(p any) bool {
	err, ok := p.(error)
	return ok && errors.Is(err, http.ErrAbortHandler)
}

// panicText tells the runtime's own words. Those of others may hold anything.
func panicText(p any) string {
	if err, ok := p.(runtime.Error); ok {
		return err.Error()
	}
	return typeName(p)
}

// observe writes one line of log and the metrics. Nothing of a request gets there
// that its sender chose freely, but for the user's name.
func (s *Server) observe(r *http.Request, w *recorder, in int64, took time.Duration, aborted bool) {
	q := requestOf(r.Context())
	method := methodName(r.Method)
	if w.status == 0 {
		w.status = statusGone
	}
	s.metrics.observe(q, method, w, in, took)
	level := slog.LevelInfo
	switch {
	case q.kind == kindHealth, q.route == "/metrics":
		level = slog.LevelDebug
	case w.status >= 500:
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{
		slog.String("id", q.id), slog.String("method", method), slog.String("route", q.route), slog.Int("status", w.status),
		slog.Duration("took", took), slog.Int64("in", in), slog.Int64("out", w.out), slog.String("peer", peerText(q)),
	}
	if user := q.username(); user != "" {
		attrs = append(attrs, slog.String("user", user))
	}
	if aborted {
		attrs = append(attrs, slog.Bool("aborted", true))
	}
	s.config.Log.LogAttrs(r.Context(), level, "request", attrs...)
}

func peerText(q *request) string {
	if !q.peer.IsValid() {
		return ""
	}
	return q.peer.String()
}
