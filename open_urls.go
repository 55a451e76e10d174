package d6tpipe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/s3"
	"github.com/d6t/d6tpipe-go/internal/storage/urls"
)

// unsigned is where the driver of S3 thinks that it sends requests which a server
// signs: their URLs come with the signatures.
const unsigned = "https://signed.invalid"

// openURLs opens a bucket for which the server signs each request.
func (p *Pipe) openURLs(where Storage) (storage.Store, error) {
	c, ok := p.api.(*APIClient)
	if !ok {
		return nil, fmt.Errorf("signed URLs: %w by this API", ErrUnsupported)
	}
	said, _, err := readS3(where)
	if err != nil {
		return nil, err
	}
	bucket := s3.Options{Bucket: where.Location, Endpoint: unsigned, Addressing: s3.Path, Unconditional: said.Unconditional, NoSums: said.NoSums}
	path := "/" + where.Location + "/"
	if where.Dir != "" {
		path += where.Dir + "/"
	}
	store, err := urls.New(urls.Options{
		API: signing{c, p.Name()}, Path: path, Insecure: said.Insecure, Dial: p.opts().Dial,
		Open: func(t http.RoundTripper) (storage.Store, error) {
			bucket.Transport = t
			below, err := s3.New(bucket)
			if err != nil {
				return nil, err
			}
			return storage.Prefix(below, where.Dir)
		},
	})
	if err != nil {
		return nil, err
	}
	return storage.Idle(store, cmp.Or(p.opts().IdleTimeout, defaultIdleTimeout)), nil
}

// signing is the server that lists a pipe's files and signs requests about them.
type signing struct {
	client *APIClient
	pipe   string
}

var _ urls.API = signing{}

const (
	// maxRests is how often one listing waits until the server looks at a storage again: in
	// the meantime others may have had it look.
	maxRests = 3
	// longestRest is the longest such wait. A storage rests for as long as it took to list.
	longestRest = 10 * time.Minute
)

// List implements [urls.API]: a listing that is made after the call. A server that has
// just looked, and does not do so again yet for who only reads, says when it will.
func (s signing) List(ctx context.Context) (storage.Listing, error) {
	var since time.Time // of the call, by the server's clock
	for rests := 0; ; rests++ {
		l, err := s.client.listing(ctx, s.pipe, "", true)
		switch {
		case err != nil:
			return storage.Listing{}, mayPass(err)
		case l.stale == "", !since.IsZero() && l.scanned.After(since):
			return l.files, nil
		case l.again == 0 || l.again > longestRest || l.age < 0 || rests == maxRests:
			return storage.Listing{}, fmt.Errorf("%w: the server could not list the files: %s", storage.ErrTemporary, clean(l.stale, maxMessage, nil))
		case since.IsZero():
			since = l.asked()
		}
		if err := rest(ctx, l.again); err != nil {
			return storage.Listing{}, err
		}
	}
}

// rest waits. What is not to stand still for long is told that this is meant.
func rest(ctx context.Context, wait time.Duration) error {
	done := storage.Queue(ctx, time.Now)
	defer done()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Sign implements [urls.API].
func (s signing) Sign(ctx context.Context, requests []urls.Request) ([]urls.Signed, error) {
	in, err := encodeJSON(map[string]any{"requests": requests})
	if err != nil {
		return nil, err
	}
	raw, err := s.client.server.send(ctx, request{method: http.MethodPost, url: s.client.server.url(catalog.Pipes, s.pipe, "urls"), body: in})
	if err != nil {
		return nil, mayPass(err)
	}
	var out struct {
		Signed []urls.Signed `json:"signed"`
	}
	if decodeJSON(raw, &out) != nil { // its error could show a part of a URL
		return nil, badAnswer(errors.New("these are no signed URLs"))
	}
	for i := range out.Signed {
		out.Signed[i].Refused = clean(out.Signed[i].Refused, maxMessage, nil)
	}
	return out.Signed, nil
}
