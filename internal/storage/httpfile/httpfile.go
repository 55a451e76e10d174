// Package httpfile is a remote of files that a web server publishes, to be read
// and not to be written: a folder with a manifest that says what is in it, as data
// vendors publish them, a folder of which one knows the names, or one file.
//
// The manifest is a URL, or a name below the folder. It is JSON or what sha256sum
// and md5sum print:
//
//	[{"key": "2026/11.csv", "size": 1234, "sha256": "<hex>", "mtime": "2026-11-01T12:00:00Z"}]
//	{"files": [{"name": "2026/11.csv", "md5": "<hex>", "modified": 1793534400}, "readme.txt"]}
//	<hex>  2026/11.csv
//
// Keys are relative to the folder, not to the manifest; "./" before them is left
// out. Fields that are not named here do not matter. An answer to a manifest's URL
// that may be cut off is refused: what a manifest does not name counts as gone.
//
// A file that the manifest gives a size and a sum is listed as it stands there; for
// any other one the server is asked (HEAD, or one byte where it does not answer
// that), several at a time. What the server does not have is listed all the same,
// so that reading it is the error of that file, unless it has none of those that
// it was asked for.
//
// The server must say how long a file is: a listing has sizes, and only to read all of
// it would tell. A file that is made as it is sent, as an export is, comes without a
// length and is refused, unless the manifest has its size and its sum, which prove it.
//
// An object's Sum is the manifest's, SHA-256 before MD5. Its Tag is the Sum when it
// has one; else the strong ETag, in quotes; else the time and the size; else there
// is none, as two versions may have the same size. The answer to each read must be
// of that Tag; for a Sum, which an answer does not tell, it must be of the size, and
// of the same ETag or time as the first answer of this Store was: whether the bytes
// are those of the Sum can be told when all of them have come.
//
// Redirects are followed at most 10 times, never from https to http, and credentials
// are sent to the origin of the location only. The query of the location is kept in
// requests for the files, and is in no key and no error: it may be a signature.
package httpfile

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// Options say where the files are.
type Options struct {
	// Location is the URL of a folder, when Manifest or Files is given, or of one
	// file, whose key is the last segment of its path.
	Location string
	Manifest string   // a URL, or a path relative to Location
	Files    []string // keys, instead of a manifest

	Username string // for Basic authentication
	Password string
	Token    string // a bearer token, instead of these
	Insecure bool   // credentials may go over http to other machines

	CA []byte // PEM; certificates to trust besides the system's

	// Transport makes the requests; nil means one of this Store's own.
	Transport http.RoundTripper
	// Dial makes the connections of this Store's own Transport, without any proxy; nil
	// means a plain net.Dialer and the environment's proxies.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error) `json:"-"`
	// SameOrigin refuses redirects to another scheme, host or port.
	SameOrigin bool
}

// String leaves out what may be secret.
func (o Options) String() string {
	u, err := url.Parse(o.Location)
	if err != nil {
		return "http"
	}
	return u.Scheme + "(" + u.Host + ")"
}

// GoString is [Options.String].
func (o Options) GoString() string { return o.String() }

const maxRedirects = 10

// A Store is a [storage.Store] of a web server's files. Use [New].
type Store struct {
	opts     Options
	base     *url.URL // of the folder, with a slash at the end of its path, or of the file
	manifest *url.URL // nil when there is none
	names    []string // that are known beforehand; nil with a manifest
	single   bool     // names is the file that base is
	http     *http.Client
	own      *http.Transport // closed with the Store; nil when it is not ours
	seen     validators
	streams  atomic.Bool
	closed   atomic.Bool
}

var (
	_ storage.Store    = (*Store)(nil)
	_ storage.Streamer = (*Store)(nil)
)

