package ftp

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

const (
	maxReply  = 1 << 20 // bytes of one answer
	maxBatch  = 32      // commands on their way at once
	patience  = time.Second
	probation = 2 * time.Second
)

// A conn is a control connection and at most one data connection with it. One
// goroutine uses it at a time; kill may come from another.
type conn struct {
	store *Store
	raw   net.Conn // TCP
	ctl   net.Conn // raw, or TLS over it
	quota *quota
	in    *bufio.Reader // of ctl
	text  *textproto.Reader
	peer  string      // the host that data connections go to
	tls   *tls.Config // nil in the clear

	mu     sync.Mutex
	data   net.Conn // TCP; nil between transfers
	killed bool

	broken   bool // an answer is missing, or one too many came
	reused   bool // it was in the pool
	answered bool // it has, since it was taken out of the pool
	since    time.Time
	ctx      context.Context // of the call that dials it or that it is lent to; kills it at its end
	unwatch  func() bool
}

// quota is a reader that fails when an answer does not end.
type quota struct {
	r    io.Reader
	left int
}

func (q *quota) Read(p []byte) (int, error) {
	if q.left <= 0 {
		return 0, errors.New("the server's answer does not end")
	}
	n, err := q.r.Read(p)
	q.left -= n
	return n, err
}

// kill ends whatever the connection is at.
func (c *conn) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.killed = true
	_ = c.raw.Close() // nothing to save
	if c.data != nil {
		_ = c.data.Close()
	}
}

func (c *conn) healthy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.killed && !c.broken && c.data == nil
}

// stale reports whether the connection died in the pool.
func (c *conn) stale() bool { return c.reused && !c.answered && c.broken }

// rest makes the connection ready for the pool.
func (c *conn) rest() {
	c.reused, c.answered, c.since = true, false, time.Now()
}

// alive asks a connection that has rested for long.
func (c *conn) alive(ctx context.Context) bool {
	if !c.reused || time.Since(c.since) < idleLong {
		return true
	}
	c.ctx = ctx
	stop := context.AfterFunc(ctx, c.kill)
	defer stop()
	return c.inStep(probation)
}

// inStep asks whether the next answer belongs to the next question.
func (c *conn) inStep(limit time.Duration) bool {
	if c.limit(limit) != nil {
		return false
	}
	err := c.expect(200, "NOOP")
	c.answered = false // that was only the question whether it can
	return err == nil && c.limit(0) == nil
}

// limit sets a time for what comes next on the control connection; 0 is no limit.
func (c *conn) limit(d time.Duration) error {
	if d == 0 {
		return c.raw.SetDeadline(time.Time{})
	}
	return c.raw.SetDeadline(time.Now().Add(d))
}

// quit takes leave without waiting for the answer.
func (c *conn) quit() {
	if c.limit(patience) == nil {
		_, _ = io.WriteString(c.ctl, "QUIT\r\n") // it is closed all the same
	}
	c.kill()
}

// unsafeCommand reports what must not get into a command: with a line break in it,
// a name would be a command of its own.
func unsafeCommand(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f || s[i] == 0xff {
			return true
		}
	}
	return false
}

// send writes commands, without waiting for the answers.
func (c *conn) send(commands ...string) error {
	var text strings.Builder
	for _, command := range commands {
		if unsafeCommand(command) {
			return &storage.KeyError{Key: command, Reason: "holds a control character"}
		}
		text.WriteString(command + "\r\n")
	}
	if c.broken {
		return errOutOfStep
	}
	c.quota.left = maxReply
	if _, err := io.WriteString(c.ctl, text.String()); err != nil {
		c.broken = true
		return brokenError(err)
	}
	return nil
}

// read reads an answer.
func (c *conn) read() (reply, error) {
	c.quota.left = maxReply
	code, text, err := c.text.ReadResponse(0)
	if err != nil {
		c.broken = true
		return reply{}, brokenError(err)
	}
	if code == 421 { // also the last word of a server to a connection that was idle for too long
		c.broken = true
		if c.reused && !c.answered {
			return reply{}, newReplyError("connect", reply{code, text}, c.store.opts.Password)
		}
	}
	c.answered = true
	c.moved()
	return reply{code, text}, nil
}

// moved says that a byte has come or gone, to who waits for this connection and to
// those who wait for any.
func (c *conn) moved() {
	storage.Moved(c.ctx)
	c.store.pool.noteMove()
}

// command sends a command and returns the answer, whatever it is.
func (c *conn) command(command string) (reply, error) {
	if err := c.send(command); err != nil {
		return reply{}, err
	}
	return c.read()
}

// expect sends a command. An answer that is not code, or not of the class code
// when that is one digit, is a *replyError.
func (c *conn) expect(code int, command string) error {
	_, err := c.ask(code, command)
	return err
}

// ask is expect for who wants the text.
func (c *conn) ask(code int, command string) (string, error) {
	r, err := c.command(command)
	if err != nil {
		return "", err
	}
	if r.code != code && r.code/100 != code {
		return "", newReplyError(command, r, c.store.opts.Password)
	}
	return r.text, nil
}

// inTurn sends commands one after the other.
func (c *conn) inTurn(commands ...string) ([]reply, error) {
	replies := make([]reply, 0, len(commands))
	for _, command := range commands {
		r, err := c.command(command)
		if err != nil {
			return nil, err
		}
		replies = append(replies, r)
	}
	return replies, nil
}

// batch sends commands without waiting for each answer, where the server can read
// several at once: most can, and it saves the round trips. The first time is the
// test of it; when the server lost a command, the call that the connection is lent to
// starts again on a fresh one. So a call that uses something up must make the test
// before it does, with tryPipelining.
func (c *conn) batch(commands ...string) ([]reply, error) {
	l := &c.store.learned
	switch known := l.get(&l.pipelines); {
	case known == no || len(commands) < 2:
		return c.inTurn(commands...)
	case known == unknown:
		return c.firstBatch(commands)
	}
	replies := make([]reply, 0, len(commands))
	for len(commands) > 0 {
		some := commands[:min(maxBatch, len(commands))]
		commands = commands[len(some):]
		if err := c.send(some...); err != nil {
			return nil, err
		}
		for range some {
			r, err := c.read()
			if err != nil {
				return nil, err
			}
			replies = append(replies, r)
		}
	}
	return replies, nil
}

// tryPipelining finds out whether the server can read several commands at once.
func (c *conn) tryPipelining() error {
	l := &c.store.learned
	if l.get(&l.pipelines) != unknown {
		return nil
	}
	_, err := c.batch("NOOP", "NOOP")
	return err
}

func (c *conn) firstBatch(commands []string) ([]reply, error) {
	l := &c.store.learned
	if err := c.send(commands[:2]...); err != nil {
		return nil, err
	}
	first, err := c.read()
	if err != nil {
		return nil, err
	}
	if err := c.limit(probation); err != nil {
		return nil, err
	}
	second, err := c.read()
	if err != nil {
		l.set(&l.pipelines, no)
		c.answered = false // as if it had died in the pool: with tries again
		c.reused = true
		return nil, err
	}
	if err := c.limit(0); err != nil {
		return nil, err
	}
	l.set(&l.pipelines, yes)
	rest, err := c.batch(commands[2:]...)
	return append([]reply{first, second}, rest...), err
}
