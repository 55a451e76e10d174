package d6tpipe_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/wire"
	"github.com/d6t/d6tpipe-go/internal/wire/wiretest"
)

var update = flag.Bool("update", false, "write testdata/wire anew from the client and the wire")

// An exchange is a request and its answer, as one file of testdata/wire has it.
type exchange struct {
	Request  golden `json:"request"`
	Response golden `json:"response"`
}

type golden struct {
	Method        string          `json:"method,omitempty"`
	URL           string          `json:"url,omitempty"`
	Authorization string          `json:"authorization,omitempty"`
	ContentType   string          `json:"content_type,omitempty"`
	ContentLength string          `json:"content_length,omitempty"` // where there is no body
	Accept        string          `json:"accept,omitempty"`
	UserAgent     string          `json:"user_agent,omitempty"`
	Status        int             `json:"status,omitempty"`
	Headers       golden304       `json:"headers,omitempty"` // of listings
	Body          json.RawMessage `json:"body,omitempty"`
}

// golden304 are the headers that tell one listing from another.
type golden304 map[string]string

// cacheHeaders are those of golden304. The age is another one each time.
var cacheHeaders = []string{"If-None-Match", "ETag", "Last-Modified", "Cache-Control", "D6tpipe-Scanned", "D6tpipe-Stale"}

func listingHeaders(h http.Header) (found golden304) {
	if h.Get("ETag") == "" && h.Get("If-None-Match") == "" {
		return nil
	}
	found = golden304{}
	for _, name := range cacheHeaders {
		if value := h.Get(name); value != "" {
			found[name] = value
		}
	}
	return found
}

// fixedListing is the listing of every pipe.
type fixedListing struct{}

func (fixedListing) Files(_ context.Context, _ string, refresh bool) (wire.Listing, error) {
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	l := wire.Listing{Tag: "0123456789abcdef-1", Seen: at, Scanned: at.Add(time.Hour), MaxAge: time.Minute, Body: func(context.Context) ([]byte, func(), error) {
		var b bytes.Buffer
		zip := gzip.NewWriter(&b)
		_, err := io.WriteString(zip, `{"scanned_at":"2026-11-01T12:00:00Z","files":[{"key":"a.csv","size":3,"modified":"2026-11-01T11:00:00Z","tag":"900150983cd24fb0d6963f7d28e17f72","sum":"md5:900150983cd24fb0d6963f7d28e17f72"}],"refused":[{"key":"../b","reason":"leads out of the folder"}],"complete":true}`)
		err = errors.Join(err, zip.Close())
		return b.Bytes(), nil, err
	}}
	if refresh {
		l.Stale = "the storage cannot be reached"
	}
	return l, nil
}

func (fixedListing) FilesChanged(context.Context, string) (time.Time, error) {
	return time.Date(2026, 11, 1, 13, 0, 0, 1000, time.UTC), nil
}

func (fixedListing) Changes(_ context.Context, _ string, q wire.ChangesQuery) (d6tpipe.ChangePage, error) {
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	switch q.Cursor {
	case "":
		return d6tpipe.ChangePage{Cursor: "1-abc-0-0-1"}, nil
	case "1-old-0-0-1":
		return d6tpipe.ChangePage{}, &d6tpipe.StatusError{Status: http.StatusGone, Message: "The change feed has begun anew."}
	}
	return d6tpipe.ChangePage{Cursor: "1-abc-1-0-2", More: true, Refused: 1, Stale: "the storage cannot be reached", Changes: []d6tpipe.Change{
		{Key: "a.csv", Kind: d6tpipe.ChangeModified, File: d6tpipe.File{Key: "a.csv", Size: 3, ModTime: at, Tag: "t2"}, Before: &d6tpipe.File{Key: "a.csv", Size: 2, ModTime: at, Tag: "t1"}},
		{Key: "b.csv", Kind: d6tpipe.ChangeGone, File: d6tpipe.File{Key: "b.csv"}},
	}}, nil
}

// goldenService is the far end of the story.
func goldenService(t *testing.T) *wiretest.Service {
	service := wiretest.New(localAPI(t).Backend())
	service.KeepListings(fixedListing{})
	return service
}

// A step is one call of the story that the golden files tell. A call may take
// several exchanges. Steps with raw requests are what the Python client sends and
// ours does not; foreign answers are those of another server, which our wire
// does not give.
type step struct {
	name    string
	call    func(ctx context.Context, alice, bob *d6tpipe.APIClient) error
	raw     []golden
	foreign []golden
	fail    error
}

// python are requests with what urllib adds to them.
func python(requests ...golden) []golden {
	for i := range requests {
		requests[i].UserAgent = "Python-urllib/3.12"
	}
	return requests
}

