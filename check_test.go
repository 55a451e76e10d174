package d6tpipe_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/storage/s3/s3test"
)

func requireOK(t *testing.T, report d6tpipe.CheckReport, err error) {
	t.Helper()
	for _, c := range report.Failed() {
		t.Errorf("%s at %s: %s", c.Name, c.Where, c.Reason)
	}
	require.NoError(t, err)
	require.True(t, report.OK())
}

// A folder with somebody's files in it is the same afterwards, times of folders
// and all.
func TestCheckDir(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(folder, "data"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "data", "theirs.csv"), []byte("1"), 0o644))
	before := tree(t, folder)
	remote := d6tpipe.RemoteSettings{Name: "warehouse", Protocol: d6tpipe.ProtocolDir, Location: folder}
	told := 0
	report, err := d6tpipe.Check(t.Context(), remote, d6tpipe.CheckOptions{Dir: "data", LocalFolders: []string{folder}, Progress: func(d6tpipe.CheckCase) { told++ }})
	requireOK(t, report, err)
	require.Len(t, report.Cases, told)
	require.Regexp(t, `^data/d6tpipe-check-[a-z2-7]{12}$`, report.Scratch)
	require.Equal(t, before, tree(t, folder))
	require.NoDirExists(t, filepath.Join(folder, report.Scratch))
	require.Equal(t, runtime.GOOS == "linux", report.Found.CaseSensitive)
	_, err = json.Marshal(report)
	require.NoError(t, err)

	report, err = d6tpipe.Check(t.Context(), remote, d6tpipe.CheckOptions{ReadOnly: true, LocalFolders: []string{folder}})
	requireOK(t, report, err)
	require.Empty(t, report.Scratch)
	require.Equal(t, before, tree(t, folder))
}

// bucketOf is a remote in a new bucket of a gateway, reached by way of endpoint.
func bucketOf(t *testing.T, g s3test.Gateway, endpoint string) d6tpipe.RemoteSettings {
	settings, err := json.Marshal(map[string]any{"endpoint_url": endpoint, "dir": "some/where"})
	require.NoError(t, err)
	keys := d6tpipe.Credentials{"key": g.AccessKey, "secret": g.SecretKey}
	return d6tpipe.RemoteSettings{Name: "bucket", Protocol: d6tpipe.ProtocolS3, Location: g.Bucket(t), Settings: settings,
		ReadCredentials: keys, WriteCredentials: keys}
}

// On S3 requests and bytes cost money.
func TestCheckS3(t *testing.T) {
	g := s3test.Start(t)
	var requests, bytes atomic.Int64
	endpoint := between(t, g, func(r *http.Request) {
		requests.Add(1)
		bytes.Add(max(r.ContentLength, 0))
	}, func(r *http.Response) error {
		if r.Request.Method != http.MethodHead {
			bytes.Add(max(r.ContentLength, 0))
		}
		return nil
	})
	remote := bucketOf(t, g, endpoint)
	report, err := d6tpipe.Check(t.Context(), remote, d6tpipe.CheckOptions{})
	requireOK(t, report, err)
	t.Logf("%d requests, %d bytes, %v", requests.Load(), bytes.Load(), report.Duration)
	require.Less(t, requests.Load(), int64(2000))
	require.Less(t, bytes.Load(), int64(32<<20))
	require.True(t, report.Found.ConditionalPut)
	require.Equal(t, "md5", report.Found.Sums)
	require.Empty(t, tree(t, filepath.Join(g.Dir, remote.Location)))

	remote.WriteCredentials = d6tpipe.Credentials{"key": g.AccessKey, "secret": "wrong-canary-secret"}
	report, err = d6tpipe.Check(t.Context(), remote, d6tpipe.CheckOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrPermission)
	require.NotErrorIs(t, err, d6tpipe.ErrFaulty)
	require.NotContains(t, err.Error(), "canary")
	require.False(t, len(report.Cases) > 0)
	remote.WriteCredentials = nil
	_, err = d6tpipe.Check(t.Context(), remote, d6tpipe.CheckOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrPermission)
	_, err = d6tpipe.Check(t.Context(), remote, d6tpipe.CheckOptions{ReadOnly: true})
	require.NoError(t, err)
}

// between is a server between the SDK and a gateway, which a test makes faulty.
func between(t *testing.T, g s3test.Gateway, request func(*http.Request), answer func(*http.Response) error) string {
	target, err := url.Parse(g.Endpoint)
	require.NoError(t, err)
	proxy := &httputil.ReverseProxy{ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // which is signed
		if request != nil {
			request(r.Out)
		}
	}, ModifyResponse: answer}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	return server.URL
}

// A storage that says yes to every condition is found out.
func TestCheckFaulty(t *testing.T) {
	g := s3test.Start(t)
	endpoint := between(t, g, nil, func(r *http.Response) error {
		if r.StatusCode == http.StatusPreconditionFailed && r.Request.Method == http.MethodPut {
			r.StatusCode = http.StatusOK
			r.Header.Set("ETag", `"0123456789abcdef0123456789abcdef"`)
		}
		return nil
	})
	remote := bucketOf(t, g, endpoint)
	report, err := d6tpipe.Check(t.Context(), remote, d6tpipe.CheckOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrFaulty)
	require.False(t, report.OK())
	failed := map[string]string{}
	for _, c := range report.Failed() {
		failed[c.Name] = c.Reason
		require.NotEmpty(t, c.Where)
	}
	require.Contains(t, failed, "Cond/absent")
	require.Contains(t, failed["Cond/absent"], "put to a name that is taken: wanted the error")
	require.Contains(t, failed, "Cond/race for a new name")
	require.NotContains(t, failed, "Put/round trip")
	require.Contains(t, err.Error(), "Cond/absent")
	require.Empty(t, report.Left)
	require.Empty(t, tree(t, filepath.Join(g.Dir, remote.Location)))
}

