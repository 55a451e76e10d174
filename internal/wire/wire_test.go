package wire_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/internal/leaktest"
	"github.com/d6t/d6tpipe-go/internal/wire"
	"github.com/d6t/d6tpipe-go/internal/wire/wiretest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func local(t *testing.T) catalog.Backend {
	t.Helper()
	api, err := d6tpipe.NewAPILocal(d6tpipe.Config{Catalog: filepath.Join(t.TempDir(), "catalog.json")})
	require.NoError(t, err)
	return api.Backend()
}

// say sends a request and returns the answer.
func say(t *testing.T, h http.Handler, method, url, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, url, strings.NewReader(body)).WithContext(t.Context())
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	require.Less(t, w.Code, 600)
	require.NotContains(t, []int{301, 302, 303, 307, 308}, w.Code, "the Python client dies of redirects")
	if w.Code != http.StatusNoContent && w.Body.Len() > 0 {
		require.True(t, json.Valid(w.Body.Bytes()), "%s", w.Body)
		require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	}
	require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	return w
}

// TestPaths: slashes do not matter, everything else does.
func TestPaths(t *testing.T) {
	h := wire.Handler(local(t))
	require.Equal(t, 201, say(t, h, "POST", "/v1/api/pipes/", `{"name":"a","protocol":"s3","location":"b"}`).Code)
	for _, path := range []string{"/v1/api/pipes/a/", "/v1/api/pipes/a", "//v1/api/pipes/a/", "/v1//api///pipes//a//", "/v1/api/pipes/%61/"} {
		for _, method := range []string{"GET", "PATCH", "HEAD"} {
			require.Equal(t, 200, say(t, h, method, path, "").Code, "%s %s", method, path)
		}
	}
	for _, path := range []string{
		"/", "/v1/", "/v1", "/v2/api/pipes/", "/v1/api/files/", "/v1/api/pipes/a/b/", "/v1/api/pipes/a/files/", "/v1/api/pipes/a%2Fb/", "/v1/api/pipes/a%20b/",
		"/v1/api/pipes/$x/", "/v1/api/pipes/./a/", "/v1/api/pipes/../pipes/a/", "/v1/api/pipes/%2e%2e/", "/V1/API/PIPES/A/", "/v1/api/pipes/A/", "/v1/api/pipes/a%00/",
		"/v1/api/pipes/missing/", "/v1/api/remotes/a/", "/v1/api/remotes/a/credentials/", "/v1/api/pipes/a/credentials/x/", "/v1/api/accounts/token/x/", "/v1/api/pipes/%C3%BC/",
		"/v1/api/", "/v1/api/accounts/",
	} {
		for _, method := range []string{"GET", "PATCH", "PUT", "DELETE", "POST"} {
			w := say(t, h, method, path, `{"name":"a/b"}`)
			if w.Code != http.StatusMethodNotAllowed {
				require.Equal(t, 404, w.Code, "%s %s", method, path)
				require.Contains(t, w.Body.String(), "Not found")
			}
		}
	}
	require.Equal(t, "[]", say(t, h, "GET", "/v1/api/remotes/", "").Body.String())
}

func TestMethods(t *testing.T) {
	h := wire.New(wiretest.New(local(t)), wire.Options{})
	for path, allowed := range map[string]string{
		"/v1/api/": "GET", "/v1/api/accounts/": "POST", "/v1/api/accounts/token/": "POST", "/v1/api/accounts/me/": "DELETE",
		"/v1/api/pipes/": "GET, POST", "/v1/api/pipes/a/": "GET, PUT, PATCH, DELETE", "/v1/api/pipes/a/permissions/": "GET, POST", "/v1/api/pipes/a/credentials/": "GET",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "LINK"} {
			w := say(t, h, method, path, "{}")
			if strings.Contains(allowed, method) || method == "DELETE" && path == "/v1/api/accounts/token/" {
				require.NotEqual(t, 405, w.Code, "%s %s", method, path)
				continue
			}
			require.Equal(t, 405, w.Code, "%s %s", method, path)
			require.Equal(t, allowed, w.Header().Get("Allow"))
		}
	}
}