// answers are 200s with these bodies.
func answers(bodies ...string) (all []golden) {
	for _, body := range bodies {
		all = append(all, golden{Status: 200, ContentType: "application/json", Body: json.RawMessage(body)})
	}
	return all
}

// routes are those of the contract.
var routes = regexp.MustCompile(`^/v1/api/(accounts/([^/]+/)?|(pipes|remotes)/([^/]+/(permissions/)?)?|pipes/[^/]+/(credentials/\?.+|files/(\?refresh=True)?|changes/(\?.+)?))?$`)

var story = []step{
	{name: "register", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		token, err := alice.Register(ctx, "alice", "alice@example.com", "pass word ü")
		return cmpErr(err, "token-of-alice", string(token))
	}},
	{name: "register-taken", fail: d6tpipe.ErrExists, call: func(ctx context.Context, _, bob *d6tpipe.APIClient) error {
		_, err := bob.Register(ctx, "alice", "other@example.com", "secret")
		return err
	}},
	{name: "register-public", fail: d6tpipe.ErrInvalid, call: func(ctx context.Context, _, bob *d6tpipe.APIClient) error {
		_, err := bob.Register(ctx, "public", "p@example.com", "secret")
		return err
	}},
	{name: "register-bob", call: func(ctx context.Context, _, bob *d6tpipe.APIClient) error {
		_, err := bob.Register(ctx, "bob", "bob@example.com", "secret")
		return err
	}},
	{name: "login", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		token, err := alice.ForgotToken(ctx, "alice", "pass word ü")
		return cmpErr(err, "token-of-alice", string(token))
	}},
	{name: "login-wrong", fail: d6tpipe.ErrUnauthorized, call: func(ctx context.Context, _, bob *d6tpipe.APIClient) error {
		_, err := bob.Login(ctx, "bob", "wrong")
		return err
	}},
	{name: "whoami", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		user, err := alice.WhoAmI(ctx)
		return cmpErr(err, "alice Hello alice", user.Username+" "+user.Message)
	}},
	{name: "list-empty", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		names, err := alice.Pipes().Names(ctx)
		return cmpErr(err, "[]", fmt.Sprint(names))
	}},
	{name: "create-s3", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		_, err := alice.Pipes().Create(ctx, d6tpipe.PipeSettings{
			Name: "root", Protocol: d6tpipe.ProtocolS3, Location: "bucket", Options: d6tpipe.PipeOptions{Dir: "vendorX/"},
			Schema:      json.RawMessage(`{"id":9007199254740993,"text":"ü<"}`),
			Credentials: d6tpipe.Credentials{"read": map[string]any{"aws_access_key_id": "r"}, "write": map[string]any{"aws_access_key_id": "w"}},
		})
		return err
	}},
	{name: "create-taken", fail: d6tpipe.ErrExists, call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		_, err := alice.Pipes().Create(ctx, d6tpipe.PipeSettings{Name: "root", Protocol: d6tpipe.ProtocolS3, Location: "b"})
		return err
	}},
	{name: "create-orphan", fail: d6tpipe.ErrInvalid, call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		_, err := alice.Pipes().Create(ctx, d6tpipe.PipeSettings{Name: "orphan", Parent: "nobody"})
		return err
	}},
	{name: "create-child", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		_, err := alice.Pipes().Create(ctx, d6tpipe.PipeSettings{Name: "child", Parent: "root", Options: d6tpipe.PipeOptions{Dir: "sub", Include: "*.csv"}})
		return err
	}},
	{name: "create-managed", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		_, err := alice.Pipes().Create(ctx, d6tpipe.PipeSettings{Name: "free"})
		return err
	}},
	{name: "create-sftp", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		_, err := alice.Pipes().Upsert(ctx, d6tpipe.PipeSettings{Name: "host", Protocol: d6tpipe.ProtocolSFTP, Location: "files.example.com", Credentials: d6tpipe.Credentials{"username": "u", "password": "p"}})
		return err
	}},
	{name: "credentials-flat", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		r, err := alice.Credentials(ctx, "host", d6tpipe.RoleRead, false)
		if err != nil {
			return err
		}
		w, err := alice.Credentials(ctx, "host", d6tpipe.RoleWrite, false)
		return cmpErr(err, "u p u p", string(r.Value("username")+" "+r.Value("password")+" "+w.Value("username")+" "+w.Value("password")))
	}},
	{name: "create-open", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		_, err := alice.Pipes().Create(ctx, d6tpipe.PipeSettings{Name: "open", Protocol: d6tpipe.ProtocolS3, Location: "open-data"})
		return err
	}},
	{name: "credentials-none", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		c, err := alice.Credentials(ctx, "open", d6tpipe.RoleRead, false)
		return cmpErr(err, "0", fmt.Sprint(len(c)))
	}},
	{name: "upsert-there", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		_, err := alice.Pipes().Upsert(ctx, d6tpipe.PipeSettings{Name: "host", Options: d6tpipe.PipeOptions{Dir: "/home/x"}})
		return err
	}},
	{name: "get", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		p, err := alice.Pipes().Get(ctx, "child")
		return cmpErr(err, "s3://bucket/vendorX/sub/", p.Options.RemotePath)
	}},
	{name: "get-managed", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		p, err := alice.Pipes().Get(ctx, "free")
		return cmpErr(err, "s3 s3://managed/alice/free/ write", fmt.Sprint(p.Protocol, " ", p.Options.RemotePath, " ", p.Role))
	}},
	{name: "get-missing", fail: d6tpipe.ErrNotFound, call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		_, err := alice.Pipes().Get(ctx, "missing")
		return err
	}},
	{name: "get-foreign", fail: d6tpipe.ErrPermission, call: func(ctx context.Context, _, bob *d6tpipe.APIClient) error {
		_, err := bob.Pipes().Get(ctx, "root")
		return err
	}},
	{name: "replace", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		_, err := alice.Pipes().Replace(ctx, d6tpipe.PipeSettings{Name: "host", Protocol: d6tpipe.ProtocolFTP, Location: "files.example.com", Options: d6tpipe.PipeOptions{Dir: "utest"}})
		return err
	}},
	{name: "update", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		_, err := alice.Pipes().Update(ctx, d6tpipe.PipeSettings{Name: "host", Schema: json.RawMessage(`{"sep":";"}`)})
		return err
	}},
	{name: "grant-read", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		return alice.Grant(ctx, "root", d6tpipe.Permission{Email: "bob@example.com", Role: d6tpipe.RoleRead, Expires: d6tpipe.Date{Year: 2999, Month: 12, Day: 31}})
	}},
	{name: "grant-public", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		return alice.Grant(ctx, "free", d6tpipe.Permission{Username: d6tpipe.Public, Role: d6tpipe.RoleRead})
	}},
	{name: "grant-foreign", fail: d6tpipe.ErrPermission, call: func(ctx context.Context, _, bob *d6tpipe.APIClient) error {
		return bob.Grant(ctx, "root", d6tpipe.Permission{Username: "bob", Role: d6tpipe.RoleAdmin})
	}},
	{name: "permissions", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		all, err := alice.Permissions(ctx, "root")
		return cmpErr(err, "bob read 2999-12-31", grants(all))
	}},
	{name: "list-shared", call: func(ctx context.Context, _, bob *d6tpipe.APIClient) error {
		names, err := bob.Pipes().Names(ctx)
		return cmpErr(err, "[child free root]", fmt.Sprint(names))
	}},
	{name: "credentials-read", call: func(ctx context.Context, _, bob *d6tpipe.APIClient) error {
		c, err := bob.Credentials(ctx, "child", d6tpipe.RoleRead, false)
		return cmpErr(err, "r", string(c.Value("aws_access_key_id")))
	}},
	{name: "credentials-write-refused", fail: d6tpipe.ErrPermission, call: func(ctx context.Context, _, bob *d6tpipe.APIClient) error {
		_, err := bob.Credentials(ctx, "root", d6tpipe.RoleWrite, false)
		return err
	}},
	{name: "credentials-renewed", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		c, err := alice.Credentials(ctx, "free", d6tpipe.RoleWrite, true)
		return cmpErr(err, "write-1", string(c.Value("aws_access_key_id")))
	}},
	{name: "grant-expired", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		if err := alice.Grant(ctx, "root", d6tpipe.Permission{Username: "bob", Role: d6tpipe.RoleWrite, Expires: d6tpipe.Date{Year: 2001, Month: 2, Day: 3}}); err != nil {
			return err
		}
		all, err := alice.Permissions(ctx, "root")
		return cmpErr(err, "bob write 2001-02-03", grants(all))
	}},
	{name: "get-expired", fail: d6tpipe.ErrPermission, call: func(ctx context.Context, _, bob *d6tpipe.APIClient) error {
		_, err := bob.Pipes().Get(ctx, "child")
		return err
	}},
	{name: "credentials-expired", fail: d6tpipe.ErrPermission, call: func(ctx context.Context, _, bob *d6tpipe.APIClient) error {
		_, err := bob.Credentials(ctx, "root", d6tpipe.RoleRead, false)
		return err
	}},
	{name: "list-expired", call: func(ctx context.Context, _, bob *d6tpipe.APIClient) error {
		names, err := bob.Pipes().Names(ctx)
		return cmpErr(err, "[free]", fmt.Sprint(names))
	}},
	{name: "grant-revoke", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		return alice.Grant(ctx, "root", d6tpipe.Permission{Username: "bob", Role: d6tpipe.RoleRevoke})
	}},
	{name: "create-remote", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		_, err := alice.Remotes().Create(ctx, d6tpipe.RemoteSettings{
			Name: "store", Protocol: d6tpipe.ProtocolS3, Location: "bucket",
			ReadCredentials: d6tpipe.Credentials{"aws_access_key_id": "r"}, WriteCredentials: d6tpipe.Credentials{"aws_access_key_id": "w"},
		})
		return err
	}},
	{name: "replace-remote", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		r, err := alice.Remotes().Replace(ctx, d6tpipe.RemoteSettings{Name: "store", Protocol: d6tpipe.ProtocolS3, Location: "depot", Settings: json.RawMessage(`{"region_name":"eu"}`)})
		return cmpErr(err, "depot r w", r.Location+string(" "+r.ReadCredentials.Value("aws_access_key_id")+" "+r.WriteCredentials.Value("aws_access_key_id")))
	}},
	{name: "update-remote", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		r, err := alice.Remotes().Update(ctx, d6tpipe.RemoteSettings{Name: "store", ReadParams: json.RawMessage(`{"sep":";"}`)})
		return cmpErr(err, `depot {"region_name":"eu"} {"sep":";"}`, fmt.Sprintf("%s %s %s", r.Location, compactBody(r.Settings), compactBody(r.ReadParams)))
	}},
	{name: "list-remotes", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		names, err := alice.Remotes().Names(ctx)
		return cmpErr(err, "[store]", fmt.Sprint(names))
	}},
	{name: "create-managed-remote", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		_, err := alice.Remotes().Create(ctx, d6tpipe.RemoteSettings{Name: "vault", Protocol: d6tpipe.ProtocolManaged})
		return err
	}},
	{name: "get-managed-remote", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		r, err := alice.Remotes().Get(ctx, "vault")
		_, token := r.ReadCredentials["aws_session_token"]
		return cmpErr(err, "s3 managed/alice/vault read-1 write-1 true", fmt.Sprint(r.Protocol, " ", r.Location, " ",
			string(r.ReadCredentials.Value("aws_access_key_id")+" "+r.WriteCredentials.Value("aws_access_key_id")), " ", token))
	}},
	{name: "create-on-remote", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		_, err := alice.Pipes().Create(ctx, d6tpipe.PipeSettings{Name: "first", Remote: "store", Settings: json.RawMessage(`{"remotedir":"a/","include":"*.csv"}`)})
		return err
	}},
	{name: "grant-remote", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		return alice.GrantRemote(ctx, "store", d6tpipe.Permission{User: "bob", Role: d6tpipe.RoleRead})
	}},
	{name: "remote-permissions", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		all, err := alice.RemotePermissions(ctx, "store")
		return cmpErr(err, "bob read", grants(all))
	}},
	{name: "list-remotes-as-reader", call: func(ctx context.Context, _, bob *d6tpipe.APIClient) error {
		var all []string
		for r, err := range bob.Remotes().All(ctx) {
			if err != nil {
				return err
			}
			all = append(all, fmt.Sprint(r.Name, " ", r.WriteCredentials == nil))
		}
		return cmpErr(nil, "[store true]", fmt.Sprint(all))
	}},
	{name: "get-remote-as-reader", call: func(ctx context.Context, _, bob *d6tpipe.APIClient) error {
		r, err := bob.Remotes().Get(ctx, "store")
		return cmpErr(err, "r true", string(r.ReadCredentials.Value("aws_access_key_id"))+fmt.Sprint(" ", r.WriteCredentials == nil))
	}},
	{name: "get-on-remote", call: func(ctx context.Context, _, bob *d6tpipe.APIClient) error {
		p, err := bob.Pipes().Get(ctx, "first")
		return cmpErr(err, "store", p.Remote)
	}},
	{name: "grant-remote-write", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		return alice.GrantRemote(ctx, "store", d6tpipe.Permission{Username: "bob", Role: d6tpipe.RoleWrite})
	}},
	{name: "get-remote-as-writer", call: func(ctx context.Context, _, bob *d6tpipe.APIClient) error {
		r, err := bob.Remotes().Get(ctx, "store")
		return cmpErr(err, "r w", string(r.ReadCredentials.Value("aws_access_key_id")+" "+r.WriteCredentials.Value("aws_access_key_id")))
	}},
	{name: "python-empty-patch", raw: python(
		golden{Method: "PATCH", URL: "/v1/api/pipes/root/", Authorization: "Token token-of-alice", ContentLength: "0"},
		golden{Method: "PATCH", URL: "/v1/api/remotes/store/", Authorization: "Token token-of-alice", ContentLength: "0"},
	)},
	{name: "python-get-with-body", raw: python(golden{Method: "GET", URL: "/v1/api/remotes/store/", Authorization: "Token token-of-alice", ContentType: "application/json", Body: json.RawMessage(`{"name":"store"}`)})},
	{name: "python-create-or-update", raw: python(
		golden{Method: "PATCH", URL: "/v1/api/remotes/old/", Authorization: "Token token-of-alice", ContentType: "application/json", Body: json.RawMessage(`{"name":"old","protocol":"s3","location":"bucket","readCredentials":{"aws_access_key_id":"r"},"writeCredentials":{"aws_access_key_id":"w"},"readParams":{"sep":"\u00fc"}}`)},
		golden{Method: "POST", URL: "/v1/api/remotes/", Authorization: "Token token-of-alice", ContentType: "application/json", Body: json.RawMessage(`{"name":"old","protocol":"s3","location":"bucket","readCredentials":{"aws_access_key_id":"r"},"writeCredentials":{"aws_access_key_id":"w"},"readParams":{"sep":"\u00fc"}}`)},
		golden{Method: "PATCH", URL: "/v1/api/remotes/old/", Authorization: "Token token-of-alice", ContentType: "application/json", Body: json.RawMessage(`{"name":"old","protocol":"s3","location":"bucket","readCredentials":{"aws_access_key_id":"r"},"writeCredentials":{"aws_access_key_id":"w"},"readParams":{"sep":"\u00fc"}}`)},
		golden{Method: "GET", URL: "/v1/api/remotes/old/", Authorization: "Token token-of-alice", ContentType: "application/json", Body: json.RawMessage(`{"name":"old","protocol":"s3","location":"bucket","readCredentials":{"aws_access_key_id":"r"},"writeCredentials":{"aws_access_key_id":"w"},"readParams":{"sep":"\u00fc"}}`)},
	)},
	{name: "python-double-slash", raw: python(golden{Method: "PATCH", URL: "//v1/api/pipes/root", Authorization: "Token token-of-alice", ContentType: "application/json", Body: json.RawMessage(`{"schema":{"sep":"\u00fc"}}`)})},
	{name: "python-name-with-slash", raw: python(golden{Method: "PATCH", URL: "/v1/api/pipes/a/b/", Authorization: "Token token-of-alice", ContentType: "application/json", Body: json.RawMessage(`{"name":"a/b"}`)})},
	{name: "python-bad-name-patch", raw: python(golden{Method: "PATCH", URL: "/v1/api/pipes/$x/", Authorization: "Token token-of-alice", ContentType: "application/json", Body: json.RawMessage(`{"name":"$x"}`)})},
	{name: "python-bad-name-post", raw: python(golden{Method: "POST", URL: "/v1/api/pipes/", Authorization: "Token token-of-alice", ContentType: "application/json", Body: json.RawMessage(`{"name":"$x"}`)})},
	{name: "python-bad-dir", raw: python(golden{Method: "POST", URL: "/v1/api/pipes/", Authorization: "Token token-of-alice", ContentType: "application/json", Body: json.RawMessage(`{"name":"x","parent":"root","options":{"dir":"C:\\x"}}`)})},
	{name: "python-put-before-validation", raw: python(golden{Method: "PUT", URL: "/v1/api/pipes/root/", Authorization: "Token token-of-bob", ContentType: "application/json", Body: json.RawMessage(`{"bad":"request"}`)})},
	{name: "python-unknown-route", raw: python(golden{Method: "GET", URL: "/v1/api/nothing/", Authorization: "Token token-of-alice"})},
	{name: "python-stale-token-login", raw: python(golden{Method: "POST", URL: "/v1/api/accounts/token/", Authorization: "Token stale", ContentType: "application/json", Body: json.RawMessage(`{"username":"bob","password":"secret"}`)})},
	{name: "python-bad-token", raw: python(golden{Method: "GET", URL: "/v1/api/", Authorization: "Token stale"})},
	{name: "python-unregister-without-token", raw: python(golden{Method: "DELETE", URL: "/v1/api/accounts/alice/"})},
	{name: "python-pipe-is-no-remote", raw: python(golden{Method: "GET", URL: "/v1/api/remotes/root/", Authorization: "Token token-of-alice"})},
	{name: "null-on-remote", foreign: answers(
		`{"name":"first","protocol":null,"location":"","remote":"store","parent":null,"parent-ultimate":"","options":null,"schema":null,"credentials":null,"readCredentials":null,"writeCredentials":null,"settings":null,"readParams":null,"role":"","filters":null}`,
		`{"name":"store","protocol":"s3","location":"bucket","readCredentials":{"aws_access_key_id":"r","aws_session_token":null,"region_name":""},"writeCredentials":null,"settings":null,"readParams":null}`,
	), call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		s, err := alice.Storage(ctx, "first", d6tpipe.RoleRead, false)
		return cmpErr(err, "s3 bucket/ [] r ", fmt.Sprintf("%s %s/%s %v %s", s.Protocol, s.Location, s.Dir, s.Filters, string(s.Credentials.Value("aws_access_key_id")+" "+s.Credentials.Value("aws_session_token"))))
	}},
	{name: "null-pipe", foreign: answers(
		`{"name":"root","protocol":"s3","location":null,"remote":null,"parent":"","parent-ultimate":null,"options":{"dir":null,"include":"","exclude":null,"encrypted":null,"remotepath":"s3://bucket/"},"schema":null,"settings":null,"role":"read"}`,
		`null`,
	), call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		s, err := alice.Storage(ctx, "root", d6tpipe.RoleRead, false)
		return cmpErr(err, "s3 bucket/ [] 0 0", fmt.Sprintf("%s %s/%s %v %d %d", s.Protocol, s.Location, s.Dir, s.Filters, len(s.Credentials), len(s.Options)))
	}},
	{name: "null-permissions", foreign: answers(`[{"username":"bob","email":null,"user":"","role":"read","expiration_date":null},{"username":null,"email":"c@example.com","role":"admin","expiration_date":""}]`), call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		all, err := alice.Permissions(ctx, "root")
		return cmpErr(err, "bob read, c@example.com admin", grants(all))
	}},
	{name: "null-message", foreign: answers(`{"username":"alice","message":null}`), call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		user, err := alice.WhoAmI(ctx)
		return cmpErr(err, "{alice }", fmt.Sprint(user))
	}},
	{name: "null-user", fail: d6tpipe.ErrUnauthorized, foreign: answers(`{"username":null,"message":""}`), call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		_, err := alice.WhoAmI(ctx)
		return err
	}},
	{name: "delete", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		return alice.Pipes().Delete(ctx, "child")
	}},
	{name: "delete-remote", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		return alice.Remotes().Delete(ctx, "store")
	}},
	{name: "unregister-other", fail: d6tpipe.ErrPermission, call: func(ctx context.Context, _, bob *d6tpipe.APIClient) error { return bob.Unregister(ctx, "alice") }},
	{name: "unregister", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error { return alice.Unregister(ctx, "alice") }},
	{name: "register-demo", call: func(ctx context.Context, alice, _ *d6tpipe.APIClient) error {
		_, err := alice.Register(ctx, "demo", "demo@example.com", "demo")
		return err
	}},
	{name: "create-as-demo", fail: d6tpipe.ErrPermission, call: func(ctx context.Context, demo, _ *d6tpipe.APIClient) error {
		_, err := demo.Pipes().Create(ctx, d6tpipe.PipeSettings{Name: "mine"})
		if err != nil && !strings.Contains(err.Error(), "cannot register pipes") {
			return fmt.Errorf("another refusal: %v", err)
		}
		return err
	}},
	{name: "list-files", call: func(ctx context.Context, _, bob *d6tpipe.APIClient) error {
		if _, err := bob.Pipes().Create(ctx, d6tpipe.PipeSettings{Name: "listed", Protocol: d6tpipe.ProtocolS3, Location: "bucket"}); err != nil {
			return err
		}
		l, err := bob.ListFiles(ctx, "listed", false)
		return cmpErr(err, "2026-11-01 13:00:00 +0000 UTC 1m0s [{a.csv 3 2026-11-01 11:00:00 +0000 UTC 900150983cd24fb0d6963f7d28e17f72 }] [{../b leads out of the folder}]",
			fmt.Sprint(l.Scanned, " ", l.MaxAge, " ", l.Files, " ", l.Refused))
	}},
	{name: "list-files-stale", call: func(ctx context.Context, _, bob *d6tpipe.APIClient) error {
		l, err := bob.ListFiles(ctx, "listed", true)
		return cmpErr(err, "the storage cannot be reached", l.Stale)
	}},
	{name: "list-files-unchanged", raw: []golden{
		{Method: "GET", URL: "/v1/api/pipes/listed/files/", Authorization: "Token token-of-bob", Headers: golden304{"If-None-Match": `"0123456789abcdef-1"`}},
		{Method: "GET", URL: "/v1/api/pipes/listed/files/", Authorization: "Token token-of-bob", Headers: golden304{"If-None-Match": `"other", W/"0123456789abcdef-1-gzip"`}},
	}},
	{name: "list-files-foreign", fail: d6tpipe.ErrPermission, call: func(ctx context.Context, demo, _ *d6tpipe.APIClient) error {
		_, err := demo.ListFiles(ctx, "listed", false)
		return err
	}},
	{name: "list-changes", call: func(ctx context.Context, _, bob *d6tpipe.APIClient) error {
		now, err := bob.ChangeFeed(ctx, "listed", d6tpipe.FeedOptions{})
		if err != nil || now.Cursor == "" || len(now.Changes) > 0 {
			return fmt.Errorf("%v, %w", now, err)
		}
		page, err := bob.ChangeFeed(ctx, "listed", d6tpipe.FeedOptions{Cursor: now.Cursor, Wait: 30 * time.Second, Limit: 2})
		return cmpErr(err, "modified a.csv 3 t2 t1; gone b.csv; 1-abc-1-0-2 true 1 the storage cannot be reached",
			fmt.Sprint(page.Changes[0].Kind, " ", page.Changes[0].Key, " ", page.Changes[0].File.Size, " ", page.Changes[0].File.Tag, " ", page.Changes[0].Before.Tag, "; ",
				page.Changes[1].Kind, " ", page.Changes[1].Key, "; ", page.Cursor, " ", page.More, " ", page.Refused, " ", page.Stale))
	}},
	{name: "list-changes-expired", fail: d6tpipe.ErrCursorExpired, call: func(ctx context.Context, _, bob *d6tpipe.APIClient) error {
		_, err := bob.ChangeFeed(ctx, "listed", d6tpipe.FeedOptions{Cursor: "1-old-0-0-1"})
		return err
	}},
	{name: "list-changes-foreign", fail: d6tpipe.ErrPermission, call: func(ctx context.Context, demo, _ *d6tpipe.APIClient) error {
		_, err := demo.ChangeFeed(ctx, "listed", d6tpipe.FeedOptions{})
		return err
	}},
	{name: "files-changed", call: func(ctx context.Context, _, bob *d6tpipe.APIClient) error {
		return bob.FilesChanged(ctx, "listed")
	}},
	{name: "files-changed-foreign", fail: d6tpipe.ErrPermission, call: func(ctx context.Context, demo, _ *d6tpipe.APIClient) error {
		return demo.FilesChanged(ctx, "listed")
	}},
}

