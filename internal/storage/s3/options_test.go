package s3_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/s3"
)

func TestOptions(t *testing.T) {
	for name, c := range map[string]struct {
		opts s3.Options
		ok   bool
	}{
		"Amazon":          {s3.Options{Bucket: "bucket"}, true},
		"https":           {s3.Options{Bucket: "bucket", Endpoint: "https://s3.example.com:9000"}, true},
		"slash":           {s3.Options{Bucket: "bucket", Endpoint: "https://s3.example.com/"}, true},
		"loopback":        {s3.Options{Bucket: "bucket", Endpoint: "http://127.0.0.1:9000"}, true},
		"loopback name":   {s3.Options{Bucket: "bucket", Endpoint: "http://localhost:9000"}, true},
		"loopback v6":     {s3.Options{Bucket: "bucket", Endpoint: "http://[::1]:9000"}, true},
		"http":            {s3.Options{Bucket: "bucket", Endpoint: "http://s3.example.com"}, false},
		"http by choice":  {s3.Options{Bucket: "bucket", Endpoint: "http://s3.example.com", Insecure: true}, true},
		"almost loopback": {s3.Options{Bucket: "bucket", Endpoint: "http://localhost.example.com"}, false},
		"no scheme":       {s3.Options{Bucket: "bucket", Endpoint: "s3.example.com"}, false},
		"ftp":             {s3.Options{Bucket: "bucket", Endpoint: "ftp://s3.example.com"}, false},
		"path":            {s3.Options{Bucket: "bucket", Endpoint: "https://s3.example.com/path"}, false},
		"user":            {s3.Options{Bucket: "bucket", Endpoint: "https://user:CANARY@s3.example.com"}, false},
		"query":           {s3.Options{Bucket: "bucket", Endpoint: "https://s3.example.com?CANARY"}, false},
		"nonsense":        {s3.Options{Bucket: "bucket", Endpoint: "https://%CANARY"}, false},
		"no bucket":       {s3.Options{}, false},
		"bucket is path":  {s3.Options{Bucket: "bucket/folder"}, false},
		"bucket goes up":  {s3.Options{Bucket: "../bucket"}, false},
		"half a pair":     {s3.Options{Bucket: "bucket", AccessKey: "a"}, false},
		"other half":      {s3.Options{Bucket: "bucket", SecretKey: "CANARY"}, false},
		"part size":       {s3.Options{Bucket: "bucket", PartSize: -1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			store, err := s3.New(c.opts)
			if c.ok {
				require.NoError(t, err)
				require.NoError(t, store.Close())
				return
			}
			require.ErrorIs(t, err, fs.ErrInvalid)
			require.NotContains(t, err.Error(), "CANARY")
		})
	}
}

func TestOptionsPrintNoSecret(t *testing.T) {
	opts := s3.Options{Bucket: "bucket", AccessKey: "CANARY", SecretKey: "CANARY", SessionToken: "CANARY"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		require.NotContains(t, fmt.Sprintf(verb, opts), "CANARY", verb)
		require.NotContains(t, fmt.Sprintf(verb, &opts), "CANARY", verb)
	}
}

// recorder notes where requests go and lets none through.
type recorder struct {
	mu   sync.Mutex
	urls []string
	auth []string
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.urls = append(r.urls, req.URL.Scheme+"://"+req.URL.Host+req.URL.Path)
	r.auth = append(r.auth, req.Header.Get("Authorization"))
	return nil, errors.New("recorded")
}

func TestAddressing(t *testing.T) {
	for name, c := range map[string]struct {
		opts       s3.Options
		list, stat string
	}{
		"Amazon":         {s3.Options{Region: "eu-west-1"}, "https://bucket.s3.eu-west-1.amazonaws.com/", "https://bucket.s3.eu-west-1.amazonaws.com/a"},
		"Amazon by path": {s3.Options{Addressing: s3.Path}, "https://s3.us-east-1.amazonaws.com/bucket/", "https://s3.us-east-1.amazonaws.com/bucket/a"},
		"China":          {s3.Options{Region: "cn-north-1"}, "https://bucket.s3.cn-north-1.amazonaws.com.cn/", "https://bucket.s3.cn-north-1.amazonaws.com.cn/a"},
		"elsewhere":      {s3.Options{Endpoint: "https://minio.example.com:9000"}, "https://minio.example.com:9000/bucket/", "https://minio.example.com:9000/bucket/a"},
		"by host":        {s3.Options{Endpoint: "https://s3.example.com", Addressing: s3.Host}, "https://bucket.s3.example.com/", "https://bucket.s3.example.com/a"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &recorder{}
			c.opts.Bucket, c.opts.AccessKey, c.opts.SecretKey, c.opts.Transport = "bucket", "key", "secret", r
			store := open(t, c.opts)
			_, err := storage.Collect(t.Context(), store, "")
			require.ErrorIs(t, err, storage.ErrTemporary)
			_, err = store.Stat(t.Context(), "a")
			require.ErrorIs(t, err, storage.ErrTemporary)
			require.Equal(t, []string{c.list, c.stat}, r.urls, "one request each: none for the bucket's region")
			for _, auth := range r.auth {
				require.Contains(t, auth, "Credential=key/")
			}
		})
	}
}

func TestAnonymous(t *testing.T) {
	r := &recorder{}
	store := open(t, s3.Options{Bucket: "bucket", Transport: r})
	for range everyError(t, store) {
	}
	for _, auth := range r.auth {
		require.Empty(t, auth)
	}
}

func TestUnconditional(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	exists := true
	store := script(t, func(http.ResponseWriter, *http.Request) {})
	require.True(t, store.ConditionalPut())
	handler := func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		require.Empty(t, r.Header.Get("If-Match")+r.Header.Get("If-None-Match"))
		seen = append(seen, r.Method)
		w.Header().Set("ETag", `"`+etag+`"`)
		w.Header().Set("Last-Modified", "Mon, 23 Nov 2026 10:00:00 GMT")
		w.Header().Set("Content-Length", map[string]string{http.MethodHead: "1", http.MethodPut: "0"}[r.Method])
		if r.Method == http.MethodHead && !exists {
			w.WriteHeader(404)
		}
		_, _ = io.Copy(io.Discard, r.Body) // the client may hang up
	}
	store = unconditional(t, handler)
	require.False(t, store.ConditionalPut())
	put := func(cond storage.Cond) error {
		_, err := store.Put(t.Context(), "a", strings.NewReader("x"), 1, cond)
		return err
	}
	require.NoError(t, put(storage.Cond{}))
	require.NoError(t, put(storage.Cond{Tag: etag}))
	require.ErrorIs(t, put(storage.Cond{Tag: "other"}), storage.ErrChanged)
	require.ErrorIs(t, put(storage.Cond{Absent: true}), storage.ErrChanged)
	exists = false
	require.NoError(t, put(storage.Cond{Absent: true}))
	require.ErrorIs(t, put(storage.Cond{Tag: etag}), storage.ErrChanged)
	require.Equal(t, []string{"PUT", "HEAD", "PUT", "HEAD", "HEAD", "HEAD", "PUT", "HEAD"}, seen)
}

func unconditional(t *testing.T, handler http.HandlerFunc) *s3.Store {
	t.Helper()
	return open(t, s3.Options{
		Endpoint: serve(t, handler), Bucket: "bucket", AccessKey: "a", SecretKey: "b", Unconditional: true, NoSums: true,
	})
}
