package d6tpipe_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// TestRedirects: no redirect leaves the origin, and none that stays changes the
// method. A second server counts what reaches it.
func TestRedirects(t *testing.T) {
	var hits, tokens atomic.Int32
	counter := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		if r.Header.Get("Authorization") != "" || strings.Contains(r.URL.String(), "canary") {
			tokens.Add(1)
		}
		_, _ = io.WriteString(w, `{"username":"x","token":"x","name":"a"}`)
	})
	other := httptest.NewServer(counter)
	t.Cleanup(other.Close)
	secure := httptest.NewTLSServer(counter)
	t.Cleanup(secure.Close)

	to := ""
	code := 0
	home := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(code)
	})
	_, homePort, err := net.SplitHostPort(strings.TrimPrefix(home, "http://"))
	require.NoError(t, err)
	alias, err := net.Listen("tcp", "127.0.0.2:"+homePort)
	require.NoError(t, err)
	sub := &httptest.Server{Listener: alias, Config: &http.Server{Handler: counter}}
	sub.Start()
	t.Cleanup(sub.Close)
	_, otherPort, err := net.SplitHostPort(strings.TrimPrefix(other.URL, "http://"))
	require.NoError(t, err)

	targets := map[string]string{
		"port": other.URL, "host": "http://127.0.0.2:" + homePort, "name": "http://localhost:" + otherPort,
		"scheme": secure.URL, "scheme only": "https://127.0.0.1:" + homePort, "no scheme": "//127.0.0.1:" + otherPort,
		"user": "http://127.0.0.1@127.0.0.1:" + otherPort,
	}
	for kind, target := range targets {
		for _, code = range []int{301, 302, 303, 307, 308} {
			to = target + "/v1/api/pipes/a/"
			for call, do := range calls {
				err := do(t.Context(), dial(t, home, calm))
				require.ErrorIs(t, err, d6tpipe.ErrUnavailable, "%s %d %s", kind, code, call)
				var status *d6tpipe.StatusError
				require.ErrorAs(t, err, &status)
				require.Equal(t, code, status.Status)
				discreet(t, err)
			}
		}
	}
	require.Zero(t, hits.Load(), "requests that left the origin")
	require.Zero(t, tokens.Load())
}

// TestRedirectAtHome: a redirect within the origin is followed when the method
// stays, not for ever, and with the token.
func TestRedirectAtHome(t *testing.T) {
	var got []string
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Method+" "+r.URL.Path+" "+r.Header.Get("Authorization"))
		if strings.HasSuffix(r.URL.Path, "/a/") {
			http.Redirect(w, r, "/elsewhere/", map[bool]int{true: 301, false: 302}[r.Method == "GET"])
			return
		}
		if strings.HasSuffix(r.URL.Path, "/loop/") {
			http.Redirect(w, r, r.URL.Path, 307)
			return
		}
		_, _ = io.WriteString(w, `{"name":"a"}`)
	})
	client := dial(t, url, calm)
	_, err := client.Pipes().Get(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, []string{"GET /v1/api/pipes/a/ Token " + canaryToken, "GET /elsewhere/ Token " + canaryToken}, got)

	got = nil
	_, err = client.Pipes().Update(t.Context(), aPipe)
	require.ErrorIs(t, err, d6tpipe.ErrUnavailable)
	require.Equal(t, []string{"PATCH /v1/api/pipes/a/ Token " + canaryToken}, got, "302 would make a GET of it")

	got = nil
	_, err = client.Pipes().Get(t.Context(), "loop")
	require.ErrorIs(t, err, d6tpipe.ErrUnavailable)
	require.Less(t, len(got), 6)
}

