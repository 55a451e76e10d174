package httpd_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/server/internal/httpd"
)

// lines are the requests in a log.
func lines(t *testing.T, log string) (all []map[string]any) {
	t.Helper()
	for line := range strings.Lines(log) {
		var fields map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &fields))
		if fields["msg"] == "request" {
			all = append(all, fields)
		}
	}
	return all
}

// quiet is a server without connections, with its log.
func quiet(t *testing.T, c httpd.Config) (*httpd.Server, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	c.Log = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := httpd.New(c)
	require.NoError(t, err)
	return s, log
}

func send(s *httpd.Server, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

// TestLog: one line for a request, with what one wants to know of it.
func TestLog(t *testing.T) {
	s, log := quiet(t, httpd.Config{API: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		httpd.SetUser(r.Context(), "alice")
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "12345")
	}), TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	r := httptest.NewRequest("POST", "//v1/api/pipes/sales/permissions?x=y", strings.NewReader("body of 18 bytes.."))
	r.RemoteAddr = "10.0.0.1:77"
	r.Header.Set("X-Forwarded-For", "198.51.100.1")
	w := send(s, r)
	all := lines(t, log.String())
	require.Len(t, all, 1)
	require.Positive(t, all[0]["took"])
	for _, name := range []string{"time", "level", "msg", "took"} {
		delete(all[0], name)
	}
	require.Equal(t, map[string]any{
		"id": w.Header().Get("X-Request-Id"), "method": "POST", "route": "/v1/api/pipes/{name}/permissions/", "status": 201.0,
		"in": 18.0, "out": 5.0, "peer": "198.51.100.1", "user": "alice",
	}, all[0])
}

// TestRouteNames: what is no route of ours is called by one name, so that nobody
// can fill the log's and the metrics' names.
func TestRouteNames(t *testing.T) {
	s, log := quiet(t, httpd.Config{API: text("api")})
	for path, want := range map[string]string{
		"/v1/api/": "/v1/api/", "/v1/api": "/v1/api/", "//v1/api/pipes": "/v1/api/pipes/", "/v1/api/pipes/a": "/v1/api/pipes/{name}/", "/v1/api/accounts/token/": "/v1/api/accounts/token/",
		"/v1/api/accounts/me/": "/v1/api/accounts/{username}/", "/v1/api/pipes/a/credentials/": "/v1/api/pipes/{name}/credentials/", "/v1/api/remotes/a/credentials/": "unknown",
		"/v1/api/pipes/a/b/c/d/": "unknown", "/elsewhere": "unknown", "/healthz": "/healthz", "/v1/docs/": "/v1/docs", "/v1/api/pipes/a%2Fb/": "/v1/api/pipes/{name}/",
	} {
		log.Reset()
		r := httptest.NewRequest("GET", "/", nil)
		var err error
		r.URL, err = url.ParseRequestURI(path)
		require.NoError(t, err)
		send(s, r)
		require.Equal(t, want, lines(t, log.String())[0]["route"], path)
	}
	log.Reset()
	send(s, httptest.NewRequest("BREW", "/v1/api/", nil))
	require.Equal(t, "other", lines(t, log.String())[0]["method"])
	s, log = quiet(t, httpd.Config{API: text("api"), Storage: text("storage")})
	send(s, httptest.NewRequest("GET", "/bucket/secret-name.csv", nil))
	require.Equal(t, "storage", lines(t, log.String())[0]["route"])
}

// TestCanaries: nothing that a client sends, but for the name of its account, gets
// into log or metrics, in any spelling, however the request ends.
func TestCanaries(t *testing.T) {
	const canary = "canary/S3cr+t=?"
	ends := map[string]http.HandlerFunc{
		"answers": func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) },
		"refuses": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, canary, 403) },
		"fails":   func(w http.ResponseWriter, _ *http.Request) { http.Error(w, canary, 500) },
		"panics":  func(http.ResponseWriter, *http.Request) { panic(canary) },
		"panics with an error": func(http.ResponseWriter, *http.Request) {
			panic(errors.New(canary))
		},
		"breaks off": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, canary)
			panic(canary)
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			s := start(t, httpd.Config{API: end, Storage: end})
			c := client(t, nil)
			for _, path := range []string{"/v1/api/", "/v1/api/pipes/" + url.PathEscape(canary) + "/", "/bucket/" + canary, "/" + url.PathEscape(canary)} {
				r, err := http.NewRequestWithContext(t.Context(), "POST", s.url+path+"?token="+url.QueryEscape(canary), strings.NewReader(canary))
				require.NoError(t, err)
				for _, header := range []string{"Authorization", "User-Agent", "Cookie", "Referer", "X-Request-Id", "X-Amz-Security-Token", "Content-Type", "X-Forwarded-For"} {
					r.Header.Set(header, "Token "+canary)
				}
				if resp, err := c.Do(r); err == nil {
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
				}
			}
			raw := dial(t, s.addr) // what net/http refuses itself
			_, err := io.WriteString(raw, "GET /"+canary+" HTTP/1.1\r\nHost: x\r\nBad Header "+canary+"\r\n\r\n")
			require.NoError(t, err)
			_, _ = io.ReadAll(raw)
			_, metrics := get(t, c, s.url+"/metrics")
			require.Contains(t, metrics, "d6tpipe_http_requests_total")
			require.Len(t, lines(t, s.log.String()), 5)
			for _, seen := range []string{s.log.String(), metrics} {
				for _, spelled := range spellings(canary) {
					require.NotContains(t, strings.ToLower(seen), strings.ToLower(spelled))
				}
			}
		})
	}
}

