package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/faultproxy"
	"github.com/d6t/d6tpipe-go/internal/storage/ftp/ftptest"
	"github.com/d6t/d6tpipe-go/internal/storage/s3/s3test"
	"github.com/d6t/d6tpipe-go/internal/storage/sftp/sftptest"
	"github.com/d6t/d6tpipe-go/server"
)

// patience is for how long a test waits for what must come.
const patience = 90 * time.Second

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// quick lets the server reach the tests' storages, and look often at what it does.
func quick(c *server.Config) {
	c.AllowDial = loopback
	c.CheckMirrors(100 * time.Millisecond)
}

// A mirrored is a folder on an FTP server, and its pipe, of which a mirror is made.
type mirrored struct {
	t      *testing.T
	owner  *d6tpipe.APIClient
	source string // its folder here
	server *ftptest.Server
}

// newMirrored makes the pipe "vendor" on an FTP server, the managed pipe "copies" and the
// mirror "nightly".
func newMirrored(t *testing.T, owner *d6tpipe.APIClient, m d6tpipe.MirrorSettings) *mirrored {
	t.Helper()
	x := &mirrored{t: t, owner: owner, server: ftptest.VSFTPD(t)}
	folder := x.server.Folder(t)
	x.source = filepath.Join(x.server.Dir, folder)
	x.pipe(d6tpipe.PipeSettings{Name: "vendor", Protocol: d6tpipe.ProtocolFTP, Location: x.server.Addr, Options: d6tpipe.PipeOptions{Dir: folder}})
	if m.Target == "" {
		m.Target = "copies"
		x.pipe(d6tpipe.PipeSettings{Name: "copies"})
	}
	m.Name, m.Source = "nightly", "vendor"
	x.mirror(m)
	return x
}

func (x *mirrored) pipe(p d6tpipe.PipeSettings) {
	x.t.Helper()
	_, err := x.owner.Pipes().Create(x.t.Context(), p)
	require.NoError(x.t, err)
}

func (x *mirrored) mirror(m d6tpipe.MirrorSettings) {
	x.t.Helper()
	_, err := x.owner.Mirrors().Create(x.t.Context(), m)
	require.NoError(x.t, err)
}

