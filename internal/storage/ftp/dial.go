package ftp

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/textproto"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// errPin says that the server is not the one that was pinned.
var errPin = errors.New("the server's certificate is not the pinned one")

// dialer makes the TLS configurations.
type dialer struct {
	roots *x509.CertPool
	host  string
	pin   []byte
}

func newDialer(opts Options) (*dialer, error) {
	host, _, err := net.SplitHostPort(opts.Host)
	if err != nil {
		return nil, invalid("the host is not host or host:port")
	}
	d := &dialer{host: host}
	if opts.Fingerprint != "" {
		if d.pin, err = parseFingerprint(opts.Fingerprint); err != nil {
			return nil, err
		}
	}
	if len(opts.CA) > 0 {
		if d.roots, err = x509.SystemCertPool(); err != nil {
			d.roots = x509.NewCertPool()
		}
		if !d.roots.AppendCertsFromPEM(opts.CA) {
			return nil, invalid("the CA holds no certificate in PEM")
		}
	}
	return d, nil
}

func parseFingerprint(s string) ([]byte, error) {
	hash, ok := strings.CutPrefix(s, "SHA256:")
	if ok {
		if sum, err := hex.DecodeString(strings.ReplaceAll(hash, ":", "")); err == nil && len(sum) == sha256.Size {
			return sum, nil
		}
		if sum, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(hash, "=")); err == nil && len(sum) == sha256.Size {
			return sum, nil
		}
	}
	return nil, invalid("the fingerprint is not SHA256: and a hash in base64 or hex")
}

// config returns a configuration for one control connection and its data
// connections. These resume its session, which servers ask for as the proof that
// both are of one client; each connection has its own sessions because a server
// that forks knows only those of the same process.
func (d *dialer) config() *tls.Config {
	cfg := &tls.Config{
		ServerName:         d.host,
		RootCAs:            d.roots,
		MinVersion:         tls.VersionTLS12,
		ClientSessionCache: tls.NewLRUClientSessionCache(1),
	}
	if d.pin != nil {
		cfg.InsecureSkipVerify = true // the pin is the stronger check
		cfg.VerifyConnection = d.checkPin
	}
	return cfg
}

func (d *dialer) checkPin(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errPin
	}
	sum := sha256.Sum256(state.PeerCertificates[0].Raw)
	if string(sum[:]) != string(d.pin) {
		return fmt.Errorf("%w: it is SHA256:%s", errPin, base64.RawStdEncoding.EncodeToString(sum[:]))
	}
	return nil
}

// connect makes a connection that is logged in.
func (s *Store) connect(ctx context.Context) (*conn, error) {
	raw, err := s.opts.Dial(ctx, "tcp", s.opts.Host)
	if err != nil {
		return nil, notReached("connect to "+s.opts.Host, err)
	}
	c := &conn{store: s, ctx: ctx, raw: raw, peer: peer(raw, s.dials.host)}
	stop := context.AfterFunc(ctx, c.kill)
	err = c.login(ctx)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.kill()
		return nil, fmt.Errorf("connect to %s: %w", s.opts.Host, err)
	}
	return c, nil
}

// notReached is the error of a dial, which may pass unless whoever dials refuses to.
func notReached(what string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%w: %s: %w", storage.ErrTemporary, what, err)
}

// peer is the address that data connections go to.
func peer(raw net.Conn, host string) string {
	if addr := raw.RemoteAddr(); addr != nil {
		if ip, _, err := net.SplitHostPort(addr.String()); err == nil {
			return ip
		}
	}
	return host
}

func (c *conn) login(ctx context.Context) error {
	opts := c.store.opts
	c.use(c.raw)
	if opts.TLS == Implicit {
		if err := c.startTLS(ctx); err != nil {
			return err
		}
	}
	if err := c.greet(); err != nil {
		return err
	}
	if opts.TLS == Explicit {
		if err := c.expect(2, "AUTH TLS"); err != nil {
			return fmt.Errorf("the server does not offer TLS: %w", err)
		}
		if c.in.Buffered() > 0 {
			return errors.New("the server sent something in the clear that was to be encrypted")
		}
		if err := c.startTLS(ctx); err != nil {
			return err
		}
	}
	if err := c.authenticate(); err != nil {
		return err
	}
	return c.setUp()
}

// use makes ctl the control connection.
func (c *conn) use(ctl net.Conn) {
	c.ctl = ctl
	c.quota = &quota{r: ctl}
	c.in = bufio.NewReader(c.quota)
	c.text = textproto.NewReader(c.in)
}

func (c *conn) startTLS(ctx context.Context) error {
	c.tls = c.store.dials.config()
	t := tls.Client(c.raw, c.tls)
	if err := t.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS: %w", brokenError(err))
	}
	c.use(t)
	return nil
}

func (c *conn) greet() error {
	for {
		r, err := c.read()
		if err != nil {
			return err
		}
		if r.code == 120 {
			continue // ready in a while
		}
		if !r.good() {
			return newReplyError("connect", r, c.store.opts.Password)
		}
		return nil
	}
}

func (c *conn) authenticate() error {
	r, err := c.command("USER " + c.store.opts.User)
	if err == nil && r.code == 331 {
		r, err = c.command("PASS " + c.store.opts.Password)
		if err == nil && !r.good() {
			err = c.refusal("PASS", r)
		}
	}
	if err == nil && !r.good() {
		err = c.refusal("USER", r)
	}
	return err
}

// refusal is the error of a login. Some servers say with the code of a wrong
// password that they are full.
func (c *conn) refusal(verb string, r reply) error {
	e := newReplyError(verb, r, c.store.opts.Password)
	text := strings.ToLower(r.text)
	if r.code == 530 && (strings.Contains(text, "too many") || strings.Contains(text, "maximum")) {
		e.kind = storage.ErrTemporary
		e.text = "(too many connections)"
	}
	return e
}

func (c *conn) setUp() error {
	if c.tls != nil {
		if err := c.expect(2, "PBSZ 0"); err != nil {
			return err
		}
		if err := c.expect(2, "PROT P"); err != nil {
			return err
		}
	}
	if err := c.askFeatures(); err != nil {
		return err
	}
	if c.store.lists("UTF8") {
		if _, err := c.command("OPTS UTF8 ON"); err != nil { // many know no other way
			return err
		}
	}
	if facts := c.store.feature("MLST"); lacksFact(facts) {
		if _, err := c.command("OPTS MLST type;size;modify;"); err != nil {
			return err
		}
	}
	return c.expect(2, "TYPE I")
}

// lacksFact reports whether a fact that we need is there but not switched on: "type*;"
// is, "type;" is not (RFC 3659, 7.8).
func lacksFact(facts string) bool {
	for fact := range strings.SplitSeq(strings.ToLower(facts), ";") {
		if fact == "type" || fact == "size" || fact == "modify" {
			return true
		}
	}
	return false
}

func (c *conn) askFeatures() error {
	l := &c.store.learned
	l.mu.Lock()
	known := l.features != nil
	l.mu.Unlock()
	if known {
		return nil
	}
	r, err := c.command("FEAT")
	if err != nil {
		return err
	}
	features := map[string]string{}
	if r.good() {
		lines := strings.Split(r.text, "\n")
		for _, line := range lines[1:] {
			name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			features[strings.ToUpper(name)] = value
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.features == nil {
		l.features, l.noFeat = features, !r.good()
	}
	return nil
}
