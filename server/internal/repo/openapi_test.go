package repo_test

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage/mem"
	"github.com/d6t/d6tpipe-go/internal/wire"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
	"github.com/d6t/d6tpipe-go/server/internal/httpd"
	"github.com/d6t/d6tpipe-go/server/internal/listing"
	"github.com/d6t/d6tpipe-go/server/internal/repo"
	"github.com/d6t/d6tpipe-go/server/internal/vault"
)

// TestOpenAPIAnswers: what the server really answers, good and bad, is as described.
// Each route succeeds at least once.
func TestOpenAPIAnswers(t *testing.T) {
	backend := service(t)
	s, err := httpd.New(httpd.Config{API: wire.New(backend, wire.Options{})})
	require.NoError(t, err)
	root, err := backend.AddAccount(t.Context(), wire.Registration{Username: "root", Email: "root@example.com", Password: "p"}, true)
	require.NoError(t, err)
	tokens := map[string]string{"nobody": "of-nobody", "root": root}
	doc, done, hook := document(t), map[wire.Route]bool{}, ""
	for _, line := range strings.Split(strings.TrimSpace(answersStory), "\n") {
		who, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		method, rest, _ := strings.Cut(rest, " ")
		path, body, _ := strings.Cut(strings.ReplaceAll(rest, "$HOOK", hook), " ")
		r := httptest.NewRequest(method, "/v1/api/"+path, strings.NewReader(body))
		if who != "-" {
			r.Header.Set("Authorization", "Token "+tokens[who])
		}
		w := get(s, r)
		var said struct{ Username, Token string }
		if json.Unmarshal([]byte(body), &said) == nil && json.Unmarshal(w.Body.Bytes(), &said) == nil && said.Token != "" {
			tokens[cmp.Or(said.Username, who)] = said.Token
		}
		var made struct{ ID, Secret string }
		if json.Unmarshal(w.Body.Bytes(), &made) == nil && made.Secret != "" {
			hook = made.ID
		}
		route := templateOf(t, method, r.URL.Path)
		checkAnswer(t, doc, route, w, line)
		done[route] = done[route] || w.Code < 300
	}
	for _, route := range wire.Routes() {
		require.True(t, done[route], "%v never succeeded", route)
	}
}

// service is the real one, on a catalogue of files in memory.
func service(t *testing.T) *repo.Repo {
	t.Helper()
	d := dbtest.Open(t, dbtest.SQLite(t))
	hasher, err := vault.NewHasher(vault.HasherOptions{Cost: vault.Cost{Memory: 8, Passes: 1, Lanes: 1}})
	require.NoError(t, err)
	var r *repo.Repo
	waiters := repo.NewWaiters(d, nil)
	t.Cleanup(waiters.Close)
	scanner, err := listing.New(listing.Config{Cache: repo.Listings{DB: d, Waiters: waiters}, Open: func(ctx context.Context, id string) (listing.Source, error) {
		store := mem.New()
		store.Plant("a.csv", []byte("a"))
		where, err := r.Where(ctx, id)
		return listing.Source{Store: store, Where: where.Storage}, err
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, scanner.Close()) })
	r = repo.New(repo.Options{
		DB: d, Keys: newKeys(t, d), Hasher: hasher, Throttle: vault.NewThrottle(vault.ThrottleOptions{Registrations: -1}),
		Lister: scanner, Waiters: waiters, ListingAge: time.Minute, Storage: noBucket{}, Hooks: localHooks(t),
	})
	return r
}

// noBucket is managed storage without any files.
type noBucket struct{}

func (noBucket) Bucket() string { return "managed" }

func (noBucket) Credentials(_ context.Context, g repo.Grant) (map[string]any, time.Time, error) {
	return map[string]any{"aws_access_key_id": string(g.Role), "aws_secret_access_key": "s", "aws_session_token": "t"}, time.Now().Add(time.Hour), nil
}

func (noBucket) URLsOnly() (map[string]any, bool) { return nil, false }

func (noBucket) Sign(_ context.Context, g repo.Grant, r repo.Signing) (string, error) {
	if r.Key == "refused" {
		return "", repo.ErrGrant
	}
	return "https://files.example.com/" + g.Prefix + r.Key + "?" + r.Method, nil
}

