package d6tpipe_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/storage/s3/s3test"
	"github.com/d6t/d6tpipe-go/internal/storage/sftp/sftptest"
	"github.com/d6t/d6tpipe-go/internal/storage/storagetest"
)

// A folder that a vendor publishes is pulled, filtered and followed, and never
// pushed to.
func TestPipeOnAWebServer(t *testing.T) {
	site := t.TempDir()
	server := httptest.NewServer(http.FileServer(http.Dir(site)))
	defer server.Close()
	publish := func(files map[string]string) {
		manifest := ""
		for key, content := range files {
			path := filepath.Join(site, "data", filepath.FromSlash(key))
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
			require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
			manifest += fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte(content)), key)
		}
		require.NoError(t, os.WriteFile(filepath.Join(site, "data", "SHA256SUMS"), []byte(manifest), 0o644))
	}
	publish(map[string]string{"2026/a.csv": "a", "2026/b.txt": "b", "2025/c.csv": "c"})
	local := parties(t, "client")[0]
	vendor, err := local.api.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{Name: "vendor", Protocol: d6tpipe.ProtocolHTTP,
		Location: server.URL + "/data", Settings: json.RawMessage(`{"manifest":"SHA256SUMS"}`)})
	require.NoError(t, err)
	report, err := d6tpipe.Check(t.Context(), vendor, d6tpipe.CheckOptions{})
	require.NoError(t, err)
	require.True(t, report.OK())
	require.Equal(t, "sha256", report.Found.Sums)
	addPipe(t, local.api, d6tpipe.PipeSettings{Name: "sales", Remote: "vendor", Options: d6tpipe.PipeOptions{Dir: "2026", Include: "*.csv"}})
	_, err = local.api.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "one", Protocol: d6tpipe.ProtocolHTTP, Location: server.URL + "/data/2025/c.csv?sig=CANARY"})
	require.NoError(t, err)

	for name, api := range map[string]d6tpipe.API{"file": local.api, "server": served(t, local.api)} {
		t.Run(name, func(t *testing.T) {
			publish(map[string]string{"2026/a.csv": "a", "2026/b.txt": "b", "2025/c.csv": "c"})
			sales, err := d6tpipe.OpenPipe(t.Context(), api, "sales", d6tpipe.OpenOptions{})
			require.NoError(t, err)
			require.Equal(t, []string{"a.csv"}, pull(t, sales))
			require.Empty(t, pull(t, sales))
			publish(map[string]string{"2026/a.csv": "new", "2026/d.csv": "d"})
			require.Equal(t, []string{"a.csv", "d.csv"}, pull(t, sales))
			require.Equal(t, map[string]string{"a.csv": "new", "d.csv": "d"}, tree(t, sales.Dir()))
			write(t, sales, "e.csv", "e")
			_, err = sales.Push(t.Context(), d6tpipe.PushOptions{})
			require.ErrorIs(t, err, d6tpipe.ErrUnsupported)
			require.ErrorContains(t, err, "files on a web server are read-only")

			require.NoError(t, os.WriteFile(filepath.Join(site, "data", "2026", "d.csv"), []byte("x"), 0o644))
			require.NoError(t, os.Remove(filepath.Join(sales.Dir(), "d.csv")))
			_, err = sales.Pull(t.Context(), d6tpipe.PullOptions{})
			require.Error(t, err, "the bytes are not those of the manifest")
			require.NotContains(t, tree(t, sales.Dir()), "d.csv")

			one, err := d6tpipe.OpenPipe(t.Context(), api, "one", d6tpipe.OpenOptions{})
			require.NoError(t, err)
			require.Equal(t, []string{"c.csv"}, pull(t, one))
			require.NoError(t, filepath.WalkDir(filepath.Dir(filepath.Dir(one.Dir())), func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() || d.Name() == "catalogue.json" || strings.Contains(path, "pipe") {
					return err
				}
				raw, err := os.ReadFile(path)
				require.NotContains(t, string(raw), "CANARY", "%s: what is remembered of the place", path)
				return err
			}))
		})
	}
}

