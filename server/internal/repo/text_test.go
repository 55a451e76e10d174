package repo_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/wire"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
)

// TestTexts: a text that no database stores, anywhere in any request, is the sender's
// fault, and no line in the log of the server's.
func TestTexts(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, dbtest.SQLite(t)))
	owner := w.user(t, "owner")
	_, err := owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
	require.NoError(t, err)
	token, err := owner.Login(t.Context(), "owner", "secret-of-owner")
	require.NoError(t, err)
	var log bytes.Buffer
	server := httptest.NewServer(wire.New(w.repo, wire.Options{Log: slog.New(slog.NewTextHandler(&log, nil))}))
	defer server.Close()
	asked, refused := 0, 0
	ask := func(method, path, body string) {
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Token "+string(token))
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		text, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Less(t, res.StatusCode, 500, "%s %s %q: %s", method, path, body, text)
		asked++
		if res.StatusCode == http.StatusBadRequest {
			refused++
		}
	}
	for n, bad := range []string{"%00", "x%ff", "1-%00", "2026-01-01 %00"} {
		for _, route := range wire.Routes() {
			escaped := strings.ReplaceAll(bad, " ", "%20")
			fill := func(name, other string) string {
				return strings.NewReplacer("{name}", name, "{username}", other, "{organisation}", other, "{team}", other).Replace(route.Path)
			}
			for _, path := range []string{fill(escaped, escaped), fill("p", "nobody")} {
				if route.Method == http.MethodGet {
					for _, query := range []string{"pipe", "remote", "before", "limit", "role", "refresh", "renew", "x"} {
						ask(route.Method, path+"?"+query+"="+escaped, "")
					}
					continue
				}
				if route.Method == http.MethodDelete {
					ask(route.Method, fill(escaped, escaped), "")
					continue
				}
				if n > 0 { // the fields are another matter than the path
					ask(route.Method, path, `{"name":"n"}`)
					continue
				}
				for _, field := range []string{"name", "parent", "remote", "location", "protocol", "username", "user", "email", "password", "group", "role", "expires", "organisation", "team", "owner", "method", "key"} {
					for _, value := range []string{`x\u0000`, "\xff"} {
						ask(route.Method, path, `{"name":"n","username":"u","email":"e@example.com","password":"p","role":"read","`+field+`":"`+value+`"}`)
						ask(route.Method, path, `{"name":"n","`+field+`":"`+value+`"}`)
					}
				}
			}
		}
	}
	require.Empty(t, log.String())
	require.Greater(t, refused, 300, "of %d", asked)
	_, err = owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "mine"}) // the other one was given away
	require.NoError(t, err)
	for _, c := range [][3]string{
		{"GET", "audit/?pipe=%00"}, {"GET", "audit/?pipe=%ff"}, {"GET", "audit/?before=1-%00"}, {"GET", "pipes/mine/analytics/?before=%00"},
		{"POST", "pipes/", `{"name":"q","parent":"x\u0000"}`}, {"POST", "pipes/", `{"name":"q","remote":"x\u0000"}`},
	} {
		before := refused
		ask(c[0], "/v1/api/"+c[1], c[2])
		require.Equal(t, before+1, refused, c)
	}
}