// answersStory is who asks for what: user, method, path, body.
const answersStory = `
- POST accounts/ {"username":"alice","email":"a@example.com","password":"p"}
- POST accounts/ {"username":"alice","email":"x@example.com","password":"p"}
- POST accounts/ {"username":"public","email":"x@example.com","password":"p"}
- POST accounts/ {"username":"bob","email":"b@example.com","password":"p"}
- POST accounts/ nonsense
- POST accounts/token/ {"username":"alice","password":"p"}
- POST accounts/token/ {"username":"alice","password":"wrong"}
alice GET
- GET
nobody GET
- GET pipes/
alice GET pipes/
alice POST pipes/ {"name":"free"}
alice POST pipes/ {"name":"own","protocol":"s3","location":"bucket","options":{"dir":"d","include":"*.csv"},"schema":{"x":[1,2]},"credentials":{"read":{"aws_access_key_id":"r"},"write":{"aws_access_key_id":"w"}}}
alice POST pipes/ {"name":"child","parent":"own","options":{"dir":"sub"}}
alice POST pipes/ {"name":"own","protocol":"s3","location":"b"}
alice POST pipes/ {"name":"$x"}
alice POST pipes/ []
- POST pipes/ {"name":"x"}
alice GET pipes/
alice GET pipes/own/
alice GET pipes/child/
alice GET pipes/free/
bob GET pipes/own/
- GET pipes/own/
alice GET pipes/missing/
alice PATCH pipes/own/
alice PATCH pipes/own/ {"options":{"dir":"e"}}
alice PUT pipes/own/ {"name":"own","protocol":"s3","location":"bucket2"}
bob PUT pipes/own/ {"bad":"request"}
alice GET pipes/own/credentials/?role=read
alice GET pipes/child/credentials/?role=write
alice GET pipes/free/credentials/?renew=True&role=read
alice GET pipes/free/credentials/?role=admin
bob GET pipes/own/credentials/
alice POST pipes/own/permissions/ {"username":"bob","role":"read","expiration_date":"2999-12-31"}
alice POST pipes/own/permissions/ {"email":"c@example.com","role":"write"}
alice POST pipes/own/permissions/ {"username":"public","role":"read"}
alice POST pipes/own/permissions/ {"username":"nobody","role":"read"}
alice POST pipes/own/permissions/ {"role":"read"}
bob POST pipes/own/permissions/ {"username":"bob","role":"admin"}
alice GET pipes/own/permissions/
bob GET pipes/own/permissions/
bob GET pipes/own/
- GET pipes/own/
- GET pipes/
alice POST remotes/ {"name":"store","protocol":"s3","location":"depot","settings":{"dir":"x"},"readParams":{"sep":";"},"readCredentials":{"aws_access_key_id":"r"},"writeCredentials":{"aws_access_key_id":"w"}}
alice POST remotes/ {"name":"managed","protocol":"d6tfree"}
alice POST remotes/ {"name":"bad"}
alice POST pipes/ {"name":"first","remote":"store","settings":{"remotedir":"d"},"readParams":{"a":1}}
alice GET pipes/first/
alice GET remotes/
alice GET remotes/store/
alice GET remotes/managed/
bob GET remotes/store/
alice POST remotes/store/permissions/ {"user":"bob","role":"read"}
alice GET remotes/store/permissions/
bob GET remotes/store/
alice PUT remotes/store/ {"name":"store","protocol":"s3","location":"depot2"}
alice PATCH remotes/store/ {"location":"depot3"}
alice GET pipes/own/analytics/
bob GET pipes/own/analytics/
alice GET pipes/own/analytics/?limit=1
alice GET pipes/own/analytics/?limit=x
alice GET pipes/own/files/
alice GET pipes/free/files/
alice POST pipes/free/files/
bob POST pipes/own/files/
alice GET pipes/own/changes/
alice GET pipes/free/changes/?limit=1000
alice GET pipes/free/changes/?cursor=x
alice GET pipes/free/changes/?cursor=1-abc-0-0-0
alice GET pipes/free/changes/?wait=x
- GET pipes/free/changes/
alice POST pipes/free/urls/ {"method":"PUT","keys":["a.csv","b/c.csv"]}
alice POST pipes/free/urls/ {"keys":[]}
alice POST pipes/free/urls/ {"requests":[{"method":"PUT","key":"a.csv","query":{"uploadId":"x","partNumber":"1"},"headers":{"x-amz-checksum-crc64nvme":"x"}},{"method":"GET","key":"refused"}]}
alice POST pipes/free/urls/ {"requests":[]}
alice POST pipes/free/urls/ {"requests":[{"method":"GET","key":"a"}],"keys":["a"]}
alice POST pipes/own/urls/ {"keys":["a.csv"]}
alice GET pipes/own/webhooks/
alice POST pipes/own/webhooks/ {"url":"http://127.0.0.1:1/hook","kinds":["new"],"include":"*.csv","description":"the loader"}
alice POST pipes/own/webhooks/ {"url":"https://user:secret@example.com/"}
alice POST pipes/own/webhooks/ {"url":"http://10.0.0.1/"}
alice POST pipes/own/webhooks/ {"url":1}
bob POST pipes/own/webhooks/ {"url":"https://example.com/"}
- GET pipes/own/webhooks/
alice GET pipes/own/webhooks/
alice GET pipes/own/webhooks/$HOOK/
alice GET pipes/own/webhooks/missing/
alice PATCH pipes/own/webhooks/$HOOK/ {"rotate":true,"paused":true}
alice PATCH pipes/own/webhooks/$HOOK/ {"kinds":["old"]}
alice PATCH pipes/own/webhooks/$HOOK/ {"enable":true,"paused":false}
alice POST pipes/own/webhooks/$HOOK/test/
bob POST pipes/own/webhooks/$HOOK/test/
alice GET pipes/own/webhooks/$HOOK/deliveries/
alice GET pipes/own/webhooks/$HOOK/deliveries/?limit=0
alice DELETE pipes/own/webhooks/$HOOK/
alice DELETE pipes/own/webhooks/$HOOK/
alice GET pipes/free/schedule/
alice PUT pipes/free/schedule/ {"every":"15m","jitter":"1m"}
alice PUT pipes/free/schedule/ {"cron":"0 6 * * 1-5","time_zone":"Europe/Berlin","paused":true}
alice PATCH pipes/free/schedule/ {"paused":false}
alice PATCH pipes/free/schedule/ {"every":"5m"}
bob PATCH pipes/own/schedule/ {"paused":true}
- PATCH pipes/own/schedule/ {"paused":true}
alice PUT pipes/free/schedule/ {"every":15}
alice PUT pipes/free/schedule/ {}
bob PUT pipes/own/schedule/ {"every":"15m"}
- PUT pipes/own/schedule/ {"every":"15m"}
alice GET pipes/free/schedule/
bob GET pipes/free/schedule/
alice GET schedules/
- GET schedules/
bob GET admin/jobs/
- GET admin/jobs/
root GET admin/jobs/
root GET admin/jobs/?kind=scan&state=failed&limit=10
root GET admin/jobs/?kind=cleaning
alice DELETE pipes/free/schedule/
alice PATCH pipes/free/schedule/ {"paused":true}
alice DELETE pipes/free/schedule/
alice POST groups/ {"name":"acme/data"}
alice POST groups/ {"name":"acme/data"}
alice POST groups/ {"name":"acme"}
- GET groups/
alice GET groups/
alice GET groups/acme/data/
bob GET groups/acme/data/
alice POST groups/acme/data/members/ {"username":"bob","role":"admin"}
alice POST groups/acme/data/members/ {"email":"d@example.com"}
alice POST groups/acme/data/members/ {"username":"bob","role":"king"}
alice GET groups/acme/data/members/
alice POST pipes/own/permissions/ {"group":"acme/data","role":"write"}
alice GET pipes/own/permissions/
bob DELETE groups/acme/data/
alice DELETE groups/acme/data/
alice POST pipes/ {"name":"copies"}
alice POST pipes/ {"name":"origin","protocol":"ftp","location":"ftp.example.com","credentials":{"username":"u","password":"p"}}
alice POST mirrors/ {"name":"nightly","source":"origin","target":"copies","schedule":{"cron":"0 3 * * *","time_zone":"Europe/Berlin"},"include":"*.csv","delete":true,"merge":"keep","rate":1000000}
alice POST mirrors/ {"name":"nightly","source":"origin","target":"copies"}
alice POST mirrors/ {"name":"bad","source":"copies","target":"copies"}
alice POST mirrors/ {"name":"bad","source":"own","target":"copies"}
alice POST mirrors/ {"name":"bad","source":"missing","target":"copies"}
alice POST mirrors/ {"name":"bad","source":"origin","target":"copies","schedule":{"every":"1s"}}
bob POST mirrors/ {"name":"theft","source":"origin","target":"copies"}
- POST mirrors/ {}
alice GET mirrors/
- GET mirrors/
alice GET mirrors/nightly/
bob GET mirrors/nightly/
alice PATCH mirrors/nightly/ {"paused":true}
alice PATCH mirrors/nightly/ {"rate":1}
alice PUT mirrors/nightly/ {"name":"nightly","source":"origin","target":"copies","schedule":{"every":"6h"}}
bob PUT mirrors/nightly/ {"name":"nightly","source":"origin","target":"copies"}
alice POST mirrors/nightly/runs/
alice POST mirrors/nightly/runs/ {"force":false}
alice POST mirrors/nightly/runs/ {"force":true}
bob POST mirrors/nightly/runs/
alice GET mirrors/nightly/runs/
alice GET mirrors/nightly/runs/?limit=0
bob GET mirrors/nightly/runs/
bob DELETE mirrors/nightly/
alice DELETE mirrors/nightly/
alice GET audit/
alice GET audit/?limit=2&pipe=own
alice GET audit/?limit=0
alice GET audit/?before=x
alice GET audit/?pipe=a&remote=b
- GET audit/
bob POST accounts/bob/token/
alice POST accounts/bob/token/
alice PATCH remotes/managed/owner/ {"username":"bob"}
bob PATCH pipes/free/owner/ {"username":"bob"}
alice PATCH pipes/free/owner/ {"username":"bob"}
alice PATCH pipes/own/owner/ {"username":"nobody"}
alice DELETE remotes/store/
alice DELETE remotes/store/
bob DELETE pipes/own/
alice DELETE pipes/own/
bob DELETE accounts/alice/
- DELETE accounts/alice/
alice DELETE accounts/alice/
`