// TestRoutes: the table says what the handler does, no more and no less.
func TestRoutes(t *testing.T) {
	h := wire.New(wiretest.New(local(t)), wire.Options{})
	allowed := map[string][]string{}
	for _, r := range wire.Routes() {
		allowed[r.Path] = append(allowed[r.Path], r.Method)
	}
	for path, methods := range allowed {
		w := say(t, h, "LINK", strings.NewReplacer("{name}", "a", "{id}", "b", "{username}", "me", "{organisation}", "a", "{team}", "b").Replace(path), "")
		require.Equal(t, 405, w.Code, path)
		require.Equal(t, strings.Join(methods, ", "), w.Header().Get("Allow"), path)
	}
	for _, path := range []string{"/v1/api/", "/v1/api/accounts/", "/v1/api/pipes/", "/v1/api/remotes/"} { // and nothing one or two segments below that
		for _, below := range []string{"token/", "a/", "a/b/", "a/permissions/", "a/credentials/", "a/files/", "a/owner/", "a/analytics/", "a/urls/", "a/token/", "a/permissions/b/"} {
			known := strings.NewReplacer("/a/", "/{name}/", "accounts/a/", "accounts/{username}/").Replace(path + below)
			if _, ok := allowed[known]; ok || below == "token/" || path+below == "/v1/api/accounts/a/" {
				continue
			}
			require.Equal(t, 404, say(t, h, "LINK", path+below, "").Code, path+below)
		}
	}
}

// TestBodies: what is no JSON object of bearable size is refused, by a number
// that says why.
func TestBodies(t *testing.T) {
	h := wire.Handler(local(t))
	good := `{"name":"a","protocol":"s3","location":"b"}`
	require.Equal(t, 201, say(t, h, "POST", "/v1/api/pipes/", good).Code)
	for body, code := range map[string]int{
		"": 400, " \n": 400, "[]": 400, "null": 400, "1": 400, `"x"`: 400, "{": 400, `{"name":}`: 400, good + good: 400, `{"name":1}`: 400, "\xff\xfe": 400,
		`{"name":"b","protocol":"s3","location":"b","schema":` + strings.Repeat("[", 300) + strings.Repeat("]", 300) + `}`: 400,
		`{"name":"b","schema":` + strings.Repeat("[", 500_000):                                                             400,
		`{"name":"b","schema":"` + strings.Repeat("x", 1<<20) + `"}`:                                                       413,
		`{"name":"b","protocol":"s3","location":"b","schema":"` + strings.Repeat(`[\"`, 1000) + `"}`:                       201,
	} {
		w := say(t, h, "POST", "/v1/api/pipes/", body)
		require.Equal(t, code, w.Code, "%.60s", body)
		if body != "" && code == 400 && body != `{"name":1}` {
			require.Equal(t, 400, say(t, h, "PUT", "/v1/api/pipes/a/", body).Code, "%.60s", body)
		}
	}
	require.Equal(t, 200, say(t, h, "PATCH", "/v1/api/pipes/a/", "").Code)
	require.Equal(t, 200, say(t, h, "GET", "/v1/api/pipes/a/", "{not json").Code)
	require.Equal(t, 200, say(t, h, "PATCH", "/v1/api/pipes/a/", `{"schema":{}}`, "Content-Type", "text/plain").Code)
	require.Equal(t, 400, say(t, h, "GET", "/v1/api/pipes/a/credentials/?role=admin", "").Code)
}

// TestTooLarge: a client on a real connection sees the 413, not a reset.
func TestTooLarge(t *testing.T) {
	server := httptest.NewServer(wire.Handler(local(t)))
	t.Cleanup(server.Close)
	client := server.Client()
	t.Cleanup(client.CloseIdleConnections)
	for range 20 {
		resp, err := client.Post(server.URL+"/v1/api/pipes/", "application/json", strings.NewReader(`{"name":"`+strings.Repeat("x", 3<<20)))
		require.NoError(t, err)
		require.Equal(t, 413, resp.StatusCode)
		_, _ = io.Copy(io.Discard, resp.Body)
		require.NoError(t, resp.Body.Close())
	}
}

