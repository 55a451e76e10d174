// Package s3 is a remote in a bucket of Amazon S3, or of anything that speaks its
// protocol.
//
// An object's Tag is its ETag without the quotes. Its Sum is the ETag too when
// that is a plain MD5 (32 hex digits), which S3 documents for objects of one part
// that are not encrypted with a key of the customer's or of KMS; a remote whose
// ETags look like MD5s and are none must be opened with Options.NoSums.
//
// Requests are made and signed by minio-go, except listings, which this package
// reads itself: a page that is cut off, repeats its token, or is not a listing at
// all must be an error and never a short listing.
package s3

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// Options say where a bucket is and how to get at it.
type Options struct {
	// Endpoint is a URL without a path, as in "https://minio.example.com:9000";
	// empty means Amazon's for the region. http:// is accepted for loopback
	// addresses, and elsewhere only with Insecure.
	Endpoint string
	Insecure bool

	// Region is empty for that of the environment, where keys are taken from there
	// (Chain), or else us-east-1. At Amazon's own endpoint the region that its
	// answers name replaces one that is wrong.
	Region string
	Bucket string

	AccessKey    string // empty means anonymous
	SecretKey    string
	SessionToken string
	// Chain looks for credentials in the environment when AccessKey is empty, as
	// Amazon's own tools do; without any, requests stay anonymous.
	Chain bool

	Addressing Addressing

	// Checksums says that the remote understands CRC64NVME sums that trail an
	// upload. Amazon does, and is always asked to check them.
	Checksums bool
	// Unconditional says that the remote ignores or refuses conditions on a PUT.
	// They are then checked beforehand, which is not atomic.
	Unconditional bool
	// NoSums says that ETags are not to be taken for MD5s.
	NoSums bool

	// PartSize is the size in bytes above which an object is uploaded in parts of
	// that size; 0 means 16 MiB, S3's minimum is 5 MiB. It grows with objects of
	// more than 10,000 parts.
	PartSize int64

	// Transport makes the requests; nil means one of this Store's own.
	Transport http.RoundTripper
	// Dial makes the connections of this Store's own Transport, without any proxy; nil
	// means a plain net.Dialer and the environment's proxies.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error) `json:"-"`
}

// Addressing says where the name of the bucket stands in a URL.
type Addressing int

// The ways to address a bucket. Auto is Host on Amazon and Path elsewhere.
const (
	Auto Addressing = iota
	Path            // https://host/bucket/key
	Host            // https://bucket.host/key
)

// String leaves the keys out.
func (o Options) String() string { return fmt.Sprintf("s3(%s %s %s)", o.Endpoint, o.Region, o.Bucket) }

// GoString is [Options.String].
func (o Options) GoString() string { return o.String() }

const defaultPartSize = 16 << 20

func (o Options) withDefaults() Options {
	if o.Region == "" && o.fromEnvironment() {
		o.Region = environmentRegion()
	}
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if o.PartSize == 0 {
		o.PartSize = defaultPartSize
	}
	if o.Endpoint == "" {
		o.Endpoint = amazon(o.Region)
		o.Checksums = true
		if o.Addressing == Auto && !strings.Contains(o.Bucket, ".") {
			o.Addressing = Host // a dot would not match Amazon's certificate
		}
	}
	return o
}

// fromEnvironment reports whether keys are looked for in the environment.
func (o Options) fromEnvironment() bool { return o.Chain && o.AccessKey == "" }

// endpoint parses the URL and refuses what would send data or a session token in
// the clear.
func (o Options) endpoint() (*url.URL, error) {
	u, err := url.Parse(o.Endpoint)
	if err != nil || u.Host == "" || strings.ContainsFunc(u.Host, oddInHost) || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("s3: %w: the endpoint is not a URL of scheme and host", fs.ErrInvalid)
	}
	switch u.Scheme {
	case "https":
		return u, nil
	case "http":
		if o.Insecure || loopback(u.Hostname()) {
			return u, nil
		}
	}
	return nil, fmt.Errorf("s3: %w: the endpoint %s must be https; the setting insecure of the remote allows http", fs.ErrInvalid, u.Host)
}