func (x *mirrored) put(key, text string) {
	x.t.Helper()
	path := filepath.Join(x.source, filepath.FromSlash(key))
	require.NoError(x.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(x.t, os.WriteFile(path, []byte(text), 0o644))
}

func (x *mirrored) remove(key string) {
	x.t.Helper()
	require.NoError(x.t, os.Remove(filepath.Join(x.source, filepath.FromSlash(key))))
}

// files are those of a pipe, as who pulls them anew sees them.
func filesOf(t *testing.T, c *d6tpipe.APIClient, pipe string) map[string]string {
	t.Helper()
	cfg := c.Config()
	cfg.FileRepo = t.TempDir()
	fresh, err := d6tpipe.NewAPIClient(cfg)
	require.NoError(t, err)
	t.Cleanup(fresh.CloseIdleConnections)
	p, err := d6tpipe.OpenPipe(t.Context(), fresh, pipe, d6tpipe.OpenOptions{})
	require.NoError(t, err)
	report, err := p.Pull(t.Context(), d6tpipe.PullOptions{})
	require.NoError(t, err)
	files := map[string]string{}
	for _, f := range report.Files {
		files[f.Key] = read(t, p, f.Key)
	}
	return files
}

// run runs the mirror and returns what it did.
func (x *mirrored) run() (d6tpipe.Run, d6tpipe.MirrorRun) {
	x.t.Helper()
	return x.runWith(d6tpipe.MirrorRunOptions{})
}

func (x *mirrored) runWith(o d6tpipe.MirrorRunOptions) (d6tpipe.Run, d6tpipe.MirrorRun) {
	x.t.Helper()
	m, err := x.owner.RunMirror(x.t.Context(), "nightly", o)
	require.NoError(x.t, err)
	return waitRun(x.t, x.owner, *m.Next)
}

// waitRun waits for the end of the first run that is due at a time, or later.
func waitRun(t *testing.T, owner *d6tpipe.APIClient, due time.Time) (run d6tpipe.Run, did d6tpipe.MirrorRun) {
	t.Helper()
	require.Eventually(t, func() bool {
		run = d6tpipe.Run{}
		for r, err := range owner.MirrorRuns(t.Context(), "nightly") {
			require.NoError(t, err)
			if !r.Due.Before(due) {
				run = r
			}
		}
		return run.Ended != nil
	}, patience, 50*time.Millisecond)
	if len(run.Detail) > 0 {
		require.NoError(t, json.Unmarshal(run.Detail, &did))
	}
	return run, did
}

// waitBytes waits until the mirror has moved so much.
func waitBytes(t *testing.T, proxy *faultproxy.Proxy, n int64) {
	t.Helper()
	require.Eventually(t, func() bool { return proxy.Moved() >= n }, patience, 5*time.Millisecond)
}

// TestMirror is what people want of it: what is on a vendor's FTP server is in managed
// storage, changes follow, and so do removals when asked for.
func TestMirror(t *testing.T) {
	t.Parallel()
	r := start(t, quick)
	owner := r.user("owner")
	x := newMirrored(t, owner, d6tpipe.MirrorSettings{Delete: true, Exclude: "*.tmp"})
	want := map[string]string{}
	for i := range 30 {
		key := fmt.Sprintf("2026/%02d.csv", i)
		want[key] = strings.Repeat(key, 100)
		x.put(key, want[key])
	}
	x.put("notes.tmp", "not for others")
	run, did := x.run()
	require.Equal(t, d6tpipe.RunDone, run.State, run.Error)
	require.Equal(t, d6tpipe.MirrorRun{Copied: 30, Bytes: 30 * 1100}, did)
	require.Equal(t, want, filesOf(t, owner, "copies"))

	_, did = x.run()
	require.Equal(t, d6tpipe.MirrorRun{Unchanged: 30}, did)

	// What it remembers is damaged: it finds out again what is the same.
	manifests, err := filepath.Glob(filepath.Join(r.config.Data, "mirrors", "*", "state", "manifest"))
	require.NoError(t, err)
	require.Len(t, manifests, 1)
	require.NoError(t, os.WriteFile(manifests[0], []byte("garbage"), 0o600))
	run, did = x.run()
	require.Equal(t, d6tpipe.RunDone, run.State, run.Error)
	require.Equal(t, 30, did.Unchanged+did.Copied)
	_, did = x.run()
	require.Equal(t, d6tpipe.MirrorRun{Unchanged: 30}, did)

	x.put("2026/00.csv", "another, and longer than it was")
	want["2026/00.csv"] = "another, and longer than it was"
	x.remove("2026/01.csv")
	delete(want, "2026/01.csv")
	run, did = x.run()
	require.Equal(t, d6tpipe.RunDone, run.State, run.Error)
	require.Equal(t, 1, did.Copied)
	require.Equal(t, 1, did.Removed)
	require.Equal(t, want, filesOf(t, owner, "copies"), "who pulls sees it at once")

	// Somebody edits the target: that is a conflict, and nothing is lost.
	p := r.open(owner, "copies")
	_, err = p.Pull(t.Context(), d6tpipe.PullOptions{})
	require.NoError(t, err)
	write(t, p, "2026/02.csv", "ours")
	_, err = p.Push(t.Context(), d6tpipe.PushOptions{})
	require.NoError(t, err)
	x.put("2026/02.csv", "theirs, which is another one")
	run, did = x.run()
	require.Equal(t, d6tpipe.RunFailed, run.State)
	require.Contains(t, run.Error, "2026/02.csv")
	require.Contains(t, run.Error, "merge")
	require.ErrorIs(t, did.Err(), d6tpipe.ErrConflict)
	require.Equal(t, []d6tpipe.MirrorFailure{{Key: "2026/02.csv", Why: "conflict: edited at the target"}}, did.Failed)
	require.Equal(t, "ours", filesOf(t, owner, "copies")["2026/02.csv"])
	m, err := owner.Mirrors().Get(t.Context(), "nightly")
	require.NoError(t, err)
	require.Equal(t, 1, m.Failures)
	require.Nil(t, m.Next, "a person has to look at it")
	_, err = owner.Mirrors().Update(t.Context(), d6tpipe.MirrorSettings{Name: "nightly", Merge: d6tpipe.MergeOverwrite})
	require.NoError(t, err)
	run, _ = x.run()
	require.Equal(t, d6tpipe.RunDone, run.State, run.Error)
	require.Equal(t, "theirs, which is another one", filesOf(t, owner, "copies")["2026/02.csv"])
}

// TestMirrorGuards: what looks like an accident removes nothing.
func TestMirrorGuards(t *testing.T) {
	t.Parallel()
	r := start(t, quick)
	owner := r.user("owner")
	x := newMirrored(t, owner, d6tpipe.MirrorSettings{Delete: true})
	vanish := func() {
		for i := range 20 {
			x.put(fmt.Sprintf("%02d.csv", i), "content")
		}
		run, _ := x.run()
		require.Equal(t, d6tpipe.RunDone, run.State, run.Error)
		for i := range 20 {
			x.remove(fmt.Sprintf("%02d.csv", i))
		}
		run, did := x.run()
		require.Equal(t, d6tpipe.RunFailed, run.State)
		require.Contains(t, run.Error, "nothing was removed")
		require.Contains(t, run.Error, "force")
		require.ErrorIs(t, did.Err(), d6tpipe.ErrRefused)
		require.Zero(t, did.Removed)
		require.Len(t, filesOf(t, owner, "copies"), 20)
	}
	vanish()
	run, did := x.runWith(d6tpipe.MirrorRunOptions{Force: true})
	require.Equal(t, d6tpipe.RunDone, run.State, run.Error)
	require.Equal(t, 20, did.Removed)
	require.Empty(t, filesOf(t, owner, "copies"))
	vanish() // who means it once does not mean it for ever

	x.put("00.csv", "content")
	x.server.Kill()
	run, _ = x.run()
	require.Equal(t, d6tpipe.RunFailed, run.State)
	require.Contains(t, run.Error, "cannot be reached")
	require.NotContains(t, run.Error, x.server.Addr, "the network is the server's")
	require.Len(t, filesOf(t, owner, "copies"), 20)
	m, err := owner.Mirrors().Get(t.Context(), "nightly")
	require.NoError(t, err)
	require.NotNil(t, m.Next, "it is tried again")
}

// TestMirrorBacksOff: a mirror that is refused each minute is left alone longer each time.
func TestMirrorBacksOff(t *testing.T) {
	t.Parallel()
	r := start(t) // which does not connect here
	owner := r.user("owner")
	x := newMirrored(t, owner, d6tpipe.MirrorSettings{Schedule: d6tpipe.Schedule{Every: d6tpipe.Interval(time.Minute)}})
	const failures = 4
	var last d6tpipe.Run
	for range failures {
		last, _ = x.run()
		require.Equal(t, d6tpipe.RunFailed, last.State)
		require.Contains(t, last.Error, "the server does not connect there")
	}
	m, err := owner.Mirrors().Get(t.Context(), "nightly")
	require.NoError(t, err)
	require.GreaterOrEqual(t, m.Failures, failures) // and what the schedule wanted meanwhile
	require.False(t, m.Next.Before(last.Ended.Add(8*time.Minute)), "next at %s, and it ended at %s", m.Next, last.Ended)
}

// TestMirrorSFTP goes from SFTP to a filtered child of a managed pipe: the filters of
// both bind, and an equal file that is there already is taken over.
func TestMirrorSFTP(t *testing.T) {
	t.Parallel()
	r := start(t, quick)
	owner := r.user("owner")
	sshd := sftptest.Start(t)
	x := &mirrored{t: t, owner: owner, source: sshd.Dir}
	_, err := owner.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{Name: "partner", Protocol: d6tpipe.ProtocolSFTP, Location: sshd.Host,
		Settings:        json.RawMessage(fmt.Sprintf(`{"fingerprint":%q}`, sshd.Fingerprint)),
		ReadCredentials: d6tpipe.Credentials{"username": sshd.User, "private_key": string(sshd.Key)}})
	require.NoError(t, err)
	x.pipe(d6tpipe.PipeSettings{Name: "outbox", Remote: "partner", Options: d6tpipe.PipeOptions{Dir: strings.TrimPrefix(sshd.Dir, "/"), Exclude: "secret*"}})
	x.pipe(d6tpipe.PipeSettings{Name: "all"})
	x.pipe(d6tpipe.PipeSettings{Name: "tables", Parent: "all", Options: d6tpipe.PipeOptions{Dir: "tables", Include: "*.csv"}})
	x.mirror(d6tpipe.MirrorSettings{Name: "nightly", Source: "outbox", Target: "tables"})
	big := make([]byte, 20<<20)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(big)
	for key, text := range map[string]string{"big.csv": string(big), "a.csv": "a", "secret.csv": "s", "b.txt": "b", "equal.csv": "equal"} {
		x.put(key, text)
	}
	p := r.open(owner, "tables")
	write(t, p, "equal.csv", "equal")
	_, err = p.Push(t.Context(), d6tpipe.PushOptions{})
	require.NoError(t, err)
	run, did := x.run()
	require.Equal(t, d6tpipe.RunDone, run.State, run.Error)
	require.Equal(t, 2, did.Copied)
	files := filesOf(t, owner, "tables")
	require.Len(t, files, 3)
	require.True(t, files["big.csv"] == string(big), "it is another file")
	require.NotContains(t, filesOf(t, owner, "all"), "tables/b.txt")
}