// New returns the store of a folder or a file. It does no I/O: what is not there
// shows at the first call.
func New(opts Options) (*Store, error) {
	s := &Store{opts: opts}
	if err := s.place(); err != nil {
		return nil, err
	}
	if err := s.checkCredentials(); err != nil {
		return nil, err
	}
	base := opts.Transport
	if base == nil {
		var err error
		if s.own, err = newTransport(opts); err != nil {
			return nil, err
		}
		base = s.own
	}
	s.http = &http.Client{Transport: &transport{base, s}, CheckRedirect: s.checkRedirect}
	return s, nil
}

// place finds out what the location is.
func (s *Store) place() (err error) {
	if s.base, err = parse("location", s.opts.Location); err != nil {
		return err
	}
	switch {
	case s.opts.Manifest != "" && s.opts.Files != nil:
		return invalid("a manifest and a list of files at once")
	case s.opts.Manifest == "" && s.opts.Files == nil:
		return s.placeFile()
	}
	if !strings.HasSuffix(s.base.Path, "/") {
		s.base = s.base.JoinPath("/")
	}
	if s.opts.Manifest != "" {
		return s.placeManifest()
	}
	s.names = []string{}
	for _, name := range s.opts.Files {
		s.names = append(s.names, strings.TrimPrefix(name, "./"))
	}
	return nil
}

func (s *Store) placeFile() error {
	key := s.base.Path[strings.LastIndexByte(s.base.Path, '/')+1:]
	if key == "" {
		return invalid("%s is a folder: name its manifest, or its files", s.base.Host)
	}
	s.names, s.single = []string{key}, true
	return storage.CheckKey(key)
}

// placeManifest resolves the manifest's URL. What lies in the folder is asked for
// with the folder's query, as the files are.
func (s *Store) placeManifest() error {
	ref, err := url.Parse(s.opts.Manifest)
	if err != nil {
		return invalid("the manifest is not a URL or a path")
	}
	u := s.base.ResolveReference(ref)
	if u, err = parse("manifest", u.String()); err != nil {
		return err
	}
	if !ref.IsAbs() && ref.Host == "" && u.RawQuery == "" {
		u.RawQuery = s.base.RawQuery
	}
	if s.base.Scheme == "https" && u.Scheme != "https" && !s.opts.Insecure {
		return invalid("the manifest on %s must be https, as the location is; the setting insecure of the remote allows http", u.Host)
	}
	s.manifest = u
	return nil
}

func parse(what, text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return nil, invalid("the %s is not a URL", what)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, invalid("the %s on %s is neither http nor https", what, u.Host)
	case u.User != nil:
		return nil, invalid("the %s on %s has a user in it: that belongs to the credentials", what, u.Host)
	case u.Fragment != "":
		return nil, invalid("the %s on %s has a fragment", what, u.Host)
	}
	return u, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("http: %w: "+format, append([]any{fs.ErrInvalid}, args...)...)
}

func (s *Store) checkCredentials() error {
	switch o := s.opts; {
	case o.Token != "" && (o.Username != "" || o.Password != ""):
		return invalid("a token and a user name at once")
	case o.Username == "" && o.Password != "" || strings.Contains(o.Username, ":"):
		return invalid("a password needs a user name, and that has no colon")
	case o.Token+o.Username != "" && s.base.Scheme != "https" && !o.Insecure && !loopback(s.base.Hostname()):
		return invalid("credentials for %s need https; the setting insecure of the remote allows http", s.base.Host)
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// url returns the address of the file called key, which was checked.
func (s *Store) url(key string) *url.URL {
	u := *s.base
	if !s.single {
		u.Path, u.RawPath = s.base.Path+key, s.base.EscapedPath()+escape(key)
	}
	return &u
}

func escape(key string) string {
	segments := strings.Split(key, "/")
	for i, segment := range segments {
		segments[i] = url.PathEscape(segment)
	}
	return strings.Join(segments, "/")
}

// knows reports whether there can be a file called key.
func (s *Store) knows(key string) bool {
	if s.manifest != nil {
		return true
	}
	for _, name := range s.names {
		if name == key {
			return true
		}
	}
	return false
}

// newTransport is like that of package s3, for the same reasons.
func newTransport(opts Options) (*http.Transport, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(opts.CA) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool() // a system without one
		}
		if !pool.AppendCertsFromPEM(opts.CA) {
			return nil, invalid("the ca holds no certificate in PEM")
		}
		config.RootCAs = pool
	}
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       config,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 2 * time.Minute,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConns:          256,
		MaxIdleConnsPerHost:   64,
		ReadBufferSize:        64 << 10,
		DisableCompression:    true, // it would hide the length and the bytes that were asked for
		ForceAttemptHTTP2:     true,
	}
	if opts.Dial != nil {
		t.Proxy, t.DialContext = nil, opts.Dial
	}
	return t, nil
}

