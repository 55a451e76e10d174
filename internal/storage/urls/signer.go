package urls

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// How URLs are kept.
const (
	maxKept = 4096        // URLs; more are forgotten, all at once
	margin  = time.Minute // before a URL runs out, or a fifth of its time when that is less
)

var errClosed = fmt.Errorf("urls: %w", fs.ErrClosed)

// A signer has requests signed: all that come while an answer is on its way are the
// next question.
type signer struct {
	api      API
	insecure bool
	ctx      context.Context // of questions; ends with close
	cancel   context.CancelFunc
	group    sync.WaitGroup

	mu     sync.Mutex
	kept   map[place]address
	queue  []*wish
	asking bool
	closed bool
}

// A place is what a kept URL is for: reading a key, with or without its sum.
type place struct{ method, key, mode string }

// An address is where a request goes.
type address struct {
	url   *url.URL
	until time.Time // it is of no use any more
}

// A wish is a request that waits for its answer.
type wish struct {
	request Request
	done    chan struct{} // closed when the rest is set
	address address
	err     error
}

func newSigner(api API, insecure bool) *signer {
	s := &signer{api: api, insecure: insecure, kept: map[place]address{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

func (s *signer) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *signer) close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.group.Wait()
	return nil
}

// keeps reports where the URL for a request is kept. Only those for reading are:
// others are for one upload, or one sum of it.
func (r Request) keeps() (place, bool) {
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	return place{r.Method, r.Key, r.Header[modeHeader]}, reads && len(r.Query) == 0
}

// sign returns where a request goes. An old one was kept from an earlier request; with
// fresh there is none.
func (s *signer) sign(ctx context.Context, r Request, fresh bool) (a address, old bool, err error) {
	place, keeps := r.keeps()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return a, false, errClosed
	}
	if a, old = s.kept[place]; keeps && old && !fresh && time.Now().Before(a.until) {
		s.mu.Unlock()
		return a, true, nil
	}
	w := &wish{request: r, done: make(chan struct{})}
	s.queue = append(s.queue, w)
	if !s.asking {
		s.asking = true
		s.group.Go(s.ask)
	}
	s.mu.Unlock()
	select {
	case <-w.done:
		storage.Moved(ctx)
		return w.address, false, w.err
	case <-ctx.Done():
		return a, false, ctx.Err()
	}
}

// ask has signed what waits, until nothing does.
func (s *signer) ask() {
	for {
		s.mu.Lock()
		batch := s.queue[:min(len(s.queue), MaxBatch)]
		s.queue = s.queue[len(batch):]
		if len(batch) == 0 {
			s.asking = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		s.answer(batch)
	}
}

// answer has a batch signed, and tells those who wait for it.
func (s *signer) answer(batch []*wish) {
	requests := make([]Request, len(batch))
	for i, w := range batch {
		requests[i] = w.request
	}
	signed, err := s.api.Sign(s.ctx, requests)
	now := time.Now()
	switch {
	case s.ctx.Err() != nil:
		err = errClosed
	case err != nil:
		err = refusal(err)
	case len(signed) != len(batch):
		err = fmt.Errorf("%w: the server signed another number of requests", fs.ErrInvalid)
	}
	for i, w := range batch {
		if w.err = err; err == nil {
			w.address, w.err = s.read(w.request, signed[i], now)
		}
	}
	s.keep(batch)
	for _, w := range batch {
		close(w.done)
	}
}

// refusal explains why the server signs nothing. Unless that may pass, it is not for
// the driver below to take for something that the bucket said of a file.
func refusal(err error) error {
	if errors.Is(err, storage.ErrTemporary) {
		return fmt.Errorf("have a URL signed: %w", err)
	}
	return fmt.Errorf("have a URL signed: %w: %w", fs.ErrPermission, err)
}

func (s *signer) keep(batch []*wish) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range batch {
		place, keeps := w.request.keeps()
		if w.err != nil || !keeps {
			continue
		}
		if len(s.kept) >= maxKept {
			clear(s.kept)
		}
		s.kept[place] = w.address
	}
}

// read checks what the server says: a URL that is for this key and can be used. How
// long it is good counts from now, because the server's clock may be another one.
func (s *signer) read(r Request, signed Signed, now time.Time) (address, error) {
	if signed.Refused != "" {
		return address{}, fmt.Errorf("%w: the server signs no such request: %s", fs.ErrPermission, signed.Refused)
	}
	u, err := url.Parse(signed.URL)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "":
		return address{}, fmt.Errorf("%w: the server did not sign a URL that can be used", fs.ErrInvalid)
	case u.Scheme != "https" && (u.Scheme != "http" || !s.insecure && !loopback(u.Hostname())):
		return address{}, fmt.Errorf("%w: the signed URL on %s must be https", fs.ErrInvalid, u.Host)
	case !strings.HasSuffix(u.Path, "/"+r.Key):
		return address{}, fmt.Errorf("%w: the server signed a URL for another file", fs.ErrInvalid)
	}
	seconds, err := strconv.ParseUint(u.Query().Get("X-Amz-Expires"), 10, 31)
	if err != nil {
		seconds = 0 // nobody knows: it is used once
	}
	life := time.Duration(seconds) * time.Second
	return address{u, now.Add(life - min(margin, life/5))}, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