// bad is a service whose everything fails in one way.
type bad struct {
	err   error
	panic any
}

func (b bad) fail() error {
	if b.panic != nil {
		panic(b.panic)
	}
	return b.err
}

func (b bad) Register(context.Context, wire.Registration) (string, error) { return "", b.fail() }
func (b bad) Login(context.Context, string, string) (string, error)       { return "", b.fail() }
func (b bad) Open(context.Context, string) (wire.Session, error)          { return b, nil }
func (b bad) Authorize(context.Context, catalog.Verb, string, string) error {
	return nil
}
func (b bad) WhoAmI(context.Context) (json.RawMessage, error) { return nil, b.fail() }
func (b bad) Unregister(context.Context, string) error        { return b.fail() }
func (b bad) List(context.Context, string, string) ([]json.RawMessage, string, error) {
	return nil, "", b.fail()
}
func (b bad) Do(context.Context, catalog.Verb, string, string, json.RawMessage) (json.RawMessage, error) {
	return nil, b.fail()
}

var routes = []string{
	"GET /v1/api/", "POST /v1/api/accounts/", "POST /v1/api/accounts/token/", "DELETE /v1/api/accounts/a/", "GET /v1/api/pipes/", "POST /v1/api/pipes/",
	"GET /v1/api/pipes/a/", "PUT /v1/api/pipes/a/", "PATCH /v1/api/pipes/a/", "DELETE /v1/api/pipes/a/", "GET /v1/api/pipes/a/permissions/",
	"POST /v1/api/pipes/a/permissions/", "GET /v1/api/pipes/a/credentials/", "GET /v1/api/remotes/a/", "POST /v1/api/remotes/a/permissions/",
}

// TestErrors: every kind of error on every route has its status, and only says
// what was meant for the caller.
func TestErrors(t *testing.T) {
	secret := errors.New("open /srv/canary/db: password=canary")
	for _, c := range []struct {
		err  error
		code int
		body string
	}{
		{secret, 500, `{"detail":"Internal server error."}`},
		{fmt.Errorf("%w: %w", d6tpipe.ErrUnavailable, secret), 503, `{"detail":"The server is busy, try again later."}`},
		{fmt.Errorf("%w: %w", d6tpipe.ErrNotFound, secret), 404, `{"detail":"Not found."}`},
		{fmt.Errorf("%w: %w", d6tpipe.ErrPermission, secret), 403, `{"detail":"You do not have permission to perform this action."}`},
		{d6tpipe.ErrUnauthorized, 401, ``}, {d6tpipe.ErrInvalid, 400, ``}, {d6tpipe.ErrExists, 409, ``}, {d6tpipe.ErrConflict, 412, ``},
		{d6tpipe.ErrTooLarge, 413, ``}, {d6tpipe.ErrRateLimited, 429, ``}, {d6tpipe.ErrUnsupported, 501, ``},
		{&d6tpipe.Error{Op: "canary", Err: &d6tpipe.FieldError{Field: "näme", Reason: "Say \"ü\" \\ 👍\n"}}, 400, `{"n\u00e4me":["Say \"\u00fc\" \\ \ud83d\udc4d\u000a"]}`},
		{&d6tpipe.FieldError{Field: "name", Reason: "x", Kind: d6tpipe.ErrExists}, 409, `{"name":["x"]}`},
		{&d6tpipe.StatusError{Status: 403, Message: "The demo account cannot register pipes."}, 403, `{"detail":"The demo account cannot register pipes."}`},
		{context.DeadlineExceeded, 500, `{"detail":"Internal server error."}`},
	} {
		for _, route := range routes {
			method, url, _ := strings.Cut(route, " ")
			w := say(t, wire.New(bad{err: c.err}, wire.Options{}), method, url, "{}")
			require.Equal(t, c.code, w.Code, "%s %v", route, c.err)
			require.NotContains(t, w.Body.String(), "canary")
			if c.body != "" {
				require.Equal(t, c.body, w.Body.String())
			}
			require.Equal(t, c.code == 401, w.Header().Get("WWW-Authenticate") != "")
		}
	}
}

