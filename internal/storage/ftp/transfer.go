package ftp

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// A transfer is a data connection and the answer that is still to come.
type transfer struct {
	c       *conn
	conn    net.Conn // TCP, or TLS over it
	below   *ended   // what is below TLS; nil in the clear
	command string
}

// ended notes that a connection came to its end. crypto/tls makes one and the same
// io.EOF of the server's word that it has sent all (close_notify) and of an end of TCP,
// which anybody on the way can forge; but after the word it reads no further.
type ended struct {
	net.Conn
	eof bool
}

func (e *ended) Read(p []byte) (int, error) {
	n, err := e.Conn.Read(p)
	e.eof = e.eof || n == 0 && err == io.EOF
	return n, err
}

// cut reports whether the data may have ended before their end: TLS did not say that
// this is it. In the clear nobody could tell.
func (t *transfer) cut() bool { return t.below != nil && t.below.eof }

// begin opens a data connection and sends the command that uses it, with REST
// before it unless off is 0.
func (c *conn) begin(off int64, command string) (*transfer, error) {
	raw, err := c.passive()
	if err != nil {
		return nil, err
	}
	t := &transfer{c: c, conn: raw, command: command}
	if err := t.start(off); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *transfer) start(off int64) error {
	if off > 0 {
		if err := t.c.expect(350, "REST "+strconv.FormatInt(off, 10)); err != nil {
			return &restError{err}
		}
	}
	r, err := t.c.command(t.command)
	if err != nil {
		return err
	}
	if r.code/100 != 1 {
		return newReplyError(t.command, r, t.c.store.opts.Password)
	}
	if t.c.tls == nil {
		return nil
	}
	t.below = &ended{Conn: t.conn}
	encrypted := tls.Client(t.below, t.c.tls)
	t.conn = encrypted
	if err := encrypted.HandshakeContext(t.c.ctx); err != nil {
		return t.whyNot(fmt.Errorf("TLS of the data connection: %w", err))
	}
	return nil
}

// restError says that REST was refused.
type restError struct{ error }

func (e *restError) Unwrap() error { return e.error }

// passive opens a data connection to where the control connection goes, whatever
// host the server names (a server that sends its clients elsewhere makes them scan
// a network for it: CVE-2020-8284, CVE-2021-4189).
func (c *conn) passive() (net.Conn, error) {
	port, err := c.passivePort()
	if err != nil {
		return nil, err
	}
	raw, err := c.store.opts.Dial(c.ctx, "tcp", net.JoinHostPort(c.peer, strconv.Itoa(port)))
	if err != nil {
		return nil, notReached("data connection", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.killed {
		_ = raw.Close() // as the control connection
		return nil, errCut
	}
	c.data = raw
	return raw, nil
}

func (c *conn) passivePort() (int, error) {
	if !c.store.knownToLack("EPSV") {
		text, err := c.ask(229, "EPSV")
		if err == nil {
			return parseEPSV(text)
		}
		if !refused(err) {
			return 0, err
		}
		c.store.miss("EPSV")
	}
	text, err := c.ask(227, "PASV")
	if err != nil {
		return 0, err
	}
	return parsePASV(text)
}

var errPassive = errors.New("the server's answer names no port for the data connection")

// parseEPSV reads "... (|||6446|)"; the bar may be another character.
func parseEPSV(text string) (int, error) {
	_, text, _ = strings.Cut(text, "(")
	text, _, ok := strings.Cut(text, ")")
	if !ok || len(text) < 5 {
		return 0, errPassive
	}
	fields := strings.Split(text, text[:1])
	if len(fields) != 5 {
		return 0, errPassive
	}
	port, err := parsePort(fields[3], 65535)
	if port == 0 {
		err = errPassive
	}
	return port, err
}

// parsePASV reads "... (h1,h2,h3,h4,p1,p2)", with or without the parentheses.
func parsePASV(text string) (int, error) {
	fields := strings.Split(text, ",")
	if len(fields) < 6 {
		return 0, errPassive
	}
	fields = fields[len(fields)-2:]
	low := fields[1]
	if i := strings.IndexFunc(low, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		low = low[:i]
	}
	p1, err1 := parsePort(fields[0], 255)
	p2, err2 := parsePort(low, 255)
	if err1 != nil || err2 != nil || p1+p2 == 0 {
		return 0, errPassive
	}
	return p1<<8 + p2, nil
}

func parsePort(s string, most int) (int, error) {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil || n < 0 || n > most {
		return -1, errPassive
	}
	return n, nil
}

func (t *transfer) Read(p []byte) (int, error) {
	n, err := t.conn.Read(p)
	if n > 0 {
		t.c.moved()
	}
	return n, err
}

func (t *transfer) Write(p []byte) (int, error) {
	n, err := t.conn.Write(p)
	if n > 0 {
		t.c.moved()
	}
	return n, err
}

// close closes the data connection, without a word to the server.
func (t *transfer) close() {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	if t.c.data != nil {
		_ = t.c.data.Close() // its end is told on the control connection
		t.c.data = nil
	}
}

// closeWrite tells the server that the data are complete, and leaves the connection
// open to its side: to close it while something of the server's is unread (a ticket
// of TLS 1.3) would reset it, and with it what is still on its way there.
func (t *transfer) closeWrite() error {
	if encrypted, ok := t.conn.(*tls.Conn); ok {
		if err := encrypted.CloseWrite(); err != nil {
			return err
		}
	}
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	if half, ok := t.c.data.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	if t.c.data == nil {
		return net.ErrClosed
	}
	return t.c.data.Close()
}

// stored reads the server's last word on an upload, and closes the data connection.
func (t *transfer) stored() error {
	r, err := t.c.read()
	t.close()
	if err == nil && !r.good() {
		err = newReplyError(t.command, r, t.c.store.opts.Password)
	}
	return err
}

// end closes the data connection and reads the server's last word on it.
func (t *transfer) end() (reply, error) {
	t.close()
	r, err := t.c.read()
	if err == nil && !r.good() {
		err = newReplyError(t.command, r, t.c.store.opts.Password)
	}
	return r, err
}

// abandon ends a transfer before its time. The connection is good again when the
// server has said its last word on the transfer, and answers the next command with
// the answer to that command. Otherwise it is given up, which costs a login.
func (t *transfer) abandon() {
	t.close()
	if t.c.broken {
		return
	}
	if err := t.c.limit(patience); err != nil {
		t.c.broken = true
		return
	}
	if _, err := t.c.read(); err != nil || !t.c.inStep(patience) {
		t.c.broken = true
	}
}
