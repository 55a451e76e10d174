// Package faultproxy stands between a client and a real server and does what
// networks and servers do wrong: [Proxy] to the bytes of connections, [HTTP] to
// answers. What goes wrong is chosen for each connection or request by its number,
// so that a seed makes it happen again. Only _test files may import it.
package faultproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A Kind is what goes wrong with a connection.
type Kind string

// The kinds. Those from Reset on happen at byte At of one direction.
const (
	Pass      Kind = ""          // nothing
	Refuse    Kind = "refuse"    // reset before a byte moved
	Blackhole Kind = "blackhole" // accepted, and never answered
	Delay     Kind = "delay"     // every piece comes late
	Reset     Kind = "reset"
	Stall     Kind = "stall"     // nothing more moves, and nothing ends
	Trickle   Kind = "trickle"   // a few bytes a tick
	HalfClose Kind = "halfclose" // this direction ends, the other goes on
	Corrupt   Kind = "corrupt"   // one byte is another
)

// A Fault is what happens to one connection.
type Fault struct {
	Kind Kind
	Up   bool  // to what the client sends; otherwise to what it gets
	At   int64 // after so many bytes of that direction
}

func (f Fault) String() string {
	way := "down"
	if f.Up {
		way = "up"
	}
	return fmt.Sprintf("%s %s at %d", f.Kind, way, f.At)
}

const (
	tick    = 10 * time.Millisecond
	trickle = 7 // bytes a tick
)

// A Proxy passes TCP connections on to a server. Its zero value is not usable.
type Proxy struct {
	Addr string // "127.0.0.1:12345"

	// Conns, Up and Down count the connections, and the bytes that were passed on.
	Conns, Up, Down atomic.Int64

	target   string
	listener net.Listener
	wg       sync.WaitGroup

	mu     sync.Mutex
	choose func(n int) Fault
	next   int
	closed bool
	ctx    context.Context // of the connections since the last Set
	cut    context.CancelFunc
}

// Start starts a proxy in front of target, an address, that runs until the test
// ends. Without a target each connection is led where its client says, by [Through].
func Start(t testing.TB, target string) *Proxy {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal("faultproxy:", err)
	}
	p := &Proxy{Addr: listener.Addr().String(), target: target, listener: listener}
	p.Set(nil)
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		p.mu.Lock()
		p.closed = true
		p.cut()
		p.mu.Unlock()
		_ = listener.Close() // it can only be closed already
		p.wg.Wait()
	})
	return p
}

// Moved returns how many bytes were passed on, both ways.
func (p *Proxy) Moved() int64 { return p.Up.Load() + p.Down.Load() }

// Set cuts all connections, and asks choose for the fault of each new one; n counts
// them from 0. A nil choose is no fault.
func (p *Proxy) Set(choose func(n int) Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut != nil {
		p.cut()
	}
	if choose == nil {
		choose = func(int) Fault { return Fault{} }
	}
	p.choose, p.next = choose, 0
	p.ctx, p.cut = context.WithCancel(context.Background())
}

// Always is a fault of every connection.
func Always(f Fault) func(int) Fault { return func(int) Fault { return f } }

func (p *Proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		n, choose, ctx, closed := p.next, p.choose, p.ctx, p.closed
		p.next++
		p.mu.Unlock()
		if closed {
			_ = conn.Close() // the test is over
			return
		}
		p.Conns.Add(1)
		fault := choose(n)
		p.wg.Go(func() { p.serve(ctx, conn.(*net.TCPConn), fault) })
	}
}

// Through dials by way of a proxy that has no target, as a protocol wants it that opens
// connections to ports which the server names. The proxy may be in another process.
func Through(proxy string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, proxy)
		if err != nil {
			return nil, err
		}
		if _, err := io.WriteString(conn, addr+"\n"); err != nil {
			_ = conn.Close() // it was refused
			return nil, err
		}
		return conn, nil
	}
}

