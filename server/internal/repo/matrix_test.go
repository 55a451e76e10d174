package repo_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/wire"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
)

// The ranks of the model, which is written down here a second time and by other
// means than in the server: a table, no query.
const (
	mNothing = iota
	mRead
	mWrite
	mAdmin
	mOwner
)

// actors are all kinds of callers, with what the owner has granted to each on the
// shared records.
var actors = []struct {
	name  string
	grant *d6tpipe.Permission // on the pipe "shared", and the remote "store"
	rank  int                 // what comes of it
	known bool
}{
	{"anybody", nil, mNothing, false},
	{"forger", nil, mNothing, false}, // has a token that nobody has
	{"stranger", nil, mNothing, true},
	{"reader", &d6tpipe.Permission{Username: "reader", Role: d6tpipe.RoleRead}, mRead, true},
	{"writer", &d6tpipe.Permission{Username: "writer", Role: d6tpipe.RoleWrite}, mWrite, true},
	{"admin", &d6tpipe.Permission{Username: "admin", Role: d6tpipe.RoleAdmin}, mAdmin, true},
	{"owner", nil, mOwner, true},
	{"expired", &d6tpipe.Permission{Username: "expired", Role: d6tpipe.RoleAdmin, Expires: d6tpipe.Date{Year: 2026, Month: 11, Day: 22}}, mNothing, true},
	{"trial", &d6tpipe.Permission{Username: "trial", Role: d6tpipe.RoleWrite, Expires: d6tpipe.Date{Year: 2026, Month: 11, Day: 23}}, mWrite, true},
	{"revoked", &d6tpipe.Permission{Username: "revoked", Role: d6tpipe.RoleRevoke}, mNothing, true},
	{"invited", &d6tpipe.Permission{Email: "invited@example.com", Role: d6tpipe.RoleRead}, mRead, true},
	{"member", &d6tpipe.Permission{Group: "acme/data", Role: d6tpipe.RoleWrite}, mWrite, true},
	{"demo", &d6tpipe.Permission{Username: "demo", Role: d6tpipe.RoleAdmin}, mRead, true},
}

// relations are the records, by how an actor comes to them.
var relations = []struct {
	name, kind, record string
	rank               func(a int, known bool, granted int) int
}{
	{"shared", "pipes", "shared", func(_ int, _ bool, g int) int { return g }},
	{"inherited", "pipes", "child", func(_ int, _ bool, g int) int { return g }},
	{"public", "pipes", "open", func(_ int, _ bool, g int) int { return max(mRead, onlyOwner(g)) }},
	{"foreign", "pipes", "foreign", func(_ int, _ bool, g int) int { return onlyOwner(g) }},
	{"remote", "remotes", "store", func(_ int, _ bool, g int) int { return g }},
	{"on a remote", "pipes", "stored", func(_ int, _ bool, g int) int { return g }},
}

func onlyOwner(g int) int {
	if g == mOwner {
		return g
	}
	return mNothing
}

