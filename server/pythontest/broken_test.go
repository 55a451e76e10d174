package pythontest

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/wire"
	"github.com/d6t/d6tpipe-go/internal/wire/wiretest"
)

// An exchange is a request and its answer, to be spoiled.
type exchange struct {
	r      *http.Request
	sent   []byte
	status int
	body   []byte
	header http.Header
}

// A flaw is what a server does wrong, and checks that must notice.
type flaw struct {
	name   string
	before func(w http.ResponseWriter, e *exchange) (answered bool)
	after  func(e *exchange)
	fails  []string
	also   []string // checks to run besides, for those that look at all that was said
	says   string   // what the failing checks must say
}

// refusals are checks that are refused often.
func refusals() (ids []string) {
	for _, method := range []string{"get", "post", "patch", "put", "delete"} {
		for _, path := range []string{"nothing", "pipes-a-b-c", "remotes-a-credentials", "accounts-a-b"} {
			ids = append(ids, "unknown-"+method+"-"+path)
		}
	}
	return append(ids, "bad-token")
}

// refuse answers in place of the server.
func refuse(w http.ResponseWriter, status int, body string) bool {
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
	return true
}

// each changes the objects of an answer, be it one or a list.
func each(part string, change func(row map[string]any)) func(e *exchange) {
	return func(e *exchange) {
		if e.status/100 != 2 || !strings.Contains(e.r.URL.Path, part) {
			return
		}
		var rows []map[string]any
		if json.Unmarshal(e.body, &rows) == nil {
			for _, row := range rows {
				change(row)
			}
			e.body, _ = json.Marshal(rows)
			return
		}
		var row map[string]any
		if json.Unmarshal(e.body, &row) == nil && row != nil {
			change(row)
			e.body, _ = json.Marshal(row)
		}
	}
}

// options changes the options of pipes.
func options(change func(options map[string]any)) func(e *exchange) {
	return each("/pipes/", func(row map[string]any) {
		if o, ok := row["options"].(map[string]any); ok {
			change(o)
		}
	})
}

// grant changes what is sent to permissions.
func grant(change func(grant map[string]any)) func(w http.ResponseWriter, e *exchange) bool {
	return func(_ http.ResponseWriter, e *exchange) bool {
		var body map[string]any
		if strings.HasSuffix(e.r.URL.Path, "/permissions/") && json.Unmarshal(e.sent, &body) == nil {
			change(body)
			e.sent, _ = json.Marshal(body)
		}
		return false
	}
}

func status(from, to int, method string) func(e *exchange) {
	return func(e *exchange) {
		if e.status == from && (method == "" || e.r.Method == method) {
			e.status = to
		}
	}
}

func text(from, to string) func(e *exchange) {
	return func(e *exchange) { e.body = bytes.ReplaceAll(e.body, []byte(from), []byte(to)) }
}

