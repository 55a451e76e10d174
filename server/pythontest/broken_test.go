package pythontest

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"regexp"
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
	fails  []string // ids; a * stands for any text
	also   []string // checks to run besides, for those that look at all that was said
	says   string   // what the failing checks must say
}

// refusals are checks that are refused often.
func refusals() (ids []string) {
	for _, method := range []string{"get", "post", "patch", "put", "delete"} {
		for _, route := range []string{"nothing", "pipes-a-b-c", "remotes-a-credentials", "accounts-a-b"} {
			ids = append(ids, "unknown-"+method+"-"+route)
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
		if at := e.r.URL.Path; strings.Contains(at, "//") || !strings.HasSuffix(at, "/") {
			w.Header().Set("Location", strings.TrimSuffix(strings.ReplaceAll(at, "//", "/"), "/")+"/")
			return refuse(w, http.StatusTemporaryRedirect, "")
		}
		return false
	}, fails: []string{"slashes-*"}},
	{name: "unknown paths in net/http's words", after: func(e *exchange) {
		if e.status == http.StatusNotFound {
			e.body = []byte("404 page not found\n")
		}
	}, fails: []string{"raw-dollar", "two-segments", "unknown-*", "patch-unknown", "get-unknown", "upsert-new", "remote-unknown", "all-json"}},
	{name: "what is foreign is hidden", after: func(e *exchange) {
		if e.status == http.StatusForbidden {
			e.status, e.body = http.StatusNotFound, []byte(`{"detail":"Not found."}`)
		}
	}, fails: []string{"get-foreign", "patch-foreign", "upsert-foreign", "put-bad-request", "remote-foreign", "grant-*-put", "share-*-put", "grant-none-get-*", "grant-none-credentials-*", "grant-*evoked-get-*", "grant-*evoked-credentials-*",
		"grant-K-*-get-P", "grant-K-*-credentials-P", "grant-*-expired-get-*", "grant-*-expired-credentials-*", "share-none-remote", "share-none-pipe", "share-*revoke-remote",
		"share-*revoke-pipe", "share-email-expired-pipe", "delete-foreign", "credentials-foreign"}},
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
	}), fails: []string{"object-role", "grant-P-write-role", "grant-K-write-role", "grant-*-owner", "credentials-flat"}},
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
		"create-taken", "register-name-taken", "register-email-taken", "register-public", "create-bad-name-[0-35-7]", "create-bad-dir-*",
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
		"grant-revoked-[glrc]*", "grant-public-revoked-[glrc]*", "grant-K-*-revoked-get-K", "grant-K-*-revoked-list", "grant-K-*-revoked-role", "grant-K-*-revoked-credentials-K",
		"grant-managed", "permissions-email-revoke", "share-revoke-[rl]*", "share-revoke-pipe", "share-email-revoke-[rl]*", "share-email-revoke-pipe", "share-public-revoke-[rl]*", "share-public-revoke-pipe", "permissions-public-anybody", "permissions-user-key",
	}},
	{name: "nothing expires", before: grant(func(g map[string]any) { delete(g, "expiration_date") }), fails: []string{
		"grant-P-write-expired-get-*", "grant-P-write-expired-list", "grant-P-write-expired-role", "grant-P-write-expired-credentials-*", "share-email-expired-[rl]*", "share-email-expired-pipe", "permissions-replace",
	}},
	{name: "everything has expired", before: grant(func(g map[string]any) { g["expiration_date"] = "2020-01-01" }), fails: []string{
		"permissions-future", "permissions-today", "grant-P-read-[glrck]*", "grant-public-read-[glrck]*", "grant-P-write-get-*", "grant-P-write-[lrck]*",
		"grant-K-read-get-K", "grant-K-read-list", "grant-K-read-role", "grant-K-read-credentials-K", "grant-K-read-keys", "grant-K-write-get-K", "grant-K-write-list", "grant-K-write-role",
		"grant-K-write-credentials-K", "grant-K-write-keys", "permissions-admin", "permissions-invitation", "share-read-[rlc]*", "share-read-pipe", "share-write-[rlc]*", "share-write-pipe", "share-public-read-[rlc]*", "share-public-read-pipe",
		"share-username-read-[rlc]*", "share-username-read-pipe", "share-username-public-[rlc]*", "share-username-public-pipe", "share-email-write-[rlc]*", "share-email-write-pipe", "share-client", "both-grants",
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
		for _, key := range []string{"settings", "readParams", "readCredentials", "writeCredentials"} {
			if _, ok := row[key]; !ok {
				row[key] = nil
			}
		}
	}), fails: []string{"null-*", "open", "no-nulls"}},
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
	{name: "the slash is taken away", before: func(w http.ResponseWriter, e *exchange) bool {
		if at, ok := strings.CutSuffix(e.r.URL.Path, "/"); ok && e.r.Method == http.MethodGet {
			w.Header().Set("Location", at)
			return refuse(w, http.StatusMovedPermanently, "")
		}
		return false
	}, fails: []string{"transport-slash", "no-redirects"}, also: []string{"list"}},
	{name: "everybody is the first who came", before: everybody(), fails: []string{
		"grant-none-*-?", "grant-none-list", "grant-none-role", "share-none-[rl]*", "share-none-pipe", "permissions-not-admin", "get-foreign", "no-token", "credentials-reader",
	}},
	{name: "HTML for browsers", after: func(e *exchange) {
		if e.header.Set("Content-Type", "text/html"); strings.Contains(e.r.Header.Get("Accept"), "html") {
			e.body = []byte("<html>")
		}
	}, fails: []string{"no-accept", "accept-html"}},
	{name: "text is mangled", after: func(e *exchange) {
		e.body = regexp.MustCompile(`\\u[0-9a-f]{4}|[^ -~]`).ReplaceAll(e.body, []byte("?"))
	}, fails: []string{"ascii-body"}},
	{name: "PUT is PATCH", before: func(_ http.ResponseWriter, e *exchange) bool {
		if e.r.Method == http.MethodPut {
			e.r.Method = http.MethodPatch
		}
		return false
	}, fails: []string{"put"}},
	{name: "broken bodies break it", after: status(400, 500, ""), fails: []string{"broken-body", "permissions-unknown"}},
	{name: "the root greets anybody", before: func(w http.ResponseWriter, e *exchange) bool {
		return e.r.URL.Path == "/v1/api/" && refuse(w, 200, `{"username":"x"}`)
	}, fails: []string{"root-bad-token", "root"}},
	{name: "who is not known is forbidden", after: status(401, 403, ""), fails: []string{"unregister-no-token", "unregister"}},
	{name: "nobody leaves", before: func(w http.ResponseWriter, e *exchange) bool {
		return e.r.Method == http.MethodDelete && strings.Contains(e.r.URL.Path, "/accounts/") && refuse(w, 204, "")
	}, fails: []string{"unregister", "unregister-other", "unregister-pipes"}},
	{name: "lists end at a hundred", after: func(e *exchange) {
		var rows []json.RawMessage
		if json.Unmarshal(e.body, &rows) == nil && len(rows) > 100 {
			e.body, _ = json.Marshal(rows[:100])
		}
	}, fails: []string{"list-long"}},
	{name: "all is well", after: func(e *exchange) {
		if e.status == http.StatusBadRequest {
			e.status, e.body = http.StatusCreated, []byte(`{}`)
		}
	}, fails: []string{"create-bad-name-4", "permissions-one-grantee", "create-no-parent"}},
	{name: "PATCH is forgotten", before: func(w http.ResponseWriter, e *exchange) bool {
		return e.r.Method == http.MethodPatch && (bytes.Contains(e.sent, []byte(`dir2`)) || bytes.Contains(e.sent, []byte(`elsewhere`))) && refuse(w, 200, `{}`)
	}, fails: []string{"patch", "upsert-again", "object-dir-patched", "remote-update"}},
	{name: "names in lower case", after: each("/pipes/", func(row map[string]any) {
		if s, ok := row["name"].(string); ok {
			row["name"] = strings.ToLower(s)
		}
	}), fails: []string{"object-name"}},
	{name: "unknown options are dropped", after: options(func(o map[string]any) { delete(o, "mine") }), fails: []string{"object-options-own"}},
	{name: "schemas are dropped", after: each("/pipes/", func(row map[string]any) { row["schema"] = map[string]any{} }), fails: []string{"object-schema", "object-schema-child"}},
	{name: "what is computed cannot be sent", before: func(w http.ResponseWriter, e *exchange) bool {
		return bytes.Contains(e.sent, []byte(`"remotepath"`)) && refuse(w, 400, `{"options":["unknown"]}`)
	}, fails: []string{"object-patched-back"}},
	{name: "no credentials", before: func(w http.ResponseWriter, e *exchange) bool {
		return strings.HasSuffix(e.r.URL.Path, "/credentials/") && refuse(w, 200, `{}`)
	}, fails: []string{"credentials-child", "credentials-ftp", "credentials-sftp", "credentials-key-secret", "credentials-managed-child"}},
	{name: "grants are answered with a word", before: func(w http.ResponseWriter, e *exchange) bool {
		return e.r.Method == http.MethodPost && strings.HasSuffix(e.r.URL.Path, "/permissions/") && refuse(w, 200, "OK")
	}, fails: []string{"permissions-post"}},
	{name: "grants are not listed", before: func(w http.ResponseWriter, e *exchange) bool {
		return e.r.Method == http.MethodGet && strings.HasSuffix(e.r.URL.Path, "/permissions/") && refuse(w, 200, "[]")
	}, fails: []string{"permissions-get"}},
	{name: "revoking wants something to revoke", before: func(w http.ResponseWriter, e *exchange) bool {
		return bytes.Contains(e.sent, []byte(`"revoke"`)) && refuse(w, 404, `{"detail":"Not found."}`)
	}, fails: []string{"permissions-revoke-nothing"}},
	{name: "nothing is deleted", before: func(w http.ResponseWriter, e *exchange) bool {
		return e.r.Method == http.MethodDelete && !strings.Contains(e.r.URL.Path, "/accounts/") && refuse(w, 204, "")
	}, fails: []string{"delete", "remote-delete", "permissions-deleted"}},
	{name: "what is not there is empty", after: func(e *exchange) {
		if e.status == http.StatusNotFound && e.r.Method == http.MethodGet {
			e.status, e.body = http.StatusOK, []byte("{}")
		}
	}, fails: []string{"pipe-is-no-remote", "remote-unknown", "get-unknown"}},
	{name: "pipes have no keys of their own", after: each("/pipes/", func(row map[string]any) { delete(row, "readCredentials") }), fails: []string{"open-pipe-credentials"}},
	{name: "remotes' keys say when they end", after: each("/remotes/", func(row map[string]any) {
		if keys, ok := row["readCredentials"].(map[string]any); ok {
			keys["expiration"] = "2026-11-26"
		}
	}), fails: []string{"managed-remote-keywords", "remote-credentials"}},
	{name: "one name for one thing", before: func(w http.ResponseWriter, e *exchange) bool {
		var rec struct{ Name, Remote string }
		return json.Unmarshal(e.sent, &rec) == nil && rec.Name == rec.Remote && rec.Name != "" && refuse(w, 400, `{"name":["This field must be unique."]}`)
	}, fails: []string{"both-same-name", "managed-remote"}},
	{name: "each generation by itself", after: func(e *exchange) {
		var rows []map[string]any
		if strings.HasSuffix(e.r.URL.Path, "/pipes/") && json.Unmarshal(e.body, &rows) == nil {
			rows = slices.DeleteFunc(rows, func(row map[string]any) bool { return row["remote"] != nil })
			e.body, _ = json.Marshal(rows)
		}
	}, fails: []string{"both-list"}},
	{name: "renewal is unknown", before: func(w http.ResponseWriter, e *exchange) bool {
		return strings.Contains(e.r.URL.RawQuery, "renew") && refuse(w, 400, `{"detail":"no"}`)
	}, fails: []string{"query", "credentials-renew"}},
}

