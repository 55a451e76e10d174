package ftptest

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Script is a server that knows a few files by heart, and does with each command
// what a test wants. It counts connections and remembers commands.
type Script struct {
	// Features are what FEAT names. Nil means that there is no FEAT.
	Features []string
	// On is asked about each command first: what it returns is the answer, as it
	// is but for the end of the line; "" means the usual one.
	On func(verb, arg string) string
	// Data is what the data connection sends for a command: a listing, or a
	// file from off on.
	Data func(verb, arg string, off int64) string
	// Store gets what a STOR or APPE has brought.
	Store func(verb, arg string, off int64, data string)
	// End is the last answer to a command with data; "" means "226 Done".
	// Hang never comes, Cut resets the data connection and the control
	// connection, and Keep sends the data but not the end of them.
	End func(verb, arg string) string
	// Passive, when set, is told of the port of each PASV and returns the host
	// for the answer, as in "10,0,0,1".
	Passive func(port int) string
	// Deaf loses commands that come while it is at another.
	Deaf bool
	// TLS, when set, is spoken from the first byte on.
	TLS *tls.Config
	// Mute ends encrypted data without close_notify.
	Mute bool

	mu       sync.Mutex
	commands []string
	conns    map[net.Conn]bool
	most     int
	group    sync.WaitGroup
	pipes    *pipes // nil with a network
}

// What End may return besides an answer.
const (
	Hang = "hang" // no answer
	Cut  = "cut"  // both connections are reset in the middle of the data
	Keep = "keep" // the data do not end
)

// Start starts the server, which runs until the test ends.
func (s *Script) Start(t testing.TB) *Server {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal("ftptest:", err)
	}
	s.conns = map[net.Conn]bool{}
	s.group.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.track(conn)
			s.group.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close() // once
		s.Drop()
		s.group.Wait()
	})
	return &Server{Addr: l.Addr().String()}
}

// Commands returns what clients have sent, without what comes with a login.
func (s *Script) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.commands...)
}

// Connections returns how many there are, and how many there were at once at most.
func (s *Script) Connections() (now, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns), s.most
}

// Drop closes all connections.
func (s *Script) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		_ = conn.Close() // that is what is wanted
	}
}

func (s *Script) track(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[conn] = true
	s.most = max(s.most, len(s.conns))
}

func (s *Script) forget(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = conn.Close() // it may be closed
	delete(s.conns, conn)
}

// session is one client.
type session struct {
	s       *Script
	raw     net.Conn
	conn    net.Conn
	passive net.Listener
	off     int64
}

func (s *Script) serve(raw net.Conn) {
	defer s.forget(raw)
	c := &session{s: s, raw: raw, conn: raw}
	if s.TLS != nil {
		c.conn = tls.Server(raw, s.TLS)
	}
	defer c.closePassive()
	if answer := c.scripted("connect", ""); answer == Hang {
		c.untilClosed()
		return
	} else if answer != "" {
		c.say(answer)
		if !strings.HasPrefix(answer, "2") {
			return
		}
	} else {
		c.say("220 ready")
	}
	in := bufio.NewReader(c.conn)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if s.Deaf {
			_, _ = in.Discard(in.Buffered()) // there is that much
		}
		verb, arg, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		if !c.do(strings.ToUpper(verb), arg) {
			return
		}
	}
}

func (c *session) scripted(verb, arg string) string {
	if c.s.On == nil {
		return ""
	}
	return c.s.On(verb, arg)
}

func (c *session) say(answer string) { _, _ = io.WriteString(c.conn, answer+"\r\n") }

