package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/internal/storage/conform"
	"github.com/d6t/d6tpipe-go/internal/storage/s3/s3test"
	"github.com/d6t/d6tpipe-go/internal/storage/storagetest"
	"github.com/d6t/d6tpipe-go/internal/storage/urls"
	"github.com/d6t/d6tpipe-go/server"
)

// A wire is a proxy before a bucket that sees each request.
type bucketWire struct {
	url string

	mu    sync.Mutex
	seen  []*http.Request
	act   func(http.ResponseWriter, *http.Request) bool // answers in the bucket's place when it returns true
	count func(n int)                                   // is told of bytes of answers
}

// counted is a writer that tells how much it writes.
type counted struct {
	http.ResponseWriter
	count func(n int)
}

func (c counted) Write(p []byte) (int, error) {
	c.count(len(p))
	return c.ResponseWriter.Write(p)
}

func (c counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func newBucketWire(t *testing.T, endpoint string) *bucketWire {
	t.Helper()
	to, err := url.Parse(endpoint)
	require.NoError(t, err)
	proxy := &httputil.ReverseProxy{ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host }}
	w := &bucketWire{}
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.seen = append(w.seen, r)
		act, count := w.act, w.count
		w.mu.Unlock()
		if act == nil || !act(rw, r) {
			if count != nil {
				rw = counted{rw, count}
			}
			proxy.ServeHTTP(rw, r)
		}
	}))
	t.Cleanup(s.Close)
	w.url = s.URL
	return w
}

func (w *bucketWire) counts(count func(n int)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count = count
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
			full := os.Getenv("D6TPIPE_PROOF") != "" || c.Name == "Multipart/goes on" // which parts of 16 MiB leave out otherwise
			switch result := c.Run(t.Context(), store, conform.Options{Full: full}); result.Outcome {
			case conform.Failed:
				t.Fatalf("%s: %s", result.Where, result.Reason)
			case conform.NotApplicable:
				t.Skip(result.Reason)
			}
		})
	}
}

// notedParts is how many parts of uploads a pipe remembers to have sent.
func notedParts(p *d6tpipe.Pipe) (n int) {
	logs, _ := filepath.Glob(filepath.Join(filepath.Dir(p.Dir()), ".d6tpipe", p.Name(), "uploads", "*")) // the pattern is good
	for _, log := range logs {
		text, _ := os.ReadFile(log) // it may be gone
		n += max(0, bytes.Count(text, []byte("\n"))-1)
	}
	return n
}

// TestSignedURLsCut: what was cut goes on, up and down.
func TestSignedURLsCut(t *testing.T) {
	r, _, wire, _ := startURLs(t)
	me := r.user("me")
	_, err := me.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
	require.NoError(t, err)
	big := string(storagetest.Bytes(1, 60<<20)) // four parts
	here := r.open(me, "p")
	write(t, here, "big.bin", big)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sent, cut := map[string]int{}, atomic.Bool{}
	wire.set(func(_ http.ResponseWriter, req *http.Request) bool {
		if number := req.URL.Query().Get("partNumber"); number != "" && req.ContentLength > 1 { // and not the probe's
			wire.mu.Lock()
			sent[number]++
			n := len(sent)
			wire.mu.Unlock()
			if n == 4 && cut.CompareAndSwap(false, true) {
				require.Eventually(t, func() bool { return notedParts(here) >= 3 }, time.Minute, 10*time.Millisecond)
				body := req.Body // the bucket gets a part of it
				req.Body = struct {
					io.Reader
					io.Closer
				}{io.MultiReader(io.LimitReader(body, 1<<20), iotest.ErrReader(io.ErrUnexpectedEOF)), body}
				cancel()
			}
		}
		return false
	})
	_, err = here.Push(ctx, d6tpipe.PushOptions{})
	require.ErrorIs(t, err, context.Canceled)
	_, err = here.Push(t.Context(), d6tpipe.PushOptions{})
	require.NoError(t, err)
	total := 0
	for _, n := range sent {
		total += n
	}
	require.Equal(t, 5, total, "parts that were sent: four, and one of them twice; %v", sent)

	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	got := atomic.Int64{}
	wire.set(nil)
	there := r.open(me, "p")
	require.NoError(t, os.Remove(filepath.Join(there.Dir(), "big.bin")))
	wire.counts(func(n int) {
		if got.Add(int64(n)) > 30<<20 {
			cancel()
		}
	})
	_, err = there.Pull(ctx, d6tpipe.PullOptions{})
	require.ErrorIs(t, err, context.Canceled)
	before := got.Load()
	wire.counts(func(n int) { got.Add(int64(n)) })
	_, err = there.Pull(t.Context(), d6tpipe.PullOptions{})
	require.NoError(t, err)
	require.Equal(t, big, read(t, there, "big.bin"))
	require.Less(t, got.Load()-before, int64(50<<20), "what had come was not asked for again")
}

