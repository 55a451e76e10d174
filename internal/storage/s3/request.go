package s3

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// Reading, writing and listing make their own requests: per file they cost less
// than half of what they do by way of a general client.

// maxError is how much of an answer that says no is read.
const maxError = 64 << 10

// keys are what requests are signed with.
func (s *Store) keys(ctx context.Context) (credentials.Value, error) {
	asked := s.core().CredContext()
	asked.Context = ctx
	return s.creds.GetWithContext(asked)
}

// request makes an unsigned request about an object; key may be empty.
func (s *Store) request(ctx context.Context, method, key string, query url.Values) *http.Request {
	base := s.site.Load().base
	u := *base
	u.Path += key
	u.RawPath = base.Path + s3utils.EncodePath(key)
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20") // as it is signed
	return (&http.Request{Method: method, URL: &u, Host: u.Host, Header: make(http.Header, 8)}).WithContext(ctx)
}

// do signs a request and makes it. Whatever says no is an error, with the body
// closed.
func (s *Store) do(req *http.Request, payload string) (*http.Response, error) {
	keys, err := s.keys(req.Context())
	if err != nil {
		return nil, err
	}
	signer := &s.site.Load().signer
	signer.sign(req, keys, payload, time.Now())
	resp, err := s.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		s.learn(req.Header, resp.Header)
		return resp, nil
	}
	defer resp.Body.Close()
	var body []byte
	if req.Method != http.MethodHead {
		if body, err = io.ReadAll(io.LimitReader(resp.Body, maxError)); err != nil && len(body) == 0 {
			return nil, networkError(req.Context(), err)
		}
	}
	return nil, elsewhere(refusal(resp.StatusCode, body), resp.Header, signer.region)
}

// badRequest is the code of a 400 that has none, as that of a HEAD.
const badRequest = "BadRequest"

// refusal reads the code out of an answer that says no.
func refusal(status int, body []byte) minio.ErrorResponse {
	resp := minio.ErrorResponse{}
	if len(body) == 0 || xml.Unmarshal(body, &resp) != nil {
		resp = minio.ErrorResponse{Code: strings.ReplaceAll(http.StatusText(status), " ", "")}
	}
	resp.StatusCode = status
	return resp
}

// unexplained guesses why a HEAD was refused, which has no body to say so: a 400 to
// a request with a session token most likely means that this has run out.
func (s *Store) unexplained(ctx context.Context, err error) error {
	no := minio.ToErrorResponse(err)
	if no.Code != badRequest {
		return err
	}
	if keys, keysErr := s.keys(ctx); keysErr == nil && keys.SessionToken != "" {
		no.Code = "ExpiredToken"
	}
	return no
}

// drained closes the body of an answer in which there should be nothing, so that
// the connection can be used again.
func drained(resp *http.Response) error {
	_, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxError))
	return errors.Join(err, resp.Body.Close())
}

// described reads the headers that describe an object.
func (s *Store) described(key string, h http.Header) (storage.Object, error) {
	size, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
	if err != nil || size < 0 {
		return storage.Object{}, errNoLength
	}
	modified, _ := http.ParseTime(h.Get("Last-Modified")) // none is as good as a wrong one
	return s.object(key, size, modified, h.Get("ETag")), nil
}
