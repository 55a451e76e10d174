package s3

import (
	"context"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// transport sees every request of a Store. It gives errors a type that minio-go
// leaves alone, and keeps the Retry-After of an answer, which minio-go drops.
type transport struct {
	base   http.RoundTripper
	closed *atomic.Bool
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if t.closed.Load() {
		return nil, errClosed
	}
	resp, err := t.base.RoundTrip(req)
	if err != nil {
		return nil, networkError(req.Context(), err)
	}
	if resp.StatusCode/100 == 3 {
		return nil, redirected(resp)
	}
	if call, ok := req.Context().Value(callKey{}).(*call); ok && resp.StatusCode >= 400 {
		call.after = retryAfter(resp.Header.Get("Retry-After"))
	}
	return resp, nil
}

// redirected makes an error of a redirect before [http.Client] sees it: nothing is
// ever sent to where it points, and the client would close the body of an upload
// while it is still being written.
func redirected(resp *http.Response) error {
	_ = resp.Body.Close() // nobody wants it
	return &answerError{code: "Redirect", status: resp.StatusCode, region: resp.Header.Get(regionHeader)}
}

type callKey struct{}

// call is one operation on a key, for its errors.
type call struct {
	store   *Store
	ctx     context.Context
	op, key string
	after   time.Duration // the last answer's Retry-After
}

func (s *Store) begin(ctx context.Context, op, key string) (context.Context, *call) {
	c := &call{store: s, op: op, key: key}
	c.ctx = context.WithValue(ctx, callKey{}, c)
	return c.ctx, c
}

// retryAfter reads the header's two forms (RFC 9110, 10.2.3).
func retryAfter(value string) time.Duration {
	if seconds, err := strconv.Atoi(value); err == nil {
		return time.Duration(max(seconds, 0)) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}