func cmpErr(err error, want, got string) error {
	if err == nil && want != got {
		return fmt.Errorf("got %q, want %q", got, want)
	}
	return err
}

// TestGoldenClient: the client sends what the files say, and understands what
// they answer. No server of ours is involved.
func TestGoldenClient(t *testing.T) {
	var queue []exchange
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got := recordRequest(t, r)
		if len(queue) == 0 {
			t.Errorf("one request too many: %s %s", got.Method, got.URL)
			return
		}
		next := queue[0]
		queue = queue[1:]
		if want := next.Request; !sameGolden(want, got) {
			t.Errorf("sent %s, want %s", pretty(t, got), pretty(t, want))
		}
		next.Response.setHeaders(w.Header())
		w.WriteHeader(next.Response.Status)
		_, _ = w.Write(next.Response.Body)
	})
	alice, bob := dialAs(t, url), dialAs(t, url)
	for _, s := range story {
		if s.raw != nil {
			continue
		}
		queue = readGolden(t, s.name)
		for _, e := range queue {
			require.Regexp(t, routes, e.Request.URL, s.name)
		}
		err := s.call(t.Context(), alice, bob)
		if s.fail == nil {
			require.NoError(t, err, s.name)
		} else {
			require.ErrorIs(t, err, s.fail, s.name)
		}
		require.Empty(t, queue, "%s: requests that were not sent", s.name)
	}
}

