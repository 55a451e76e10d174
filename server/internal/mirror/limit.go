package mirror

import (
	"context"
	"fmt"
	"io"
	"iter"

	"golang.org/x/time/rate"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/storage"
)

// MaxFiles is how many files an end of a mirror may have: all of them are compared in
// memory.
const MaxFiles = 1_000_000

// errTooMany says so.
var errTooMany = fmt.Errorf("%w: there are more than %d files, which is more than a mirror can compare: narrow it down to a child pipe with a folder of its own", d6tpipe.ErrRefused, MaxFiles)

// NewRate limits bytes a second, of one mirror or of all that share it; nil when there is
// no limit.
func NewRate(bytes int64) *rate.Limiter {
	if bytes <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(bytes), burst)
}

// burst is how many bytes move at once.
const burst = 64 << 10

// Limited is an end of a mirror: its listing fails when it is too long, and what is read
// of it is no faster than all the rates allow.
func Limited(store storage.Store, rates ...*rate.Limiter) storage.Store {
	l := &limited{Store: store, files: MaxFiles}
	for _, r := range rates {
		if r != nil {
			l.rates = append(l.rates, r)
		}
	}
	return l
}

type limited struct {
	storage.Store
	files int
	rates []*rate.Limiter
}

// What a store can do beside the interface gets through.

func (l *limited) Streams() bool                { return storage.Streams(l.Store) }
func (l *limited) Multipart() storage.Multipart { return storage.MultipartOf(l.Store) }

func (l *limited) ConditionalPut() bool {
	c, ok := l.Store.(storage.Conditional)
	return ok && c.ConditionalPut()
}

func (l *limited) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		n := 0
		for obj, err := range l.Store.List(ctx, prefix) {
			if n++; n > l.files && err == nil {
				obj, err = storage.Object{}, errTooMany
			}
			if !yield(obj, err) || err != nil {
				return
			}
		}
	}
}

func (l *limited) Open(ctx context.Context, obj storage.Object, off, n int64) (io.ReadCloser, error) {
	body, err := l.Store.Open(ctx, obj, off, n)
	if err != nil || len(l.rates) == 0 {
		return body, err
	}
	return &limitedReader{body, ctx, l.rates}, nil
}

// A limitedReader waits after it has read.
type limitedReader struct {
	io.ReadCloser
	ctx   context.Context
	rates []*rate.Limiter
}

func (r *limitedReader) Sum() string { return storage.SumOf(r.ReadCloser) }

func (r *limitedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p[:min(len(p), burst)])
	for _, limit := range r.rates {
		if n == 0 {
			break
		}
		if waited := limit.WaitN(r.ctx, n); waited != nil && err == nil {
			err = waited
		}
	}
	return n, err
}

// Workers is how many files, or parts of files, are copied at a time: so many that each has
// a share of a rate at which no server cuts it off, and at which a part is whole, and
// need not be copied again when the server is killed, within seconds.
func Workers(rates ...int64) int {
	const most, share = 32, 1 << 20
	n := int64(most)
	for _, r := range rates {
		if r > 0 {
			n = min(n, r/share)
		}
	}
	return int(max(n, 1))
}
