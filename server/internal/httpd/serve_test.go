package httpd_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/server/internal/httpd"
)

// TestShutdown: what runs is finished, on both HTTPs; nothing new gets in; and
// Serve returns when all is over.
func TestShutdown(t *testing.T) {
	for _, secure := range []bool{false, true} {
		api, config := newGate(), httpd.Config{ShutdownTimeout: 2 * patience}
		config.API = api
		var trust *tls.Config
		if secure {
			p := newPair(t, "x")
			var err error
			config.Certificate, err = httpd.LoadCertificate(p.cert, p.key, nil)
			require.NoError(t, err)
			trust = &tls.Config{RootCAs: p.pool}
		}
		s, c := start(t, config), client(t, trust)
		answers := make(chan string, 1)
		go func() {
			resp, err := c.Get(s.url + "/v1/api/")
			if err != nil {
				answers <- err.Error()
				return
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			answers <- resp.Status + " " + string(body)
		}()
		<-api.entered
		s.stop()
		require.Eventually(t, func() bool {
			conn, err := net.Dial("tcp", s.addr)
			if err == nil {
				_ = conn.Close()
			}
			return err != nil
		}, patience, 5*time.Millisecond, "new connections are refused")
		select {
		case err := <-s.done:
			t.Fatal("Serve returned while a request ran", err)
		case <-time.After(50 * time.Millisecond):
		}
		close(api.open)
		require.Equal(t, "200 OK done", <-answers)
		require.NoError(t, <-s.done)
		require.Contains(t, s.log.String(), `"shutting down"`)
	}
}

// TestDrain: while a balancer learns that it shall look elsewhere, requests are
// still served. A busy machine may look too late, and gets more time.
func TestDrain(t *testing.T) {
	for drain := 600 * time.Millisecond; !servesToTheEnd(t, drain); drain *= 4 {
		require.Less(t, drain, patience/2)
	}
}

// servesToTheEnd reports whether a server that drains says so, and answers all the same.
func servesToTheEnd(t *testing.T, drain time.Duration) bool {
	t.Helper()
	s := start(t, httpd.Config{API: text("api"), DrainTime: drain})
	c := client(t, nil)
	code, _ := get(t, c, s.url+"/readyz")
	require.Equal(t, 200, code)
	s.stop()
	answers := func(c *http.Client, path string, want int, text string) bool {
		resp, err := c.Get(s.url + path)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return err == nil && resp.StatusCode == want && strings.Contains(string(body), text)
	}
	told := false
	for len(s.done) == 0 && !told {
		told = answers(c, "/readyz", 503, `"stopping":true`)
	}
	served := told && answers(client(t, nil), "/v1/api/", 200, "api") && answers(c, "/healthz", 200, "") // the process is up
	require.NoError(t, <-s.done)
	return served
}

// TestShutdownCuts what does not end: its connection breaks, so that nobody takes
// half an answer for a whole one, its context ends, and Serve waits for it.
func TestShutdownCuts(t *testing.T) {
	entered, ended := make(chan struct{}), make(chan error, 1)
	s := start(t, httpd.Config{ShutdownTimeout: 100 * time.Millisecond, API: text("api"), Storage: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		time.Sleep(50 * time.Millisecond)
		ended <- r.Context().Err()
	})})
	answers := make(chan error, 1)
	c := client(t, nil)
	go func() {
		resp, err := c.Get(s.url + "/bucket/key")
		if err == nil {
			_ = resp.Body.Close()
			err = errors.New(resp.Status)
		}
		answers <- err
	}()
	<-entered
	s.stop()
	require.NoError(t, <-s.done)
	select {
	case err := <-ended:
		require.ErrorIs(t, err, context.Canceled)
	default:
		t.Fatal("Serve did not wait for the handler")
	}
	err := <-answers
	require.Error(t, err)
	require.NotContains(t, err.Error(), "200")
	require.Contains(t, s.log.String(), `"requests are cut"`)
}

// TestListenerBreaks is an error of Serve.
func TestListenerBreaks(t *testing.T) {
	s, err := httpd.New(httpd.Config{API: text("api")})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.ErrorIs(t, s.Serve(t.Context(), l), net.ErrClosed)
}

// TestNoAPI: a server without an API cannot be meant.
func TestNoAPI(t *testing.T) {
	_, err := httpd.New(httpd.Config{})
	require.Error(t, err)
}
