package httpd

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// A pace is how one direction of a request moves. What counts is the time that
// the client keeps us waiting: its credit is GraceTime, and a second for every
// MinRate bytes that moved. It may never wait longer than StallTime at once, so
// that a client which was fast for an hour is not waited for that long.
type pace struct {
	limits      Limits
	setDeadline func(time.Time) error

	mu     sync.Mutex
	waited time.Duration
	moved  int64
	ended  bool // the connection may belong to the next request by now
}

// timed calls op, which waits for the client, under a deadline.
func (p *pace) timed(op func() (int, error)) (int, error) {
	start, ok := p.start()
	n, err := op()
	if ok {
		p.stop(time.Since(start), n)
	}
	return n, err
}

func (p *pace) start() (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.ended {
		return now, false
	}
	_ = p.setDeadline(now.Add(p.left())) // who has no connection, as in tests, has no deadlines
	return now, true
}

// stop takes the deadline away, because on HTTP/2 it would end the stream while
// the handler does something else.
func (p *pace) stop(took time.Duration, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waited += took
	p.moved += int64(n)
	if !p.ended {
		_ = p.setDeadline(time.Time{})
	}
}

// left is how long the client may make us wait now.
func (p *pace) left() time.Duration {
	earned := float64(p.moved) / float64(p.limits.MinRate) // seconds, of which there may be more than a Duration holds
	if earned > (p.waited + p.limits.StallTime).Seconds() {
		return p.limits.StallTime
	}
	credit := p.limits.GraceTime + time.Duration(earned*float64(time.Second))
	return max(0, min(p.limits.StallTime, credit-p.waited))
}

// end leaves a deadline for what net/http does after the handler: it reads some
// of a body that nobody wanted, and writes the rest of the answer.
func (p *pace) end(limit time.Duration, keep bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if keep {
		_ = p.setDeadline(time.Now().Add(min(limit, p.left())))
	}
}

type pacedBody struct {
	io.ReadCloser
	pace *pace
	done bool // read to its end, or broken
}

func (b *pacedBody) Read(p []byte) (int, error) {
	n, err := b.pace.timed(func() (int, error) { return b.ReadCloser.Read(p) })
	if err != nil {
		b.pace.mu.Lock()
		defer b.pace.mu.Unlock()
		b.done = true
	}
	return n, err
}

type pacedWriter struct {
	http.ResponseWriter
	pace *pace
}

// pieceSize is what a client takes at once: one that takes a large answer slowly
// and steadily must be seen to move.
const pieceSize = 64 << 10

func (w *pacedWriter) Write(p []byte) (total int, err error) {
	for {
		piece := p[:min(len(p), pieceSize)]
		n, err := w.pace.timed(func() (int, error) { return w.ResponseWriter.Write(piece) })
		total, p = total+n, p[n:]
		if err != nil || len(p) == 0 {
			return total, err
		}
	}
}

// FlushError is what [http.ResponseController] calls to flush.
func (w *pacedWriter) FlushError() error {
	_, err := w.pace.timed(func() (int, error) { return 0, http.NewResponseController(w.ResponseWriter).Flush() })
	return err
}

// Flush is for who has not heard of [http.ResponseController].
func (w *pacedWriter) Flush() { _ = w.FlushError() }

// Unwrap is how [http.ResponseController] gets to the connection.
func (w *pacedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// lingerTime is how long net/http may read of a body that nobody wanted.
const lingerTime = 5 * time.Second

// paced cuts clients that stall or crawl, in both directions, however long a
// request lasts.
func (s *Server) paced(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		out := &pace{limits: s.config.Limits, setDeadline: control.SetWriteDeadline}
		_ = control.SetWriteDeadline(time.Time{}) // the server's own is for what it says without us
		defer func() { out.end(s.config.Limits.StallTime, true) }()
		if r.Body != nil && r.Body != http.NoBody {
			in := &pace{limits: s.config.Limits, setDeadline: control.SetReadDeadline}
			body := &pacedBody{ReadCloser: r.Body, pace: in}
			r.Body = body
			defer func() { in.end(lingerTime, !body.isDone()) }()
		}
		next.ServeHTTP(&pacedWriter{w, out}, r)
	})
}

func (b *pacedBody) isDone() bool {
	b.pace.mu.Lock()
	defer b.pace.mu.Unlock()
	return b.done
}