// TestMirrorForbidden: the server does not go where its administrator does not let it.
func TestMirrorForbidden(t *testing.T) {
	t.Parallel()
	r := start(t)
	owner := r.user("owner")
	x := newMirrored(t, owner, d6tpipe.MirrorSettings{})
	x.put("a.csv", "inside")
	run, _ := x.run()
	require.Equal(t, d6tpipe.RunFailed, run.State)
	require.Contains(t, run.Error, "the server does not connect there")
	require.Empty(t, filesOf(t, owner, "copies"))
}

// slowly has a mirror copy a big file at a rate at which a test can interfere.
func slowly(t *testing.T, x *mirrored) {
	t.Helper()
	_, err := x.owner.Mirrors().Update(t.Context(), d6tpipe.MirrorSettings{Name: "nightly", Rate: 1 << 20})
	require.NoError(t, err)
	x.put("big.bin", "")
	require.NoError(t, os.Truncate(filepath.Join(x.source, "big.bin"), 64<<20))
	_, err = x.owner.RunMirror(t.Context(), "nightly", d6tpipe.MirrorRunOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		for run, err := range x.owner.MirrorRuns(t.Context(), "nightly") {
			require.NoError(t, err)
			return run.State == d6tpipe.RunRunning && x.connected()
		}
		return false
	}, patience, 20*time.Millisecond)
}

