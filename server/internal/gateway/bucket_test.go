package gateway_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/freeport"
	"github.com/d6t/d6tpipe-go/server/internal/gateway"
)

// startS3 starts an S3 server with an empty bucket, and returns how the server under
// test reaches it.
func startS3(t testing.TB) gateway.BucketConfig {
	t.Helper()
	addr := freeport.Loopback(t)
	s := s3Server{Dir: t.TempDir(), Addr: addr, Access: "root-of-the-bucket", Secret: rand.Text()}
	config, err := json.Marshal(s)
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), os.Args[0], s3Arg)
	cmd.Stdin = bytes.NewReader(config)
	require.NoError(t, cmd.Start())
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(func() { transport.CloseIdleConnections(); cmd.Process.Kill(); cmd.Wait() })
	client, err := minio.New(addr, &minio.Options{Creds: credentials.NewStaticV4(s.Access, s.Secret, ""), Region: "us-east-1", Transport: transport})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		return client.MakeBucket(t.Context(), "bucket", minio.MakeBucketOptions{}) == nil
	}, patience, 20*time.Millisecond)
	return gateway.BucketConfig{Endpoint: "http://" + addr, Region: "us-east-1", Bucket: "bucket", AccessKey: s.Access, SecretKey: d6tpipe.Secret(s.Secret), Transport: transport}
}

func use(t testing.TB, cfg gateway.BucketConfig, method, target, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	require.NoError(t, err)
	res, err := cfg.Transport.RoundTrip(req)
	require.NoError(t, err)
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(data)
}

