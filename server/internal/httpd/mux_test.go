package httpd_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/wire"
	"github.com/d6t/d6tpipe-go/server/internal/httpd"
)

// echo says who answered and which path came.
func echo(who string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, who+" "+r.URL.EscapedPath()) })
}

// TestMux: paths decide who answers, arrive as they came, and nothing is ever
// answered with a redirect.
func TestMux(t *testing.T) {
	for _, c := range []struct{ path, with, without string }{ // with and without managed storage
		{"/v1/api/pipes/", "api", "api"}, {"//v1/api/pipes/a", "api", "api"}, {"/v1//api///pipes//a//", "api", "api"}, {"/v1", "api", "api"}, {"/v1/", "api", "api"},
		{"/v1/nowhere", "api", "api"}, {"/%761/api/", "api", "api"}, {"/v1/api/pipes/a%2Fb/", "api", "api"}, {"/v1/docs/more", "api", "api"},
		{"/", "storage", "api"}, {"/bucket", "storage", "api"}, {"/bucket//a//b.csv", "storage", "api"}, {"/bucket/a%2Fb", "storage", "api"}, {"/bucket/../v1/api/", "storage", "api"},
		{"/bucket/./x", "storage", "api"}, {"/bucket/healthz", "storage", "api"}, {"/v10/api/", "storage", "api"}, {"/bucket/%C3%BC%20+", "storage", "api"}, {"/bucket/%zz", "", ""},
		{"/healthz", "ok", "ok"}, {"/healthz/", "ok", "ok"}, {"//healthz", "ok", "ok"}, {"/readyz", "{", "{"}, {"/v1/openapi.json", "{", "{"}, {"/v1/docs", "<!DOCTYPE", "<!DOCTYPE"}, {"/v1/docs/", "<!DOCTYPE", "<!DOCTYPE"},
	} {
		for _, stored := range []bool{true, false} {
			config, want := httpd.Config{API: echo("api")}, c.without
			if stored {
				config.Storage, want = echo("storage"), c.with
			}
			s, err := httpd.New(config)
			require.NoError(t, err)
			r := httptest.NewRequest("GET", "/", nil)
			if r.URL, err = url.ParseRequestURI(c.path); want == "" {
				require.Error(t, err, "net/http refuses it")
				continue
			}
			require.NoError(t, err)
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, r)
			require.Equal(t, 200, w.Code, c.path)
			body := w.Body.String()
			require.True(t, strings.HasPrefix(body, want), "%s: %.60s", c.path, body)
			if want == "api" || want == "storage" {
				require.Equal(t, want+" "+c.path, body)
			}
			require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
			if want != "api" { // whose handler says so itself
				require.Contains(t, w.Header().Get("Content-Security-Policy"), "default-src 'none'", c.path)
			}
		}
	}
}

// TestUnknownPath is the API's own text, byte for byte: the Python client needs it.
func TestUnknownPath(t *testing.T) {
	s := start(t, httpd.Config{API: wire.Handler(nil)})
	for _, path := range []string{"/", "/x", "/v1/x", "/v1/api/x/", "//x", "/v1/api/pipes/a/b/c/"} {
		code, body := get(t, client(t, nil), s.url+path)
		require.Equal(t, 404, code)
		require.Equal(t, `{"detail":"Not found."}`, body)
	}
}

// TestOptionsStar and other odd requests go the way of all.
func TestOptionsStar(t *testing.T) {
	s := start(t, httpd.Config{API: wire.Handler(nil)})
	c := dial(t, s.addr)
	_, err := io.WriteString(c, "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	require.NoError(t, err)
	answer, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Contains(t, string(answer), "404 Not Found")
}

// TestOwnPages are read, and nothing else.
func TestOwnPages(t *testing.T) {
	s, err := httpd.New(httpd.Config{API: text("api")})
	require.NoError(t, err)
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/v1/docs", "/v1/openapi.json"} {
		for method, want := range map[string]int{"GET": 200, "HEAD": 200, "POST": 405, "PUT": 405, "DELETE": 405, "LINK": 405} {
			r := httptest.NewRequest(method, path, strings.NewReader("body"))
			r.RemoteAddr = "127.0.0.1:5"
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, r)
			require.Equal(t, want, w.Code, "%s %s", method, path)
			if want == 405 {
				require.Equal(t, "GET, HEAD", w.Header().Get("Allow"))
				require.JSONEq(t, `{"detail":"Method not allowed."}`, w.Body.String())
			}
		}
	}
}

// TestHeaderLimit: what is too large gets an answer, not memory.
func TestHeaderLimit(t *testing.T) {
	s := start(t, httpd.Config{API: text("api"), Limits: httpd.Limits{Header: 8 << 10}})
	for size, want := range map[int]string{7 << 10: "200 OK", 64 << 10: "431 "} {
		c := dial(t, s.addr)
		go func() {
			_, _ = io.WriteString(c, "GET /v1/api/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: "+strings.Repeat("x", size)+"\r\n\r\n")
		}()
		answer, err := io.ReadAll(c)
		if reset := new(net.OpError); err != nil {
			require.ErrorAs(t, err, &reset)
		}
		require.Contains(t, string(answer), want)
	}
}

// TestBodyLimit holds for the API and not for files.
func TestBodyLimit(t *testing.T) {
	count := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		}
	})
	s := start(t, httpd.Config{API: count, Storage: count, Limits: httpd.Limits{Body: 1000}})
	for path, want := range map[string]int{"/v1/api/": 413, "/bucket/key": 200} {
		resp, err := client(t, nil).Post(s.url+path, "", strings.NewReader(strings.Repeat("x", 1001)))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, want, resp.StatusCode)
	}
}

// TestOtherSites: a browser on the page of another site changes nothing here.
func TestOtherSites(t *testing.T) {
	s, err := httpd.New(httpd.Config{API: text("api")})
	require.NoError(t, err)
	for _, c := range []struct {
		method, header, value string
		code                  int
	}{
		{"POST", "X", "a program", 200}, {"POST", "Sec-Fetch-Site", "cross-site", 403}, {"POST", "Origin", "https://evil.example.com", 403}, {"POST", "Origin", "null", 403},
		{"DELETE", "Sec-Fetch-Site", "same-site", 403}, {"POST", "Sec-Fetch-Site", "same-origin", 200}, {"POST", "Origin", "https://example.com", 200}, {"GET", "Sec-Fetch-Site", "cross-site", 200},
	} {
		r := httptest.NewRequest(c.method, "https://example.com/v1/api/accounts/", nil)
		r.Header.Set(c.header, c.value)
		require.Equal(t, c.code, send(s, r).Code, "%s %s: %s", c.method, c.header, c.value)
	}
}
