package gateway

import (
	"context"
	"encoding/xml"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	copyBuffer = 64 << 10
	waitLimit  = 3 * time.Second // for a child that starts again
	maxText    = 8 << 20         // bodies that are not files: a list of 10,000 parts or of 1,000 keys
)

// A front stands before the S3 server, in the server's own process. It passes on
// what the S3 protocol needs for files, and only with keys that are good; what the
// keys are for is decided behind it.
type front struct {
	bucket string
	keys   keyring
	check  func(ctx context.Context, g Grant) error
	up     *gate
	proxy  *httputil.ReverseProxy
}

func newFront(e *Embedded) *front {
	f := &front{bucket: e.cfg.Bucket, keys: e.keys, check: e.cfg.Check, up: &e.super.up}
	f.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", "storage"
			r.Out.URL.RawQuery = r.In.URL.RawQuery // clients sign all of it,
			r.Out.Host = r.In.Host                 // and this too
		},
		Transport:     e.client.Transport,
		FlushInterval: -1,
		BufferPool:    &buffers{},
		ErrorLog:      slog.NewLogLogger(e.cfg.Log.Handler(), slog.LevelDebug),
		ErrorHandler:  answerFailure,
	}
	return f
}

// A refusal is an answer to a request that goes no further, in the form of the S3
// protocol.
type refusal struct {
	status int
	Code   string
	Text   string
}

var (
	refuseOperation = &refusal{http.StatusForbidden, "AccessDenied", "The server offers files of pipes: it has no such operation."}
	refuseBucket    = &refusal{http.StatusForbidden, "AccessDenied", "The keys are not for this bucket."}
	refuseAnonymous = &refusal{http.StatusForbidden, "AccessDenied", "The request is not signed."}
	refuseGrant     = &refusal{http.StatusForbidden, "AccessDenied", "The permission for which the keys were made has ended."}
	refuseToken     = &refusal{http.StatusBadRequest, "InvalidToken", "The session token is missing or is not the one of this access key."}
	refuseExpired   = &refusal{http.StatusBadRequest, "ExpiredToken", "The provided token has expired."}
	refuseQuery     = &refusal{http.StatusBadRequest, "InvalidArgument", "The request can be read in two ways."}
	refuseUpload    = &refusal{http.StatusNotFound, "NoSuchUpload", "There is no such upload."}
	refuseSize      = &refusal{http.StatusBadRequest, "EntityTooLarge", "The body is larger than such a request can be."}
	refuseKeys      = &refusal{http.StatusNotImplemented, "NotImplemented", "The server does not encrypt with a customer's keys."}
	refuseDown      = &refusal{http.StatusServiceUnavailable, "ServiceUnavailable", "The storage starts again. Please try again."}
)

// ServeHTTP passes the request on, or answers it with a refusal.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if no := f.refuse(r); no != nil {
		no.answer(w, r)
		return
	}
	if err := f.up.wait(r.Context(), waitLimit); err != nil {
		refuseDown.answer(w, r)
		return
	}
	if !isUpload(r) {
		r.Body = http.MaxBytesReader(w, r.Body, maxText)
	}
	f.proxy.ServeHTTP(w, r)
}

// refuse says why a request goes no further.
func (f *front) refuse(r *http.Request) *refusal {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return refuseQuery
	}
	for _, values := range query {
		if len(values) > 1 {
			return refuseQuery
		}
	}
	for _, name := range []string{"Authorization", "X-Amz-Security-Token"} {
		if len(r.Header.Values(name)) > 1 {
			return refuseQuery
		}
	}
	if no := f.refuseKeys(r, query); no != nil {
		return no
	}
	key, ok := f.key(r.URL)
	switch {
	case !ok:
		return refuseBucket
	case !isOperation(r.Method, key == "", query):
		return refuseOperation
	case query.Has("uploadId") && !isUploadID(query.Get("uploadId")):
		return refuseUpload
	case r.Header.Get("X-Amz-Server-Side-Encryption-Customer-Algorithm") != "":
		return refuseKeys
	case !isUpload(r) && r.ContentLength > maxText:
		return refuseSize
	}
	if reason := badKey(key); key != "" && reason != "" {
		return &refusal{http.StatusBadRequest, "InvalidArgument", "The key " + reason + "."}
	}
	return nil
}

