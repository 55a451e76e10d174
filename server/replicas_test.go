package server_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
	"github.com/d6t/d6tpipe-go/server/internal/gateway"
)

// replicas are servers on one PostgreSQL and one bucket, with one key.
type replicas struct {
	config processConfig
	data   []string // a folder of each
	all    []*process
}

// startReplicas starts n of them, and opens the account of an administrator.
func startReplicas(t *testing.T, n int) *replicas {
	t.Helper()
	key := make([]byte, 32)
	_, _ = rand.Read(key) // it never fails, says the package
	t.Setenv(server.KeyVariable, base64.StdEncoding.EncodeToString(key))
	r := &replicas{config: processConfig{Listen: "127.0.0.1:0", Database: dbtest.Postgres(t), Storage: startBucket(t)}}
	r.config.Data = t.TempDir()
	createRoot(t, r.config.server())
	for range n {
		r.add(t)
	}
	return r
}

// add starts another one, with an empty folder.
func (r *replicas) add(t *testing.T) *process {
	t.Helper()
	r.data = append(r.data, t.TempDir())
	r.all = append(r.all, launch(t, r.configOf(len(r.data)-1, "127.0.0.1:0")))
	return r.all[len(r.all)-1]
}

// again starts one that has ended, at the same address.
func (r *replicas) again(t *testing.T, i int) {
	t.Helper()
	r.all[i] = launch(t, r.configOf(i, r.all[i].addr))
}

func (r *replicas) configOf(i int, listen string) processConfig {
	c := r.config
	c.Data, c.Listen = r.data[i], listen
	return c
}

func (r *replicas) urls() (urls []string) {
	for _, p := range r.all {
		urls = append(urls, p.url())
	}
	return urls
}

// end ends all, and looks whether one has kept something to itself.
func (r *replicas) end(t *testing.T) {
	t.Helper()
	for i, p := range r.all {
		p.term()
		left, err := os.ReadDir(r.data[i])
		require.NoError(t, err)
		require.Empty(t, left, "a file of a replica's own")
	}
}

// startBucket serves a bucket: an S3 server with temporary keys, and the service that
// makes them. It returns what a server's setting is; the server's own keys are in the
// environment.
func startBucket(t *testing.T) (storage string) {
	t.Helper()
	const bucket = "managed" // as the embedded storage calls it, too
	var files *gateway.Embedded
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.URL.Path == "/" {
			assumeRole(w, r, files, bucket)
			return
		}
		files.Handler().ServeHTTP(w, r)
	}))
	url := "http://" + s.Listener.Addr().String()
	master := make([]byte, 32)
	_, _ = rand.Read(master)
	files, err := gateway.NewEmbedded(gateway.EmbeddedConfig{Dir: filepath.Join(t.TempDir(), "bucket"), Bucket: bucket, Master: master,
		PublicURL: func(context.Context) string { return url }})
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() {
		s.Close()
		require.NoError(t, files.Close())
	})
	own, err := files.Credentials(t.Context(), gateway.Grant{Prefix: "own/", Role: d6tpipe.RoleWrite})
	require.NoError(t, err)
	for name, field := range map[string]string{"AWS_ACCESS_KEY_ID": "aws_access_key_id", "AWS_SECRET_ACCESS_KEY": "aws_secret_access_key", "AWS_SESSION_TOKEN": "aws_session_token"} {
		t.Setenv(name, fmt.Sprint(own.Values[field]))
	}
	return "s3://" + bucket + "?endpoint_url=" + url
}

