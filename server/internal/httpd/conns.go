package httpd

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// conns are the open connections, with those that wait for a request in the
// order in which they began to.
type conns struct {
	max, spare int
	metrics    *metrics

	mu      sync.Mutex
	open    map[net.Conn]*list.Element // nil while a request runs
	waiting list.List                  // of waiter
}

type waiter struct {
	net.Conn
	since time.Time
}

// youth is how long a connection may wait without being taken for idle: its
// request is probably on the way.
const youth = 100 * time.Millisecond

func newConns(limit int, m *metrics) *conns {
	return &conns{max: limit, spare: limit/16 + 16, metrics: m, open: map[net.Conn]*list.Element{}}
}

// A conn is one of ours. Beyond the limit some spare ones are let in, for which
// only health is told.
type conn struct {
	net.Conn
	spare bool
}

// CloseWrite lets net/http end its side first, so that the last answer is read.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// A listener lets connections in as long as there is room.
type listener struct {
	net.Listener
	conns *conns
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if in := l.conns.admit(c); in != nil {
			return in, nil
		}
	}
}

// admit makes room for c, at the cost of those that wait longest, or returns nil.
func (s *conns) admit(c net.Conn) net.Conn {
	in := &conn{Conn: c}
	s.mu.Lock()
	evicted := s.evict()
	in.spare = len(s.open) >= s.max
	full := len(s.open) >= s.max+s.spare
	if !full {
		s.wait(in)
	}
	s.count()
	s.mu.Unlock()
	for _, old := range evicted {
		s.metrics.evicted.Inc()
		_ = old.Close()
	}
	if full {
		s.metrics.refused.WithLabelValues("connections").Inc()
		_ = c.Close()
		return nil
	}
	return in
}

// evict makes room for one more, and forgets who has to go: those that wait
// longest, unless they have only just begun to. When even the spare room is full
// that is no excuse. s.mu is held.
func (s *conns) evict() (evicted []net.Conn) {
	for len(s.open) >= s.max {
		oldest := s.waiting.Front()
		if oldest == nil {
			break
		}
		w := oldest.Value.(waiter)
		if time.Since(w.since) < youth && len(s.open) < s.max+s.spare {
			break
		}
		s.forget(w.Conn)
		evicted = append(evicted, w.Conn)
	}
	return evicted
}

// wait notes that c waits from now on; s.mu is held.
func (s *conns) wait(c net.Conn) { s.open[c] = s.waiting.PushBack(waiter{c, time.Now()}) }

// count tells the metrics; s.mu is held.
func (s *conns) count() {
	s.metrics.connections.WithLabelValues("waiting").Set(float64(s.waiting.Len()))
	s.metrics.connections.WithLabelValues("busy").Set(float64(len(s.open) - s.waiting.Len()))
}

// forget drops a connection; s.mu is held.
func (s *conns) forget(c net.Conn) {
	if e := s.open[c]; e != nil {
		s.waiting.Remove(e)
	}
	delete(s.open, c)
}

// state is the hook of [http.Server].ConnState.
func (s *conns) state(c net.Conn, state http.ConnState) {
	c = inner(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.open[c]
	if !ok {
		return // evicted
	}
	switch state {
	case http.StateActive:
		if e != nil {
			s.waiting.Remove(e)
			s.open[c] = nil
		}
	case http.StateIdle:
		if e == nil {
			s.wait(c)
		}
	case http.StateClosed, http.StateHijacked:
		s.forget(c)
	}
	s.count()
}

func inner(c net.Conn) net.Conn {
	if t, ok := c.(*tls.Conn); ok {
		return t.NetConn()
	}
	return c
}

type spareKey struct{}

// context is the hook of [http.Server].ConnContext.
func (s *conns) context(ctx context.Context, c net.Conn) context.Context {
	if ours, ok := inner(c).(*conn); ok && ours.spare {
		return context.WithValue(ctx, spareKey{}, true)
	}
	return ctx
}

func isSpare(ctx context.Context) bool { return ctx.Value(spareKey{}) != nil }