// routes of a record: what each takes, and whether it changes something, which the
// demo account may not. Bodies are such that nothing comes of them.
var recordRoutes = []struct {
	method, path, body string
	need               int
	change             bool
	kinds              string
	ok                 int // the status for those who may
}{
	{"GET", "", "", mRead, false, "pipes remotes", 200},
	{"GET", "", `{"name":"x"}`, mRead, false, "pipes remotes", 200},
	{"HEAD", "", "", mRead, false, "pipes remotes", 200},
	{"PUT", "", `{"bad":"request"}`, mAdmin, true, "pipes remotes", 400},
	{"PATCH", "", "", mAdmin, true, "pipes remotes", 200},
	{"PATCH", "", `{"name":5}`, mAdmin, true, "pipes remotes", 400},
	{"GET", "permissions/", "", mAdmin, false, "pipes remotes", 200},
	{"POST", "permissions/", `{"role":"read"}`, mAdmin, true, "pipes remotes", 400},
	{"GET", "credentials/", "", mRead, false, "pipes", 200},
	{"GET", "credentials/?role=read", "", mRead, false, "pipes", 200},
	{"GET", "credentials/?renew=True&role=read", "", mRead, false, "pipes", 200},
	{"GET", "credentials/?role=write", "", mWrite, false, "pipes", 200},
	{"GET", "files/", "", mRead, false, "pipes", 404},
	{"POST", "files/", "", mWrite, true, "pipes", 404},
	{"GET", "changes/", "", mRead, false, "pipes", 404},
	{"GET", "changes/?cursor=x&wait=1s", "", mRead, false, "pipes", 404},
	{"GET", "analytics/", "", mAdmin, false, "pipes", 200},
	{"PATCH", "owner/", `{"username":""}`, mOwner, true, "pipes remotes", 400},
	{"POST", "urls/", `{"keys":[]}`, mRead, false, "pipes", 400},
	{"GET", "webhooks/", "", mAdmin, false, "pipes", 200},
	{"POST", "webhooks/", `{"url":"ftp://example.com/"}`, mAdmin, true, "pipes", 400},
	{"GET", "webhooks/missing/", "", mAdmin, false, "pipes", 404},
	{"PATCH", "webhooks/missing/", "{}", mAdmin, true, "pipes", 404},
	{"DELETE", "webhooks/missing/", "", mAdmin, true, "pipes", 404},
	{"GET", "webhooks/missing/deliveries/", "", mAdmin, false, "pipes", 404},
	{"POST", "webhooks/missing/test/", "", mAdmin, true, "pipes", 404},
	{"GET", "schedule/", "", mRead, false, "pipes", 404},
	{"PUT", "schedule/", `{"every":"5"}`, mAdmin, true, "pipes", 400},
	{"PATCH", "schedule/", `{"paused":true}`, mAdmin, true, "pipes", 404},
	{"DELETE", "schedule/", "", mAdmin, true, "pipes", 404},
}