// connected reports whether somebody is connected to the FTP server: then a run has begun
// by what its mirror was, and does not look it up for the first time.
func (x *mirrored) connected() bool {
	x.t.Helper()
	_, port, err := net.SplitHostPort(x.server.Addr)
	require.NoError(x.t, err)
	n, err := strconv.Atoi(port)
	require.NoError(x.t, err)
	table, err := os.ReadFile("/proc/net/tcp")
	require.NoError(x.t, err)
	const established = "01"
	return regexp.MustCompile(fmt.Sprintf(`(?m)^ *\d+: [0-9A-F]{8}:%04X [0-9A-F:]+ %s `, n, established)).Match(table)
}

// TestMirrorRevoked: a run ends when its owner may not do it any more.
func TestMirrorRevoked(t *testing.T) {
	t.Parallel()
	r := start(t, quick)
	owner, mary := r.user("owner"), r.user("mary")
	_, err := owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "shelf"})
	require.NoError(t, err)
	require.NoError(t, owner.Grant(t.Context(), "shelf", d6tpipe.Permission{Username: "mary", Role: d6tpipe.RoleWrite}))
	x := newMirrored(t, mary, d6tpipe.MirrorSettings{Target: "shelf"})
	slowly(t, x)
	require.NoError(t, owner.Grant(t.Context(), "shelf", d6tpipe.Permission{Username: "mary", Role: d6tpipe.RoleRead}))
	run, _ := waitRun(t, mary, time.Time{})
	require.Equal(t, d6tpipe.RunFailed, run.State)
	require.Equal(t, "You may not write to shelf.", run.Error)
	require.Empty(t, filesOf(t, owner, "shelf"))
	m, err := mary.Mirrors().Get(t.Context(), "nightly")
	require.NoError(t, err)
	require.Nil(t, m.Next)
}