// TestLevels: only what is the server's own fault is an error in its log.
func TestLevels(t *testing.T) {
	for _, c := range []struct {
		err   error
		level string
	}{
		{errors.New("canary"), "ERROR"},
		{&d6tpipe.StatusError{Status: 500}, "ERROR"},
		{&d6tpipe.StatusError{Status: 501, Message: "There are no keys."}, "INFO"},
		{&d6tpipe.StatusError{Status: 502, Message: "The remote cannot be reached."}, "WARN"},
		{&d6tpipe.StatusError{Status: 503}, "WARN"},
		{d6tpipe.ErrUnavailable, "WARN"},
		{d6tpipe.ErrNotFound, ""},
	} {
		var log bytes.Buffer
		say(t, wire.New(bad{err: c.err}, wire.Options{Log: slog.New(slog.NewTextHandler(&log, nil))}), "GET", "/v1/api/pipes/p/", "")
		if c.level == "" {
			require.Empty(t, log.String(), c.err)
		} else {
			require.Contains(t, log.String(), "level="+c.level+" ", c.err)
		}
	}
}

func TestPanics(t *testing.T) {
	var log bytes.Buffer
	h := wire.New(bad{panic: "canary"}, wire.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	for _, route := range routes {
		method, url, _ := strings.Cut(route, " ")
		w := say(t, h, method, url, "{}")
		require.Equal(t, 500, w.Code, route)
		require.NotContains(t, w.Body.String(), "canary")
	}
	require.Contains(t, log.String(), "panic")
	require.Panics(t, func() {
		h := wire.New(bad{panic: http.ErrAbortHandler}, wire.Options{})
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/v1/api/pipes/", nil))
	}, "net/http's own signal goes through")
}

// TestAuthorization: only one header, of the one form, is a token.
func TestAuthorization(t *testing.T) {
	s := wiretest.New(local(t))
	h := wire.New(s, wire.Options{})
	token, err := s.Register(t.Context(), wire.Registration{Username: "me", Email: "e", Password: "p"})
	require.NoError(t, err)
	for value, code := range map[string]int{
		"Token " + token: 200, "token " + token: 200, "TOKEN   " + token: 200, "Bearer " + token: 401, token: 401, "Token": 401, "Token ": 401,
		"Token " + token + " x": 401, "Token x": 401, "Basic bWU6cA==": 401, "": 401,
	} {
		require.Equal(t, code, say(t, h, "GET", "/v1/api/", "", "Authorization", value).Code, "%q", value)
		require.Equal(t, code, say(t, h, "GET", "/v1/api/pipes/", "", "Authorization", value).Code, "%q", value)
	}
	require.Equal(t, 401, say(t, h, "GET", "/v1/api/", "", "Authorization", "Token "+token, "Authorization", "Token "+token).Code)
	require.Equal(t, 200, say(t, h, "GET", "/v1/api/pipes/", "").Code, "public pipes need no token")
}

// TestAccessBeforeBody: who may not write does not learn what would be valid.
func TestAccessBeforeBody(t *testing.T) {
	s := wiretest.New(local(t))
	h := wire.New(s, wire.Options{})
	for _, name := range []string{"me", "you"} {
		_, err := s.Register(t.Context(), wire.Registration{Username: name, Email: name, Password: "p"})
		require.NoError(t, err)
	}
	require.Equal(t, 201, say(t, h, "POST", "/v1/api/pipes/", `{"name":"a"}`, "Authorization", "Token token-of-me").Code)
	for _, body := range []string{`{"bad":"request"}`, "{", "", strings.Repeat("[", 1000), strings.Repeat("x", 2<<20)} {
		for _, route := range []string{"PUT /v1/api/pipes/a/", "PATCH /v1/api/pipes/a/", "POST /v1/api/pipes/a/permissions/"} {
			method, url, _ := strings.Cut(route, " ")
			require.Equal(t, 403, say(t, h, method, url, body, "Authorization", "Token token-of-you").Code, route)
			require.Equal(t, 401, say(t, h, method, url, body).Code, route)
		}
	}
}

// TestGoneClient: nothing is written for somebody who hung up.
func TestGoneClient(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	wire.Handler(local(t)).ServeHTTP(w, httptest.NewRequest("GET", "/v1/api/pipes/", nil).WithContext(ctx))
	require.Zero(t, w.Body.Len())
}

// TestManagedStorage as the contract has it in both generations.
func TestManagedStorage(t *testing.T) {
	s := wiretest.New(local(t))
	h := wire.New(s, wire.Options{})
	_, err := s.Register(t.Context(), wire.Registration{Username: "me", Email: "e", Password: "p"})
	require.NoError(t, err)
	get := func(method, url, body string) map[string]any {
		w := say(t, h, method, url, body, "Authorization", "Token token-of-me")
		require.Less(t, w.Code, 300, "%s", w.Body)
		var out map[string]any
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &out))
		return out
	}
	get("POST", "/v1/api/pipes/", `{"name":"p"}`)
	get("POST", "/v1/api/pipes/", `{"name":"c","parent":"p","options":{"dir":"d"}}`)
	p := get("GET", "/v1/api/pipes/c/", "")
	require.Equal(t, "s3", p["protocol"])
	require.Equal(t, "s3://managed/me/p/d/", p["options"].(map[string]any)["remotepath"])
	read := get("GET", "/v1/api/pipes/c/credentials/?role=read", "")
	write := get("GET", "/v1/api/pipes/c/credentials/?role=write", "")
	require.Contains(t, read, "aws_session_token")
	require.NotEqual(t, read["aws_access_key_id"], write["aws_access_key_id"])
	get("GET", "/v1/api/pipes/c/credentials/?renew=True&role=read", "")
	require.NotEqual(t, read["aws_access_key_id"], get("GET", "/v1/api/pipes/c/credentials/?role=read", "")["aws_access_key_id"])
	r := get("POST", "/v1/api/remotes/", `{"name":"r","protocol":"d6tfree"}`)
	require.Equal(t, "s3", r["protocol"])
	require.Equal(t, "managed/me/r", r["location"])
	require.NotEqual(t, r["readCredentials"], r["writeCredentials"])
}

