package httpd_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/server/internal/httpd"
)

// hurried are limits that tests can wait for: 600 ms of waiting, a second more
// for each 20 KiB, and a second at once.
var hurried = httpd.Limits{GraceTime: 600 * time.Millisecond, MinRate: 20 << 10, StallTime: time.Second}

// steady yields n chunks of 1 KiB, one every pause.
type steady struct {
	n     int
	pause time.Duration
}

func (s *steady) Read(p []byte) (int, error) {
	if s.n == 0 {
		return 0, io.EOF
	}
	s.n--
	time.Sleep(s.pause)
	return copy(p, bytes.Repeat([]byte("x"), 1<<10)), nil
}

// sink reads the body and tells what came of it.
type sink chan error

func (s sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, err := io.Copy(io.Discard, r.Body)
	if s <- err; err != nil {
		w.WriteHeader(http.StatusRequestTimeout)
	}
}

// both runs a test on HTTP/1.1 and on HTTP/2.
func both(t *testing.T, config httpd.Config, test func(t *testing.T, s *running, c *http.Client)) {
	t.Run("HTTP/1.1", func(t *testing.T) {
		s := start(t, config)
		test(t, s, client(t, nil))
	})
	t.Run("HTTP/2", func(t *testing.T) {
		p := newPair(t, "h2")
		config := config
		var err error
		config.Certificate, err = httpd.LoadCertificate(p.cert, p.key, nil)
		require.NoError(t, err)
		s, c := start(t, config), client(t, &tls.Config{RootCAs: p.pool})
		resp, err := c.Get(s.url + "/healthz")
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, 2, resp.ProtoMajor)
		test(t, s, c)
	})
}

// TestSlowUpload: a body that crawls is cut, and one that stalls; one that takes
// many times as long but moves is not.
func TestSlowUpload(t *testing.T) {
	for _, c := range []struct {
		name  string
		body  io.Reader
		whole bool
	}{
		{"crawls", &steady{1000, 150 * time.Millisecond}, false}, // 7 KiB/s
		{"stalls", io.MultiReader(strings.NewReader(strings.Repeat("x", 1<<20)), &steady{1, 3 * time.Second}), false},
		{"steady", &steady{60, 25 * time.Millisecond}, true}, // 40 KiB/s for 1.5 s
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			both(t, httpd.Config{API: text("api"), Storage: make(sink, 9), Limits: hurried}, func(t *testing.T, s *running, h *http.Client) {
				body := c.body
				if s, ok := body.(*steady); ok { // each run its own
					again := *s
					body = &again
				} else {
					body = io.MultiReader(strings.NewReader(strings.Repeat("x", 1<<20)), &steady{1, 2 * time.Second})
				}
				begun := time.Now()
				resp, err := h.Post(s.url+"/bucket/key", "", body)
				took := time.Since(begun)
				if err == nil {
					require.NoError(t, resp.Body.Close())
				}
				if c.whole {
					require.NoError(t, err)
					require.Equal(t, 200, resp.StatusCode)
					require.Greater(t, took, hurried.StallTime)
					return
				}
				require.True(t, err != nil || resp.StatusCode == http.StatusRequestTimeout)
				require.Eventually(t, func() bool { return strings.Contains(s.log.String(), `"route":"storage"`) }, 3*time.Second, 10*time.Millisecond, "the handler has not ended")
			})
		})
	}
}

// TestSlowUploadThroughProxy is the same with what the storage really is behind.
func TestSlowUploadThroughProxy(t *testing.T) {
	t.Parallel()
	got := make(sink, 2)
	behind := httptest.NewServer(got)
	t.Cleanup(behind.Close)
	target, err := url.Parse(behind.URL)
	require.NoError(t, err)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }}
	s := start(t, httpd.Config{API: text("api"), Storage: proxy, Limits: hurried})
	c := client(t, nil)
	resp, err := c.Post(s.url+"/bucket/key", "", &steady{60, 25 * time.Millisecond})
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 200, resp.StatusCode)
	require.NoError(t, <-got)
	begun := time.Now()
	if resp, err := c.Post(s.url+"/bucket/key", "", &steady{20, 150 * time.Millisecond}); err == nil {
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusBadGateway, resp.StatusCode)
	}
	require.Error(t, <-got, "what lies behind sees that the body was cut")
	require.Less(t, time.Since(begun), 3*time.Second)
}

