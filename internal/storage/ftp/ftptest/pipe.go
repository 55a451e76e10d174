package ftptest

import (
	"context"
	"net"
	"strconv"
	"sync"
)

// Pipes starts the server without a network, and returns what dials it, whatever the
// address: in a bubble of testing/synctest, where a network would be somebody else's
// clock. Clients must be gone when stop is called.
func (s *Script) Pipes() (dial func(ctx context.Context, network, addr string) (net.Conn, error), stop func()) {
	s.conns = map[net.Conn]bool{}
	s.pipes = &pipes{waiting: map[int]chan net.Conn{}}
	return func(_ context.Context, _, addr string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		if data := s.pipes.of(addr); data != nil {
			data <- ours
			return theirs, nil
		}
		s.track(ours)
		s.group.Go(func() { s.serve(ours) })
		return theirs, nil
	}, s.group.Wait
}

// pipes are the data connections of a server without a network.
type pipes struct {
	mu      sync.Mutex
	waiting map[int]chan net.Conn // by port
}

// of returns who waits at the port of addr, once.
func (p *pipes) of(addr string) chan net.Conn {
	_, port, _ := net.SplitHostPort(addr)
	number, _ := strconv.Atoi(port)
	p.mu.Lock()
	defer p.mu.Unlock()
	defer delete(p.waiting, number)
	return p.waiting[number]
}

// listen waits at a port of its own for one connection.
func (p *pipes) listen() net.Listener {
	p.mu.Lock()
	defer p.mu.Unlock()
	port := 1024
	for p.waiting[port] != nil {
		port++
	}
	p.waiting[port] = make(chan net.Conn, 1)
	return &pipeListener{port, p.waiting[port]}
}

type pipeListener struct {
	port int
	conn chan net.Conn
}

// Accept implements net.Listener.
func (l *pipeListener) Accept() (net.Conn, error) { return <-l.conn, nil }

// Close implements net.Listener.
func (l *pipeListener) Close() error { return nil }

// Addr implements net.Listener.
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{Port: l.port} }
