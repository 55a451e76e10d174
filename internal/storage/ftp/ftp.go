// Package ftp is a remote in a folder of an FTP server, in the clear or over TLS
// (FTPS, explicit or implicit).
//
// An object's Tag is its size and modification time, to the second on most
// servers: from MLSD and MLST where the server has them, else from SIZE and MDTM.
// A Put whose version would not be later than the one it replaces moves the file's
// time on (MFMT, or vsftpd's MDTM with a time), and where no server command can do
// that it waits for the next second and writes the last byte again. A
// server that has neither MLST nor MDTM leaves the size and the time that LIST
// shows, which is coarse and is written in another way when the file gets old. An
// object of which the server tells no time at all has no Tag.
// FTP vouches for no checksum, so Sum is empty. Conditions are checked right
// before the rename and not atomically: Store is not a [storage.Conditional].
//
// A listing counts when the server says that it is complete. Over TLS it must end with
// close_notify too (RFC 8446, 6.1), as must a file of which nobody knows the size: who
// can end a TCP connection could else cut them short. Servers that do not send it, which
// is against the protocol, cannot be listed over TLS.
//
// Symbolic links are not listed and listings do not enter them. A caller that names
// one finds no object where the server has MLST; others follow it themselves.
//
// The protocol's client is this package's own, a thin layer on net/textproto,
// because github.com/jlaffaye/ftp (0.2.4) stands in the way of what must hold here:
// its List drops the lines that it cannot parse and takes links for files, it does
// not show the text of the answer that says that a listing is cut short, it waits
// without a context, and it cannot send a command that it does not know nor
// several at once.
package ftp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path"
	"strconv"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// TLSMode says whether and how a connection is encrypted.
type TLSMode int

// The ways to connect.
const (
	None     TLSMode = iota // in the clear
	Explicit                // AUTH TLS on the usual port, data too (PROT P)
	Implicit                // TLS from the first byte on, port 990
)

// Options say where a folder is and how to get at it.
type Options struct {
	Host     string // "host" or "host:port"; port 21, or 990 with Implicit
	User     string // empty means anonymous
	Password string

	TLS TLSMode
	// CA is PEM: roots that are trusted besides the system's.
	CA []byte
	// Fingerprint pins the server's certificate, whoever signed it and whatever
	// name is in it: "SHA256:" and the hash in base64, or in hex with or without
	// colons.
	Fingerprint string

	// Root is an absolute folder on the server; empty means "/". It must exist,
	// and is never made.
	Root string
	// Keep is a folder below Root that Remove leaves in place however empty it
	// gets, spelled as a key.
	Keep string

	// Connections is the most that are open at once; 0 means 16. A reader that
	// is open holds one.
	Connections int

	// PartSize is the size in bytes of the parts of an upload; 0 means 32 MiB. A
	// connection stands still for some round trips between two parts, and what a
	// process that dies had sent of a part is sent again.
	PartSize int64

	// Dial connects; nil means a plain net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error) `json:"-"`
}

// String leaves the password out.
func (o Options) String() string { return fmt.Sprintf("ftp(%s %s)", o.Host, o.Root) }

// GoString is [Options.String].
func (o Options) GoString() string { return o.String() }

const (
	defaultConnections = 16
	defaultPartSize    = 32 << 20
)

func (o Options) withDefaults() Options {
	if o.User == "" {
		o.User, o.Password = "anonymous", "d6tpipe@"
	}
	if o.Root == "" {
		o.Root = "/"
	}
	if o.Connections == 0 {
		o.Connections = defaultConnections
	}
	if o.PartSize == 0 {
		o.PartSize = defaultPartSize
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	if _, _, err := net.SplitHostPort(o.Host); err != nil && o.Host != "" {
		port := "21"
		if o.TLS == Implicit {
			port = "990"
		}
		o.Host = net.JoinHostPort(strings.Trim(o.Host, "[]"), port)
	}
	return o
}

func (o Options) validate() error {
	host, port, err := net.SplitHostPort(o.Host)
	number, portErr := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil || portErr != nil || number == 0 || host == "" || strings.ContainsAny(host, "/@ ") || unsafeCommand(o.Host):
		return invalid("the host is not host or host:port")
	case unsafeCommand(o.User) || unsafeCommand(o.Password):
		return invalid("the user or the password holds a control character")
	case unsafeCommand(o.Root) || o.Root[0] != '/' || path.Clean(o.Root) != o.Root:
		return invalid("the root is not an absolute folder such as /data/in")
	case o.Keep != "" && storage.CheckKey(o.Keep) != nil:
		return invalid("the folder to keep is not one below the root")
	case o.Connections < 0:
		return invalid("a negative number of connections")
	case o.PartSize < 0:
		return invalid("a negative size of parts")
	case o.TLS < None || o.TLS > Implicit:
		return invalid("an unknown TLS mode")
	case o.TLS == None && (o.Fingerprint != "" || len(o.CA) > 0):
		return invalid("a certificate is given, but TLS is off")
	}
	return nil
}

func invalid(reason string) error { return fmt.Errorf("ftp: %w: %s", fs.ErrInvalid, reason) }

// A Store is a [storage.Store] in a folder of an FTP server. Use [New].
type Store struct {
	opts  Options
	dials *dialer
	pool  *pool
	learned
}