// TestAuthorisation asks every route as every actor on every relation.
func TestAuthorisation(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, dbtest.SQLite(t)))
	tokens := populate(t, w)
	handler := wire.New(w.repo, wire.Options{})
	cells, allowed, asked := 0, 0, map[wire.Route]bool{}
	for _, a := range actors {
		for _, rel := range relations {
			has := rel.rank(a.rank, a.known, a.rank)
			for _, r := range recordRoutes {
				if !strings.Contains(r.kinds, rel.kind) {
					continue
				}
				want := r.ok
				switch {
				case a.name == "forger":
					want = 401
				case a.name == "demo" && r.change:
					want = 403
				case has < r.need && !a.known:
					want = 401
				case has < r.need:
					want = 403
				}
				for form, header := range headers(tokens[a.name], a.name) {
					cells++
					asked[routeOf(r.method, rel.kind+"/{name}/"+strings.Replace(r.path, "missing", "{id}", 1))] = true
					if want == r.ok {
						allowed++
					}
					got := ask(handler, r.method, "/v1/api/"+rel.kind+"/"+rel.record+"/"+r.path, r.body, header)
					require.Equal(t, want, got.Code, "%s: %s %s of %s, %s: %s", a.name, r.method, r.path, rel.name, form, got.Body)
				}
			}
		}
	}
	for _, a := range actors {
		for _, r := range []struct {
			method, path, body string
			anybody, known     int
		}{
			{"GET", "", "", 401, 200}, {"GET", "pipes/", "", 200, 200}, {"GET", "remotes/", "", 200, 200},
			{"POST", "pipes/", `{"name":"$"}`, 401, 400}, {"POST", "remotes/", `{"name":"$"}`, 401, 400},
			{"GET", "groups/", "", 401, 200}, {"POST", "groups/", `{"name":"$"}`, 401, 400}, {"GET", "audit/", "", 401, 200},
			{"GET", "schedules/", "", 401, 200}, {"GET", "admin/jobs/", "", 401, 403},
			{"GET", "groups/acme/data/", "", 401, 404}, {"DELETE", "groups/acme/data/", "", 401, 404}, {"GET", "groups/acme/data/members/", "", 401, 404},
			{"POST", "groups/acme/data/members/", `{"username":"stranger"}`, 401, 404},
			{"DELETE", "accounts/nobody/", "", 401, 403}, {"POST", "accounts/nobody/token/", "", 401, 403},
			{"GET", "mirrors/", "", 401, 200}, {"POST", "mirrors/", `{"name":"$"}`, 401, 400}, {"GET", "mirrors/theirs/", "", 401, 404}, {"PUT", "mirrors/theirs/", `{}`, 401, 404},
			{"PATCH", "mirrors/theirs/", `{"paused":true}`, 401, 404}, {"DELETE", "mirrors/theirs/", "", 401, 404}, {"GET", "mirrors/theirs/runs/", "", 401, 404}, {"POST", "mirrors/theirs/runs/", "", 401, 404},
			{"GET", "pipes/missing/", "", 404, 404}, {"PATCH", "pipes/missing/", `{"name":"missing"}`, 404, 404}, {"GET", "remotes/shared/", "", 404, 404},
		} {
			want := r.known
			switch {
			case a.name == "forger" && (r.path != "" || r.method == "GET"):
				want = 401
			case !a.known:
				want = r.anybody
			case a.name == "demo" && r.method != "GET" && !strings.HasPrefix(r.path, "accounts"):
				want = 403
			case strings.HasPrefix(r.path, "mirrors/theirs") && a.name == "owner":
				want = map[string]int{"GET": 200, "PUT": 400, "PATCH": 200, "DELETE": 204, "POST": 202}[r.method]
			case strings.HasPrefix(r.path, "groups/acme") && a.name == "owner":
				want = map[string]int{"GET": 200, "DELETE": 204, "POST": 201}[r.method]
			case strings.HasPrefix(r.path, "groups/acme") && a.name == "member":
				want = map[string]int{"GET": 200, "DELETE": 403, "POST": 403}[r.method]
			}
			if want == 204 {
				continue // TestGroups and TestMirrors do it
			}
			for form, header := range headers(tokens[a.name], a.name) {
				cells++
				asked[routeOf(r.method, strings.NewReplacer("acme/data", "{organisation}/{team}", "accounts/nobody", "accounts/{username}", "mirrors/theirs", "mirrors/{name}").Replace(r.path))] = true
				got := ask(handler, r.method, "/v1/api/"+r.path, r.body, header)
				require.Equal(t, want, got.Code, "%s: %s %s, %s: %s", a.name, r.method, r.path, form, got.Body)
			}
		}
	}
	for _, r := range wire.Routes() {
		switch {
		case r == (wire.Route{Method: "POST", Path: "/v1/api/accounts/"}), r == (wire.Route{Method: "POST", Path: "/v1/api/accounts/token/"}):
			continue // for everybody: TestAccounts, TestThrottle
		case r.Method == "DELETE" && !strings.Contains(r.Path, "accounts") && !strings.Contains(r.Path, "groups") && !strings.Contains(r.Path, "mirrors"):
			continue // TestDeletes
		}
		require.True(t, asked[r], "%s %s has no row: who may do it?", r.Method, r.Path)
	}
	require.Greater(t, cells, 1000)
	require.Greater(t, allowed, 100)
	t.Logf("%d cells, %d of them allowed", cells, allowed)
}

func routeOf(method, path string) wire.Route {
	path, _, _ = strings.Cut(path, "?")
	return wire.Route{Method: method, Path: "/v1/api/" + path}
}