func spellings(secret string) []string {
	quoted, _ := json.Marshal(secret)
	return []string{
		"canary", secret, url.QueryEscape(secret), url.PathEscape(secret), strings.Trim(string(quoted), `"`), hex.EncodeToString([]byte(secret)),
		base64.StdEncoding.EncodeToString([]byte(secret)), base64.URLEncoding.EncodeToString([]byte(secret)),
	}
}

// TestPanic: a 500 without text, and the next request is served.
func TestPanic(t *testing.T) {
	var nothing map[string]int
	panics := []func(){func() { panic("canary") }, func() { panic(errors.New("canary")) }, func() { nothing["x"] = 1 }}
	for _, p := range panics {
		h := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { p() })
		s := start(t, httpd.Config{API: h, Storage: h})
		c := client(t, nil)
		for range 2 {
			code, body := get(t, c, s.url+"/v1/api/")
			require.Equal(t, 500, code)
			require.JSONEq(t, `{"detail":"Internal server error."}`, body)
		}
		code, body := get(t, c, s.url+"/bucket/key")
		require.Equal(t, 500, code)
		require.Contains(t, body, "<Code>InternalError</Code>")
		require.Contains(t, s.log.String(), "record_test.go", "the stack is there")
		require.NotContains(t, s.log.String(), "canary")
	}
}

// TestBrokenAnswer: when a handler fails in the middle, the client sees that.
func TestBrokenAnswer(t *testing.T) {
	for _, what := range []any{"canary", http.ErrAbortHandler} {
		s := start(t, httpd.Config{API: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			panic(what)
		})})
		resp, err := client(t, nil).Get(s.url + "/v1/api/")
		require.NoError(t, err)
		_, err = io.ReadAll(resp.Body)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.NoError(t, resp.Body.Close())
		require.Eventually(t, func() bool { return strings.Contains(s.log.String(), `"aborted":true`) }, 5e9, 1e7)
	}
}

// TestMetricsAccess: those on the list may read them, and nobody by way of a proxy
// that is not known.
func TestMetricsAccess(t *testing.T) {
	for _, c := range []struct {
		name, remote, forwarded string
		from                    []string
		hidden                  bool
		code                    int
	}{
		{name: "this machine", remote: "127.0.0.1:5", code: 200},
		{name: "this machine, IPv6", remote: "[::1]:5", code: 200},
		{name: "another", remote: "192.0.2.1:5", code: 404},
		{name: "listed", remote: "192.0.2.1:5", from: []string{"192.0.2.0/24"}, code: 200},
		{name: "this machine, not listed", remote: "127.0.0.1:5", from: []string{"192.0.2.0/24"}, code: 404},
		{name: "by a proxy on this machine that is not known", remote: "127.0.0.1:5", forwarded: "127.0.0.1", code: 404},
		{name: "by a known proxy", remote: "10.0.0.1:5", forwarded: "198.51.100.1", code: 404},
		{name: "by a known proxy, listed", remote: "10.0.0.1:5", forwarded: "127.0.0.1", code: 200},
		{name: "says so himself", remote: "192.0.2.1:5", forwarded: "127.0.0.1", code: 404},
		{name: "elsewhere", remote: "127.0.0.1:5", hidden: true, code: 418},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := httpd.Config{NoMetrics: c.hidden, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
			config.API = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(418) })
			for _, p := range c.from {
				config.MetricsFrom = append(config.MetricsFrom, netip.MustParsePrefix(p))
			}
			s, _ := quiet(t, config)
			r := httptest.NewRequest("GET", "/metrics", nil)
			r.RemoteAddr = c.remote
			if c.forwarded != "" {
				r.Header.Set("X-Forwarded-For", c.forwarded)
			}
			require.Equal(t, c.code, send(s, r).Code)
			w := httptest.NewRecorder()
			s.Metrics().ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
			require.Equal(t, 200, w.Code, "on an address of its own nobody is asked")
		})
	}
}

// TestMetrics: what was asked, how it ended, and how much was moved.
func TestMetrics(t *testing.T) {
	s, _ := quiet(t, httpd.Config{Version: `1.2"3`, API: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	})})
	for range 3 {
		send(s, httptest.NewRequest("PUT", "/v1/api/pipes/a/", strings.NewReader("1234567")))
	}
	for i := range 1000 {
		send(s, httptest.NewRequest("M"+strings.Repeat("X", i%50), "/"+strings.Repeat("y/", i%40), nil))
	}
	w := httptest.NewRecorder()
	s.Metrics().ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	for _, line := range []string{
		`d6tpipe_http_requests_total{method="PUT",route="/v1/api/pipes/{name}/",status="200"} 3`,
		`d6tpipe_http_requests_total{method="other",route="unknown",status="200"} 1000`,
		`d6tpipe_http_bytes_total{direction="in",route="/v1/api/pipes/{name}/"} 21`,
		`d6tpipe_http_bytes_total{direction="out",route="/v1/api/pipes/{name}/"} 21`,
		`d6tpipe_http_request_seconds_count{route="/v1/api/pipes/{name}/"} 3`,
		`d6tpipe_http_refused_total{limit="requests"} 0`,
		`version="1.2\"3"`, "go_goroutines", "process_open_fds",
	} {
		require.Contains(t, w.Body.String(), line)
	}
	require.Less(t, strings.Count(w.Body.String(), "\nd6tpipe_http_"), 100)
}
