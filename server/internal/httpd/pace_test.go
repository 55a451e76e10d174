package httpd_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/server/internal/httpd"
)

// hurried are limits that tests can wait for: 600 ms of waiting, a second more
// for each 20 KiB, and a second at once.
var hurried = hurriedBy(1)

// hurriedBy are limits so many times as long.
func hurriedBy(times int) httpd.Limits {
	return httpd.Limits{GraceTime: time.Duration(times) * 600 * time.Millisecond, MinRate: 20 << 10 / int64(times), StallTime: time.Duration(times) * time.Second}
}

// patiently tries what must not be cut. A machine that stands still for a while cuts it
// all the same: then it gets more time, and takes more.
func patiently(t *testing.T, try func(t *testing.T, limits httpd.Limits, times time.Duration) error) {
	t.Helper()
	for times := 1; ; times *= 4 {
		err := try(t, hurriedBy(times), time.Duration(times))
		if err == nil {
			return
		}
		require.Less(t, times, 16, err)
	}
}

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

// TestSlowUpload: a body that crawls is cut, and one that stalls.
func TestSlowUpload(t *testing.T) {
	for name, body := range map[string]func() io.Reader{
		"crawls": func() io.Reader { return &steady{400, 150 * time.Millisecond} }, // 7 KiB/s
		"stalls": func() io.Reader {
			return io.MultiReader(strings.NewReader(strings.Repeat("x", 1<<20)), &steady{1, 3 * time.Second})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			both(t, httpd.Config{API: text("api"), Storage: make(sink, 9), Limits: hurried}, func(t *testing.T, s *running, h *http.Client) {
				h.Timeout = 0 // it is not the client who has enough
				resp, err := h.Post(s.url+"/bucket/key", "", body())
				if err == nil {
					require.NoError(t, resp.Body.Close())
					require.Equal(t, http.StatusRequestTimeout, resp.StatusCode)
				}
				require.Eventually(t, func() bool { return strings.Contains(s.log.String(), `"route":"storage"`) }, patience, 10*time.Millisecond, "the handler has not ended")
			})
		})
	}
}

// slowUpload sends 40 KiB/s for 1.5 s, or so many times as slowly, and returns why that
// does not do.
func slowUpload(c *http.Client, url string, times time.Duration) error {
	begun := time.Now()
	resp, err := c.Post(url, "", &steady{60, times * 25 * time.Millisecond})
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if took := time.Since(begun); resp.StatusCode != 200 || took < times*time.Second {
		return fmt.Errorf("%s after %v", resp.Status, took)
	}
	return nil
}

// TestSteadyUpload: a body that takes longer than one may wait at once, but moves, is not
// cut.
func TestSteadyUpload(t *testing.T) {
	t.Parallel()
	patiently(t, func(t *testing.T, limits httpd.Limits, times time.Duration) (err error) {
		both(t, httpd.Config{API: text("api"), Storage: make(sink, 9), Limits: limits}, func(_ *testing.T, s *running, h *http.Client) {
			err = errors.Join(err, slowUpload(h, s.url+"/bucket/key", times))
		})
		return err
	})
}

// TestSlowUploadThroughProxy is the same with what the storage really is behind.
func TestSlowUploadThroughProxy(t *testing.T) {
	t.Parallel()
	got := make(sink, 9)
	behind := httptest.NewServer(got)
	t.Cleanup(behind.Close)
	target, err := url.Parse(behind.URL)
	require.NoError(t, err)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }}
	patiently(t, func(t *testing.T, limits httpd.Limits, times time.Duration) error {
		s := start(t, httpd.Config{API: text("api"), Storage: proxy, Limits: limits})
		return errors.Join(slowUpload(client(t, nil), s.url+"/bucket/key", times), <-got)
	})
	s := start(t, httpd.Config{API: text("api"), Storage: proxy, Limits: hurried})
	if resp, err := client(t, nil).Post(s.url+"/bucket/key", "", &steady{20, 150 * time.Millisecond}); err == nil {
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusBadGateway, resp.StatusCode)
	}
	require.Error(t, <-got, "what lies behind sees that the body was cut")
}