func oddInHost(r rune) bool { return odd(r) && !strings.ContainsRune(":[]_", r) }

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (o Options) validate() error {
	switch {
	case s3utils.CheckValidBucketName(o.Bucket) != nil:
		return fmt.Errorf("s3: %w: %q is not the name of a bucket", fs.ErrInvalid, o.Bucket)
	case (o.AccessKey == "") != (o.SecretKey == ""):
		return fmt.Errorf("s3: %w: an access key without its secret, or the other way round", fs.ErrInvalid)
	case o.PartSize < 0:
		return fmt.Errorf("s3: %w: negative part size", fs.ErrInvalid)
	}
	return nil
}

// A Store is a [storage.Store] in a bucket. Use [New].
type Store struct {
	opts      Options
	amazon    bool // at the endpoint that follows from the region
	site      atomic.Pointer[site]
	creds     *credentials.Credentials
	transport *transport
	closed    atomic.Bool

	learnt learnt
}

// learnt is what the remote has shown of itself.
type learnt struct {
	sums          atomic.Bool // it answers uploads with a CRC64NVME of its own
	probed        atomic.Bool // it was asked
	plain         atomic.Bool // it refuses requests with a header about sums
	unconditional atomic.Bool // it does not know conditions on a PUT
}

var (
	_ storage.Store       = (*Store)(nil)
	_ storage.Conditional = (*Store)(nil)
	_ storage.Multiparter = (*Store)(nil)
)

// New returns the store in a bucket. It asks the remote nothing: a bucket that does
// not exist and keys that are wrong show at the first call.
func New(opts Options) (*Store, error) {
	s := &Store{amazon: opts.Endpoint == "", opts: opts.withDefaults()}
	opts = s.opts
	if err := opts.validate(); err != nil {
		return nil, err
	}
	if opts.Transport == nil {
		opts.Transport = storage.NewTransport(opts.Dial)
		s.opts.Transport = opts.Transport
	}
	s.creds = credentials.NewStaticV4(opts.AccessKey, opts.SecretKey, opts.SessionToken)
	if opts.fromEnvironment() {
		s.creds = newEnvironment()
	}
	s.learnt.unconditional.Store(opts.Unconditional)
	s.learnt.sums.Store(opts.Checksums)
	s.transport = &transport{base: opts.Transport, closed: &s.closed}
	at, err := s.newSite(opts)
	if err != nil {
		return nil, err
	}
	s.site.Store(at)
	return s, nil
}

// ConditionalPut reports whether conditions of a Put are checked by the remote, as
// far as is known: one that does not know them may show that at the first of them.
func (s *Store) ConditionalPut() bool { return !s.learnt.unconditional.Load() }

// Close implements [storage.Store].
func (s *Store) Close() error {
	s.closed.Store(true)
	if t, ok := s.opts.Transport.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
	return nil
}

// Stat implements [storage.Store].
func (s *Store) Stat(ctx context.Context, key string) (storage.Object, error) {
	if err := storage.CheckKey(key); err != nil {
		return storage.Object{}, err
	}
	ctx, call := s.begin(ctx, "stat", key)
	obj, _, err := s.head(ctx, key)
	return obj, call.fail(err)
}

// head asks for an object, and for the strongest sum that the remote has of it.
func (s *Store) head(ctx context.Context, key string) (storage.Object, string, error) {
	var resp *http.Response
	err := s.withSums(func(sums bool) (err error) {
		req := s.request(ctx, http.MethodHead, key, nil)
		askForSum(req.Header, sums)
		resp, err = s.do(req, emptyHash) //nolint:bodyclose // it is closed below
		return err
	})
	if err != nil {
		return storage.Object{}, "", s.unexplained(ctx, err)
	}
	if err := resp.Body.Close(); err != nil {
		return storage.Object{}, "", err
	}
	obj, err := s.described(key, resp.Header)
	if err != nil {
		return storage.Object{}, "", err
	}
	return obj, sumIn(resp.Header), nil
}

// Remove implements [storage.Store].
func (s *Store) Remove(ctx context.Context, key string) error {
	if err := storage.CheckKey(key); err != nil {
		return err
	}
	ctx, call := s.begin(ctx, "remove", key)
	resp, err := s.do(s.request(ctx, http.MethodDelete, key, nil), emptyHash)
	if no := minio.ToErrorResponse(err); no.StatusCode == http.StatusNotFound && no.Code != minio.NoSuchBucket {
		return nil // Amazon says 204
	}
	if err == nil {
		err = drained(resp)
	}
	return call.fail(err)
}