// TestGoldenWire: the wire answers the files' requests as they say. No client of
// ours is involved. With -update it writes the files: read the difference
// before it is committed.
func TestGoldenWire(t *testing.T) {
	handler := wire.New(goldenService(t), wire.Options{})
	if *update {
		writeGolden(t, handler)
		return
	}
	for _, s := range story {
		if s.foreign != nil {
			continue
		}
		for _, e := range readGolden(t, s.name) {
			if got := play(t, handler, e.Request); !sameGolden(e.Response, got) {
				t.Errorf("%s: answered %s, want %s", s.name, pretty(t, got), pretty(t, e.Response))
			}
		}
	}
}

// play sends a request to a handler.
func play(t *testing.T, handler http.Handler, g golden) golden {
	t.Helper()
	r := httptest.NewRequest(g.Method, "http://api.example.com"+g.URL, bytes.NewReader(g.Body))
	for name, value := range map[string]string{
		"Authorization": g.Authorization, "Content-Type": g.ContentType, "Content-Length": g.ContentLength, "Accept": g.Accept, "User-Agent": g.UserAgent,
	} {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	for name, value := range g.Headers {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return golden{Status: w.Code, ContentType: w.Header().Get("Content-Type"), Headers: listingHeaders(w.Header()), Body: w.Body.Bytes()}
}

func (g golden) setHeaders(h http.Header) {
	h.Set("Content-Type", g.ContentType)
	for name, value := range g.Headers {
		h.Set(name, value)
	}
}

// recordRequest is a request in the form of the files.
func recordRequest(t *testing.T, r *http.Request) golden {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	g := golden{
		Method: r.Method, URL: r.URL.RequestURI(), Authorization: r.Header.Get("Authorization"), ContentType: r.Header.Get("Content-Type"),
		Accept: r.Header.Get("Accept"), UserAgent: r.Header.Get("User-Agent"), Headers: listingHeaders(r.Header), Body: body,
	}
	if len(body) == 0 {
		g.ContentLength = r.Header.Get("Content-Length")
	} else if r.ContentLength != int64(len(body)) {
		t.Errorf("%s %s: the length of the body is not told", g.Method, g.URL)
	}
	return g
}

func writeGolden(t *testing.T, handler http.Handler) {
	var seen []exchange
	var foreign []golden
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		request := recordRequest(t, r)
		var response golden
		if len(foreign) > 0 {
			response, foreign = foreign[0], foreign[1:]
		} else {
			response = play(t, handler, request)
		}
		seen = append(seen, exchange{request, response})
		response.setHeaders(w.Header())
		w.WriteHeader(response.Status)
		_, _ = w.Write(response.Body)
	})
	alice, bob := dialAs(t, url), dialAs(t, url)
	require.NoError(t, os.RemoveAll("testdata/wire"))
	require.NoError(t, os.MkdirAll("testdata/wire", 0o755))
	for i, s := range story {
		seen, foreign = nil, s.foreign
		for _, request := range s.raw {
			seen = append(seen, exchange{request, play(t, handler, request)})
		}
		if s.raw == nil {
			if err := s.call(t.Context(), alice, bob); s.fail == nil {
				require.NoError(t, err, s.name)
			}
		}
		name := filepath.Join("testdata/wire", fmt.Sprintf("%02d-%s.json", i+1, s.name))
		require.NoError(t, os.WriteFile(name, []byte(pretty(t, seen)+"\n"), 0o644))
	}
}

