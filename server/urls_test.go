package server_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/storage/conform"
	"github.com/d6t/d6tpipe-go/internal/storage/s3/s3test"
	"github.com/d6t/d6tpipe-go/internal/storage/storagetest"
	"github.com/d6t/d6tpipe-go/server"
)

// A wire is a proxy before a bucket that sees each request.
type bucketWire struct {
	url string

	mu   sync.Mutex
	seen []*http.Request
	act  func(http.ResponseWriter, *http.Request) bool // answers in the bucket's place when it returns true
}

func newBucketWire(t *testing.T, endpoint string) *bucketWire {
	t.Helper()
	to, err := url.Parse(endpoint)
	require.NoError(t, err)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host }}
	w := &bucketWire{}
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.seen = append(w.seen, r)
		act := w.act
		w.mu.Unlock()
		if act == nil || !act(rw, r) {
			proxy.ServeHTTP(rw, r)
		}
	}))
	t.Cleanup(s.Close)
	w.url = s.URL
	return w
}

func (w *bucketWire) set(act func(http.ResponseWriter, *http.Request) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.act = act
}

// startURLs starts a server whose bucket hands out no keys. Users reach the bucket
// through w, the server itself does not.
func startURLs(t *testing.T) (*running, s3test.Gateway, *bucketWire, string) {
	t.Helper()
	g := s3test.Start(t)
	bucket := g.Bucket(t)
	w := newBucketWire(t, g.Endpoint)
	t.Setenv("AWS_ACCESS_KEY_ID", g.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", g.SecretKey)
	r := start(t, func(c *server.Config) {
		c.Storage = "s3://" + bucket + "?keys=urls&region_name=" + g.Region + "&endpoint_url=" + url.QueryEscape(g.Endpoint) + "&public_endpoint_url=" + url.QueryEscape(w.url)
	})
	return r, g, w, bucket
}

// TestSignedURLs: a bucket without temporary keys is pulled from and pushed to like
// any other, and a filter binds.
func TestSignedURLs(t *testing.T) {
	r, _, wire, bucket := startURLs(t)
	vendor, client, writer := r.user("vendor"), r.user("client"), r.user("writer")
	_, err := vendor.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "sales"})
	require.NoError(t, err)
	_, err = vendor.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "tables", Parent: "sales", Options: d6tpipe.PipeOptions{Include: "*.csv"}})
	require.NoError(t, err)
	big := string(storagetest.Bytes(1, 40<<20))
	sales := r.open(vendor, "sales")
	write(t, sales, "2026/november +ü%41.csv", "a,b\n1,2\n")
	write(t, sales, "notes.txt", "for our eyes only")
	write(t, sales, "big.csv", big)
	report, err := sales.Push(t.Context(), d6tpipe.PushOptions{})
	require.NoError(t, err)
	require.Len(t, report.Files, 3)

	require.NoError(t, vendor.Grant(t.Context(), "tables", d6tpipe.Permission{Username: "client", Role: d6tpipe.RoleRead}))
	require.NoError(t, vendor.Grant(t.Context(), "sales", d6tpipe.Permission{Username: "writer", Role: d6tpipe.RoleWrite}))
	tables := r.open(client, "tables")
	report, err = tables.Pull(t.Context(), d6tpipe.PullOptions{})
	require.NoError(t, err)
	require.Len(t, report.Files, 2)
	require.Equal(t, "a,b\n1,2\n", read(t, tables, "2026/november +ü%41.csv"))
	require.Equal(t, big, read(t, tables, "big.csv"))
	require.NoFileExists(t, filepath.Join(tables.Dir(), "notes.txt"))
	_, err = tables.Verify(t.Context(), d6tpipe.VerifyOptions{})
	require.NoError(t, err)
	again, err := tables.Pull(t.Context(), d6tpipe.PullOptions{Fresh: true})
	require.NoError(t, err)
	require.Empty(t, again.Files)
	_, err = tables.Pull(t.Context(), d6tpipe.PullOptions{Files: []string{"notes.txt"}})
	require.Error(t, err, "outside of the filter")
	write(t, tables, "mine.csv", "x")
	_, err = tables.Push(t.Context(), d6tpipe.PushOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrPermission)

	// Another writer sees what is there, changes it, and removes it.
	theirs := r.open(writer, "sales")
	_, err = theirs.Pull(t.Context(), d6tpipe.PullOptions{})
	require.NoError(t, err)
	write(t, theirs, "notes.txt", "changed")
	_, err = theirs.Push(t.Context(), d6tpipe.PushOptions{})
	require.NoError(t, err)
	write(t, sales, "notes.txt", "changed too")
	_, err = sales.Push(t.Context(), d6tpipe.PushOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrConflict)
	require.NoError(t, theirs.DeleteRemote(t.Context(), d6tpipe.DeleteOptions{Files: []string{"notes.txt"}}))
	files, err := sales.ScanRemote(t.Context(), d6tpipe.ListOptions{})
	require.NoError(t, err)
	require.Len(t, files, 2)

	// No request of a client's had any other right than that of its URL.
	wire.mu.Lock()
	defer wire.mu.Unlock()
	require.NotEmpty(t, wire.seen)
	for _, req := range wire.seen {
		require.Empty(t, req.Header.Get("Authorization"))
		require.True(t, strings.HasPrefix(req.URL.Path, "/"+bucket+"/vendor/sales/"), req.URL.Path)
		require.NotEmpty(t, req.URL.Query().Get("X-Amz-Signature"))
	}
}

// TestSignedURLsStore: a bucket behind URLs does what every storage must do.
func TestSignedURLsStore(t *testing.T) {
	r, _, _, _ := startURLs(t)
	me := r.user("me")
	for i, c := range conform.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			name := fmt.Sprint("p", i)
			_, err := me.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: name})
			require.NoError(t, err)
			store, err := r.open(me, name).Store(t.Context(), d6tpipe.RoleWrite)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, store.Close()) })
			switch result := c.Run(t.Context(), store, conform.Options{Full: os.Getenv("D6TPIPE_PROOF") != ""}); result.Outcome {
			case conform.Failed:
				t.Fatalf("%s: %s", result.Where, result.Reason)
			case conform.NotApplicable:
				t.Skip(result.Reason)
			}
		})
	}
}