func TestServerAddress(t *testing.T) {
	for server, good := range map[string]bool{
		"": false, "https://api.example.com": true, "https://api.example.com:8443/base/": true, "http://127.0.0.1:8670": true,
		"http://localhost:8670": true, "http://[::1]:8670": true, "http://127.8.8.8": true, "HTTPS://API.example.com": true,
		"http://api.example.com": false, "http://10.0.0.1": false, "http://localhost.example.com": false, "http://127.0.0.1.example.com": false,
		"ftp://api.example.com": false, "api.example.com": false, "https://": false, "https://me:canary@api.example.com": false,
		"https://api.example.com?x=canary": false, "https://api.example.com#x": false, "://": false, "http://0.0.0.0:1": false,
	} {
		client, err := d6tpipe.NewAPIClient(d6tpipe.Config{Profile: "test", Server: server, Tokens: &tokens{}})
		if good {
			require.NoError(t, err, server)
			require.NotNil(t, client)
			continue
		}
		require.ErrorIs(t, err, d6tpipe.ErrInvalid, server)
		var f *d6tpipe.FieldError
		require.ErrorAs(t, err, &f, server)
		require.Equal(t, "server", f.Field)
		require.NotContains(t, err.Error(), "canary")
	}
	_, err := d6tpipe.NewAPIClient(d6tpipe.Config{Profile: "test"})
	require.ErrorContains(t, err, "D6TPIPE_SERVER", "the error says how to name a server")
	_, err = d6tpipe.NewAPIClient(d6tpipe.Config{Profile: "test", Server: "http://api.example.com", Insecure: true, Tokens: &tokens{}})
	require.NoError(t, err)
}

// TestCertificates: an unknown certificate is refused, at once and before
// anything secret was sent.
func TestCertificates(t *testing.T) {
	var hits atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	server.Config.ErrorLog = nil
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	server.Config.ErrorLog = discardLog
	server.StartTLS()
	t.Cleanup(server.Close)
	_, err := dial(t, server.URL, d6tpipe.Limits{}).Pipes().Get(t.Context(), "a")
	require.ErrorIs(t, err, d6tpipe.ErrUnavailable)
	var untrusted *tls.CertificateVerificationError
	require.ErrorAs(t, err, &untrusted)
	require.Zero(t, hits.Load())
}

// TestRetries: what is repeated, and how often.
func TestRetries(t *testing.T) {
	repeated := map[string]bool{"list": true, "get": true, "replace": true, "update": true, "delete": true, "whoami": true, "credentials": true}
	for _, status := range []int{429, 502, 503, 504, 500, 501, 400, 401, 403, 404, 409, 200} {
		var hits atomic.Int32
		url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			hits.Add(1)
			w.WriteHeader(status)
		})
		busy := status == 429 || status == 502 || status == 503 || status == 504
		for call, do := range calls {
			hits.Store(0)
			limits := calm
			limits.Retries = 3
			err := do(t.Context(), dial(t, url, limits))
			if status != 200 {
				var refused *d6tpipe.StatusError
				require.ErrorAs(t, err, &refused, "%d %s", status, call)
				require.Equal(t, status, refused.Status)
			}
			want := 1
			if busy && repeated[call] {
				want = 4
			}
			require.EqualValues(t, want, hits.Load(), "%d %s", status, call)
		}
	}
}

// TestOnePostOneEffect: the server acts and drops its answer.
func TestOnePostOneEffect(t *testing.T) {
	for call, do := range calls {
		var hits atomic.Int32
		url := listen(t, func(context.Context, net.Conn) { hits.Add(1) })
		limits := calm
		limits.Retries = 2
		require.ErrorIs(t, do(t.Context(), dial(t, url, limits)), d6tpipe.ErrUnavailable, call)
		want := int32(3)
		if call == "create" || call == "login" || call == "grant" {
			want = 1
		}
		require.Equal(t, want, hits.Load(), call)
	}
}

// TestDeleteWhoseAnswerWasLost: the repetition finds nothing, which is success.
func TestDeleteWhoseAnswerWasLost(t *testing.T) {
	var hits atomic.Int32
	url := listen(t, func(_ context.Context, conn net.Conn) {
		if hits.Add(1) > 1 {
			says("HTTP/1.1 404 Not Found\r\nContent-Length: 24\r\n\r\n{\"detail\":\"Not found. \"}")(t.Context(), conn)
		}
	})
	require.NoError(t, dial(t, url, calm).Pipes().Delete(t.Context(), "a"))
	require.EqualValues(t, 2, hits.Load())
	require.ErrorIs(t, dial(t, url, calm).Pipes().Delete(t.Context(), "a"), d6tpipe.ErrNotFound, "the first answer is the truth")
}

