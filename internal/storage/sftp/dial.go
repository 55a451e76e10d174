package sftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// handshakeTimeout is for all that comes before the first request.
const handshakeTimeout = 30 * time.Second

// dialer makes connections.
type dialer struct {
	opts   Options
	signer ssh.Signer // may be nil
}

// dial connects, checks who is there, logs in and starts SFTP.
func (d *dialer) dial(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, handshakeTimeout, errSlow)
	defer cancel()
	keys, err := newHostKeys(d.opts)
	if err != nil {
		return nil, err
	}
	c, err := d.attempt(ctx, keys)
	var refused, again *HostKeyError
	for d.opts.Fingerprint != "" && errors.As(err, &refused) { // the pinned key may be one of another type
		keys.order = slices.DeleteFunc(slices.Clone(keys.order), func(s string) bool { return slices.Contains(algorithmsOf(refused.Type), s) })
		if len(keys.order) == 0 {
			break
		}
		var next error
		if c, next = d.attempt(ctx, keys); next == nil || errors.As(next, &again) {
			err = next
			continue
		}
		var none *ssh.AlgorithmNegotiationError
		if !errors.As(next, &none) {
			err = next
		}
		break
	}
	if err != nil {
		return nil, dialError(ctx, d.opts.Host, err)
	}
	return c, nil
}

var errSlow = fmt.Errorf("%w: the server takes too long to say hello", storage.ErrTemporary)

// attempt is one TCP connection and what becomes of it.
func (d *dialer) attempt(ctx context.Context, keys *hostKeys) (*conn, error) {
	network, err := d.opts.Dial(ctx, "tcp", d.opts.Host)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = network.Close() }) // nothing else ends a handshake
	c, err := d.start(ctx, network, keys)
	if !stop() && err == nil {
		c.close(ctx.Err())
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(err, ignoreClosed(network.Close()))
	}
	return c, nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// start does the handshake of SSH, and then that of SFTP.
func (d *dialer) start(ctx context.Context, network net.Conn, keys *hostKeys) (*conn, error) {
	login := &login{dialer: d, keys: keys}
	defer login.close()
	transport, channels, requests, err := ssh.NewClientConn(network, d.opts.Host, login.config(ctx))
	if err != nil {
		return nil, login.explain(err)
	}
	client := ssh.NewClient(transport, channels, requests)
	c, err := startSession(ctx, client, network)
	if err != nil {
		return nil, errors.Join(err, ignoreClosed(client.Close()))
	}
	return c, nil
}

// startSession asks for the subsystem called sftp.
func startSession(ctx context.Context, client *ssh.Client, network net.Conn) (*conn, error) {
	channel, requests, err := client.OpenChannel("session", nil)
	if err != nil {
		return nil, fmt.Errorf("the server opens no session: %w", err)
	}
	go ssh.DiscardRequests(requests)
	go func() { _, _ = io.Copy(io.Discard, channel.Stderr()) }() // unread it would fill the window
	ok, err := channel.SendRequest("subsystem", true, ssh.Marshal(struct{ Name string }{"sftp"}))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errors.New("the server has no SFTP for this user")
	}
	c, err := startConn(channel, network.Close)
	if err != nil {
		return nil, err
	}
	c.ordered = strings.Contains(string(client.ServerVersion()), "OpenSSH")
	if err := c.learnLimits(ctx); err != nil {
		c.close(err)
		return nil, err
	}
	return c, nil
}

// login is one attempt to prove who both sides are.
type login struct {
	dialer   *dialer
	keys     *hostKeys
	agent    net.Conn
	stop     func() bool // the watch over it
	agentErr error
	refused  error // of the host key
	trusted  bool  // the host key was accepted
}

func (l *login) config(ctx context.Context) *ssh.ClientConfig {
	o := l.dialer.opts
	return &ssh.ClientConfig{
		User:              o.User,
		Auth:              l.methods(ctx),
		HostKeyAlgorithms: l.keys.order,
		HostKeyCallback: func(host string, remote net.Addr, key ssh.PublicKey) error {
			l.refused = l.keys.check(host, remote, key)
			l.trusted = l.refused == nil
			return l.refused
		},
	}
}

func (l *login) methods(ctx context.Context) (all []ssh.AuthMethod) {
	o := l.dialer.opts
	if l.dialer.signer != nil || o.Agent {
		all = append(all, ssh.PublicKeysCallback(func() ([]ssh.Signer, error) { return l.signers(ctx) }))
	}
	if o.Password != "" {
		all = append(all, ssh.Password(o.Password), ssh.KeyboardInteractive(l.answer))
	}
	return all
}

// signers are all keys at once: the library tries each kind of login only once.
func (l *login) signers(ctx context.Context) (all []ssh.Signer, err error) {
	if l.dialer.signer != nil {
		all = append(all, l.dialer.signer)
	}
	if !l.dialer.opts.Agent {
		return all, nil
	}
	fromAgent, err := l.askAgent(ctx)
	l.agentErr = err
	return append(all, fromAgent...), nil
}

func (l *login) askAgent(ctx context.Context) (_ []ssh.Signer, err error) {
	socket := os.Getenv("SSH_AUTH_SOCK")
	if socket == "" {
		return nil, errors.New("no agent is running: SSH_AUTH_SOCK is not set")
	}
	if l.agent, err = (&net.Dialer{}).DialContext(ctx, "unix", socket); err != nil {
		return nil, fmt.Errorf("the agent does not answer: %w", err)
	}
	l.stop = context.AfterFunc(ctx, func() { _ = l.agent.Close() })
	return agent.NewClient(l.agent).Signers()
}

// answer gives the password to each question that hides what is typed.
func (l *login) answer(_, _ string, questions []string, echos []bool) ([]string, error) {
	answers := make([]string, len(questions))
	for i := range questions {
		if !echos[i] {
			answers[i] = l.dialer.opts.Password
		}
	}
	return answers, nil
}

func (l *login) close() {
	if l.stop != nil {
		l.stop()
		_ = l.agent.Close() // it was only asked
	}
}

// explain finds out what the end of a handshake was about: the library has no
// types for it. After the host key comes nothing but the login.
func (l *login) explain(err error) error {
	switch {
	case l.refused != nil:
		return l.refused
	case !l.trusted || isNetwork(err):
		return err
	}
	o := l.dialer.opts
	why := err.Error()
	if l.agentErr != nil {
		why += "; " + l.agentErr.Error()
	}
	if o.Password != "" && strings.Contains(why, o.Password) { // a server could repeat it, and a weak one is a word of the text
		why = "the reason is left out"
	}
	return fmt.Errorf("%s does not let user %q in (%q): %w", o.Host, o.User, why, fs.ErrPermission)
}

// isNetwork reports whether a connection just ended.
func isNetwork(err error) bool {
	var network net.Error
	var number syscall.Errno
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.As(err, &network) || errors.As(err, &number)
}

// dialError says why there is no connection. What may pass matches ErrTemporary:
// all that the network does, but a name that does not exist.
func dialError(ctx context.Context, host string, err error) error {
	var unknown *net.DNSError
	switch {
	case errors.Is(context.Cause(ctx), errSlow):
		err = errSlow
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &unknown) && unknown.IsNotFound:
		err = fmt.Errorf("there is no host of this name: %s", unknown.Name)
	case errors.Is(err, fs.ErrPermission) || !isNetwork(err):
	default:
		err = broken(err)
	}
	return fmt.Errorf("connect to %s: %w", host, err)
}
