package httpd

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// A Certificate is a chain and its key in PEM files. It is read anew when the
// files change; connections that are open keep what they have.
type Certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	seen    [2]os.FileInfo
	asked   time.Time
}

// LoadCertificate reads the files, which must be a pair. log is told when they
// change; it may be nil.
func LoadCertificate(certFile, keyFile string, log *slog.Logger) (*Certificate, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log}
	seen, err := c.stat()
	if err != nil {
		return nil, err
	}
	return c, c.load(seen)
}

// recheckTime is how old the knowledge of the files may be.
const recheckTime = time.Second

// get is the hook of [tls.Config].GetCertificate. Files that are no pair, because
// somebody is replacing them right now, leave the old pair in use.
func (c *Certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.asked) >= recheckTime {
		c.asked = now
		c.refresh()
	}
	return c.current, nil
}

func (c *Certificate) refresh() {
	seen, err := c.stat()
	if err == nil && same(seen[0], c.seen[0]) && same(seen[1], c.seen[1]) {
		return
	}
	if err == nil {
		err = c.load(seen)
	}
	if err != nil {
		c.log.Warn("the TLS certificate stays the old one", "error", err)
		return
	}
	c.log.Info("the TLS certificate was read anew", "expires", c.current.Leaf.NotAfter)
}

func (c *Certificate) stat() (seen [2]os.FileInfo, err error) {
	for i, name := range []string{c.certFile, c.keyFile} {
		if seen[i], err = os.Stat(name); err != nil {
			return seen, fmt.Errorf("TLS: %w", err)
		}
	}
	return seen, nil
}

// load notes what the files were before they were read: a change in between is
// seen the next time.
func (c *Certificate) load(seen [2]os.FileInfo) error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("TLS: %s and %s: %w", c.certFile, c.keyFile, err)
	}
	c.current, c.seen = &pair, seen
	return nil
}

func same(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