// TestMirrorPaused: to pause a mirror ends the run that is at work, and to change it too,
// which is made up for.
func TestMirrorPaused(t *testing.T) {
	t.Parallel()
	r := start(t, quick)
	owner := r.user("owner")
	x := newMirrored(t, owner, d6tpipe.MirrorSettings{})
	slowly(t, x)
	_, err := owner.PauseMirror(t.Context(), "nightly", true)
	require.NoError(t, err)
	run, did := waitRun(t, owner, time.Time{})
	require.Equal(t, d6tpipe.RunDone, run.State, run.Error)
	require.Contains(t, did.Stopped, "paused")
	m, err := owner.Mirrors().Get(t.Context(), "nightly")
	require.NoError(t, err)
	require.Zero(t, m.Failures)
	m, err = owner.PauseMirror(t.Context(), "nightly", false)
	require.NoError(t, err)
	require.Nil(t, m.Next, "nobody has asked for it since")
	slowly(t, x)
	changed := newest(t, owner)
	m, err = owner.Mirrors().Replace(t.Context(), d6tpipe.MirrorSettings{Name: "nightly", Source: "vendor", Target: "copies"}) // without a rate
	require.NoError(t, err)
	run, did = waitRun(t, owner, *m.Next)
	require.Equal(t, d6tpipe.RunDone, run.State, run.Error)
	require.Empty(t, did.Stopped)
	require.Equal(t, 1, did.Copied)
	superseded, did := waitRun(t, owner, changed.Due)
	require.Equal(t, changed.ID, superseded.ID)
	require.Equal(t, d6tpipe.RunDone, superseded.State, superseded.Error)
	require.Contains(t, did.Stopped, "changed meanwhile")
	require.True(t, did.Continues)
	slowly(t, x)
	require.NoError(t, owner.Mirrors().Delete(t.Context(), "nightly"))
	counts := func(what string) bool {
		status, text := r.send("GET", "/metrics", "", "")
		require.Equal(t, 200, status)
		return strings.Contains(text, what)
	}
	require.Eventually(t, func() bool { return counts(`d6tpipe_jobs_running{kind="mirror"} 0`) }, patience, 20*time.Millisecond)
	require.True(t, counts(`d6tpipe_jobs_total{kind="mirror",outcome="failed"} 0`))
}

// newest is the run of the mirror that was made last.
func newest(t *testing.T, owner *d6tpipe.APIClient) d6tpipe.Run {
	t.Helper()
	for run, err := range owner.MirrorRuns(t.Context(), "nightly") {
		require.NoError(t, err)
		return run
	}
	t.Fatal("there is none")
	return d6tpipe.Run{}
}

// TestMirrorTurn: a run that takes long ends, and another one goes on.
func TestMirrorTurn(t *testing.T) {
	t.Parallel()
	r := start(t, quick, func(c *server.Config) { c.TurnMirrors(time.Second) })
	x := newMirrored(t, r.user("owner"), d6tpipe.MirrorSettings{})
	slowly(t, x)
	run, did := waitRun(t, x.owner, time.Time{})
	require.Equal(t, d6tpipe.RunDone, run.State, run.Error)
	require.True(t, did.Continues)
	require.Zero(t, did.Copied)
	second, _ := waitRun(t, x.owner, run.Due.Add(time.Microsecond))
	require.Equal(t, d6tpipe.RunDone, second.State, second.Error)
	require.NoError(t, x.owner.Mirrors().Delete(t.Context(), "nightly"))
}