// downloads is more than any buffer on the way holds.
const downloads = 32 << 20

// download is a handler that sends all at once, as the API does, and says what came of it.
func download(ended chan<- error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, err := w.Write(make([]byte, downloads))
		ended <- err
	})
}

// TestSlowDownload: a client that takes nothing is cut.
func TestSlowDownload(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 9)
	both(t, httpd.Config{API: text("api"), Storage: download(ended), Limits: hurried}, func(t *testing.T, s *running, h *http.Client) {
		h.Timeout = 0 // it is not the client who has enough
		resp, err := h.Get(s.url + "/bucket/key")
		require.NoError(t, err)
		defer resp.Body.Close()
		select {
		case err := <-ended:
			require.Error(t, err)
		case <-time.After(patience):
			require.Fail(t, "it was not cut")
		}
	})
}

// TestSteadyDownload: a client that takes steadily gets all of it.
func TestSteadyDownload(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 9)
	patiently(t, func(t *testing.T, limits httpd.Limits, times time.Duration) (err error) {
		both(t, httpd.Config{API: text("api"), Storage: download(ended), Limits: limits}, func(_ *testing.T, s *running, h *http.Client) {
			err = errors.Join(err, slowDownload(h, s.url+"/bucket/key", times), <-ended)
		})
		return err
	})
}

// slowDownload takes 1.3 s, or so many times as long.
func slowDownload(c *http.Client, url string, times time.Duration) error {
	resp, err := c.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, buf := 0, make([]byte, 512<<10)
	for {
		n, err := io.ReadFull(resp.Body, buf)
		if got += n; err != nil {
			break
		}
		time.Sleep(times * 20 * time.Millisecond)
	}
	if got != downloads {
		return fmt.Errorf("only %d bytes came", got)
	}
	return nil
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
	patiently(t, func(t *testing.T, limits httpd.Limits, times time.Duration) (err error) {
		both(t, httpd.Config{API: text("api"), Storage: work, Limits: limits}, func(_ *testing.T, s *running, h *http.Client) {
			for _, pause := range []time.Duration{times * 1100 * time.Millisecond, 0, 0} { // the deadlines of a request are not those of the next
				err = errors.Join(err, hello(h, s.url+"/bucket/key?pause="+pause.String()))
			}
		})
		return err
	})
}

// hello sends a body of two words, and returns why it did not get the second one twice.
func hello(c *http.Client, url string) error {
	resp, err := c.Post(url, "", strings.NewReader("helloworld"))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || string(body) != "worldworld" {
		return fmt.Errorf("%s: %q, %w", resp.Status, body, err)
	}
	return nil
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
	patiently(t, func(t *testing.T, _ httpd.Limits, _ time.Duration) error {
		conn := dial(t, s.addr)
		_, err := io.WriteString(conn, "POST /v1/api/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx")
		require.NoError(t, err)
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
		begun := time.Now()
		_, err = io.ReadAll(conn)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
		if took := time.Since(begun); took > 3*time.Second {
			return fmt.Errorf("the connection was open for %v", took)
		}
		return nil
	})
}

// TestContinue: a client that asks first hears yes when the handler reads.
func TestContinue(t *testing.T) {
	t.Parallel()
	patiently(t, func(t *testing.T, limits httpd.Limits, _ time.Duration) error {
		s := start(t, httpd.Config{API: text("api"), Storage: make(sink, 9), Limits: limits})
		c := client(t, nil)
		c.Transport.(*http.Transport).ExpectContinueTimeout = time.Hour
		r, err := http.NewRequestWithContext(t.Context(), "PUT", s.url+"/bucket/key", strings.NewReader("hello"))
		require.NoError(t, err)
		r.Header.Set("Expect", "100-continue")
		resp, err := c.Do(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		if resp.StatusCode != 200 {
			return errors.New(resp.Status)
		}
		return nil
	})
}