// key is what the request is about: a key, or "" for the bucket.
func (f *front) key(u *url.URL) (key string, ok bool) {
	bucket, _, below := strings.Cut(strings.TrimPrefix(u.EscapedPath(), "/"), "/")
	if bucket != f.bucket { // also when a slash or a letter of it is escaped
		return "", false
	}
	if !below {
		return "", u.Path == "/"+f.bucket
	}
	return strings.CutPrefix(u.Path, "/"+f.bucket+"/")
}

// refuseKeys checks the keys, but not the signature.
func (f *front) refuseKeys(r *http.Request, query url.Values) *refusal {
	access, token, signed := requestKeys(r.Header, query)
	if !signed {
		return refuseAnonymous
	}
	_, bucket, g, err := f.keys.open(access, token, time.Now())
	switch {
	case errors.Is(err, errExpired):
		return refuseExpired
	case err != nil || bucket != f.bucket:
		return refuseToken
	case f.check == nil:
		return nil
	}
	switch err := f.check(r.Context(), g); {
	case errors.Is(err, ErrDenied):
		return refuseGrant
	case err != nil:
		return refuseDown
	}
	return nil
}

// requestKeys are the access key and the session token of a request: in its header,
// or in the query of a URL that was signed before.
func requestKeys(header http.Header, query url.Values) (access, token string, signed bool) {
	if scope := query.Get("X-Amz-Credential"); scope != "" {
		access, _, _ = strings.Cut(scope, "/")
		return access, query.Get("X-Amz-Security-Token"), header.Get("Authorization") == ""
	}
	_, rest, found := strings.Cut(header.Get("Authorization"), "Credential=")
	access, _, _ = strings.Cut(rest, "/")
	return access, header.Get("X-Amz-Security-Token"), found
}

// The operations that there are, by the parameters that choose them and those that
// go with them.
var (
	bucketRead = []string{"list-type", "prefix", "delimiter", "marker", "max-keys", "encoding-type", "continuation-token", "start-after", "fetch-owner",
		"metadata", "location", "uploads", "key-marker", "upload-id-marker", "max-uploads"}
	objectRead = []string{"partNumber", "response-content-type", "response-content-language", "response-expires", "response-cache-control",
		"response-content-disposition", "response-content-encoding", "uploadId", "max-parts", "part-number-marker", "encoding-type", "attributes", "tagging"}
	objectWrite  = []string{"partNumber", "uploadId", "tagging"}
	objectPost   = []string{"uploads", "uploadId"}
	objectDelete = []string{"uploadId"}
)

func isOperation(method string, bucket bool, query url.Values) bool {
	switch {
	case bucket && method == http.MethodGet:
		return only(query, bucketRead)
	case bucket && method == http.MethodHead:
		return only(query, nil)
	case bucket && method == http.MethodPost:
		return query.Has("delete") && only(query, []string{"delete"})
	case bucket:
		return false
	case method == http.MethodGet, method == http.MethodHead:
		return only(query, objectRead)
	case method == http.MethodPut:
		return only(query, objectWrite)
	case method == http.MethodPost:
		return (query.Has("uploads") || query.Has("uploadId")) && only(query, objectPost)
	case method == http.MethodDelete:
		return only(query, objectDelete)
	}
	return false
}

// only reports whether all parameters are among names, or belong to signatures and
// checksums.
func only(query url.Values, names []string) bool {
	for name := range query {
		if !slices.Contains(names, name) && name != "x-id" && !strings.HasPrefix(strings.ToLower(name), "x-amz-") {
			return false
		}
	}
	return true
}

// isUpload reports whether the body is a file or a part of one.
func isUpload(r *http.Request) bool {
	return r.Method == http.MethodPut && r.Header.Get("X-Amz-Copy-Source") == "" && !r.URL.Query().Has("tagging")
}

// answerFailure answers when the S3 server did not.
func answerFailure(w http.ResponseWriter, r *http.Request, err error) {
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		refuseSize.answer(w, r)
		return
	}
	refuseDown.answer(w, r)
}

func (no *refusal) answer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/xml")
	if no.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(no.status)
	if r.Method == http.MethodHead {
		return
	}
	body, err := xml.Marshal(struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}{Code: no.Code, Message: no.Text})
	if err == nil {
		w.Write(append([]byte(xml.Header), body...)) //nolint:errcheck // nobody is left to be told
	}
}

// buffers are used again: a transfer needs one.
type buffers struct{ pool sync.Pool }

// Get returns a buffer.
func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, copyBuffer)
}

// Put takes it back.
func (b *buffers) Put(p []byte) { b.pool.Put(&p) }