var flaws = []flaw{
	{name: "slashes are redirected", before: func(w http.ResponseWriter, e *exchange) bool {
		if path := e.r.URL.Path; strings.Contains(path, "//") || !strings.HasSuffix(path, "/") {
			w.Header().Set("Location", strings.TrimSuffix(strings.ReplaceAll(path, "//", "/"), "/")+"/")
			return refuse(w, http.StatusTemporaryRedirect, "")
		}
		return false
	}, fails: []string{
		"slashes-double-get", "slashes-bare-patch", "slashes-both-put", "slashes-inner-delete", "slashes-config",
		"slashes-double-post", "slashes-bare-post", "slashes-both-post",
	}},
	{name: "unknown paths in net/http's words", after: func(e *exchange) {
		if e.status == http.StatusNotFound {
			e.body = []byte("404 page not found\n")
		}
	}, fails: []string{"raw-dollar", "two-segments", "unknown-get-nothing", "patch-unknown", "get-unknown", "upsert-new", "remote-unknown", "all-json"}},
	{name: "what is foreign is hidden", after: func(e *exchange) {
		if e.status == http.StatusForbidden {
			e.status, e.body = http.StatusNotFound, []byte(`{"detail":"Not found."}`)
		}
	}, fails: []string{"get-foreign", "patch-foreign", "upsert-foreign", "put-bad-request", "remote-foreign", "grant-none-get-P", "grant-K-read-credentials-P", "share-none-remote", "delete-foreign", "credentials-foreign"}},
	{name: "numbers are floats", after: each("", func(map[string]any) {}), fails: []string{"large-integers"}},
	{name: "lists are paged", after: func(e *exchange) {
		if bytes.HasPrefix(e.body, []byte("[")) {
			e.body = slices.Concat([]byte(`{"results":`), e.body, []byte("}"))
		}
	}, fails: []string{"list", "list-empty", "remote-list-empty", "get-body-list"}},
	{name: "empty lists are null", after: func(e *exchange) {
		if string(e.body) == "[]" {
			e.body = []byte("null")
		}
	}, fails: []string{"list-empty", "remote-list-empty"}},
	{name: "creation is a 200", after: status(201, 200, ""), fails: []string{"create", "upsert-new", "remote-create", "register", "slashes-bare-post"}},
	{name: "deletion says something", after: func(e *exchange) {
		if e.status == http.StatusNoContent {
			e.status, e.body = http.StatusOK, []byte(`{}`)
		}
	}, fails: []string{"delete", "remote-delete", "empty-success", "unregister"}},
	{name: "the owner is an admin", after: each("/pipes/", func(row map[string]any) {
		if row["role"] == "write" {
			row["role"] = "read"
		}
	}), fails: []string{"object-role", "grant-P-write-role", "grant-none-owner", "credentials-flat"}},
	{name: "keys say when they end", after: each("/credentials/", func(row map[string]any) { row["expiration"] = "2026-11-26" }), fails: []string{"credentials-keywords", "credentials-none", "credentials-flat"}},
	{name: "the root is nobody", after: func(e *exchange) {
		if e.r.URL.Path == "/v1/api/" {
			e.body = []byte("{}")
		}
	}, fails: []string{"root", "register", "login"}},
	{name: "a token for each login", after: each("/accounts/token/", func(row map[string]any) { row["token"] = "another" }), fails: []string{"login", "stale-login", "other-login"}},
	{name: "an empty PATCH is an error", before: func(w http.ResponseWriter, e *exchange) bool {
		return e.r.Method == http.MethodPatch && len(e.sent) == 0 && refuse(w, 400, `{"detail":"empty"}`)
	}, fails: []string{"empty-patch-pipe", "empty-patch-first"}},
	{name: "an empty PATCH empties", before: func(_ http.ResponseWriter, e *exchange) bool {
		if e.r.Method == http.MethodPatch && len(e.sent) == 0 {
			e.sent = []byte(`{"schema":{},"settings":{},"options":{}}`)
		}
		return false
	}, fails: []string{"empty-patch-pipe", "empty-patch-first"}},
	{name: "a GET has no body", before: func(w http.ResponseWriter, e *exchange) bool {
		return e.r.Method == http.MethodGet && len(e.sent) > 0 && refuse(w, 400, `{"detail":"a body"}`)
	}, fails: []string{"get-body", "get-body-list", "remote-update"}},
	{name: "the body comes before access", before: func(w http.ResponseWriter, e *exchange) bool {
		return e.r.Method == http.MethodPut && !bytes.Contains(e.sent, []byte(`"name"`)) && refuse(w, 400, `{"name":["This field is required."]}`)
	}, fails: []string{"put-bad-request", "grant-none-put", "grant-P-write-put", "share-none-put", "share-write-put"}},
	{name: "other words", after: func(e *exchange) {
		for _, word := range []string{"unique", "alphanumeric", "Paths", "does not exist", "can only unregister yourself", "cannot register pipes", "Username"} {
			if e.status/100 == 4 {
				text(word, "wrong")(e)
			}
		}
	}, fails: []string{
		"create-taken", "register-name-taken", "register-email-taken", "register-public", "create-bad-name-0", "create-bad-dir-0",
		"create-no-parent", "unregister-other", "demo", "remote-taken", "remote-bad-name", "pipe-no-remote", "permissions-unknown", "create-taken-by-other",
	}},
	{name: "an apostrophe", after: text("Not found", "Can't be found: Not found"), fails: []string{"texts"}, also: refusals(), says: "the repr escapes"},
	{name: "letters beyond ASCII", after: text("Not found", "Not found \u2014"), fails: []string{"texts"}, also: refusals(), says: "not plain ASCII"},
	{name: "a panic's status", after: status(404, 500, "PATCH"), fails: []string{"texts"}, also: refusals(), says: "500"},
	{name: "a byte order mark", after: func(e *exchange) {
		if e.r.URL.Path == "/v1/api/remotes/" {
			e.body = slices.Concat([]byte("\xef\xbb\xbf"), e.body)
		}
	}, fails: []string{"bom", "all-json"}},
	{name: "compressed", after: func(e *exchange) { e.header.Set("Content-Encoding", "gzip") }, fails: []string{"identity"}},
	{name: "credentials are shown", after: each("/pipes/", func(row map[string]any) { row["credentials"] = map[string]any{} }), fails: []string{"object-absent"}},
	{name: "no remotepath", after: options(func(o map[string]any) { delete(o, "remotepath") }), fails: []string{"object-options", "path-s3"}},
	{name: "a remotepath without its slash", after: options(func(o map[string]any) {
		if s, ok := o["remotepath"].(string); ok {
			o["remotepath"] = strings.TrimSuffix(s, "/")
		}
	}), fails: []string{
		"path-s3", "path-s3-dir", "path-s3-dir-bare", "path-s3-dir-slashes", "path-s3-location-deep", "path-s3-child", "path-child-filter", "path-grandchild",
		"path-sftp", "path-ftp", "path-sftp-child", "path-ftp-dir", "path-d6tfree", "object-dir-patched",
	}},
	{name: "options are null", after: each("/pipes/", func(row map[string]any) { row["options"] = nil }), fails: []string{"object-options", "object-options-null"}},
	{name: "a schema is null", after: each("/pipes/", func(row map[string]any) {
		if s, ok := row["schema"].(map[string]any); ok && len(s) == 0 {
			row["schema"] = nil
		}
	}), fails: []string{"object-schema-none"}},
	{name: "d6tfree is shown", after: each("/pipes/", func(row map[string]any) {
		if l, ok := row["location"].(string); ok && strings.HasPrefix(l, "managed/") {
			row["protocol"] = "d6tfree"
		}
	}), fails: []string{"object-d6tfree", "path-d6tfree", "both-name-alone"}},
	{name: "no parents", after: each("/pipes/", func(row map[string]any) { delete(row, "parent"); delete(row, "parent-ultimate") }), fails: []string{"object-parent", "object-ultimate"}},
	{name: "a location is not inherited", after: each("/pipes/", func(row map[string]any) {
		if row["parent"] != nil {
			delete(row, "location")
		}
	}), fails: []string{"object-protocol-s3", "object-protocol-ftp", "object-protocol-sftp"}},
	{name: "options are merged", before: func(_ http.ResponseWriter, e *exchange) bool {
		if e.r.Method == http.MethodPatch {
			e.sent = bytes.Replace(e.sent, []byte(`"include": "root*.csv"`), []byte(`"include": "root*.csv", "dir": "utest"`), 1)
		}
		return false
	}, fails: []string{"object-options-replaced"}},
	{name: "PATCH replaces", before: func(_ http.ResponseWriter, e *exchange) bool {
		if e.r.Method == http.MethodPatch && len(e.sent) > 0 && !bytes.Contains(e.sent, []byte(`"location"`)) {
			e.sent = slices.Concat([]byte(`{"location":"gone",`), e.sent[1:])
		}
		return false
	}, fails: []string{"object-patch-partial"}},
	{name: "public write grants", before: grant(func(g map[string]any) {
		if (g["username"] == "public" || g["user"] == "public") && g["role"] == "write" {
			g["role"] = "read"
		}
	}), fails: []string{
		"grant-public-write-get-P", "grant-public-write-get-K", "grant-public-write-list", "grant-public-write-role", "grant-public-write-credentials-P",
		"grant-public-write-credentials-K", "share-public-write-remote", "share-public-write-pipe", "share-public-write-lists", "grant-sequence",
	}},
	{name: "nothing is revoked", before: grant(func(g map[string]any) {
		if g["role"] == "revoke" {
			g["role"] = "read"
		}
	}), fails: []string{
		"grant-revoked-get-P", "grant-K-read-revoked-get-K", "grant-K-write-revoked-list", "grant-public-revoked-list", "grant-managed", "permissions-email-revoke",
		"share-revoke-remote", "share-email-revoke-pipe", "share-public-revoke-lists", "permissions-public-anybody", "permissions-user-key",
	}},
	{name: "nothing expires", before: grant(func(g map[string]any) { delete(g, "expiration_date") }), fails: []string{
		"grant-P-write-expired-get-P", "grant-P-write-expired-list", "grant-P-write-expired-credentials-K", "share-email-expired-remote", "permissions-replace",
	}},
	{name: "everything has expired", before: grant(func(g map[string]any) { g["expiration_date"] = "2020-01-01" }), fails: []string{
		"permissions-future", "permissions-today", "grant-P-read-get-P", "grant-K-read-list", "grant-P-write-credentials-K", "grant-K-write-get-K", "grant-public-read-list", "grant-P-read-keys",
		"permissions-admin", "permissions-invitation", "share-read-remote", "share-write-credentials", "share-public-read-pipe", "share-username-read-lists", "share-client", "both-grants",
	}},
	{name: "writers read", before: grant(func(g map[string]any) {
		if g["role"] == "write" || g["role"] == "admin" {
			g["role"] = "read"
		}
	}), fails: []string{"grant-P-write-role", "grant-P-write-credentials-P", "grant-K-write-credentials-K", "share-write-credentials", "permissions-admin", "object-role", "managed-remote-reader"}},
	{name: "readers write", before: grant(func(g map[string]any) {
		if g["role"] == "read" {
			g["role"] = "write"
		}
	}), fails: []string{"grant-P-read-role", "grant-K-read-credentials-K", "credentials-reader", "credentials-reader-client", "share-read-credentials"}},
	{name: "readers' writeCredentials are null", after: each("/remotes/", func(row map[string]any) {
		if _, ok := row["writeCredentials"]; !ok {
			row["writeCredentials"] = nil
		}
	}), fails: []string{"share-read-credentials", "share-public-read-credentials", "null-writeCredentials"}},
	{name: "what was not given is null", after: each("", func(row map[string]any) {
		for _, key := range []string{"settings", "readParams", "readCredentials"} {
			if _, ok := row[key]; !ok {
				row[key] = nil
			}
		}
	}), fails: []string{"null-settings", "null-readParams", "null-readCredentials", "null-given-settings", "open", "no-nulls"}},
	{name: "settings get a key", after: each("/pipes/", func(row map[string]any) {
		if s, ok := row["settings"].(map[string]any); ok {
			s["remotepath"] = "s3://x/"
		}
	}), fails: []string{"pipe-settings"}},
	{name: "remotes hide their keys", after: each("/remotes/", func(row map[string]any) { delete(row, "readCredentials"); delete(row, "writeCredentials") }), fails: []string{
		"remote-credentials", "remote-null-credentials", "share-owner", "managed-remote", "open", "open-ftp", "open-sftp",
	}},
	{name: "stale tokens count", before: func(w http.ResponseWriter, e *exchange) bool {
		return e.r.Method == http.MethodPost && strings.Contains(e.r.URL.Path, "/accounts/") && e.r.Header.Get("Authorization") != "" && refuse(w, 401, `{"detail":"no"}`)
	}, fails: []string{"stale-register", "stale-login", "other-login"}},
	{name: "no renewal", before: func(_ http.ResponseWriter, e *exchange) bool {
		e.r.URL.RawQuery = strings.ReplaceAll(e.r.URL.RawQuery, "renew=True", "renew=")
		return false
	}, fails: []string{"credentials-renew"}},
	{name: "one key for both roles", before: func(_ http.ResponseWriter, e *exchange) bool {
		e.r.URL.RawQuery = strings.ReplaceAll(e.r.URL.RawQuery, "role=write", "role=read")
		return false
	}, fails: []string{"credentials-managed", "credentials-split", "credentials-reader", "grant-P-read-credentials-P"}},
	{name: "bad tokens are anybody", before: func(_ http.ResponseWriter, e *exchange) bool {
		if strings.Contains(e.r.Header.Get("Authorization"), "0000000") {
			e.r.Header.Del("Authorization")
		}
		return false
	}, fails: []string{"bad-token"}},
	{name: "logins need no password", after: func(e *exchange) {
		if strings.HasSuffix(e.r.URL.Path, "/accounts/token/") {
			e.status, e.body = 200, []byte(`{"token":"x"}`)
		}
	}, fails: []string{"login-wrong", "login"}},
}