// everybody gives whoever asks the token of the first who registered.
func everybody() func(w http.ResponseWriter, e *exchange) bool {
	var first string
	return func(_ http.ResponseWriter, e *exchange) bool {
		var form struct{ Username string }
		if first == "" && json.Unmarshal(e.sent, &form) == nil {
			first = form.Username
		}
		if !strings.Contains(e.r.URL.Path, "/accounts/") {
			e.r.Header.Set("Authorization", "Token token-of-"+first)
		}
		return false
	}
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

// ids are those of all checks.
func ids(t *testing.T, interpreter string) (ids []string) {
	t.Helper()
	for line := range strings.Lines(string(run(t, interpreter, nil, "checks.py", "--table"))) {
		id, _, _ := strings.Cut(line, " ")
		ids = append(ids, id)
	}
	return ids
}

// expand finds the checks that patterns mean; each must mean some.
func expand(t *testing.T, table, patterns []string) (found []string) {
	t.Helper()
	for _, pattern := range patterns {
		before := len(found)
		for _, id := range table {
			if ok, err := path.Match(pattern, id); err == nil && ok && !slices.Contains(found, id) {
				found = append(found, id)
			}
		}
		require.Greater(t, len(found), before, "%s is no check", pattern)
	}
	return found
}

// TestEveryCheckCanFail: each check stands in the list of some flaw, but for those
// that need storage (see the flaws that the storage's own tests have) and one that
// is about the client alone.
func TestEveryCheckCanFail(t *testing.T) {
	table := ids(t, python(t))
	var seen, unseen []string
	for _, f := range flaws {
		seen = append(seen, expand(t, table, f.fails)...)
	}
	for _, id := range table {
		if strings.HasPrefix(id, "files-") || strings.HasPrefix(id, "own-bucket") || id == "space" || id == "create-foreign-parent" || id == "object-options-false" {
			continue
		}
		if !slices.Contains(seen, id) {
			unseen = append(unseen, id)
		}
	}
	require.Empty(t, unseen, "no flaw is known that these notice")
}

// TestFlaws: the checks fail where they should.
func TestFlaws(t *testing.T) {
	interpreter := python(t)
	table := ids(t, interpreter)
	for i, f := range flaws {
		if i%8 != 0 && os.Getenv("D6TPIPE_PROOF") == "" {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			api, err := d6tpipe.NewAPILocal(d6tpipe.Config{Catalog: filepath.Join(t.TempDir(), "catalog.json")})
			require.NoError(t, err)
			server := httptest.NewServer(f.spoil(wire.New(wiretest.New(api.Backend()), wire.Options{})))
			defer server.Close()
			fails := expand(t, table, f.fails)
			for _, row := range runTable(t, interpreter, Target{URL: server.URL}, slices.Concat(fails, f.also)...) {
				if slices.Contains(fails, row.ID) {
					require.Equal(t, "fail", row.State, "%s did not notice", row.ID)
					require.Contains(t, row.Text, f.says)
				}
			}
		})
	}
}
