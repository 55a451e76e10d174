package httpd_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/server/internal/httpd"
)

// A gate is a handler whose requests wait until they are let go.
type gate struct {
	entered chan string
	open    chan struct{}
}

func newGate() gate { return gate{make(chan string, 1000), make(chan struct{})} }

func (g gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.entered <- r.URL.Path
	select {
	case <-g.open:
	case <-r.Context().Done():
	}
	_, _ = io.WriteString(w, "done")
}

// hold starts n requests and waits until their handlers run.
func (g gate) hold(t *testing.T, c *http.Client, url string, n int) *sync.WaitGroup {
	t.Helper()
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			if resp, err := c.Get(url); err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		})
	}
	for range n {
		<-g.entered
	}
	return &all
}

// TestTooManyRequests: the API and the storage have slots of their own, what is
// too much is told when to come back, and health is always answered.
func TestTooManyRequests(t *testing.T) {
	api, storage := newGate(), newGate()
	s := start(t, httpd.Config{API: api, Storage: storage, Limits: httpd.Limits{Requests: 3, Transfers: 2}})
	c := client(t, nil)
	first := api.hold(t, c, s.url+"/v1/api/", 3)
	ask := func(path string) *http.Response {
		resp, err := c.Get(s.url + path)
		require.NoError(t, err)
		return resp
	}
	resp := ask("/v1/api/pipes/")
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	require.Equal(t, 503, resp.StatusCode)
	require.Equal(t, "1", resp.Header.Get("Retry-After"))
	require.JSONEq(t, `{"detail":"The server is busy, try again later."}`, string(body))

	second := storage.hold(t, c, s.url+"/bucket/key", 2)
	resp = ask("/bucket/other")
	body, _ = io.ReadAll(resp.Body)
	resp.Body.Close()
	require.Equal(t, 503, resp.StatusCode)
	require.Equal(t, "1", resp.Header.Get("Retry-After"))
	require.Contains(t, string(body), "<Code>SlowDown</Code>", "S3's clients know it, and wait")

	for _, path := range []string{"/healthz", "/readyz"} {
		code, _ := get(t, c, s.url+path)
		require.Equal(t, 200, code)
	}
	close(api.open)
	first.Wait()
	close(storage.open)
	second.Wait()
	code, _ := get(t, c, s.url+"/v1/api/")
	require.Equal(t, 200, code, "the slots are free again")
	code, _ = get(t, c, s.url+"/bucket/key")
	require.Equal(t, 200, code)
}

// TestTooManyConnections: the longest waiting makes room; when all are at work,
// only health is told; and beyond that nobody gets in.
func TestTooManyConnections(t *testing.T) {
	api := newGate()
	s := start(t, httpd.Config{API: api, Limits: httpd.Limits{Connections: 4}})
	idle := make([]net.Conn, 4)
	for i := range idle {
		idle[i] = dial(t, s.addr)
		_, err := io.WriteString(idle[i], "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(idle[i]), nil)
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode)
	}
	waitFor(t, s, `d6tpipe_http_connections{state="waiting"} 4`)
	time.Sleep(150 * time.Millisecond) // they are not young any more
	c := client(t, nil)
	held := api.hold(t, c, s.url+"/v1/api/", 4)
	for i, conn := range idle { // all gave way
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
		_, err := conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF, "%d", i)
	}
	lone := client(t, nil)
	lone.Transport.(*http.Transport).DisableKeepAlives = true
	code, _ := get(t, lone, s.url+"/healthz")
	require.Equal(t, 200, code)
	resp, err := lone.Get(s.url + "/v1/api/")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 503, resp.StatusCode)
	require.True(t, resp.Close)
	require.Equal(t, "1", resp.Header.Get("Retry-After"))

	// Waiting connections fill the spare room, and give way to each other.
	for range 100 {
		dial(t, s.addr)
	}
	code, _ = get(t, lone, s.url+"/healthz")
	require.Equal(t, 200, code)
	close(api.open)
	held.Wait()
}

// waitFor waits until the metrics have a line.
func waitFor(t *testing.T, s *running, line string) {
	t.Helper()
	require.Eventually(t, func() bool {
		w := httptest.NewRecorder()
		s.Metrics().ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		return strings.Contains(w.Body.String(), line)
	}, patience, 5*time.Millisecond, line)
}

// TestSlowHeaders: who sends headers drop by drop is cut off.
func TestSlowHeaders(t *testing.T) {
	s := start(t, httpd.Config{API: text("api"), Limits: httpd.Limits{HeaderTime: 300 * time.Millisecond}})
	begun := time.Now()
	c := dial(t, s.addr)
	for i := 0; ; i++ {
		if _, err := io.WriteString(c, "GET /v1/api/ HTTP/1.1\r\nX: "[min(i, 25):min(i+1, 26)]); err != nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
		require.Less(t, time.Since(begun), patience)
	}
	require.Greater(t, time.Since(begun), 250*time.Millisecond)
}

// TestIdle: a connection may wait so long for a request, and no longer.
func TestIdle(t *testing.T) {
	s := start(t, httpd.Config{API: text("api"), Limits: httpd.Limits{IdleTime: 200 * time.Millisecond}})
	c := dial(t, s.addr)
	begun := time.Now()
	_, err := io.WriteString(c, "GET /v1/api/ HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
	_, err = io.ReadAll(c)
	require.NoError(t, err)
	require.Greater(t, time.Since(begun), 150*time.Millisecond)
}

// TestRequestTime: an API that takes too long gives up and says so, instead of
// an empty success.
func TestRequestTime(t *testing.T) {
	quiet := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	s := start(t, httpd.Config{API: quiet, Limits: httpd.Limits{RequestTime: 50 * time.Millisecond}})
	code, body := get(t, client(t, nil), s.url+"/v1/api/")
	require.Equal(t, 503, code)
	require.JSONEq(t, `{"detail":"The server is busy, try again later."}`, body)
}

// TestGoneClient: a request whose sender hung up is no success in the log.
func TestGoneClient(t *testing.T) {
	api := newGate()
	s := start(t, httpd.Config{API: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		api.entered <- ""
		<-r.Context().Done()
	})})
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", s.url+"/v1/api/", nil)
	require.NoError(t, err)
	go func() {
		<-api.entered
		cancel()
	}()
	_, err = client(t, nil).Do(r)
	require.ErrorIs(t, err, context.Canceled)
	require.Eventually(t, func() bool { return strings.Contains(s.log.String(), `"status":499`) }, patience, 10*time.Millisecond)
}
