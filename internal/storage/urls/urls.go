// Package urls is a remote for whose requests somebody else has the keys: a server
// lists the files, and signs each request that is made about one of them. It is for
// buckets whose storage has no temporary keys to hand out.
//
// The requests themselves are those of a driver below, which speaks to the bucket
// without any keys through a transport of this package. That transport has each of
// them signed, which gives it a URL, and sends it there. So reading, writing, parts
// of uploads and conditions are that driver's, and here is only what has to do with
// URLs:
//
//   - Requests that are made at a time are signed together.
//   - A URL for reading is kept for other parts of the same file, until shortly before
//     it runs out. When it is refused, a fresh one is tried, once.
//   - A URL is a secret: whoever has it can do what it is for. It is in no error.
package urls

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// An API is the server that lists and signs. Its errors are those of a
// [storage.Store]. It is safe for concurrent use.
type API interface {
	// List returns all files as they are now, or an error: nobody else can tell what
	// there is. That the listing came from elsewhere, and does not call itself complete,
	// does not matter.
	List(ctx context.Context) (storage.Listing, error)
	// Sign signs requests, at most [MaxBatch], and returns the answers in their order.
	Sign(ctx context.Context, requests []Request) ([]Signed, error)
}

// MaxBatch is how many requests are signed at a time.
const MaxBatch = 100

// A Request is one that is to be made about a file.
type Request struct {
	Method string            `json:"method"`
	Key    string            `json:"key"`
	Query  map[string]string `json:"query,omitempty"`   // such as the number of a part
	Header map[string]string `json:"headers,omitempty"` // that are part of the signature, in lower case
}

// A Signed is the answer to a [Request]: a URL, or why there is none.
type Signed struct {
	URL     string `json:"url,omitempty"`
	Refused string `json:"detail,omitempty"`
}

// String leaves the URL out.
func (s Signed) String() string {
	if s.Refused != "" {
		return "refused: " + s.Refused
	}
	return "a signed URL"
}

// GoString is [Signed.String].
func (s Signed) GoString() string { return s.String() }

// Options say how to get at the files.
type Options struct {
	API API
	// Open opens the driver below, which makes requests for URLs with any scheme and
	// host through the transport that it is given, and without keys.
	Open func(http.RoundTripper) (storage.Store, error)
	// Path is what stands before the key in the path of such a URL.
	Path string
	// Insecure accepts URLs with http to other machines than this one.
	Insecure bool
	// Dial makes the connections, without any proxy; nil means a plain net.Dialer and
	// the environment's proxies.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// A Store is a [storage.Store] of files for which there are URLs. Use [New].
type Store struct {
	storage.Store // the driver below
	api           API
	signer        *signer
	transport     *http.Transport
}

var (
	_ storage.Store       = (*Store)(nil)
	_ storage.Conditional = (*Store)(nil)
	_ storage.Multiparter = (*Store)(nil)
	_ storage.Streamer    = (*Store)(nil)
)

// New returns the store. It asks nobody anything yet.
func New(o Options) (*Store, error) {
	s := &Store{api: o.API, signer: newSigner(o.API, o.Insecure), transport: storage.NewTransport(o.Dial)}
	below, err := o.Open(&transport{base: s.transport, signer: s.signer, path: o.Path, held: make(chan struct{}, maxHeld)})
	if err != nil {
		return nil, errors.Join(err, s.signer.close())
	}
	s.Store = below
	return s, nil
}

// List implements [storage.Store]. Names that the server refuses are yielded twice,
// which nobody can take for one file that may be used: alone they might look good,
// because what they collide with is not for everybody to see.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		l, err := s.list(ctx, prefix)
		if err != nil {
			yield(storage.Object{}, err)
			return
		}
		for obj := range l.All() {
			if err := ctx.Err(); err != nil {
				yield(storage.Object{}, err)
				return
			}
			if !yield(obj, nil) {
				return
			}
		}
		for _, e := range l.Refused {
			for range 2 {
				if !yield(storage.Object{Key: e.Key}, nil) {
					return
				}
			}
		}
	}
}

func (s *Store) list(ctx context.Context, prefix string) (storage.Listing, error) {
	if s.signer.isClosed() {
		return storage.Listing{}, errClosed
	}
	l, err := s.api.List(ctx)
	switch {
	case ctx.Err() != nil:
		return l, ctx.Err()
	case err != nil:
		return l, fmt.Errorf("list %q: %w", prefix, err)
	}
	storage.Moved(ctx)
	return l.Only(func(key string) bool { return len(key) >= len(prefix) && key[:len(prefix)] == prefix }), nil
}

// ConditionalPut implements [storage.Conditional].
func (s *Store) ConditionalPut() bool {
	c, ok := s.Store.(storage.Conditional)
	return ok && c.ConditionalPut()
}

// Multipart implements [storage.Multiparter].
func (s *Store) Multipart() storage.Multipart { return storage.MultipartOf(s.Store) }

// Streams implements [storage.Streamer].
func (s *Store) Streams() bool { return storage.Streams(s.Store) }

// Close implements [storage.Store].
func (s *Store) Close() error {
	err := errors.Join(s.Store.Close(), s.signer.close())
	s.transport.CloseIdleConnections()
	return err
}
