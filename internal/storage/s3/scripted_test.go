package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/s3"
	"github.com/d6t/d6tpipe-go/internal/storage/storagetest"
)

const (
	canary  = "CANARYsecretKEY/+x9"
	session = "CANARYsessionTOKEN=="
	etag    = "0123456789abcdef0123456789abcdef"
)

// script answers with handler and returns a store on it.
func script(t *testing.T, handler http.HandlerFunc) *s3.Store {
	t.Helper()
	return open(t, s3.Options{
		Endpoint: serve(t, handler), Bucket: "bucket", AccessKey: "ACCESSKEY", SecretKey: canary, SessionToken: session, PartSize: 5 << 20,
	})
}

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func page(truncated, token string, keys ...string) string {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><EncodingType>url</EncodingType>`)
	b.WriteString(truncated + token)
	for _, key := range keys {
		fmt.Fprintf(&b, `<Contents><Key>%s</Key><LastModified>2026-11-23T10:00:00.000Z</LastModified><ETag>&quot;%s&quot;</ETag><Size>7</Size></Contents>`, key, etag)
	}
	return b.String() + `</ListBucketResult>`
}

const (
	more = "<IsTruncated>true</IsTruncated>"
	end  = "<IsTruncated>false</IsTruncated>"
)

func token(s string) string { return "<NextContinuationToken>" + s + "</NextContinuationToken>" }

func TestListPages(t *testing.T) {
	store := script(t, func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "2", r.URL.Query().Get("list-type"))
		require.Equal(t, "a b/+é", r.URL.Query().Get("prefix"))
		switch r.URL.Query().Get("continuation-token") {
		case "":
			fmt.Fprint(w, page(more, token("t+1/&amp;="), "a+b%2F%2B%C3%A9x", "a+b%2F%2B%C3%A9y"))
		case "t+1/&=":
			fmt.Fprint(w, strings.Replace(page(end, "", "a+b%2F%2B%C3%A9z", "a+b%2F%2B%C3%A9folder%2F"), "<Size>7</Size></Contents></", "<Size>0</Size></Contents></", 1))
		default:
			t.Error("unknown token")
		}
	})
	l, err := storage.Collect(t.Context(), store, "a b/+é")
	require.NoError(t, err)
	require.True(t, l.Complete())
	require.Equal(t, []string{"a b/+éx", "a b/+éy", "a b/+éz"}, storagetest.Keys(l))
	require.Empty(t, l.Refused, "a folder's marker is no object")
	require.Equal(t, storage.Object{
		Key: "a b/+éx", Size: 7, ModTime: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC), Tag: etag, Sum: "md5:" + etag,
	}, l.Objects()[0])
}

// TestListFaults: whatever is wrong with a page, the listing is not complete and
// says so.
func TestListFaults(t *testing.T) {
	good := page(end, "", "a", "b", "c")
	for name, c := range map[string]struct {
		first  string // the first page, before the fault; "" when there is none
		answer func(w http.ResponseWriter)
		want   error
	}{
		"500":                 {answer: status(500, "")},
		"503 on page 2":       {page(more, token("1"), "a"), status(503, "<Error><Code>SlowDown</Code></Error>"), storage.ErrTemporary},
		"403 on page 2":       {page(more, token("1"), "a"), status(403, "<Error><Code>AccessDenied</Code></Error>"), fs.ErrPermission},
		"expired on page 2":   {page(more, token("1"), "a"), status(400, "<Error><Code>ExpiredToken</Code></Error>"), storage.ErrExpired},
		"gone on page 2":      {page(more, token("1"), "a"), status(404, "<Error><Code>NoSuchBucket</Code></Error>"), fs.ErrNotExist},
		"redirect":            {answer: status(301, "<Error><Code>PermanentRedirect</Code></Error>")},
		"204":                 {answer: status(204, "")},
		"206":                 {answer: status(206, good)},
		"empty":               {answer: status(200, "")},
		"half a page":         {answer: status(200, good[:len(good)/2])},
		"a byte short":        {answer: status(200, good[:len(good)-1])},
		"cut connection":      {answer: cut(good, len(good)/2), want: storage.ErrTemporary},
		"cut on page 2":       {page(more, token("1"), "a"), cut(good, 10), storage.ErrTemporary},
		"reset":               {answer: func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, want: storage.ErrTemporary},
		"HTML":                {answer: status(200, "<html><body>Please log in</body></html>")},
		"an error that is OK": {answer: status(200, "<Error><Code>InternalError</Code></Error>")},
		"another document":    {answer: status(200, "<ListAllMyBucketsResult><IsTruncated>false</IsTruncated></ListAllMyBucketsResult>")},
		"JSON":                {answer: status(200, `{"objects":[]}`)},
		"no token":            {answer: status(200, page(more, "", "a"))},
		"empty token":         {answer: status(200, page(more, token(""), "a"))},
		"repeated token":      {page(more, token("1"), "a"), status(200, page(more, token("1"), "b")), nil},
		"empty page":          {page(more, token("1"), "a"), status(200, page(more, token("2"))), nil},
		"empty first page":    {answer: status(200, page(more, token("1")))},
		"does not say":        {answer: status(200, page("", "", "a"))},
		"says nonsense":       {answer: status(200, page("<IsTruncated>maybe</IsTruncated>", "", "a"))},
		"no size":             {answer: status(200, strings.ReplaceAll(good, "<Size>7</Size>", ""))},
		"bad size":            {answer: status(200, strings.ReplaceAll(good, "<Size>7</Size>", "<Size>7x</Size>"))},
		"negative size":       {answer: status(200, strings.ReplaceAll(good, "<Size>7</Size>", "<Size>-7</Size>"))},
		"bad time":            {answer: status(200, strings.ReplaceAll(good, "2026-11-23T", "yesterday "))},
		"bad escape":          {answer: status(200, page(end, "", "a%zz"))},
		"outside the prefix":  {answer: status(200, page(end, "", "a", "z"))},
		"too long":            {answer: status(200, good+strings.Repeat(" ", 17<<20))},
		"other bytes":         {answer: status(200, "\x1f\x8b\x08\x00garbage")},
	} {
		t.Run(name, func(t *testing.T) {
			prefix := ""
			if name == "outside the prefix" {
				prefix = "a"
			}
			store := script(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Get("continuation-token") == "" && c.first != "" {
					fmt.Fprint(w, c.first)
					return
				}
				c.answer(w)
			})
			l, err := storage.Collect(t.Context(), store, prefix)
			require.Error(t, err)
			require.False(t, l.Complete())
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
			}
			requireNoSecret(t, err)
		})
	}
}

// TestListEnds: a remote that sends empty pages with ever new tokens would keep us
// for ever.
func TestListEnds(t *testing.T) {
	var pages atomic.Int64
	store := script(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, page(more, token(fmt.Sprint(pages.Add(1)))))
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := storage.Collect(ctx, store, "")
	require.Error(t, err)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	require.LessOrEqual(t, pages.Load(), int64(2), "the one that was read, and the one that was asked for meanwhile")
}

func status(code int, body string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}
}

// cut announces the whole body and sends n bytes of it.
func cut(body string, n int) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		fmt.Fprint(w, body[:n])
		_ = http.NewResponseController(w).Flush() // the cut comes anyway
		panic(http.ErrAbortHandler)
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		want   error
	}{
		{404, "NoSuchKey", fs.ErrNotExist}, {404, "NoSuchBucket", fs.ErrNotExist}, {404, "", fs.ErrNotExist},
		{403, "AccessDenied", fs.ErrPermission}, {403, "InvalidAccessKeyId", fs.ErrPermission}, {403, "SignatureDoesNotMatch", fs.ErrPermission},
		{403, "RequestTimeTooSkewed", fs.ErrPermission}, {403, "", fs.ErrPermission}, {401, "", fs.ErrPermission}, {400, "InvalidToken", fs.ErrPermission},
		{400, "ExpiredToken", storage.ErrExpired}, {403, "ExpiredToken", storage.ErrExpired},
		{412, "PreconditionFailed", storage.ErrChanged}, {412, "", storage.ErrChanged},
		{500, "InternalError", storage.ErrTemporary}, {502, "", storage.ErrTemporary}, {503, "SlowDown", storage.ErrTemporary}, {503, "", storage.ErrTemporary},
		{504, "", storage.ErrTemporary}, {400, "RequestTimeout", storage.ErrTemporary}, {429, "", storage.ErrTemporary}, {408, "", storage.ErrTemporary},
		{409, "ConditionalRequestConflict", storage.ErrTemporary}, {400, "BadDigest", storage.ErrCorrupt}, {400, "XAmzContentSHA256Mismatch", storage.ErrCorrupt},
		{501, "NotImplemented", errors.ErrUnsupported}, {405, "MethodNotAllowed", errors.ErrUnsupported},
		{400, "InvalidArgument", nil}, {409, "Whatever", nil}, {301, "PermanentRedirect", nil},
	} {
		t.Run(fmt.Sprint(c.status, c.code), func(t *testing.T) {
			store := script(t, func(w http.ResponseWriter, r *http.Request) {
				body := ""
				if c.code != "" {
					body = fmt.Sprintf("<Error><Code>%s</Code><Message>%s</Message><Region>eu-west-3</Region></Error>", c.code, r.Header)
				}
				w.Header().Set("Location", "http://127.0.0.1:1/"+canary)
				status(c.status, body)(w)
			})
			for op, err := range everyError(t, store) {
				if op == "remove" && c.code == "NoSuchKey" || op == "remove" && c.code == "" && c.status == 404 {
					require.NoError(t, err)
					continue
				}
				if op == "stat" && c.code != "" && c.status == 400 {
					continue // a HEAD has no body to say why
				}
				if op == "put" && c.status == 501 {
					require.ErrorIs(t, err, storage.ErrTemporary, "the next one goes without a condition")
					continue
				}
				require.Error(t, err, op)
				for _, kind := range []error{fs.ErrNotExist, fs.ErrPermission, storage.ErrExpired, storage.ErrChanged, storage.ErrCorrupt, storage.ErrTemporary, errors.ErrUnsupported} {
					if op == "stat" && c.code == "ExpiredToken" || op == "stat" && c.code == "ConditionalRequestConflict" {
						continue
					}
					require.Equal(t, errors.Is(c.want, kind), errors.Is(err, kind), "%s: %v is %v", op, err, kind)
				}
				require.True(t, strings.HasPrefix(err.Error(), op+" bucket/"), err)
				requireNoSecret(t, err)
			}
		})
	}
}

// TestErrorsQuoteNothing: even the fields that are shown may hold anything.
func TestErrorsQuoteNothing(t *testing.T) {
	for _, code := range []int{301, 400, 403, 500} {
		store := script(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Amz-Bucket-Region", "http://"+canary)
			w.Header().Set("X-Minio-Error-Desc", canary)
			status(code, fmt.Sprintf("<Error><Code>%s</Code><Region>%s</Region></Error>", r.Header.Get("Authorization"), r.Header.Get("X-Amz-Security-Token")))(w)
		})
		for op, err := range everyError(t, store) {
			require.Error(t, err, op)
			requireNoSecret(t, err)
		}
	}
}

func everyError(t *testing.T, store storage.Store) map[string]error {
	ctx := t.Context()
	errs := map[string]error{}
	_, errs["list"] = storage.Collect(ctx, store, "p")
	_, errs["stat"] = store.Stat(ctx, "a")
	_, errs["open"] = store.Open(ctx, storage.Object{Key: "a", Tag: etag}, 5, 10)
	_, errs["put"] = store.Put(ctx, "a", strings.NewReader("hello"), 5, storage.Cond{Tag: etag})
	errs["remove"] = store.Remove(ctx, "a")
	return errs
}

func requireNoSecret(t *testing.T, err error) {
	t.Helper()
	for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
		for _, secret := range []string{"CANARY", "Signature=", "X-Amz", "AWS4", "http://", "ACCESSKEY"} {
			require.NotContains(t, text, secret)
		}
	}
}

func TestErrorsOfTheNetwork(t *testing.T) {
	server := httptest.NewServer(nil)
	server.Close()
	for name, endpoint := range map[string]string{"refused": server.URL, "no such host": "https://host.invalid"} {
		store := open(t, s3.Options{Endpoint: endpoint, Bucket: "bucket", AccessKey: "ACCESSKEY", SecretKey: canary, SessionToken: session})
		for op, err := range everyError(t, store) {
			require.ErrorIs(t, err, storage.ErrTemporary, "%s: %s", name, op)
			requireNoSecret(t, err)
		}
	}
	store := script(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	for op, err := range everyError(t, store) {
		require.ErrorIs(t, err, storage.ErrTemporary, op)
		require.NotContains(t, err.Error(), "EOF")
		requireNoSecret(t, err)
	}
	tls := httptest.NewUnstartedServer(http.NotFoundHandler())
	tls.Config.ErrorLog = log.New(io.Discard, "", 0)
	tls.StartTLS()
	defer tls.Close()
	store = open(t, s3.Options{Endpoint: tls.URL, Bucket: "bucket"})
	_, err := store.Stat(t.Context(), "a")
	require.Error(t, err)
	require.NotErrorIs(t, err, storage.ErrTemporary, "a certificate that does not fit will not fit later")
	require.NotErrorIs(t, err, fs.ErrNotExist)
}

// TestRedirects: not one request, and so no signature or token, goes elsewhere.
func TestRedirects(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	defer elsewhere.Close()
	for _, code := range []int{301, 302, 303, 307, 308} {
		store := script(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", elsewhere.URL+"/bucket/a")
			w.Header().Set("X-Amz-Bucket-Region", "eu-west-3")
			w.WriteHeader(code)
		})
		for op, err := range everyError(t, store) {
			require.ErrorContains(t, err, "the bucket is in region eu-west-3", op)
			require.NotErrorIs(t, err, storage.ErrTemporary, op)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	var mu sync.Mutex
	calls := 0
	store := script(t, func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if calls++; calls%2 == 1 {
			w.Header().Set("Retry-After", "1")
			status(503, "<Error><Code>SlowDown</Code></Error>")(w)
			return
		}
		fmt.Fprint(w, page(end, "", "a"))
	})
	var waits []time.Duration
	retry := storage.Retry(store, storage.RetryPolicy{First: time.Millisecond, OnRetry: func(_, _ string, _ error, wait time.Duration) {
		waits = append(waits, wait)
	}})
	require.Len(t, storagetest.List(t, retry, "").Objects(), 1)
	require.Equal(t, []time.Duration{time.Second}, waits)

	for value, want := range map[string]time.Duration{
		"7": 7 * time.Second, "": 0, "-7": 0, "soon": 0, time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat): 0,
	} {
		store = script(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", value)
			w.WriteHeader(503)
		})
		for op, err := range everyError(t, store) {
			var asked interface{ RetryAfter() time.Duration }
			require.ErrorAs(t, err, &asked, op)
			require.Equal(t, want, asked.RetryAfter(), op)
		}
	}
}

// TestOpenFaults: bytes that are not those that were asked for never pass.
func TestOpenFaults(t *testing.T) {
	data := storagetest.Bytes(1, 1000)
	answer := func(code int, tag, contentRange string, body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", tag)
			w.Header().Set("Last-Modified", "Mon, 23 Nov 2026 10:00:00 GMT")
			if contentRange != "" {
				w.Header().Set("Content-Range", contentRange)
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			w.WriteHeader(code)
			_, _ = w.Write(body) // the client may hang up
		}
	}
	quoted := `"` + etag + `"`
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		off, n  int64
		want    error
	}{
		"good":                   {answer(206, quoted, "bytes 100-199/1000", data[100:200]), 100, 100, errGood},
		"good to the end":        {answer(206, quoted, "bytes 100-999/1000", data[100:]), 100, -1, errGood},
		"good beyond the end":    {answer(206, quoted, "bytes 900-999/1000", data[900:]), 900, 500, errGood},
		"good and whole":         {answer(200, quoted, "", data), 0, -1, errGood},
		"the range is ignored":   {answer(200, quoted, "", data), 100, 100, nil},
		"ignored, to the end":    {answer(200, quoted, "", data), 100, -1, nil},
		"another offset":         {answer(206, quoted, "bytes 0-99/1000", data[:100]), 100, 100, nil},
		"less than asked":        {answer(206, quoted, "bytes 100-149/1000", data[100:150]), 100, 100, nil},
		"less, to the end":       {answer(206, quoted, "bytes 100-149/1000", data[100:150]), 100, -1, nil},
		"more than asked":        {answer(206, quoted, "bytes 100-299/1000", data[100:300]), 100, 100, nil},
		"a length that lies":     {answer(206, quoted, "bytes 100-199/1000", data[100:150]), 100, 100, nil},
		"no Content-Range":       {answer(206, quoted, "", data[100:200]), 100, 100, nil},
		"no total":               {answer(206, quoted, "bytes 100-199/*", data[100:200]), 100, 100, nil},
		"nonsense":               {answer(206, quoted, "bytes x-y/z", data[100:200]), 100, 100, nil},
		"a part of the whole":    {answer(206, quoted, "bytes 0-99/1000", data[:100]), 0, -1, nil},
		"another length":         {answer(200, quoted, "", data[:999]), 0, -1, nil},
		"another version":        {answer(206, `"other"`, "bytes 100-199/1000", data[100:200]), 100, 100, storage.ErrChanged},
		"another version, whole": {answer(200, `"other"`, "", data), 0, -1, storage.ErrChanged},
		"no version":             {answer(200, "", "", data), 0, -1, storage.ErrChanged},
		"412":                    {answer(412, "", "", nil), 100, 100, storage.ErrChanged},
		"no length": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", quoted)
			w.Header().Set("Last-Modified", "Mon, 23 Nov 2026 10:00:00 GMT")
			_ = http.NewResponseController(w).Flush() // so that the body is chunked
			_, _ = w.Write(data)
		}, 0, -1, nil},
		"cut": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", quoted)
			w.Header().Set("Last-Modified", "Mon, 23 Nov 2026 10:00:00 GMT")
			cut(string(data), 500)(w)
		}, 0, -1, storage.ErrTemporary},
	} {
		t.Run(name, func(t *testing.T) {
			store := script(t, func(w http.ResponseWriter, r *http.Request) {
				require.Equal(t, quoted, r.Header.Get("If-Match"))
				require.Equal(t, c.off > 0 || c.n > 0, r.Header.Get("Range") != "")
				c.handler(w, r)
			})
			var got []byte
			r, err := store.Open(t.Context(), storage.Object{Key: "a", Size: 1000, Tag: etag}, c.off, c.n)
			if err == nil {
				got, err = io.ReadAll(r)
				require.NoError(t, r.Close())
			}
			if errors.Is(c.want, errGood) {
				require.NoError(t, err)
				to := int64(1000)
				if c.n >= 0 {
					to = min(to, c.off+c.n)
				}
				require.True(t, bytes.Equal(data[c.off:to], got))
				return
			}
			require.Error(t, err)
			require.Equal(t, errors.Is(c.want, storage.ErrTemporary), errors.Is(err, storage.ErrTemporary), err)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
			}
			if name == "cut" {
				require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			}
			requireNoSecret(t, err)
		})
	}
}

// TestOpenShort: a transport of somebody else's may not check the length.
func TestOpenShort(t *testing.T) {
	short := roundTrip(func(req *http.Request) (*http.Response, error) {
		header := http.Header{"Content-Length": {"100"}, "Etag": {etag}, "Last-Modified": {"Mon, 23 Nov 2026 10:00:00 GMT"}}
		return &http.Response{StatusCode: 200, Header: header, Request: req, Body: io.NopCloser(strings.NewReader("half"))}, nil
	})
	store := open(t, s3.Options{Bucket: "bucket", Transport: short})
	r, err := store.Open(t.Context(), storage.Object{Key: "a"}, 0, -1)
	require.NoError(t, err)
	got, err := io.ReadAll(r)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.ErrorIs(t, err, storage.ErrTemporary)
	require.Equal(t, "half", string(got))
	require.NoError(t, r.Close())
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

var errGood = errors.New("no error")

// TestPutLeavesTheReaderAlone: an answer may come before the body was read, and
// then net/http goes on reading for a while. The race detector watches.
func TestPutLeavesTheReaderAlone(t *testing.T) {
	store := script(t, func(w http.ResponseWriter, _ *http.Request) { status(403, "")(w) })
	for range 50 {
		r := &counting{}
		_, err := store.Put(t.Context(), "a", r, 4<<20, storage.Cond{})
		require.Error(t, err)
		r.n = 0
	}
}

type counting struct{ n int }

func (c *counting) Read(p []byte) (int, error) {
	c.n += len(p)
	return len(p), nil
}

// multipart plays the server's part of an upload in parts.
type multipart struct {
	mu              sync.Mutex
	started         int
	aborted         int
	parts           int
	part, completed func(http.ResponseWriter)
}

func (m *multipart) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	query := r.URL.Query()
	switch {
	case r.Method == http.MethodPost && query.Has("uploads"):
		m.started++
		fmt.Fprint(w, "<InitiateMultipartUploadResult><Bucket>bucket</Bucket><Key>a</Key><UploadId>ID</UploadId></InitiateMultipartUploadResult>")
	case r.Method == http.MethodPut:
		_, _ = io.Copy(io.Discard, r.Body) // the client may hang up
		m.parts++
		w.Header().Set("ETag", `"part"`)
		m.part(w)
	case r.Method == http.MethodPost:
		m.completed(w)
	case r.Method == http.MethodDelete:
		m.aborted++
		w.WriteHeader(http.StatusNoContent)
	}
}

func TestPutInParts(t *testing.T) {
	ok := func(http.ResponseWriter) {}
	done := status(200, "<CompleteMultipartUploadResult><Bucket>bucket</Bucket><Key>a</Key><ETag>&quot;0123-3&quot;</ETag></CompleteMultipartUploadResult>")
	for name, c := range map[string]struct {
		part, completed func(http.ResponseWriter)
		want            error
	}{
		"good":                {ok, done, errGood},
		"a part fails":        {status(503, ""), done, storage.ErrTemporary},
		"the end fails":       {ok, status(412, "<Error><Code>PreconditionFailed</Code></Error>"), storage.ErrChanged},
		"200 with an error":   {ok, status(200, "<Error><Code>InternalError</Code></Error>"), storage.ErrTemporary},
		"200 with nothing":    {ok, status(200, ""), nil},
		"the connection ends": {ok, func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, storage.ErrTemporary},
	} {
		t.Run(name, func(t *testing.T) {
			m := &multipart{part: c.part, completed: c.completed}
			store := script(t, m.ServeHTTP)
			obj, err := store.Put(t.Context(), "a", bytes.NewReader(make([]byte, 12<<20)), 12<<20, storage.Cond{Absent: true})
			require.Equal(t, 1, m.started)
			if errors.Is(c.want, errGood) {
				require.NoError(t, err)
				require.Equal(t, storage.Object{Key: "a", Size: 12 << 20, Tag: "0123-3"}, obj, "no sum: the tag is that of many parts")
				require.Equal(t, 3, m.parts)
				require.Zero(t, m.aborted)
				return
			}
			require.Error(t, err)
			require.Equal(t, 1, m.aborted)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
			}
		})
	}
	t.Run("canceled", func(t *testing.T) {
		for tries := 1; ; tries++ { // who has canceled waits for half a second only
			ctx, cancel := context.WithCancel(t.Context())
			m := &multipart{part: func(http.ResponseWriter) { cancel() }, completed: done}
			_, err := script(t, m.ServeHTTP).Put(ctx, "a", bytes.NewReader(make([]byte, 12<<20)), 12<<20, storage.Cond{})
			require.ErrorIs(t, err, context.Canceled)
			m.mu.Lock()
			aborted := m.aborted
			m.mu.Unlock()
			if aborted > 0 {
				require.Equal(t, 1, aborted)
				return
			}
			require.Less(t, tries, 20, "it is not aborted although there is time for it")
		}
	})
	t.Run("canceled, and then silence", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var canceled time.Time
		m := &multipart{part: func(http.ResponseWriter) { canceled = time.Now(); cancel() }, completed: done}
		store := script(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodDelete {
				<-r.Context().Done()
				return
			}
			m.ServeHTTP(w, r)
		})
		_, err := store.Put(ctx, "a", bytes.NewReader(make([]byte, 12<<20)), 12<<20, storage.Cond{})
		require.ErrorIs(t, err, context.Canceled)
		require.Less(t, time.Since(canceled), 15*time.Second, "who has canceled does not wait for the cleaning up")
	})
}

// TestPutMemory: an upload in parts holds none of them.
func TestPutMemory(t *testing.T) {
	m := &multipart{
		part:      func(http.ResponseWriter) {},
		completed: status(200, "<CompleteMultipartUploadResult><Bucket>bucket</Bucket><Key>a</Key><ETag>x-13</ETag></CompleteMultipartUploadResult>"),
	}
	store := script(t, m.ServeHTTP)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := store.Put(t.Context(), "a", io.LimitReader(&counting{}, 64<<20), 64<<20, storage.Cond{})
	require.NoError(t, err)
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(32<<20), "allocated for 64 MiB, server included")
}

// TestTrailers: with Checksums every upload says what its bytes are.
func TestTrailers(t *testing.T) {
	var mu sync.Mutex
	trailers := 0
	m := &multipart{
		part:      func(http.ResponseWriter) {},
		completed: status(200, "<CompleteMultipartUploadResult><Bucket>bucket</Bucket><Key>a</Key><ETag>x-2</ETag></CompleteMultipartUploadResult>"),
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && r.Header.Get("X-Amz-Trailer") == "x-amz-checksum-crc64nvme" {
			mu.Lock()
			trailers++
			mu.Unlock()
		}
		m.ServeHTTP(w, r)
	}))
	defer server.Close()
	store := open(t, s3.Options{Endpoint: server.URL, Bucket: "bucket", AccessKey: "a", SecretKey: "b", PartSize: 5 << 20, Checksums: true})
	storagetest.Put(t, store, "a", []byte("whole"))
	storagetest.Put(t, store, "a", make([]byte, 9<<20))
	require.Equal(t, 2, trailers, "the small one has its sum in front")
}