func TestPresigned(t *testing.T) {
	cfg := startS3(t)
	p, err := gateway.NewPresigned(cfg)
	require.NoError(t, err)
	require.NoError(t, p.Healthy(t.Context()))
	require.Nil(t, p.Handler())
	_, err = p.Credentials(t.Context(), read("alice/x/"))
	require.ErrorIs(t, err, gateway.ErrNoCredentials)

	sign := func(g gateway.Grant, method, key string) string {
		t.Helper()
		u, err := p.Sign(t.Context(), g, gateway.Request{Method: method, Key: key})
		require.NoError(t, err)
		return u
	}
	g := write("alice/x/", d6tpipe.Filter{Include: "*.csv"})
	const key = "deep/a b+ü%41&=.csv"
	for _, k := range []string{key, "b.csv"} {
		status, answer := use(t, cfg, "PUT", sign(g, "PUT", k), "data of "+k)
		require.Equal(t, 200, status, answer)
	}
	status, answer := use(t, cfg, "GET", sign(read("alice/x/"), "GET", key), "")
	require.Equal(t, 200, status)
	require.Equal(t, "data of "+key, answer)
	status, _ = use(t, cfg, "HEAD", sign(read("alice/x/"), "HEAD", key), "")
	require.Equal(t, 200, status)
	status, _ = use(t, cfg, "PUT", sign(write("alice/y/"), "PUT", "c.csv"), "other")
	require.Equal(t, 200, status)
	status, _ = use(t, cfg, "PUT", sign(write("alice/x/"), "PUT", "d.txt"), "hidden")
	require.Equal(t, 200, status)

	u := sign(read("alice/x/"), "GET", key)
	status, _ = use(t, cfg, "PUT", u, "x")
	require.Equal(t, 403, status, "another method")
	status, _ = use(t, cfg, "GET", strings.Replace(u, "/alice/x/", "/alice/y/", 1), "")
	require.GreaterOrEqual(t, status, 400, "another key")
	parsed, err := url.Parse(u)
	require.NoError(t, err)
	require.Contains(t, []string{"3599", "3600"}, parsed.Query().Get("X-Amz-Expires"))
	require.NotContains(t, u, string(cfg.SecretKey))
	soon := read("alice/x/")
	soon.Expires = time.Now().Add(90 * time.Second)
	parsed, err = url.Parse(sign(soon, "GET", key))
	require.NoError(t, err)
	require.Contains(t, []string{"88", "89", "90"}, parsed.Query().Get("X-Amz-Expires"), "not longer than the grant")

	for name, c := range map[string]struct {
		grant       gateway.Grant
		method, key string
	}{
		"read key writes":     {read("alice/x/"), "PUT", "a.csv"},
		"read key deletes":    {read("alice/x/"), "DELETE", "a.csv"},
		"outside the filter":  {g, "GET", "d.txt"},
		"outside, by writing": {g, "PUT", "d.txt"},
		"dots":                {g, "GET", "../y/c.csv"},
		"absolute":            {g, "GET", "/alice/y/c.csv"},
		"two slashes":         {g, "GET", "a//b.csv"},
		"the folder":          {read("alice/x/"), "GET", ""},
		"another method":      {write("alice/x/"), "POST", "a.csv"},
		"a list":              {write("alice/x/"), "LIST", "a.csv"},
		"control character":   {g, "PUT", "a\n.csv"},
	} {
		_, err := p.Sign(t.Context(), c.grant, gateway.Request{Method: c.method, Key: c.key})
		require.ErrorIs(t, err, gateway.ErrDenied, name)
	}
	_, err = p.Sign(t.Context(), read(""), gateway.Request{Method: "GET", Key: "alice/x/b.csv"})
	require.ErrorIs(t, err, gateway.ErrGrant)

	require.Equal(t, []string{"b.csv", key}, listed(t, p, g))
	require.Equal(t, []string{"b.csv", "d.txt", key}, sorted(listed(t, p, read("alice/x/"))))
	require.NoError(t, p.Remove(t.Context(), "alice/x/"))
	require.Empty(t, listed(t, p, read("alice/x/")))
	require.Equal(t, []string{"c.csv"}, listed(t, p, read("alice/y/")))
	require.ErrorIs(t, p.Remove(t.Context(), ""), gateway.ErrGrant)
	require.NoError(t, p.Close())

	missing := cfg
	missing.Bucket = "missing"
	p, err = gateway.NewPresigned(missing)
	require.NoError(t, err)
	require.ErrorIs(t, p.Healthy(t.Context()), gateway.ErrDown)
	for _, err := range p.List(t.Context(), read("alice/x/")) {
		require.Error(t, err, "a listing that failed is not empty")
	}
	require.Error(t, p.Remove(t.Context(), "alice/x/"))
}

func sorted(all []string) []string { return slices.Sorted(slices.Values(all)) }

func TestBucketConfig(t *testing.T) {
	for name, cfg := range map[string]gateway.BucketConfig{
		"nothing":    {},
		"no region":  {Bucket: "b"},
		"no URL":     {Bucket: "b", Region: "r", Endpoint: "s3.example.com"},
		"a path":     {Bucket: "b", Region: "r", Endpoint: "https://s3.example.com/x"},
		"a password": {Bucket: "b", Region: "r", Endpoint: "https://u:secret@s3.example.com"},
	} {
		_, err := gateway.NewPresigned(cfg)
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "secret")
	}
	_, err := gateway.NewSTS(gateway.STSConfig{BucketConfig: gateway.BucketConfig{Bucket: "b", Region: "r"}})
	require.ErrorContains(t, err, "role")
}