// A remote's folder on a host must exist; the pipe's own is made by a push.
func TestPipeOnSFTP(t *testing.T) {
	host := sftptest.Start(t)
	settings := func(more map[string]any) json.RawMessage {
		set := map[string]any{"fingerprint": host.Fingerprint, "dir": host.Dir}
		maps.Copy(set, more)
		raw, err := json.Marshal(set)
		require.NoError(t, err)
		return raw
	}
	both := parties(t, "vendor", "client")
	keys := d6tpipe.Credentials{"username": host.User, "private_key": string(host.Key)}
	for name, set := range map[string]json.RawMessage{
		"warehouse": settings(nil), "lost": settings(map[string]any{"dir": host.Dir + "/none"}),
		"other": settings(map[string]any{"fingerprint": "SHA256:" + strings.Repeat("A", 43)}),
	} {
		_, err := both[0].api.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{Name: name, Protocol: d6tpipe.ProtocolSFTP, Location: host.Host,
			Settings: set, ReadCredentials: keys, WriteCredentials: keys})
		require.NoError(t, err)
		addPipe(t, both[0].api, d6tpipe.PipeSettings{Name: name, Remote: name, Options: d6tpipe.PipeOptions{Dir: "sales/2026"}})
	}
	vendor := both[0].open("warehouse")
	require.Empty(t, pull(t, vendor), "a folder that is not there yet has no files")
	write(t, vendor, "a.csv", "a")
	write(t, vendor, "below/b.csv", "b")
	push(t, vendor)
	require.Equal(t, map[string]string{"sales/2026/a.csv": "a", "sales/2026/below/b.csv": "b"}, tree(t, host.Dir))
	for _, api := range []d6tpipe.API{both[1].api, served(t, both[0].api)} {
		client, err := d6tpipe.OpenPipe(t.Context(), api, "warehouse", d6tpipe.OpenOptions{})
		require.NoError(t, err)
		pull(t, client)
		require.Equal(t, map[string]string{"a.csv": "a", "below/b.csv": "b"}, tree(t, client.Dir()))
	}
	_, err := both[0].open("lost").Pull(t.Context(), d6tpipe.PullOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrNotFound)
	_, err = both[0].open("other").Pull(t.Context(), d6tpipe.PullOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrRefused)
	require.ErrorContains(t, err, host.Fingerprint)

	// Files of this machine are read for a catalogue of one's own, and for a server's
	// when that is allowed.
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "id"), host.Key, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "known"), []byte(knownhosts.Line([]string{host.Host}, host.HostKey)+"\n"), 0o600))
	local := settings(map[string]any{"fingerprint": "", "known_hosts": filepath.Join(folder, "known"), "private_key_file": filepath.Join(folder, "id")})
	login := d6tpipe.Credentials{"username": host.User}
	_, err = both[0].api.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{Name: "files", Protocol: d6tpipe.ProtocolSFTP, Location: host.Host,
		Settings: local, ReadCredentials: login, WriteCredentials: login})
	require.NoError(t, err)
	addPipe(t, both[0].api, d6tpipe.PipeSettings{Name: "files", Remote: "files", Options: d6tpipe.PipeOptions{Dir: "sales"}})
	require.NotEmpty(t, pull(t, both[0].open("files")))
	server := served(t, both[0].api)
	for allowed, want := range map[bool]error{false: d6tpipe.ErrRefused, true: nil} {
		p, err := d6tpipe.OpenPipe(t.Context(), server, "files", d6tpipe.OpenOptions{LocalKeys: allowed})
		require.NoError(t, err)
		_, err = p.Pull(t.Context(), d6tpipe.PullOptions{})
		require.ErrorIs(t, err, want)
	}

	// A pipe with a location of its own, as the Python client makes it.
	_, err = both[0].api.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "python", Protocol: d6tpipe.ProtocolSFTP, Location: host.Host,
		Settings: json.RawMessage(`{"fingerprint":"` + host.Fingerprint + `"}`), Options: d6tpipe.PipeOptions{Dir: host.Dir + "/new/one"}, Credentials: keys})
	require.NoError(t, err)
	own := both[0].open("python")
	write(t, own, "c.csv", "c")
	push(t, own)
	require.Equal(t, "c", tree(t, host.Dir)["new/one/c.csv"])
}