var (
	_ storage.Store       = (*Store)(nil)
	_ storage.Streamer    = (*Store)(nil)
	_ storage.Multiparter = (*Store)(nil)
)

// New returns the store in a folder. It does no I/O: what is wrong with the server,
// the password or the folder shows at the first call.
func New(opts Options) (*Store, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	dials, err := newDialer(opts)
	if err != nil {
		return nil, err
	}
	s := &Store{opts: opts, dials: dials}
	s.pool = newPool(opts.Connections, func(ctx context.Context) (*conn, error) { return s.connect(ctx) })
	return s, nil
}

// Streams implements [storage.Streamer]: each range would need a data connection
// of its own, and one that ends early often a new login.
func (s *Store) Streams() bool { return true }

// Close implements [storage.Store].
func (s *Store) Close() error {
	s.pool.close()
	return nil
}

// path returns where key is on the server.
func (s *Store) path(key string) string { return path.Join(s.opts.Root, key) }

// with lends fn a connection and wraps its error. When a connection from the pool
// proves dead before it has answered anything, or loses the commands of the first
// batch, fn runs once more on a fresh one: until the first answer, and before that
// batch, it must not have used up anything.
func (s *Store) with(ctx context.Context, op, key string, fn func(*conn) error) error {
	for fresh := false; ; fresh = true {
		c, err := s.lend(ctx, fresh)
		if err != nil {
			return fail(ctx, op, key, err)
		}
		err = fn(c)
		again := !fresh && c.stale() && ctx.Err() == nil
		s.giveBack(c)
		if err == nil || !again {
			return fail(ctx, op, key, err)
		}
	}
}

// lend takes a connection that is killed when ctx ends.
func (s *Store) lend(ctx context.Context, fresh bool) (*conn, error) {
	c, err := s.pool.get(ctx, fresh)
	if err != nil {
		return nil, err
	}
	c.ctx, c.unwatch = ctx, context.AfterFunc(ctx, c.kill)
	return c, nil
}

func (s *Store) giveBack(c *conn) {
	if !c.unwatch() {
		c.kill() // it is being killed
	}
	s.pool.put(c)
}

// Stat implements [storage.Store].
func (s *Store) Stat(ctx context.Context, key string) (obj storage.Object, err error) {
	if err := storage.CheckKey(key); err != nil {
		return storage.Object{}, err
	}
	err = s.with(ctx, "stat", key, func(c *conn) error {
		e, err := c.file(s.path(key))
		obj = e.object(key)
		return err
	})
	if err != nil {
		return storage.Object{}, err
	}
	return obj, nil
}

// Remove implements [storage.Store]. Folders that become empty go too, up to the
// root or the one to keep.
func (s *Store) Remove(ctx context.Context, key string) error {
	if err := storage.CheckKey(key); err != nil {
		return err
	}
	return s.with(ctx, "remove", key, func(c *conn) error {
		p := s.path(key)
		err := c.expect(2, "DELE "+p)
		if err == nil {
			return c.prune(path.Dir(p))
		}
		if !refused(err) {
			return err
		}
		e, found := c.find(p)
		switch {
		case errors.Is(found, fs.ErrNotExist), found == nil && e.kind != isFile:
			return c.enter(s.opts.Root)
		case found != nil:
			return found
		}
		return denied(err)
	})
}

// prune removes dir and the folders above it as long as they are empty.
func (c *conn) prune(dir string) error {
	root, keep := c.store.opts.Root, c.store.opts.Keep
	for ; dir != root && dir != "/" && (keep == "" || dir != c.store.path(keep)); dir = path.Dir(dir) {
		if ok, err := c.removesOnlyEmpty(); err != nil {
			return err
		} else if !ok {
			empty, err := c.empty(dir)
			if err != nil || !empty {
				return err
			}
		}
		err := c.expect(2, "RMD "+dir)
		c.store.left(dir)
		if err != nil {
			if refused(err) {
				return nil
			}
			return err
		}
	}
	return nil
}

// empty reports whether there is nothing at all in dir, as far as we may see.
func (c *conn) empty(dir string) (bool, error) {
	entries, err := c.everything(dir)
	if refused(err) {
		return false, nil
	}
	for _, e := range entries {
		if e.kind != isSelf {
			return false, err
		}
	}
	return err == nil, err
}

// removesOnlyEmpty tries out, once, whether the server refuses to remove a folder
// that is not empty, as it must (RFC 1123, and yet there are some that empty it).
func (c *conn) removesOnlyEmpty() (bool, error) {
	l := &c.store.learned
	if known := l.get(&l.pruning); known != unknown {
		return known == yes, nil
	}
	outer := path.Join(c.store.opts.Root, tempName())
	if err := c.expect(2, "MKD "+outer); err != nil {
		if refused(err) {
			l.set(&l.pruning, no)
			return false, nil
		}
		return false, err
	}
	replies, err := c.inTurn("MKD "+outer+"/a", "RMD "+outer, "RMD "+outer+"/a", "RMD "+outer)
	if err != nil {
		return false, err
	}
	ok := replies[0].good() && !replies[1].good() && replies[2].good() && replies[3].good()
	l.set(&l.pruning, map[bool]answer{true: yes, false: no}[ok])
	return ok, nil
}