// transport sees every request of a Store, after redirects too.
type transport struct {
	base  http.RoundTripper
	store *Store
}

// RoundTrip gives credentials to the location's origin and to nobody else,
// wherever a redirect leads.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if t.store.closed.Load() {
		return nil, errClosed
	}
	req = req.Clone(req.Context())
	req.Header.Set("Accept-Encoding", "identity")
	req.Header.Del("Authorization")
	if sameOrigin(req.URL, t.store.base) {
		switch o := t.store.opts; {
		case o.Token != "":
			req.Header.Set("Authorization", "Bearer "+o.Token)
		case o.Username != "":
			req.SetBasicAuth(o.Username, o.Password)
		}
	}
	resp, err := t.base.RoundTrip(req)
	if err != nil {
		return nil, networkError(req.Context(), err)
	}
	return resp, nil
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	switch p := u.Port(); {
	case p != "":
		return p
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// checkRedirect lets no redirect give up https. The Referer that Go adds holds the
// query of the address before.
func (s *Store) checkRedirect(req *http.Request, via []*http.Request) error {
	before := via[len(via)-1].URL
	switch {
	case s.opts.SameOrigin && !sameOrigin(req.URL, before):
		return fmt.Errorf("the remote redirects to another server: %w", fs.ErrPermission)
	case len(via) > maxRedirects:
		return errRedirects
	case req.URL.Scheme != "https" && req.URL.Scheme != before.Scheme:
		return fmt.Errorf("the remote redirects from https to %s: %w", req.URL.Scheme, fs.ErrPermission)
	case req.URL.User != nil:
		return fmt.Errorf("the remote redirects to an address with a user in it: %w", fs.ErrPermission)
	}
	req.Header.Del("Referer")
	return nil
}

// Streams reports whether the server was seen to ignore ranges.
func (s *Store) Streams() bool { return s.streams.Load() }

// Put implements [storage.Store]: it cannot be done.
func (s *Store) Put(_ context.Context, key string, _ io.Reader, size int64, cond storage.Cond) (storage.Object, error) {
	if err := storage.CheckPut(key, size, cond); err != nil {
		return storage.Object{}, err
	}
	return storage.Object{}, s.fail("put", key, errReadOnly)
}

// Remove implements [storage.Store]: it cannot be done.
func (s *Store) Remove(_ context.Context, key string) error {
	if err := storage.CheckKey(key); err != nil {
		return err
	}
	return s.fail("remove", key, errReadOnly)
}

// Close implements [storage.Store].
func (s *Store) Close() error {
	s.closed.Store(true)
	if s.own != nil {
		s.own.CloseIdleConnections()
	}
	return nil
}

// Errors that are the same for every file.
var (
	errClosed    = fmt.Errorf("http: %w", fs.ErrClosed)
	errReadOnly  = fmt.Errorf("http remotes are read-only: %w", errors.ErrUnsupported)
	errRedirects = fmt.Errorf("the remote redirects more than %d times", maxRedirects)
	errNoLength  = errors.New("the server does not say how long the file is, as for one that it makes on request: publish it as a file, or with its size and its sum in a manifest")
	errRange     = errors.New("the remote did not send the range that was asked for")
	errEncoded   = errors.New("the remote sends the file compressed, which was not asked for")
)