// do answers a command, and reports whether there may be another.
func (c *session) do(verb, arg string) bool {
	switch verb {
	case "USER", "PASS", "FEAT", "TYPE", "PBSZ", "PROT":
	default:
		c.s.mu.Lock()
		c.s.commands = append(c.s.commands, strings.TrimSpace(verb+" "+arg))
		c.s.mu.Unlock()
	}
	if answer := c.scripted(verb, arg); answer == Hang {
		return true
	} else if answer == Cut {
		return false
	} else if answer != "" {
		c.say(answer)
		return !strings.HasPrefix(answer, "421")
	}
	switch verb {
	case "USER":
		c.say("331 and the password?")
	case "PASS":
		c.say("230 welcome")
	case "FEAT":
		c.feat()
	case "EPSV":
		c.say(fmt.Sprintf("229 Entering Extended Passive Mode (|||%d|)", c.listen()))
	case "PASV":
		port := c.listen()
		host := "127,0,0,1"
		if c.s.Passive != nil {
			host = c.s.Passive(port)
		}
		c.say(fmt.Sprintf("227 Entering Passive Mode (%s,%d,%d)", host, port>>8, port&255))
	case "REST":
		_, _ = fmt.Sscan(arg, &c.off)
		c.say("350 go on")
	case "LIST", "MLSD", "RETR":
		return c.transfer(verb, arg, c.send)
	case "STOR", "APPE":
		return c.transfer(verb, arg, c.receive)
	case "TYPE", "NOOP", "PBSZ", "PROT":
		c.say("200 fine")
	case "CWD", "DELE", "RMD", "RNTO":
		c.say("250 fine")
	case "MKD":
		c.say("257 made")
	case "RNFR":
		c.say("350 and to what?")
	case "QUIT":
		c.say("221 bye")
		return false
	default:
		c.say("502 what?")
	}
	return true
}

func (c *session) feat() {
	if c.s.Features == nil {
		c.say("500 what?")
		return
	}
	c.say("211-Features\r\n " + strings.Join(c.s.Features, "\r\n ") + "\r\n211 End")
}

func (c *session) closePassive() {
	if c.passive != nil {
		_ = c.passive.Close() // it may be closed
	}
}

func (c *session) listen() int {
	c.closePassive()
	if c.s.pipes != nil {
		c.passive = c.s.pipes.listen()
	} else if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		c.passive = l
	} else {
		return 0
	}
	return c.passive.Addr().(*net.TCPAddr).Port
}

// transfer runs a command with data.
func (c *session) transfer(verb, arg string, run func(data net.Conn, verb, arg string)) bool {
	if c.passive == nil {
		c.say("425 no data connection")
		return true
	}
	c.say("150 here it comes")
	raw, err := c.passive.Accept()
	if err != nil {
		return false
	}
	c.s.track(raw)
	defer c.s.forget(raw)
	data := raw
	if c.s.TLS != nil {
		data = tls.Server(raw, c.s.TLS)
	}
	run(data, verb, arg)
	c.off = 0
	end := ""
	if c.s.End != nil {
		end = c.s.End(verb, arg)
	}
	switch end {
	case Keep:
		c.untilClosed()
		return false
	case Cut:
		_ = raw.(*net.TCPConn).SetLinger(0) // to reset it
		return false
	}
	if c.s.Mute {
		_ = raw.Close() // so that nothing of TLS gets through any more
	}
	_ = data.Close()
	switch end {
	case Hang:
		return true
	case "":
		end = "226 Done"
	}
	c.say(end)
	return true
}

// untilClosed waits for the client to go.
func (c *session) untilClosed() { _, _ = io.Copy(io.Discard, c.conn) }

func (c *session) send(data net.Conn, verb, arg string) {
	if c.s.Data != nil {
		_ = data.SetWriteDeadline(time.Now().Add(time.Minute))
		_, _ = io.WriteString(data, c.s.Data(verb, arg, c.off)) // who closes early wants no more
	}
}

func (c *session) receive(data net.Conn, verb, arg string) {
	text, _ := io.ReadAll(data) // as far as it came
	if c.s.Store != nil {
		c.s.Store(verb, arg, c.off, string(text))
	}
}