// assumeRole makes keys that can do what the session policy says, as STS does, for
// policies of pipes without filters.
func assumeRole(w http.ResponseWriter, r *http.Request, files *gateway.Embedded, bucket string) {
	var policy struct {
		Statement []struct{ Action, Resource []string }
	}
	err := json.Unmarshal([]byte(r.FormValue("Policy")), &policy)
	if err != nil || r.FormValue("Action") != "AssumeRole" || len(policy.Statement) == 0 || len(policy.Statement[0].Resource) != 1 ||
		!strings.Contains(r.Header.Get("Authorization"), os.Getenv("AWS_ACCESS_KEY_ID")) {
		http.Error(w, "no", http.StatusForbidden)
		return
	}
	prefix, ok := strings.CutPrefix(strings.TrimSuffix(policy.Statement[0].Resource[0], "*"), "arn:aws:s3:::"+bucket+"/")
	g := gateway.Grant{Prefix: prefix, Role: d6tpipe.RoleRead}
	if slices.Contains(policy.Statement[0].Action, "s3:PutObject") {
		g.Role = d6tpipe.RoleWrite
	}
	set, err := files.Credentials(r.Context(), g)
	if err != nil || !ok {
		http.Error(w, "no", http.StatusForbidden)
		return
	}
	type keys struct {
		AccessKeyID     any `xml:"AccessKeyId"`
		SecretAccessKey any
		SessionToken    any
		Expiration      string
	}
	type result struct{ Credentials keys }
	_ = xml.NewEncoder(w).Encode(struct {
		XMLName          xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ AssumeRoleResponse"`
		AssumeRoleResult result
	}{AssumeRoleResult: result{keys{set.Values["aws_access_key_id"], set.Values["aws_secret_access_key"], set.Values["aws_session_token"], set.Expires.UTC().Format(time.RFC3339)}}})
}

// What one replica has done the other knows at once, and one that comes later knows
// all of it: there is nothing that only one has.
func TestReplicas(t *testing.T) {
	r := startReplicas(t, 2)
	a, b := r.all[0], r.all[1]
	here, there := &running{t: t, url: a.url()}, &running{t: t, url: b.url()}
	vendor := here.user("vendor")

	// Tokens: one that is made here is good there, one that is reset here is dead there.
	elsewhere := there.client("vendor")
	first, err := elsewhere.Login(t.Context(), "vendor", "canary-password-vendor")
	require.NoError(t, err)
	for round, old := 0, first; round < scaled(10, 100); round++ {
		token, err := vendor.ResetToken(t.Context(), "vendor")
		require.NoError(t, err)
		require.NotEqual(t, old, token)
		require.ErrorIs(t, whoAmI(t, b.url(), old), d6tpipe.ErrUnauthorized)
		require.ErrorIs(t, whoAmI(t, a.url(), old), d6tpipe.ErrUnauthorized)
		require.NoError(t, whoAmI(t, b.url(), token))
		old = token
	}
	token, err := elsewhere.Login(t.Context(), "vendor", "canary-password-vendor")
	require.NoError(t, err)

	// Records and permissions.
	_, err = vendor.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "sales"})
	require.NoError(t, err)
	_, err = elsewhere.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "sales"})
	require.ErrorIs(t, err, d6tpipe.ErrExists)
	client := there.user("client")
	_, err = client.Pipes().Get(t.Context(), "sales")
	require.ErrorIs(t, err, d6tpipe.ErrPermission)
	require.NoError(t, vendor.Grant(t.Context(), "sales", d6tpipe.Permission{Username: "client", Role: d6tpipe.RoleRead}))
	_, err = client.Pipes().Get(t.Context(), "sales")
	require.NoError(t, err)

	// Files, and listings of them.
	pushed, pulled := here.open(vendor, "sales"), there.open(client, "sales")
	for _, key := range []string{"a.csv", "b.csv"} {
		write(t, pushed, key, key)
		_, err = pushed.Push(t.Context(), d6tpipe.PushOptions{})
		require.NoError(t, err)
		report, err := pulled.Pull(t.Context(), d6tpipe.PullOptions{})
		require.NoError(t, err)
		require.Len(t, report.Files, 1, "what was pushed a moment ago by another server")
		require.Equal(t, key, read(t, pulled, key))
	}
	seenHere, err := vendor.ListFiles(t.Context(), "sales", false)
	require.NoError(t, err)
	seenThere, err := client.ListFiles(t.Context(), "sales", false)
	require.NoError(t, err)
	require.Len(t, seenHere.Files, 2)
	require.Equal(t, seenHere.Files, seenThere.Files)
	require.Equal(t, seenHere.Scanned, seenThere.Scanned, "one scan for both")
	status, tag := listing(t, a.url(), token, "")
	require.Equal(t, 200, status)
	status, same := listing(t, b.url(), token, tag)
	require.Equal(t, 304, status)
	require.Equal(t, tag, same)

	// A third one, with nothing but the key.
	c := r.add(t)
	require.NoError(t, whoAmI(t, c.url(), token))
	third := (&running{t: t, url: c.url()})
	late := third.client("late")
	_, err = late.Login(t.Context(), "client", "canary-password-client")
	require.NoError(t, err)
	p := third.open(late, "sales")
	report, err := p.Pull(t.Context(), d6tpipe.PullOptions{})
	require.NoError(t, err)
	require.Len(t, report.Files, 2)
	require.NoError(t, vendor.Grant(t.Context(), "sales", d6tpipe.Permission{Username: "client", Role: d6tpipe.RoleRevoke}))
	_, err = p.Pull(t.Context(), d6tpipe.PullOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrPermission)
	r.end(t)
}

