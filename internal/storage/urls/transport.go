package urls

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// modeHeader asks for the sum of a file that is read.
const modeHeader = "x-amz-checksum-mode"

// What the headers begin with that are part of a signature, and those among them
// that are passed on. All others of the kind are left out: a bucket refuses what is
// not signed.
const (
	amazons = "x-amz-"
	sums    = "x-amz-checksum-"
)

// maxHeld is how many bodies are in memory at a time.
const maxHeld = 4

// A transport sends the requests of the driver below to signed URLs.
type transport struct {
	base   http.RoundTripper
	signer *signer
	path   string        // before the key
	held   chan struct{} // has room for maxHeld
}

// RoundTrip has a request signed and makes it. A URL that was kept and is refused may
// have run out, whatever the clocks say: then another one is tried.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	r, ok := t.describe(req)
	if !ok {
		return unknown(req)
	}
	if r.unproven(req) {
		held, release, err := t.hold(req)
		if err != nil {
			return nil, err
		}
		defer release()
		req = held
	}
	for fresh := false; ; fresh = true {
		a, old, err := t.signer.sign(req.Context(), r, fresh)
		if err != nil {
			return nil, shut(req, err)
		}
		resp, err := t.base.RoundTrip(move(req, r, a))
		if err != nil {
			return nil, err
		}
		if !old || !refused(resp.StatusCode) {
			resp.Request = req // and not the one with the URL
			return resp, nil
		}
		if err := drained(resp); err != nil {
			return nil, err
		}
	}
}

// describe tells what a request is about; ok is false when it is not about a file.
func (t *transport) describe(req *http.Request) (r Request, ok bool) {
	key, ok := strings.CutPrefix(req.URL.Path, t.path)
	if !ok || storage.CheckKey(key) != nil {
		return r, false
	}
	r = Request{Method: req.Method, Key: key}
	for name, values := range req.URL.Query() {
		set(&r.Query, name, values[0])
	}
	for name, values := range req.Header {
		if name = strings.ToLower(name); strings.HasPrefix(name, sums) {
			set(&r.Header, name, values[0])
		}
	}
	return r, true
}

// unproven reports whether nothing tells the bucket what it is about to receive: a
// signed URL does not cover the body, and some servers take one for whole that a
// broken connection has cut.
func (r Request) unproven(req *http.Request) bool {
	return req.Method == http.MethodPut && req.ContentLength > 0 && len(r.Header) == 0
}

// hold reads the body into memory and tells its MD5 beforehand, by which every bucket
// checks what it receives. Uploads to a bucket that knows better sums do not come here.
func (t *transport) hold(req *http.Request) (held *http.Request, release func(), err error) {
	done := storage.Queue(req.Context(), time.Now)
	defer done()
	select {
	case t.held <- struct{}{}:
	case <-req.Context().Done():
		return nil, nil, shut(req, req.Context().Err())
	}
	release = func() { <-t.held }
	data := make([]byte, req.ContentLength)
	if _, err = io.ReadFull(req.Body, data); err == nil {
		err = atEnd(req.Body)
	}
	if err = shut(req, err); err != nil {
		release()
		return nil, nil, err
	}
	sum := md5.Sum(data)
	held = req.Clone(req.Context())
	held.Header.Set("Content-Md5", base64.StdEncoding.EncodeToString(sum[:]))
	held.Body = io.NopCloser(bytes.NewReader(data))
	return held, release, nil
}

// atEnd lets a reader say what is wrong with it after its last byte.
func atEnd(r io.Reader) error {
	switch n, err := r.Read(make([]byte, 1)); {
	case n > 0:
		return errLonger
	case err == io.EOF:
		return nil
	default:
		return err
	}
}

var errLonger = errors.New("the body is longer than was announced")

func set(in *map[string]string, name, value string) {
	if *in == nil {
		*in = map[string]string{}
	}
	(*in)[name] = value
}

// move returns the request as it goes to the address. Its body is the same.
func move(req *http.Request, r Request, a address) *http.Request {
	out := req.Clone(req.Context())
	out.URL, out.Host = a.url, a.url.Host
	for name := range out.Header {
		lower := strings.ToLower(name)
		if _, signed := r.Header[lower]; strings.HasPrefix(lower, amazons) && !signed || lower == "authorization" {
			out.Header.Del(name)
		}
	}
	return out
}

// refused reports whether a URL that was good once may have run out.
func refused(status int) bool {
	return status == http.StatusForbidden || status == http.StatusUnauthorized || status == http.StatusBadRequest
}

func drained(resp *http.Response) error {
	_, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	if closed := resp.Body.Close(); err == nil {
		err = closed
	}
	return err
}

// unknown is the answer to what nobody signs, such as a list of all uploads.
func unknown(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		_ = req.Body.Close() // nobody reads it
	}
	const body = `<Error><Code>NotImplemented</Code></Error>`
	return &http.Response{
		Status: "501 Not Implemented", StatusCode: http.StatusNotImplemented, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/xml"}}, ContentLength: int64(len(body)),
		Body: io.NopCloser(strings.NewReader(body)), Request: req,
	}, nil
}

// shut closes the body of a request that is not sent, as a transport must.
func shut(req *http.Request, err error) error {
	if req.Body != nil {
		_ = req.Body.Close() // nobody reads it
	}
	return err
}