func TestRetryAfter(t *testing.T) {
	for name, c := range map[string]struct {
		header func() string
		limits d6tpipe.Limits
		min    time.Duration // it waits at least
		ok     bool
	}{
		"seconds":                 {func() string { return "1" }, calm, time.Second, true},
		"date":                    {func() string { return time.Now().Add(2 * time.Second).UTC().Format(http.TimeFormat) }, calm, 900 * time.Millisecond, true},
		"capped":                  {func() string { return "86400" }, d6tpipe.Limits{Pause: 100 * time.Millisecond}, 100 * time.Millisecond, true},
		"longer than it is worth": {func() string { return "7200" }, d6tpipe.Limits{Call: time.Hour, Pause: 3 * time.Hour}, 0, false},
		"nonsense":                {func() string { return "-5, soon" }, calm, 0, true},
		"past":                    {func() string { return "Mon, 01 Jan 2001 00:00:00 GMT" }, calm, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var hits atomic.Int32
			url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				if hits.Add(1) == 1 {
					w.Header().Set("Retry-After", c.header())
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
				_, _ = io.WriteString(w, `{"name":"a"}`)
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			start := time.Now()
			_, err := dial(t, url, c.limits).Pipes().Get(ctx, "a")
			took := time.Since(start)
			require.Equal(t, c.ok, err == nil, "%v", err)
			require.NotErrorIs(t, err, context.DeadlineExceeded, "a pause that is not worth it is not begun")
			require.GreaterOrEqual(t, took, c.min)
		})
	}
}

// TestRetriesKeepBodiesApart: under repetitions each request still carries its
// own body.
func TestRetriesKeepBodiesApart(t *testing.T) {
	var hits atomic.Int32
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		name := strings.Split(r.URL.Path, "/")[4]
		if !strings.Contains(string(body), `"name":"`+name+`"`) {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		if hits.Add(1)%2 == 1 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_, _ = w.Write(body)
	})
	client := dial(t, url, d6tpipe.Limits{Backoff: time.Millisecond, Retries: 20})
	var wg sync.WaitGroup
	errs := make([]error, 16)
	for w := range errs {
		wg.Go(func() {
			for i := range 20 {
				p := aPipe
				p.Name = fmt.Sprintf("w%d-%d-%s", w, i, strings.Repeat("x", w*5))
				got, err := client.Pipes().Replace(t.Context(), p)
				if err == nil && got.Name != p.Name {
					err = errors.New("another request's answer")
				}
				errs[w] = errors.Join(errs[w], err)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
}

// TestPages: a server may answer in pages, but not lead away or in circles.
func TestPages(t *testing.T) {
	var url string
	next := map[string]string{}
	url = serve(t, func(w http.ResponseWriter, r *http.Request) {
		page := r.URL.Query().Get("page")
		if page == "away" {
			t.Error("a page that should not have been asked for")
		}
		to, ok := next[page]
		if !ok {
			_, _ = fmt.Fprintf(w, `{"count":3,"next":null,"previous":null,"results":[{"name":"c%s"}]}`, page)
			return
		}
		_, _ = fmt.Fprintf(w, `{"next":%q,"results":[{"name":"c%s"}]}`, to, page)
	})
	client := dial(t, url, calm)
	next[""], next["2"] = url+"/v1/api/pipes/?page=2", "?page=3"
	names, err := client.Pipes().Names(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"c", "c2", "c3"}, names)

	var hits atomic.Int32
	other := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		hits.Add(1)
		_, _ = io.WriteString(w, `[]`)
	})
	for _, away := range []string{other + "/v1/api/pipes/?page=away", "http://127.0.0.2/?page=away", "//example.com/?page=away", "https://127.0.0.1/?page=away", "http://u:p@" + strings.TrimPrefix(url, "http://") + "/?page=away", "?page=2", "::", "ftp:x"} {
		next["2"] = away
		_, err := client.Pipes().Names(t.Context())
		require.ErrorIs(t, err, d6tpipe.ErrUnavailable, away)
		discreet(t, err)
	}
	require.Zero(t, hits.Load(), "a token went to another server")
}

// TestOrder: All is in order of name, also when the server's list is not.
func TestOrder(t *testing.T) {
	client := dial(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `[{"name":"b","readParams":"]},{"},{"name":"a"},{"name":"B"}]`)
	}), calm)
	var names []string
	for p, err := range client.Pipes().All(t.Context()) {
		require.NoError(t, err)
		names = append(names, p.Name)
	}
	require.Equal(t, []string{"B", "a", "b"}, names)
}

