package sftptest

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// A Local is a server in this process, which serves this machine's files.
type Local struct {
	Host string
	Dir  string // a new, empty folder, absolute
	LocalConfig

	// Attempts counts the logins that were tried, the question which kinds there
	// are left out; Opened the connections that were logged in.
	Attempts, Opened atomic.Int64

	listener net.Listener
	wg       sync.WaitGroup
	mu       sync.Mutex
	open     map[net.Conn]bool
	sessions map[ssh.Channel]bool
}

// LocalConfig says who may log in, and what the server does wrong.
type LocalConfig struct {
	HostKeys []ssh.Signer    // one is made when there is none
	Keys     []ssh.PublicKey // of the user
	Password string          // "" is never right
	Keyboard string          // the same, asked for by keyboard-interactive

	// Answer, when set, sees each packet that the server sends, from its type on,
	// and returns what is sent in its place. Nothing is sent for nil. Several
	// connections call it at once.
	Answer func(packet []byte) []byte

	// Greet, when set, replaces all of SSH.
	Greet func(net.Conn)
}

// StartLocal starts a server that runs until the test ends.
func StartLocal(t testing.TB, config LocalConfig) *Local {
	t.Helper()
	if len(config.HostKeys) == 0 {
		_, key := NewKey(t)
		config.HostKeys = []ssh.Signer{key}
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	l := &Local{
		Host: listener.Addr().String(), Dir: realPath(t, t.TempDir()), LocalConfig: config,
		listener: listener, open: map[net.Conn]bool{}, sessions: map[ssh.Channel]bool{},
	}
	l.wg.Go(l.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		l.Break()
		l.wg.Wait()
	})
	return l
}

// Fingerprint is that of the first host key.
func (l *Local) Fingerprint() string { return ssh.FingerprintSHA256(l.HostKeys[0].PublicKey()) }

// Break cuts all connections.
func (l *Local) Break() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn := range l.open {
		_ = conn.Close()
	}
}

// EndSessions ends SFTP on all connections, and leaves those open, as sshd does
// when its child dies.
func (l *Local) EndSessions() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for channel := range l.sessions {
		_ = channel.Close()
	}
}

func (l *Local) accept() {
	for {
		conn, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.mu.Lock()
		l.open[conn] = true
		l.mu.Unlock()
		l.wg.Go(func() {
			l.serve(conn)
			_ = conn.Close()
			l.mu.Lock()
			defer l.mu.Unlock()
			delete(l.open, conn)
		})
	}
}

var errNo = errors.New("no")

func (l *Local) config() *ssh.ServerConfig {
	c := &ssh.ServerConfig{MaxAuthTries: 20}
	for _, key := range l.HostKeys {
		c.AddHostKey(key)
	}
	c.AuthLogCallback = func(_ ssh.ConnMetadata, method string, _ error) {
		if method != "none" {
			l.Attempts.Add(1)
		}
	}
	allow := func(ok bool) (*ssh.Permissions, error) {
		if ok {
			return nil, nil
		}
		return nil, errNo
	}
	if len(l.Keys) > 0 {
		c.PublicKeyCallback = func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			for _, good := range l.Keys {
				if string(good.Marshal()) == string(key.Marshal()) {
					return nil, nil
				}
			}
			return nil, errNo
		}
	}
	if l.Password != "" {
		c.PasswordCallback = func(_ ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			return allow(string(password) == l.Password)
		}
	}
	if l.Keyboard != "" {
		c.KeyboardInteractiveCallback = func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			answers, err := ask("", "", []string{"Password: "}, []bool{false})
			return allow(err == nil && len(answers) == 1 && answers[0] == l.Keyboard)
		}
	}
	return c
}

func (l *Local) serve(network net.Conn) {
	if l.Greet != nil {
		l.Greet(network)
		return
	}
	conn, channels, requests, err := ssh.NewServerConn(network, l.config())
	if err != nil {
		return
	}
	l.Opened.Add(1)
	go ssh.DiscardRequests(requests)
	for ch := range channels {
		channel, requests, err := ch.Accept()
		if err != nil {
			return
		}
		go func() {
			for r := range requests {
				_ = r.Reply(r.Type == "subsystem", nil) // the client may be gone
			}
		}()
		l.wg.Go(func() { l.session(channel) })
	}
	_ = conn.Wait() // it has ended
}

func (l *Local) session(channel ssh.Channel) {
	l.mu.Lock()
	l.sessions[channel] = true
	l.mu.Unlock()
	defer func() {
		_ = channel.Close() // it may be closed
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.sessions, channel)
	}()
	server, err := sftp.NewServer(&filter{Channel: channel, answer: l.Answer})
	if err != nil {
		return
	}
	_ = server.Serve() // until the client goes
	_ = server.Close()
}

// filter lets a function see what the server sends.
type filter struct {
	ssh.Channel
	answer func([]byte) []byte
	buf    []byte
}

func (f *filter) Write(p []byte) (int, error) {
	if f.answer == nil {
		return f.Channel.Write(p)
	}
	f.buf = append(f.buf, p...)
	for len(f.buf) >= 4 {
		n := int(binary.BigEndian.Uint32(f.buf)) + 4
		if len(f.buf) < n {
			break
		}
		packet := f.answer(f.buf[4:n:n])
		if packet != nil {
			head := binary.BigEndian.AppendUint32(nil, uint32(len(packet)))
			if _, err := f.Channel.Write(append(head, packet...)); err != nil {
				return 0, err
			}
		}
		f.buf = f.buf[n:]
	}
	return len(p), nil
}

var _ io.ReadWriteCloser = (*filter)(nil)