// TestSignedURLsAreForOneThing: nothing but what a URL is for can be done with it.
func TestSignedURLsAreForOneThing(t *testing.T) {
	r, _, wire, bucket := startURLs(t)
	vendor, other := r.user("vendor"), r.user("other")
	_, err := vendor.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
	require.NoError(t, err)
	p := r.open(vendor, "p")
	write(t, p, "secret.txt", "secret")
	_, err = p.Push(t.Context(), d6tpipe.PushOptions{})
	require.NoError(t, err)
	_, err = other.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "mine"})
	require.NoError(t, err)
	raw, err := other.Backend().Do(t.Context(), catalog.Create, "pipes/mine/urls", "", []byte(`{"requests":[{"method":"PUT","key":"a"},{"method":"GET","key":"../p/secret.txt"},
		{"method":"GET","key":"a","query":{"versionId":"1"}},{"method":"PUT","key":"a","headers":{"x-amz-copy-source":"`+bucket+`/vendor/p/secret.txt"}}]}`))
	require.NoError(t, err)
	var answer struct{ Signed []urls.Signed }
	require.NoError(t, json.Unmarshal(raw, &answer))
	require.Len(t, answer.Signed, 4)
	for _, s := range answer.Signed[1:] {
		require.Empty(t, s.URL)
		require.NotEmpty(t, s.Refused)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, answer.Signed[0].URL, nil)
	require.NoError(t, err)
	req.Header.Set("X-Amz-Copy-Source", bucket+"/vendor/p/secret.txt")
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusForbidden, res.StatusCode, "the bucket refuses what is not signed")
	_ = wire
}

// TestSignedURLsForOthers: everybody may pull what is public, who knows nothing of URLs
// is told so, and there are no remotes, which are of no use without keys.
func TestSignedURLsForOthers(t *testing.T) {
	r, _, _, _ := startURLs(t)
	vendor := r.user("vendor")
	_, err := vendor.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
	require.NoError(t, err)
	here := r.open(vendor, "p")
	write(t, here, "a.csv", "a")
	_, err = here.Push(t.Context(), d6tpipe.PushOptions{})
	require.NoError(t, err)
	require.NoError(t, vendor.Grant(t.Context(), "p", d6tpipe.Permission{Username: d6tpipe.Public, Role: d6tpipe.RoleRead}))
	there := r.open(r.client("anybody"), "p")
	_, err = there.Pull(t.Context(), d6tpipe.PullOptions{})
	require.NoError(t, err)
	require.Equal(t, "a", read(t, there, "a.csv"))

	_, err = vendor.Credentials(t.Context(), "p", d6tpipe.RoleRead, false)
	require.ErrorIs(t, err, d6tpipe.ErrUnsupported)
	require.ErrorContains(t, err, "takes a newer client")
	where, err := vendor.Storage(t.Context(), "p", d6tpipe.RoleWrite, false)
	require.NoError(t, err)
	require.True(t, where.SignedURLs)
	require.NotContains(t, where.Credentials, "aws_access_key_id")
	_, err = vendor.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{Name: "r", Protocol: d6tpipe.ProtocolManaged})
	require.ErrorIs(t, err, d6tpipe.ErrInvalid)
	usage, err := vendor.Analytics(t.Context(), "p")
	require.NoError(t, err)
	require.NotEmpty(t, usage)
}
