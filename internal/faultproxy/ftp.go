package faultproxy

import (
	"bufio"
	"context"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// FTP passes FTP sessions on to a server, and their data connections, which the
// server offers in its answers to EPSV, each through a [Proxy] of its own.
type FTP struct {
	Addr string // "127.0.0.1:12345"

	t        testing.TB
	host     string
	target   string
	sessions sync.WaitGroup

	mu     sync.Mutex
	data   []*Proxy
	choose func(n int) Fault
	closed bool
	ctx    context.Context // of the sessions since the last Set
	cut    context.CancelFunc
}

// StartFTP starts a proxy in front of target, an address, that runs until the test
// ends.
func StartFTP(t testing.TB, target string) *FTP {
	t.Helper()
	host, _, err := net.SplitHostPort(target)
	if err != nil {
		t.Fatal("faultproxy:", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal("faultproxy:", err)
	}
	p := &FTP{Addr: listener.Addr().String(), t: t, host: host, target: target}
	p.Set(nil)
	p.sessions.Go(func() { p.accept(listener) })
	t.Cleanup(func() {
		p.mu.Lock()
		p.closed = true
		p.cut()
		p.mu.Unlock()
		_ = listener.Close() // it can only be closed already
		p.sessions.Wait()
	})
	return p
}

// Set cuts all connections, and asks choose for the fault of each new data
// connection; n counts them from 0. A nil choose is no fault.
func (p *FTP) Set(choose func(n int) Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut != nil {
		p.cut()
	}
	for _, d := range p.data {
		d.Set(nil)
	}
	if choose == nil {
		choose = func(int) Fault { return Fault{} }
	}
	p.choose = choose
	p.ctx, p.cut = context.WithCancel(context.Background())
}

// Moved returns how many bytes the data connections have passed on, both ways.
func (p *FTP) Moved() (n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.data {
		n += d.Up.Load() + d.Down.Load()
	}
	return n
}

func (p *FTP) accept(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		ctx := p.ctx
		p.mu.Unlock()
		p.sessions.Go(func() { p.serve(ctx, client) })
	}
}

// serve passes one session on: commands as they are, answers line by line.
func (p *FTP) serve(ctx context.Context, client net.Conn) {
	defer client.Close()
	server, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	defer context.AfterFunc(ctx, func() {
		_ = client.Close() // they may be closed
		_ = server.Close()
	})()
	var commands sync.WaitGroup
	commands.Go(func() {
		_, _ = io.Copy(server, client) // whoever is gone, the session is over
		_ = server.Close()
	})
	lines := bufio.NewReader(server)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break
		}
		if _, err := io.WriteString(client, p.offer(line)); err != nil {
			break
		}
	}
	_ = client.Close() // also when the server has ended it
	commands.Wait()
}

var epsvAnswer = regexp.MustCompile(`^(229 .*\(\|\|\|)(\d+)(\|\).*)$`)

// offer puts the port of a proxy in the place of the server's.
func (p *FTP) offer(line string) string {
	f := epsvAnswer.FindStringSubmatch(strings.TrimRight(line, "\r\n"))
	if f == nil {
		return line
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return line
	}
	d := Start(p.t, net.JoinHostPort(p.host, f[2]))
	d.Set(Always(p.choose(len(p.data))))
	p.data = append(p.data, d)
	_, port, _ := net.SplitHostPort(d.Addr) // which is one of ours
	return f[1] + port + f[3] + "\r\n"
}