// What each replica counts for itself is the wrong passwords, as the manual says: two
// of them let in twice as many.
func TestReplicasThrottleApart(t *testing.T) {
	r := startReplicas(t, 2)
	guess := func(p *process, password d6tpipe.Secret) error {
		return as(p.url(), "", "", func(c *d6tpipe.APIClient) error {
			_, err := c.Login(t.Context(), "root", password)
			return err
		})
	}
	for range 10 {
		require.ErrorIs(t, guess(r.all[0], "wrong"), d6tpipe.ErrUnauthorized)
	}
	require.ErrorIs(t, guess(r.all[0], password+"root"), d6tpipe.ErrRateLimited)
	require.ErrorIs(t, guess(r.all[1], "wrong"), d6tpipe.ErrUnauthorized)
	require.NoError(t, guess(r.all[1], password+"root"))
	r.end(t)
}

func whoAmI(t *testing.T, url string, token d6tpipe.Secret) error {
	t.Helper()
	return as(url, token, "", func(c *d6tpipe.APIClient) error {
		_, err := c.WhoAmI(t.Context())
		return err
	})
}

// listing asks for a listing by its tag, and returns the tag that there is.
func listing(t *testing.T, url string, token d6tpipe.Secret, tag string) (status int, now string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/v1/api/pipes/sales/files/", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Token "+string(token))
	if tag != "" {
		req.Header.Set("If-None-Match", tag)
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	return res.StatusCode, res.Header.Get("ETag")
}

// Writers on two replicas, who try the other one when one does not answer, lose nothing
// that was acknowledged when one is killed, and hear of nothing but a connection that
// breaks: also when the replicas are restarted one after the other.
func TestProofReplicas(t *testing.T) {
	r := startReplicas(t, 2)
	w := newWorld(t, r.config, 8, r.urls()...)
	var dying atomic.Int64
	dying.Store(math.MaxInt64)
	urls := r.urls()
	mayFail := func(url string) bool { i := dying.Load(); return i < int64(len(urls)) && urls[i] == url }
	changes, rounds := 0, scaled(2, 200)
	for round := range rounds {
		acked, stop := w.load(func(w *writer, c *change) error { return w.insist(t.Context(), c, mayFail) })
		work := func() { // until all have had their turn
			until := acked.Load() + int64(len(w.writers))
			require.Eventually(t, func() bool { return acked.Load() >= until || t.Failed() }, patience, time.Millisecond)
		}
		work()
		time.Sleep(mathrand.N(200 * time.Millisecond))
		i := mathrand.IntN(2)
		dying.Store(int64(i))
		if round%2 == 0 {
			r.all[i].kill()
		} else {
			r.all[i].term()
		}
		work()
		r.again(t, i)
		work()
		stop()
		dying.Store(math.MaxInt64)
		changes += w.check(r.urls()...)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	w.checkDatabase()
	r.end(t)
	t.Logf("%d kills and %d restarts, %d changes", (rounds+1)/2, rounds/2, changes)
}