// templateOf finds the route that a request was for.
func templateOf(t *testing.T, method, path string) wire.Route {
	t.Helper()
	for _, r := range wire.Routes() {
		form := regexp.MustCompile(`\\{\w+\\}`).ReplaceAllString(regexp.QuoteMeta(r.Path), "[^/]+")
		if r.Method == method && regexp.MustCompile("^"+form+"$").MatchString(path) {
			return r
		}
	}
	t.Fatalf("%s %s is no route", method, path)
	return wire.Route{}
}

// checkAnswer wants the status to be named and the body to be of its schema.
func checkAnswer(t *testing.T, doc *openapi3.T, route wire.Route, w *httptest.ResponseRecorder, line string) {
	t.Helper()
	op := doc.Paths.Value(route.Path).GetOperation(route.Method)
	described := op.Responses.Status(w.Code)
	require.NotNil(t, described, "%s: %d is not described; %s", line, w.Code, w.Body)
	media := described.Value.Content.Get("application/json")
	if w.Code == http.StatusNoContent {
		require.Nil(t, media)
		require.Zero(t, w.Body.Len())
		return
	}
	require.NotNil(t, media, "%s: %s", line, w.Body)
	var body any
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body), line)
	require.NoError(t, media.Schema.Value.VisitJSON(body, openapi3.EnableJSONSchema2020(), openapi3.MultiErrors()), "%s: %d %s", line, w.Code, w.Body)
}

// document is the description as the server shows it.
func document(t *testing.T) *openapi3.T {
	t.Helper()
	s, err := httpd.New(httpd.Config{API: http.NotFoundHandler(), Version: "v1.2.3"})
	require.NoError(t, err)
	w := get(s, httptest.NewRequest("GET", "/v1/openapi.json", nil))
	require.Equal(t, 200, w.Code)
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	doc, err := openapi3.NewLoader().LoadFromData(w.Body.Bytes())
	require.NoError(t, err)
	return doc
}

func get(s *httpd.Server, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}