// FuzzHandler: whatever comes in, no redirect, no panic, no 5xx, valid JSON out.
func FuzzHandler(f *testing.F) {
	for _, route := range routes {
		method, url, _ := strings.Cut(route, " ")
		f.Add(method, url, []byte(`{"name":"a","protocol":"s3","location":"b"}`))
	}
	f.Add("PATCH", "//v1/api/pipes/$x", []byte(""))
	f.Add("GET", "/v1/api/pipes/a/credentials/?role=read&renew=%zz", []byte(nil))
	api, err := d6tpipe.NewAPILocal(d6tpipe.Config{Catalog: filepath.Join(f.TempDir(), "catalog.json")})
	require.NoError(f, err)
	h := wire.New(wiretest.New(api.Backend()), wire.Options{})
	f.Fuzz(func(t *testing.T, method, url string, body []byte) {
		r, err := http.NewRequest(method, "http://example.com", bytes.NewReader(body))
		if err != nil {
			t.Skip()
		}
		if r.URL, err = r.URL.Parse(url); err != nil {
			t.Skip()
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r.WithContext(t.Context()))
		require.Less(t, w.Code, 500)
		require.NotEqual(t, 3, w.Code/100)
		if w.Body.Len() > 0 {
			require.True(t, json.Valid(w.Body.Bytes()))
		}
	})
}