// spoil puts a flaw before a server.
func (f flaw) spoil(server http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent, _ := io.ReadAll(r.Body)
		e := &exchange{r: r, sent: sent}
		if f.before != nil && f.before(w, e) {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(e.sent))
		answer := httptest.NewRecorder()
		server.ServeHTTP(answer, r)
		e.status, e.body, e.header = answer.Code, answer.Body.Bytes(), answer.Header()
		if f.after != nil {
			f.after(e)
		}
		maps.Copy(w.Header(), e.header)
		w.Header().Del("Content-Length")
		w.WriteHeader(e.status)
		_, _ = w.Write(e.body)
	})
}

// TestFlaws: the checks fail where they should.
func TestFlaws(t *testing.T) {
	interpreter := python(t)
	for i, f := range flaws {
		if i%6 != 0 && os.Getenv("D6TPIPE_PROOF") == "" {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			api, err := d6tpipe.NewAPILocal(d6tpipe.Config{Catalog: filepath.Join(t.TempDir(), "catalog.json")})
			require.NoError(t, err)
			server := httptest.NewServer(f.spoil(wire.New(wiretest.New(api.Backend()), wire.Options{})))
			defer server.Close()
			rows := runTable(t, interpreter, Target{URL: server.URL}, slices.Concat(f.fails, f.also)...)
			require.Len(t, rows, len(f.fails)+len(f.also), "a name that is no check")
			for _, row := range rows {
				if slices.Contains(f.fails, row.ID) {
					require.Equal(t, "fail", row.State, "%s did not notice", row.ID)
					require.Contains(t, row.Text, f.says)
				}
			}
		})
	}
}