// A gatekeeper stands in front of an S3 server and lets in who has one of its own
// keys, each for a while. The signature does not cover the name of the key, so that
// the server's takes its place.
type gatekeeper struct {
	secret string
	uses   int           // of one key; 0 is any number
	life   time.Duration // of one key; 0 is for ever
	slow   func(http.ResponseWriter) http.ResponseWriter
	behind *httputil.ReverseProxy

	elsewhere string // where the repo API says the pipe is when credentials are renewed
	mu        sync.Mutex
	keys      []gateKey
	served    int
	denied    int
}

type gateKey struct {
	until time.Time
	used  int
}

// mint gives out a key.
func (g *gatekeeper) mint(renew bool) (d6tpipe.Credentials, time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if renew || len(g.keys) == 0 {
		g.keys = append(g.keys, gateKey{until: time.Now().Add(g.life)})
	}
	n := len(g.keys) - 1
	c := d6tpipe.Credentials{"aws_access_key_id": fmt.Sprintf("GATE%04d", n), "aws_secret_access_key": g.secret, "aws_session_token": ""}
	if g.life == 0 {
		return c, time.Time{}
	}
	return c, g.keys[n].until
}

func (g *gatekeeper) admit(auth string) bool {
	var n int
	_, after, _ := strings.Cut(auth, "Credential=GATE")
	name, _, _ := strings.Cut(after, "/")
	if _, err := fmt.Sscanf(name, "%04d", &n); err != nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	key := &g.keys[n]
	if g.uses > 0 && key.used == g.uses || g.life != 0 && !time.Now().Before(key.until) {
		g.denied++
		return false
	}
	key.used++
	g.served++
	return true
}