// An STS that answers as Amazon's and MinIO's do, and keeps what it was asked.
func TestSTS(t *testing.T) {
	var asked url.Values
	var header http.Header
	fail := false
	n := 0
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked, _ = url.ParseQuery(string(body))
		header = r.Header
		if n++; fail {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>`)
			return
		}
		fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
			<AccessKeyId>ASIA%d</AccessKeyId><SecretAccessKey>the secret</SecretAccessKey><SessionToken>the token</SessionToken><Expiration>%s</Expiration>
			</Credentials></AssumeRoleResult></AssumeRoleResponse>`, n, time.Now().Add(30*time.Minute).UTC().Format(time.RFC3339))
	}))
	defer sts.Close()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	s, err := gateway.NewSTS(gateway.STSConfig{
		BucketConfig: gateway.BucketConfig{Endpoint: "http://127.0.0.1:1", PublicEndpoint: "https://s3.example.com", Region: "eu-central-1", Bucket: "bucket",
			AccessKey: "own", SecretKey: "own secret", Transport: transport},
		STSEndpoint: sts.URL, RoleARN: "arn:aws:iam::1:role/pipes", ExternalID: "ext",
	})
	require.NoError(t, err)
	g := write("alice/x/", d6tpipe.Filter{Include: "*.csv"})
	c, err := s.Credentials(t.Context(), g)
	require.NoError(t, err)
	require.Equal(t, map[string]any{
		"aws_access_key_id": "ASIA1", "aws_secret_access_key": "the secret", "aws_session_token": "the token",
		"endpoint_url": "https://s3.example.com", "region_name": "eu-central-1",
	}, c.Values)
	require.WithinDuration(t, time.Now().Add(30*time.Minute), c.Expires, patience, "the service's word counts")
	policy, err := gateway.SessionPolicy("bucket", g, time.Time{})
	require.NoError(t, err)
	require.Equal(t, policy, asked.Get("Policy"))
	require.Equal(t, "AssumeRole", asked.Get("Action"))
	require.Equal(t, "arn:aws:iam::1:role/pipes", asked.Get("RoleArn"))
	require.Equal(t, "ext", asked.Get("ExternalId"))
	require.Regexp(t, `^[\w+=,.@-]{2,64}$`, asked.Get("RoleSessionName"))
	require.Regexp(t, `^(3600|35\d\d)$`, asked.Get("DurationSeconds"))
	require.Contains(t, header.Get("Authorization"), "Credential=own/")
	require.Contains(t, header.Get("Authorization"), "/eu-central-1/sts/aws4_request")

	again, err := s.Credentials(t.Context(), read("alice/x/"))
	require.NoError(t, err)
	require.NotEqual(t, c.Values["aws_access_key_id"], again.Values["aws_access_key_id"])

	short := read("alice/x/")
	short.Expires = time.Now().Add(5 * time.Minute)
	c, err = s.Credentials(t.Context(), short)
	require.NoError(t, err)
	require.Equal(t, "900", asked.Get("DurationSeconds"), "what Amazon takes")
	require.Contains(t, asked.Get("Policy"), short.Expires.UTC().Truncate(time.Second).Format(time.RFC3339), "the policy ends earlier")
	require.WithinDuration(t, short.Expires, c.Expires, 2*time.Second)

	before := n
	_, err = s.Credentials(t.Context(), read("alice/x/", d6tpipe.Filter{Include: "[a-z].csv"}))
	require.ErrorIs(t, err, gateway.ErrGrant)
	require.Equal(t, before, n, "nothing was asked")
	fail = true
	_, err = s.Credentials(t.Context(), read("alice/x/"))
	require.Error(t, err)
	require.NotContains(t, err.Error(), "own secret")
}