// TestEmptyPages: empty pages do not go on for ever.
func TestEmptyPages(t *testing.T) {
	var hits atomic.Int32
	client := dial(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"next":"?page=%d","results":[]}`, hits.Add(1))
	}), calm)
	_, err := client.Pipes().Names(t.Context())
	require.ErrorIs(t, err, d6tpipe.ErrUnavailable)
	require.Less(t, hits.Load(), int32(200))
}

// Every status that is no success matches exactly one kind.
func TestEveryStatusHasAKind(t *testing.T) {
	kinds := []error{d6tpipe.ErrInvalid, d6tpipe.ErrUnauthorized, d6tpipe.ErrPermission, d6tpipe.ErrNotFound, d6tpipe.ErrExists, d6tpipe.ErrConflict,
		d6tpipe.ErrTooLarge, d6tpipe.ErrRateLimited, d6tpipe.ErrUnsupported, d6tpipe.ErrUnavailable, d6tpipe.ErrCursorExpired}
	status := 0
	api := dialAs(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"detail":"no"}`)
	})).WithLimits(d6tpipe.Limits{Retries: -1})
	for status = 300; status < 600; status++ {
		if status == http.StatusNotModified {
			continue // has no body
		}
		_, err := api.Pipes().Get(t.Context(), "p")
		matched := 0
		for _, kind := range kinds {
			if errors.Is(err, kind) {
				matched++
			}
		}
		require.Equal(t, 1, matched, "%d: %v", status, err)
	}
}

// TestRefusals: what a server says becomes an error that reads well and tells
// nothing it should not.
func TestRefusals(t *testing.T) {
	status, body := 0, ""
	client := dial(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}), calm)
	for _, c := range []struct {
		status        int
		body          string
		kind          error
		message, name string
	}{
		{404, `{"detail":"Not found."}`, d6tpipe.ErrNotFound, "Not found.", ""},
		{400, `{"name":["This field must be unique."]}`, d6tpipe.ErrExists, "name: This field must be unique.", "name"},
		{409, `{"name":["This name is taken."]}`, d6tpipe.ErrExists, "name: This name is taken.", "name"},
		{400, `{"options":["Paths must be x."],"name":["a","b"]}`, d6tpipe.ErrInvalid, "name: a b; options: Paths must be x.", "name"},
		{400, `{"non_field_errors":["No."]}`, d6tpipe.ErrInvalid, "No.", ""},
		{400, `{"name":"one"}`, d6tpipe.ErrInvalid, "name: one", "name"},
		{401, `{"detail":"Invalid token ` + canaryToken + `."}`, d6tpipe.ErrUnauthorized, "Invalid token ***.", ""},
		{403, `{"role":["no"]}`, d6tpipe.ErrPermission, "role: no", ""},
		{400, `{"` + canaryToken + `":["x ` + canaryToken + `"]}`, d6tpipe.ErrInvalid, "***: x ***", "***"},
		{404, `<html>` + canaryToken, d6tpipe.ErrNotFound, "", ""},
		{413, ``, d6tpipe.ErrTooLarge, "", ""},
		{429, `[]`, d6tpipe.ErrRateLimited, "", ""},
		{500, `{"detail":{"deep":1}}`, d6tpipe.ErrUnavailable, "", ""},
		{599, `{}`, d6tpipe.ErrUnavailable, "", ""},
		{400, "{\"detail\":\"a\\u001b[31m\\nb\\u202e\\u0000 \"}", d6tpipe.ErrInvalid, "a[31m b", ""},
		{400, `{"detail":"` + strings.Repeat("ü", 5000) + `"}`, d6tpipe.ErrInvalid, strings.Repeat("ü", 512), ""},
	} {
		status, body = c.status, c.body
		_, err := client.Pipes().Update(t.Context(), aPipe)
		require.ErrorIs(t, err, c.kind, c.body)
		var refused *d6tpipe.StatusError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, c.message, refused.Message)
		require.Equal(t, c.status, refused.Status)
		var f *d6tpipe.FieldError
		require.Equal(t, c.name != "", errors.As(err, &f), c.body)
		if c.name != "" {
			require.Equal(t, c.name, f.Field)
		}
		discreet(t, err)
	}
}