func readGolden(t *testing.T, name string) (all []exchange) {
	t.Helper()
	files, err := filepath.Glob("testdata/wire/[0-9][0-9]-" + name + ".json")
	require.NoError(t, err)
	require.Len(t, files, 1, "%s: run the test with -update", name)
	data, err := os.ReadFile(files[0])
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &all))
	return all
}

// sameGolden compares all but the space between the tokens of the bodies.
func sameGolden(a, b golden) bool {
	one, two := compactBody(a.Body), compactBody(b.Body)
	a.Body, b.Body = nil, nil
	return one == two && fmt.Sprint(a) == fmt.Sprint(b)
}

func compactBody(body []byte) string {
	var b bytes.Buffer
	if json.Compact(&b, body) != nil {
		return string(body)
	}
	return b.String()
}

func pretty(t *testing.T, v any) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	require.NoError(t, enc.Encode(v))
	return strings.TrimRight(b.String(), "\n")
}

// dialAs returns a client whose token no other client sees.
func dialAs(t *testing.T, url string) *d6tpipe.APIClient {
	client, err := d6tpipe.NewAPIClient(d6tpipe.Config{Profile: "test", Server: url, Tokens: &tokens{held: map[d6tpipe.TokenKey]d6tpipe.Secret{}}})
	require.NoError(t, err)
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// grants are permissions in short.
func grants(all []d6tpipe.Permission) string {
	var short []string
	for _, p := range all {
		short = append(short, strings.TrimSpace(fmt.Sprintf("%s%s%s%s %s %s", p.Username, p.User, p.Email, p.Group, p.Role, p.Expires)))
	}
	return strings.Join(short, ", ")
}