// What cannot be removed is told.
func TestCheckLeft(t *testing.T) {
	g := s3test.Start(t)
	endpoint := between(t, g, func(r *http.Request) {
		if r.Method == http.MethodDelete {
			r.URL.RawQuery = "other=1" // than what was signed
		}
	}, nil)
	report, err := d6tpipe.Check(t.Context(), bucketOf(t, g, endpoint), d6tpipe.CheckOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrFaulty)
	require.ErrorIs(t, err, d6tpipe.ErrPartial)
	require.NotEmpty(t, report.Left)
	require.Contains(t, report.Left[0], report.Scratch)
}

func TestCheckRefuses(t *testing.T) {
	folder := t.TempDir()
	good := d6tpipe.RemoteSettings{Name: "warehouse", Protocol: d6tpipe.ProtocolDir, Location: folder}
	for name, row := range map[string]struct {
		change func(*d6tpipe.RemoteSettings, *d6tpipe.CheckOptions)
		want   error
	}{
		"no protocol": {func(r *d6tpipe.RemoteSettings, _ *d6tpipe.CheckOptions) { r.Protocol = "" }, d6tpipe.ErrInvalid},
		"encrypted": {func(r *d6tpipe.RemoteSettings, _ *d6tpipe.CheckOptions) {
			sealed, err := d6tpipe.Encode(d6tpipe.Config{Key: "key"}, *r)
			require.NoError(t, err)
			*r = sealed
		}, d6tpipe.ErrInvalid},
		"out of the place": {func(_ *d6tpipe.RemoteSettings, o *d6tpipe.CheckOptions) { o.Dir = "../x" }, d6tpipe.ErrInvalid},
		"not there":        {func(r *d6tpipe.RemoteSettings, _ *d6tpipe.CheckOptions) { r.Location += "/no" }, d6tpipe.ErrNotFound},
		"not allowed":      {func(_ *d6tpipe.RemoteSettings, o *d6tpipe.CheckOptions) { o.LocalFolders = nil }, d6tpipe.ErrRefused},
	} {
		t.Run(name, func(t *testing.T) {
			remote, o := good, d6tpipe.CheckOptions{LocalFolders: []string{folder}}
			row.change(&remote, &o)
			report, err := d6tpipe.Check(t.Context(), remote, o)
			require.ErrorIs(t, err, row.want)
			require.Equal(t, name == "encrypted", strings.Contains(err.Error(), "Decode(cfg, remote)"), err)
			require.Empty(t, report.Cases)
			require.Empty(t, tree(t, folder))
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	report, err := d6tpipe.Check(ctx, good, d6tpipe.CheckOptions{LocalFolders: []string{folder}, Progress: func(d6tpipe.CheckCase) { cancel() }})
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, report.Cases, 1)
	require.Empty(t, tree(t, folder))
}

// A record may come from a server, which must not get at what this machine has: it
// could have the keys shown to itself, and its folders written to.
func TestCheckUsesNothingOfTheMachine(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "OWNKEY")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_SESSION_TOKEN", "CANARY")
	var signed atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || r.Header.Get("X-Amz-Security-Token") != "" {
			signed.Add(1)
		}
		w.WriteHeader(http.StatusForbidden)
	}))
	defer server.Close()
	bucket := d6tpipe.RemoteSettings{Name: "warehouse", Protocol: d6tpipe.ProtocolS3, Location: "bucket", Settings: json.RawMessage(`{"endpoint_url":"` + server.URL + `"}`)}
	_, err := d6tpipe.Check(t.Context(), bucket, d6tpipe.CheckOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrPermission)
	require.ErrorContains(t, err, "LocalKeys")
	require.Zero(t, signed.Load())
	_, err = d6tpipe.Check(t.Context(), bucket, d6tpipe.CheckOptions{LocalKeys: true})
	require.ErrorIs(t, err, d6tpipe.ErrPermission)
	require.NotContains(t, err.Error(), "LocalKeys")
	require.Positive(t, signed.Load())

	folder := d6tpipe.RemoteSettings{Name: "warehouse", Protocol: d6tpipe.ProtocolDir, Location: t.TempDir()}
	for _, folders := range [][]string{nil, {}, {t.TempDir()}} {
		_, err = d6tpipe.Check(t.Context(), folder, d6tpipe.CheckOptions{LocalFolders: folders})
		require.ErrorIs(t, err, d6tpipe.ErrRefused)
		require.ErrorContains(t, err, "LocalFolders")
	}
	host := d6tpipe.RemoteSettings{Name: "warehouse", Protocol: d6tpipe.ProtocolSFTP, Location: "127.0.0.1:1", Settings: json.RawMessage(`{"agent":true}`)}
	_, err = d6tpipe.Check(t.Context(), host, d6tpipe.CheckOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrRefused)
	require.ErrorContains(t, err, "LocalKeys")
}

// Find out whether a remote does all that pulls and pushes need of it.
func ExampleCheck() {
	folder, err := os.MkdirTemp("", "d6tpipe-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	remote := d6tpipe.RemoteSettings{Name: "warehouse", Protocol: d6tpipe.ProtocolDir, Location: folder} // or api.Remotes().Get(ctx, "warehouse")

	report, err := d6tpipe.Check(context.Background(), remote, d6tpipe.CheckOptions{LocalFolders: []string{folder}})
	for _, c := range report.Failed() { // the error matches ErrFaulty then
		fmt.Println(c.Name, c.Reason)
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("all is well:", report.OK())
	fmt.Println("a push is safe against another at the same time:", report.Found.ConditionalPut)
	// Output:
	// all is well: true
	// a push is safe against another at the same time: false
}