// TestMirrorKilled: a server that is killed in the middle of a big file goes on there.
func TestMirrorKilled(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	key := filepath.Join(t.TempDir(), "key")
	config := processConfig{Listen: "127.0.0.1:0", Data: data, KeyFile: key, Quick: true}
	createRoot(t, config.server())
	p := launch(t, config)
	x, proxy := bigMirror(t, p.url(), bigSize)
	waitBytes(t, proxy, 40<<20)
	p.kill()
	moved := proxy.Moved()
	require.Less(t, moved, int64(bigSize), "it was not in the middle")
	config.Listen = p.addr
	p = launch(t, config)
	run, _ := waitRun(t, x.owner, time.Time{})
	require.Equal(t, d6tpipe.RunDone, run.State, run.Error)
	require.Equal(t, 2, run.Attempt)
	over := proxy.Moved() - bigSize
	t.Logf("%d bytes were moved before the kill, %d more than needed in all", moved, over)
	require.LessOrEqual(t, over, int64(partSize+partSize/10))
	p.term()
}

// TestMirrorTakenUp: another server goes on with what a dead one has begun, and does not
// copy again what that had kept.
func TestMirrorTakenUp(t *testing.T) {
	r := startReplicas(t, 1)
	r.all[0].term()
	r.config.Quick, r.config.Lease = true, 10*time.Second
	r.again(t, 0)
	x, proxy := bigMirror(t, r.all[0].url(), bigSize/4)
	waitBytes(t, proxy, 10<<20)
	r.all[0].kill()
	second := r.add(t)
	cfg := x.owner.Config()
	cfg.Server = second.url()
	client, err := d6tpipe.NewAPIClient(cfg)
	require.NoError(t, err)
	t.Cleanup(client.CloseIdleConnections)
	_, err = client.Login(t.Context(), "root", password+"root")
	require.NoError(t, err)
	x.owner = client
	run, did := waitRun(t, client, time.Time{})
	require.Equal(t, d6tpipe.RunDone, run.State, run.Error)
	require.Equal(t, 2, run.Attempt)
	require.Equal(t, 1, did.Copied)
	moved := proxy.Moved()
	run, did = x.run()
	require.Equal(t, d6tpipe.RunDone, run.State, run.Error)
	require.Equal(t, d6tpipe.MirrorRun{Unchanged: 1}, did)
	second.term()
	r.again(t, 0) // whose folder is out of date
	cfg.Server = r.all[0].url()
	client, err = d6tpipe.NewAPIClient(cfg)
	require.NoError(t, err)
	t.Cleanup(client.CloseIdleConnections)
	_, err = client.Login(t.Context(), "root", password+"root")
	require.NoError(t, err)
	x.owner = client
	run, did = x.run()
	require.Equal(t, d6tpipe.RunDone, run.State, run.Error)
	require.Equal(t, d6tpipe.MirrorRun{Unchanged: 1}, did)
	require.Less(t, proxy.Moved()-moved, int64(1<<20), "nothing was copied or compared again")
	r.all[0].term()
}

const (
	bigSize  = 96 << 20
	partSize = 16 << 20
)

// bigMirror begins to copy a big file from FTP to a bucket of the user's own, by way of a
// proxy that counts.
func bigMirror(t *testing.T, url string, size int64) (*mirrored, *faultproxy.Proxy) {
	t.Helper()
	owner, err := d6tpipe.NewAPIClient(d6tpipe.Config{Profile: "p", Server: url, FileRepo: t.TempDir(), Tokens: d6tpipe.MemoryTokens()})
	require.NoError(t, err)
	t.Cleanup(owner.CloseIdleConnections)
	_, err = owner.Login(t.Context(), "root", password+"root")
	require.NoError(t, err)
	gateway := s3test.Start(t)
	proxy := faultproxy.Start(t, strings.TrimPrefix(gateway.Endpoint, "http://"))
	_, err = owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "bucket", Protocol: d6tpipe.ProtocolS3, Location: gateway.Bucket(t),
		Credentials: d6tpipe.Credentials{"aws_access_key_id": gateway.AccessKey, "aws_secret_access_key": gateway.SecretKey, "region_name": gateway.Region, "endpoint_url": "http://" + proxy.Addr}})
	require.NoError(t, err)
	x := newMirrored(t, owner, d6tpipe.MirrorSettings{Target: "bucket", Rate: size / 3})
	x.put("big.bin", string(bytes.Repeat([]byte("0123456789abcdef"), int(size)/16)))
	_, err = owner.RunMirror(t.Context(), "nightly", d6tpipe.MirrorRunOptions{})
	require.NoError(t, err)
	return x, proxy
}