// address is where a connection is to be led. It is read byte by byte: what follows
// belongs to the server.
func (p *Proxy) address(client io.Reader) (string, error) {
	if p.target != "" {
		return p.target, nil
	}
	var addr []byte
	for b := make([]byte, 1); ; addr = append(addr, b[0]) {
		if _, err := io.ReadFull(client, b); err != nil || b[0] == '\n' {
			return string(addr), err
		}
	}
}

// serve passes one connection on until both directions have ended, or it is cut.
func (p *Proxy) serve(ctx context.Context, client *net.TCPConn, f Fault) {
	ctx, cut := context.WithCancel(ctx)
	defer cut()
	defer context.AfterFunc(ctx, func() { reset(client) })()
	defer client.Close()
	switch f.Kind {
	case Refuse:
		reset(client)
		return
	case Blackhole:
		_, _ = io.Copy(io.Discard, client) // it may only have said its last word
		<-ctx.Done()
		return
	}
	addr, err := p.address(client)
	if err != nil {
		return
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		reset(client)
		return
	}
	server := conn.(*net.TCPConn)
	defer server.Close()
	defer context.AfterFunc(ctx, func() { reset(server) })()
	up, down := flow{ctx, cut, server, client, Fault{}, &p.Up}, flow{ctx, cut, client, server, Fault{}, &p.Down}
	if f.Up {
		up.fault = f
	} else {
		down.fault = f
	}
	var both sync.WaitGroup
	both.Go(up.run)
	both.Go(down.run)
	both.Wait()
}

// reset closes a connection so that the other end gets an RST.
func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0) // it may be closed
	_ = conn.Close()
}

// A flow is one direction of a connection.
type flow struct {
	ctx   context.Context
	cut   func()
	to    *net.TCPConn
	from  *net.TCPConn
	fault Fault
	count *atomic.Int64
}

var errOver = errors.New("the fault has ended this direction")

func (f *flow) run() {
	buf, passed := make([]byte, 32<<10), int64(0)
	for {
		n, err := f.from.Read(buf)
		if n > 0 {
			if failed := f.pass(buf[:n], passed); errors.Is(failed, errOver) {
				return
			} else if failed != nil {
				f.cut() // who does not take it any more is gone
				return
			}
			passed += int64(n)
		}
		if err == io.EOF {
			_ = f.to.CloseWrite() // it may be gone
			return
		}
		if err != nil {
			f.cut()
			return
		}
	}
}

// pass passes data on, of which the first byte is number at, as far as the fault
// lets it.
func (f *flow) pass(data []byte, at int64) error {
	hit := f.fault.Kind != Pass && at+int64(len(data)) > f.fault.At
	i := int(max(f.fault.At-at, 0))
	switch {
	case f.fault.Kind == Delay:
		f.wait(tick)
	case !hit:
	case f.fault.Kind == Corrupt && at <= f.fault.At:
		data[i] ^= 0x15
	case f.fault.Kind == Trickle:
		return f.trickle(data, i)
	case f.fault.Kind != Corrupt:
		if err := f.write(data[:i]); err != nil {
			return err
		}
		f.end()
		return errOver
	}
	return f.write(data)
}

func (f *flow) end() {
	switch f.fault.Kind {
	case Reset:
		reset(f.to)
		reset(f.from)
		f.cut()
	case HalfClose:
		_ = f.to.CloseWrite()              // it may be gone
		_, _ = io.Copy(io.Discard, f.from) // nobody is told
	default: // Stall
		<-f.ctx.Done()
	}
}

func (f *flow) trickle(data []byte, i int) error {
	if err := f.write(data[:i]); err != nil {
		return err
	}
	for data = data[i:]; len(data) > 0; {
		n := min(len(data), trickle)
		if err := f.write(data[:n]); err != nil {
			return err
		}
		data = data[n:]
		f.wait(tick)
	}
	return nil
}

func (f *flow) write(data []byte) error {
	n, err := f.to.Write(data)
	f.count.Add(int64(n))
	return err
}

func (f *flow) wait(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-f.ctx.Done():
	}
}