// What can be signed is reading, writing and the steps of an upload in parts, each by
// who has the role for it, and sums; nothing that makes a request do something else.
func TestPresignedForms(t *testing.T) {
	cfg := startS3(t)
	inside := cfg
	inside.Endpoint, inside.PublicEndpoint = "http://127.0.0.1:1", cfg.Endpoint
	p, err := gateway.NewPresigned(inside)
	require.NoError(t, err)
	require.Equal(t, map[string]any{"endpoint_url": cfg.Endpoint, "region_name": "us-east-1"}, p.Place())
	own, err := p.Inside(t.Context(), read("alice/x/"))
	require.NoError(t, err)
	require.Equal(t, inside.Endpoint, own["endpoint_url"], "the server's own way is not the users'")
	upload := map[string]string{"uploadId": "x"}
	for name, c := range map[string]struct {
		role    d6tpipe.Role
		request gateway.Request
		allowed bool
	}{
		"reads":                  {d6tpipe.RoleRead, gateway.Request{Method: "GET"}, true},
		"reads with a sum":       {d6tpipe.RoleRead, gateway.Request{Method: "HEAD", Header: map[string]string{"x-amz-checksum-mode": "ENABLED"}}, true},
		"reader begins":          {d6tpipe.RoleRead, gateway.Request{Method: "POST", Query: map[string]string{"uploads": ""}}, false},
		"reader looks at parts":  {d6tpipe.RoleRead, gateway.Request{Method: "GET", Query: upload}, false},
		"begins":                 {d6tpipe.RoleWrite, gateway.Request{Method: "POST", Query: map[string]string{"uploads": ""}}, true},
		"sends a part":           {d6tpipe.RoleWrite, gateway.Request{Method: "PUT", Query: map[string]string{"uploadId": "x", "partNumber": "10000"}}, true},
		"part zero":              {d6tpipe.RoleWrite, gateway.Request{Method: "PUT", Query: map[string]string{"uploadId": "x", "partNumber": "0"}}, false},
		"part without a number":  {d6tpipe.RoleWrite, gateway.Request{Method: "PUT", Query: upload}, false},
		"looks at parts":         {d6tpipe.RoleWrite, gateway.Request{Method: "GET", Query: map[string]string{"uploadId": "x", "part-number-marker": "0", "max-parts": "1000"}}, true},
		"finishes":               {d6tpipe.RoleWrite, gateway.Request{Method: "POST", Query: upload}, true},
		"aborts":                 {d6tpipe.RoleWrite, gateway.Request{Method: "DELETE", Query: upload}, true},
		"an upload with a value": {d6tpipe.RoleWrite, gateway.Request{Method: "POST", Query: map[string]string{"uploads": "x"}}, false},
		"access rights":          {d6tpipe.RoleWrite, gateway.Request{Method: "PUT", Query: map[string]string{"acl": ""}}, false},
		"another answer":         {d6tpipe.RoleRead, gateway.Request{Method: "GET", Query: map[string]string{"response-content-type": "text/html"}}, false},
		"a version":              {d6tpipe.RoleRead, gateway.Request{Method: "GET", Query: map[string]string{"versionId": "x"}}, false},
		"a copy":                 {d6tpipe.RoleWrite, gateway.Request{Method: "PUT", Header: map[string]string{"x-amz-copy-source": "bucket/alice/y/c"}}, false},
		"a longer life":          {d6tpipe.RoleRead, gateway.Request{Method: "GET", Query: map[string]string{"X-Amz-Expires": "604800"}}, false},
		"two lines":              {d6tpipe.RoleWrite, gateway.Request{Method: "PUT", Header: map[string]string{"x-amz-checksum-crc32": "a\r\nx-amz-copy-source: b"}}, false},
		"another's header":       {d6tpipe.RoleWrite, gateway.Request{Method: "PUT", Header: map[string]string{"host": "b"}}, false},
	} {
		g := write("alice/x/")
		g.Role = c.role
		c.request.Key = "a.csv"
		_, err := p.Sign(t.Context(), g, c.request)
		if c.allowed {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorIs(t, err, gateway.ErrDenied, name)
	}
	u, err := p.Sign(t.Context(), write("alice/x/"), gateway.Request{Method: "PUT", Key: "a.csv", Header: map[string]string{"x-amz-checksum-crc64nvme": "AAAAAAAAAAA="}})
	require.NoError(t, err)
	status, _ := use(t, cfg, "PUT", u, "hello")
	require.Equal(t, 403, status, "without the header that is signed")
	inside.PublicEndpoint = "https://s3.example.com/folder"
	_, err = gateway.NewPresigned(inside)
	require.ErrorContains(t, err, "public endpoint")
}