// TestSlowDownload: a client that takes nothing is cut, one that takes steadily
// gets all of it.
func TestSlowDownload(t *testing.T) {
	size := 32 << 20 // more than any buffer on the way
	for _, c := range []struct {
		name  string
		pause time.Duration
		whole bool
	}{{"stalls", 3 * time.Second, false}, {"steady", 20 * time.Millisecond, true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ended := make(chan error, 1)
			send := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, err := w.Write(make([]byte, size)) // all at once, as the API does
				ended <- err
			})
			both(t, httpd.Config{API: text("api"), Storage: send, Limits: hurried}, func(t *testing.T, s *running, h *http.Client) {
				resp, err := h.Get(s.url + "/bucket/key")
				require.NoError(t, err)
				defer resp.Body.Close()
				got, buf := 0, make([]byte, 512<<10)
				for {
					n, err := io.ReadFull(resp.Body, buf)
					got += n
					if err != nil {
						break
					}
					time.Sleep(c.pause)
					if !c.whole {
						require.Error(t, <-ended, "it was not cut")
						return
					}
				}
				require.Equal(t, size, got)
				require.NoError(t, <-ended)
			})
		})
	}
}

// TestBusyHandler: the time that a handler takes for itself, between reads and
// writes, is not the client's.
func TestBusyHandler(t *testing.T) {
	t.Parallel()
	work := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pause, _ := time.ParseDuration(r.URL.Query().Get("pause"))
		buf := make([]byte, 5)
		time.Sleep(pause)
		for range 2 {
			if _, err := io.ReadFull(r.Body, buf); err != nil {
				w.WriteHeader(http.StatusRequestTimeout)
				return
			}
			time.Sleep(pause)
		}
		_, _ = w.Write(buf)
		_ = http.NewResponseController(w).Flush()
		time.Sleep(pause)
		_, _ = w.Write(buf)
	})
	both(t, httpd.Config{API: text("api"), Storage: work, Limits: hurried}, func(t *testing.T, s *running, h *http.Client) {
		for _, pause := range []string{"1100ms", "0s", "0s"} { // the deadlines of a request are not those of the next
			resp, err := h.Post(s.url+"/bucket/key?pause="+pause, "", strings.NewReader("helloworld"))
			require.NoError(t, err)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, 200, resp.StatusCode)
			require.Equal(t, "worldworld", string(body))
		}
	})
}

// TestUnreadBody: a body that the handler does not want holds nothing up, fast or
// slow, and does not spoil the next request.
func TestUnreadBody(t *testing.T) {
	t.Parallel()
	s := start(t, httpd.Config{API: text("api"), Limits: hurried})
	c := client(t, nil)
	for range 3 {
		resp, err := c.Post(s.url+"/v1/api/", "", strings.NewReader(strings.Repeat("x", 100<<10)))
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, resp.Body)
		require.NoError(t, resp.Body.Close())
	}
	conn := dial(t, s.addr)
	_, err := io.WriteString(conn, "POST /v1/api/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx")
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(5*time.Second)))
	begun := time.Now()
	_, err = io.ReadAll(conn)
	require.False(t, errors.Is(err, http.ErrHandlerTimeout))
	require.Less(t, time.Since(begun), 3*time.Second, "the connection is still open")
}

// TestContinue: a client that asks first hears yes when the handler reads.
func TestContinue(t *testing.T) {
	t.Parallel()
	s := start(t, httpd.Config{API: text("api"), Storage: make(sink, 9), Limits: hurried})
	c := client(t, nil)
	c.Transport.(*http.Transport).ExpectContinueTimeout = 10 * time.Second
	r, err := http.NewRequestWithContext(t.Context(), "PUT", s.url+"/bucket/key", strings.NewReader("hello"))
	require.NoError(t, err)
	r.Header.Set("Expect", "100-continue")
	begun := time.Now()
	resp, err := c.Do(r)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 200, resp.StatusCode)
	require.Less(t, time.Since(begun), 5*time.Second)
}