// ServeHTTP lets every HEAD in: what says no to one has no body, and is known for an
// expiry by the session token, which the server behind would not take.
func (g *gatekeeper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodHead && !g.admit(r.Header.Get("Authorization")) {
		_, _ = io.Copy(io.Discard, r.Body) // who is still writing would not read the answer
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>ExpiredToken</Code><Message>CANARY</Message></Error>`)
		return
	}
	if g.slow != nil {
		w = g.slow(w)
	}
	g.behind.ServeHTTP(w, r)
}

func startGate(t *testing.T, g *gatekeeper) (endpoint, bucket string) {
	t.Helper()
	gateway := s3test.Start(t)
	target, err := url.Parse(gateway.Endpoint)
	require.NoError(t, err)
	g.secret = gateway.SecretKey
	transport := &http.Transport{DisableCompression: true}
	g.behind = &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
		auth := r.In.Header.Get("Authorization")
		_, after, _ := strings.Cut(auth, "Credential=GATE")
		_, after, _ = strings.Cut(after, "/")
		r.Out.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+gateway.AccessKey+"/"+after)
	}}
	server := httptest.NewServer(g)
	t.Cleanup(func() {
		server.Close()
		transport.CloseIdleConnections()
	})
	return server.URL, gateway.Bucket(t)
}

// minting is a repo API that gives out the gatekeeper's keys.
type minting struct {
	d6tpipe.API
	gate *gatekeeper
}

func (m *minting) Storage(ctx context.Context, pipe string, role d6tpipe.Role, renew bool) (d6tpipe.Storage, error) {
	s, err := m.API.Storage(ctx, pipe, role, renew)
	c, expires := m.gate.mint(renew)
	if !expires.IsZero() {
		c["expiration"] = expires.UTC().Format(time.RFC3339Nano)
	}
	s.Credentials = c
	if renew && m.gate.elsewhere != "" {
		s.Location = m.gate.elsewhere
	}
	return s, err
}

// Credentials that run out in the middle of a push and of a pull are renewed as
// often as they run out, and no more often.
func TestCredentialsRenewInATransfer(t *testing.T) {
	for _, source := range []string{"API", "CredentialSource"} {
		t.Run(source, func(t *testing.T) {
			g := &gatekeeper{uses: 10}
			vendor, client := gatePipes(t, g, source == "API")
			for i := range 40 {
				write(t, vendor, fmt.Sprintf("f/%02d.csv", i), fmt.Sprint(i))
			}
			write(t, vendor, "big.bin", string(storagetest.Bytes(1, 36<<20)))
			push(t, vendor)
			g.check(t)
			pull(t, client)
			g.check(t)
			require.Equal(t, tree(t, vendor.Dir()), tree(t, client.Dir()))
			require.Greater(t, len(g.keys), 8)
		})
	}
}

// check compares the keys with the requests: each key but the last was used up.
func (g *gatekeeper) check(t *testing.T) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	require.Equal(t, (g.served-1)/g.uses+1, len(g.keys))
}

func gatePipes(t *testing.T, g *gatekeeper, byAPI bool) (vendor, client *d6tpipe.Pipe) {
	t.Helper()
	endpoint, bucket := startGate(t, g)
	both := parties(t, "vendor", "client")
	_, err := both[0].api.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{Name: "warehouse", Protocol: d6tpipe.ProtocolS3, Location: bucket,
		Settings: json.RawMessage(`{"endpoint_url":"` + endpoint + `"}`)})
	require.NoError(t, err)
	addPipe(t, both[0].api, d6tpipe.PipeSettings{Name: "sales"})
	var pipes []*d6tpipe.Pipe
	for _, p := range both {
		o := d6tpipe.OpenOptions{Workers: 4}
		api := d6tpipe.API(&minting{p.api, g})
		if !byAPI {
			api = p.api
			o.CredentialSource = func(_ context.Context, _ d6tpipe.Role, renew bool) (d6tpipe.Credentials, time.Time, error) {
				c, expires := g.mint(renew)
				return d6tpipe.Credentials{"read": c, "write": c}, expires, nil
			}
		}
		pipe, err := d6tpipe.OpenPipe(t.Context(), api, "sales", o)
		require.NoError(t, err)
		pipes = append(pipes, pipe)
	}
	return pipes[0], pipes[1]
}

// Credentials that are refused although they are fresh end the pull, with few
// requests for more.
func TestCredentialsThatNeverWork(t *testing.T) {
	g := &gatekeeper{life: -time.Second}
	_, client := gatePipes(t, g, true)
	_, err := client.Pull(t.Context(), d6tpipe.PullOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrPermission)
	require.NotErrorIs(t, err, d6tpipe.ErrUnavailable)
	require.NotContains(t, err.Error(), "CANARY")
	require.Len(t, g.keys, 2)
}

// Fresh credentials are for the place that the transfer is about.
func TestPipeThatMovesInATransfer(t *testing.T) {
	g := &gatekeeper{uses: 3}
	_, client := gatePipes(t, g, true)
	g.elsewhere = "other-bucket"
	vendor := client
	for i := range 10 {
		write(t, vendor, fmt.Sprint(i), "x")
	}
	_, err := vendor.Push(t.Context(), d6tpipe.PushOptions{})
	require.ErrorContains(t, err, "moved to another storage")
}

// Keys live five seconds, and the transfer several times as long.
func TestProofCredentialsOfFiveSeconds(t *testing.T) {
	if os.Getenv("D6TPIPE_PROOF") != "1" {
		t.Skip("takes a minute; D6TPIPE_PROOF=1 runs it")
	}
	g := &gatekeeper{life: 5 * time.Second}
	vendor, client := gatePipes(t, g, true)
	for i := range 400 {
		write(t, vendor, fmt.Sprintf("f/%03d.csv", i), fmt.Sprint(i))
	}
	write(t, vendor, "big.bin", string(storagetest.Bytes(1, 256<<20)))
	push(t, vendor)
	before, start := len(g.keys), time.Now()
	g.slow = func(w http.ResponseWriter) http.ResponseWriter { return &slowWriter{w} }
	pull(t, client)
	took := time.Since(start)
	require.Equal(t, tree(t, vendor.Dir()), tree(t, client.Dir()))
	require.Greater(t, took, 12*time.Second)
	renewals := len(g.keys) - before
	t.Logf("%v with %d renewals, %d requests denied", took, renewals, g.denied)
	require.GreaterOrEqual(t, renewals, int(took/(5*time.Second)))
	require.LessOrEqual(t, renewals, int(took/(4*time.Second))+2)
}

// slowWriter moves 4 MB/s, which is the speed of each connection.
type slowWriter struct{ http.ResponseWriter }

func (w *slowWriter) Write(p []byte) (n int, err error) {
	for piece := range slices.Chunk(p, 64<<10) {
		time.Sleep(time.Duration(len(piece)) * time.Second / (4 << 20))
		m, err := w.ResponseWriter.Write(piece)
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

func (w *slowWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