// populate makes the records and grants of the matrix.
func populate(t *testing.T, w *world) map[string]string {
	t.Helper()
	tokens := map[string]string{"anybody": "", "forger": "0123456789012345678901234567890123456789012"}
	owner := w.user(t, "owner")
	for _, p := range []d6tpipe.PipeSettings{{Name: "shared"}, {Name: "child", Parent: "shared"}, {Name: "open"}, {Name: "foreign"}} {
		_, err := owner.Pipes().Create(t.Context(), p)
		require.NoError(t, err)
	}
	_, err := owner.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{Name: "store", Protocol: d6tpipe.ProtocolS3, Location: "b"})
	require.NoError(t, err)
	_, err = owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "stored", Remote: "store"})
	require.NoError(t, err)
	require.NoError(t, owner.Grant(t.Context(), "open", d6tpipe.Permission{Username: "public", Role: d6tpipe.RoleRead}))
	require.NoError(t, owner.CreateGroup(t.Context(), "acme/data"))
	_, err = owner.Mirrors().Create(t.Context(), d6tpipe.MirrorSettings{Name: "theirs", Source: "open", Target: "foreign"})
	require.NoError(t, err)
	for _, a := range actors {
		if a.known && a.name != "owner" && a.name != "invited" {
			w.user(t, a.name)
		}
		if a.grant != nil {
			require.NoError(t, owner.Grant(t.Context(), "shared", *a.grant))
			require.NoError(t, owner.GrantRemote(t.Context(), "store", *a.grant))
		}
	}
	w.user(t, "invited")
	require.NoError(t, owner.SetMember(t.Context(), "acme/data", d6tpipe.Member{Username: "member"}))
	for _, a := range actors {
		if a.known {
			token, err := w.anybody(t).Login(t.Context(), a.name, d6tpipe.Secret("secret-of-"+a.name))
			require.NoError(t, err)
			tokens[a.name] = string(token)
		}
	}
	return tokens
}

// headers are the forms in which a token can be sent: a form that is not the
// contract's is no way around it.
func headers(token, actor string) map[string][]string {
	if token == "" {
		return map[string][]string{"none": nil}
	}
	all := map[string][]string{"token": {"Token " + token}, "lower case": {"token " + token}}
	if actor == "forger" {
		all["bearer"] = []string{"Bearer " + token}
		all["basic"] = []string{"Basic b3duZXI6eA=="}
		all["empty"] = []string{"Token "}
		all["twice"] = []string{"Token " + token, "Token " + token}
		all["bare"] = []string{token}
	}
	return all
}

func ask(h http.Handler, method, path, body string, authorization []string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://api.example.com"+path, bytes.NewReader([]byte(body)))
	for _, a := range authorization {
		r.Header.Add("Authorization", a)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestDeletes: who may delete a record deletes it, and nobody else.
func TestDeletes(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, dbtest.SQLite(t)))
	tokens := populate(t, w)
	handler := wire.New(w.repo, wire.Options{})
	for _, rel := range relations {
		for _, a := range actors {
			has := rel.rank(a.rank, a.known, a.rank)
			path := fmt.Sprintf("/v1/api/%s/%s/", rel.kind, rel.record)
			if has >= mAdmin && a.name != "demo" {
				continue // below
			}
			want := 403
			if !a.known {
				want = 401
			}
			for _, header := range headers(tokens[a.name], a.name) {
				require.Equal(t, want, ask(handler, "DELETE", path, "", header).Code, "%s: %s", a.name, rel.name)
			}
			require.Equal(t, 200, ask(handler, "GET", path, "", []string{"Token " + tokens["owner"]}).Code)
		}
	}
	for _, who := range []string{"admin", "owner"} {
		w := newWorld(t, dbtest.Open(t, dbtest.SQLite(t)))
		tokens := populate(t, w)
		handler := wire.New(w.repo, wire.Options{})
		for i := len(relations) - 1; i >= 0; i-- {
			rel := relations[i]
			path := fmt.Sprintf("/v1/api/%s/%s/", rel.kind, rel.record)
			want := 204
			if who == "admin" && (rel.name == "public" || rel.name == "foreign") {
				want = 403
			}
			require.Equal(t, want, ask(handler, "DELETE", path, "", []string{"Token " + tokens[who]}).Code, "%s: %s", who, rel.name)
			if want == 204 {
				require.Equal(t, 404, ask(handler, "GET", path, "", []string{"Token " + tokens[who]}).Code)
			}
		}
	}
}
