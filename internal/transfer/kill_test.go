package transfer_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/faultproxy"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/dir"
	"github.com/d6t/d6tpipe-go/internal/storage/ftp"
	"github.com/d6t/d6tpipe-go/internal/storage/ftp/ftptest"
	"github.com/d6t/d6tpipe-go/internal/storage/httpfile"
	"github.com/d6t/d6tpipe-go/internal/storage/s3"
	"github.com/d6t/d6tpipe-go/internal/storage/s3/s3test"
	"github.com/d6t/d6tpipe-go/internal/storage/sftp"
	"github.com/d6t/d6tpipe-go/internal/storage/sftp/sftptest"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// An end is a remote that a process of its own can open, and the folder of this
// machine in which its server keeps the files.
type end struct {
	Kind   string
	Folder string
	S3     s3.Options
	Login  login // to a server for files
	HTTP   httpfile.Options
	Via    string // of ftp: a proxy that leads to wherever it is told
}

// A login is what the options of sftp and ftp have in common and can be written down.
type login struct {
	Host, User, Password, Fingerprint, Root string
	Key                                     []byte
	Connections                             int // of FTP; 0 is its default
}

func (e end) open() (storage.Store, error) {
	switch e.Kind {
	case "s3":
		return s3.New(e.S3)
	case "ftp":
		l := e.Login
		tls := ftp.None
		if l.Fingerprint != "" {
			tls = ftp.Explicit
		}
		opts := ftp.Options{Host: l.Host, User: l.User, Password: l.Password, TLS: tls, Fingerprint: l.Fingerprint, Root: l.Root, Connections: l.Connections}
		if e.Via != "" {
			opts.Dial = faultproxy.Through(e.Via)
		}
		return ftp.New(opts)
	case "http":
		return httpfile.New(e.HTTP)
	case "sftp":
		l := e.Login
		return sftp.New(sftp.Options{Host: l.Host, User: l.User, Key: l.Key, Fingerprint: l.Fingerprint, Root: l.Root})
	}
	return dir.New(e.Folder)
}

// ends start a server of each kind; the result makes a new, empty remote on it.
var ends = map[string]func(t *testing.T) func(t *testing.T) end{
	"dir": func(*testing.T) func(t *testing.T) end {
		return func(t *testing.T) end { return end{Kind: "dir", Folder: t.TempDir()} }
	},
	"s3": func(t *testing.T) func(t *testing.T) end {
		g := s3test.Start(t)
		return func(t *testing.T) end {
			bucket := g.Bucket(t)
			return end{Kind: "s3", Folder: filepath.Join(g.Dir, bucket), S3: s3.Options{
				Endpoint: g.Endpoint, Region: g.Region, Bucket: bucket, AccessKey: g.AccessKey, SecretKey: g.SecretKey, PartSize: 5 << 20,
			}}
		}
	},
	"ftp": func(t *testing.T) func(t *testing.T) end {
		server := ftptest.VSFTPD(t)
		return func(t *testing.T) end {
			root := server.Folder(t)
			return end{Kind: "ftp", Folder: filepath.Join(server.Dir, root), Login: login{Host: server.Addr, Root: root}}
		}
	},
	"sftp": func(t *testing.T) func(t *testing.T) end {
		server := sftptest.Start(t)
		return func(t *testing.T) end {
			folder, err := os.MkdirTemp(server.Dir, "remote")
			require.NoError(t, err)
			return end{Kind: "sftp", Folder: folder, Login: login{Host: server.Host, User: server.User, Key: server.Key, Fingerprint: server.Fingerprint, Root: folder}}
		}
	},
}

// An errand is what a process is started, and killed, for.
type errand struct {
	Op     string // pull, push, remove, mirror
	Remote end
	From   end    // of a mirror
	Repo   string // of the others
	Force  bool   // removes what was never synced, too
	Merge  transfer.Merge
	Range  int64 // of the Config; 0 is 1 MiB
}

func (e errand) local() string { return filepath.Join(e.Repo, "pipe") }

// A deed is what an errand did: nothing, where nothing was left to do.
type deed struct {
	Bytes   int64 // that crossed the wire, of files and not of listings
	Orphans int   // found by a removal or a mirror
}

// do carries the errand out. The bytes are counted below the Sync, which is not asked.
func (e errand) do(ctx context.Context) (deed, error) {
	return e.announced(ctx, func(transfer.Event) {})
}

// announced is do, and tells what happens; a removal, which has no events, tells when it
// begins.
func (e errand) announced(ctx context.Context, tell func(transfer.Event)) (did deed, err error) {
	var bytes atomic.Int64
	defer func() { did.Bytes = bytes.Load() }()
	count := func(_ string, n int) { bytes.Add(int64(max(n, -n))) }
	open := func(at end) (storage.Store, error) {
		store, err := at.open()
		if err != nil {
			return nil, err
		}
		return storage.Watch(store, storage.Meter{Read: count, Written: count}), nil
	}
	store, err := open(e.Remote)
	if err != nil {
		return did, err
	}
	defer store.Close()
	cfg := transfer.Config{Store: store, State: filepath.Join(e.Repo, ".d6tpipe", "pipe"), Workers: 4, Range: cmp.Or(e.Range, 1<<20)}
	cfg.Progress = tell
	if e.Op == "remove" { // which has no progress to tell of
		cfg.Store = &announcer{store, func() { tell(transfer.Event{}) }}
	}
	if e.Op != "mirror" {
		cfg.Dir = e.local()
	} else if cfg.From, err = open(e.From); err != nil {
		return did, err
	} else {
		defer cfg.From.Close()
	}
	s, err := transfer.Open(cfg)
	if err != nil {
		return did, err
	}
	defer s.Close()
	orphans, err := e.run(ctx, s)
	did.Orphans = len(orphans)
	return did, err
}

func (e errand) run(ctx context.Context, s *transfer.Sync) (orphans []transfer.Orphan, err error) {
	switch e.Op {
	case "mirror":
		_, _, orphans, err = s.Mirror(ctx, transfer.MirrorOptions{Delete: true, Force: e.Force, Merge: e.Merge})
	case "remove":
		orphans, err = s.RemoveOrphans(ctx, transfer.OrphanOptions{Apply: true, Force: e.Force})
	default:
		err = syncs(transfer.Direction(e.Op))(ctx, s)
	}
	return orphans, err
}

// An announcer tells when a listing is over.
type announcer struct {
	storage.Store
	then func()
}

func (a *announcer) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		defer a.then()
		a.Store.List(ctx, prefix)(yield)
	}
}

// runErrand is what the killed process does. It prints a line when it begins.
func runErrand(spec string) int {
	var e errand
	err := json.Unmarshal([]byte(spec), &e)
	if err == nil {
		begins := sync.OnceFunc(func() { fmt.Println("begins") })
		_, err = e.announced(context.Background(), func(transfer.Event) { begins() })
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, transfer.ErrConflict):
		return exitConflict
	}
	return 1
}

const exitConflict = 4

// A death is when a process was killed.
type death int

const (
	tooEarly    death = iota // while it looked at what there is
	inTheMiddle              // while it moved or removed files
	tooLate                  // it was done
)

// killed starts the errand in a process of its own and kills it when it has been at it
// for so long. It returns when that was, and how long it was at it.
func (e errand) killed(t *testing.T, after time.Duration) (when death, took time.Duration) {
	spec, err := json.Marshal(e)
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "D6TPIPE_TRANSFER_ERRAND="+string(spec))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	if after < 0 { // before it begins
		time.AfterFunc(-after, func() { _ = cmd.Process.Kill() })
	}
	said, err := bufio.NewReader(stdout).ReadString('\n')
	begun := time.Now()
	if after > 0 && err == nil {
		kill := time.AfterFunc(after, func() { _ = cmd.Process.Kill() }) // when to kill is the point of the test
		defer kill.Stop()
	}
	_, _ = io.Copy(io.Discard, stdout) // until it ends
	took = time.Since(begun)
	err = cmd.Wait()
	require.True(t, err == nil || cmd.ProcessState.ExitCode() == -1, "%s", stderr.String())
	switch {
	case err == nil:
		return tooLate, took
	case said == "":
		return tooEarly, took
	}
	return inTheMiddle, took
}

const (
	killFiles = 10
	killBig   = 11<<20 + 7 // three parts of S3
)

// edition returns the files of edition n. Most change from one to the next.
func edition(n int) map[string][]byte {
	files := map[string][]byte{}
	for i := range killFiles {
		of := n
		if i%4 == n%4 {
			of = 0 // as it was
		}
		rnd := rand.New(rand.NewPCG(uint64(of), uint64(i)))
		files[fmt.Sprintf("d%d/f%02d.bin", i%3, i)] = noise(uint64(of*100+i), rnd.IntN(64<<10))
	}
	if n%2 == 0 {
		files["big.bin"] = noise(uint64(n), killBig)
	} else {
		files["big.bin"] = noise(uint64(n-1), killBig)
	}
	return files
}

func noise(seed uint64, n int) []byte {
	data := make([]byte, n)
	var key [32]byte
	key[0], key[1], key[2] = byte(seed), byte(seed>>8), byte(seed>>16)
	_, _ = rand.NewChaCha8(key).Read(data)
	return data
}

// A side is one of the two trees between which files move.
type side struct {
	folder string
	store  storage.Store // nil for a local folder
}

func (s side) write(t *testing.T, files map[string][]byte) {
	t.Helper()
	for key, data := range files {
		if s.store != nil {
			_, err := s.store.Put(t.Context(), key, bytes.NewReader(data), int64(len(data)), storage.Cond{})
			require.NoError(t, err)
			continue
		}
		name := filepath.Join(s.folder, filepath.FromSlash(key))
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name+".new", data, 0o644))
		require.NoError(t, os.Rename(name+".new", name))
	}
}

func (s side) remove(t *testing.T, key string) {
	t.Helper()
	if s.store != nil {
		require.NoError(t, s.store.Remove(t.Context(), key))
		return
	}
	require.NoError(t, os.Remove(filepath.Join(s.folder, filepath.FromSlash(key))))
}

// visible returns the files that anybody can see, with their hashes: all but ours and
// the server's own.
func (s side) visible(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(s.folder, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".sgwtmp":
			return fs.SkipDir
		case d.IsDir() || strings.HasPrefix(d.Name(), ".d6tpipe"):
			return nil
		}
		rel, _ := filepath.Rel(s.folder, p)
		files[filepath.ToSlash(rel)], err = hashFile(p)
		return err
	})
	if !os.IsNotExist(err) {
		require.NoError(t, err)
	}
	return files
}

// TestKill kills syncs of every kind with every kind of remote, at any instant. After
// each kill every visible file is whole, old or new; a second run converges, and a
// third moves nothing.
func TestKill(t *testing.T) {
	for kind, start := range ends {
		t.Run(kind, func(t *testing.T) {
			t.Parallel() // their servers wait for their disk most of the time
			remote := start(t)
			for _, op := range []string{"pull", "push", "remove", "mirror"} {
				t.Run(op, func(t *testing.T) { killRounds(t, errand{Op: op, Remote: remote(t), Repo: t.TempDir(), Force: true}) })
			}
		})
	}
}

func killRounds(t *testing.T, e errand) {
	store, err := e.Remote.open()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	local, there := side{folder: e.local()}, side{folder: e.Remote.Folder, store: store}
	from, to := local, there
	switch e.Op {
	case "pull":
		from, to = there, local
	case "mirror":
		e.From = end{Kind: "dir", Folder: t.TempDir()}
		from = side{folder: e.From.Folder}
	}
	known := map[string]bool{}
	publish := func(n int) {
		files := edition(n)
		from.write(t, files)
		for key, data := range files {
			known[key+" "+hash(data)] = true
		}
	}
	publish(0)
	if e.Op == "remove" {
		e.Op = "push"
		e.converges(t, from, to)
		e.Op = "remove"
	}
	next := func(n int) {
		if e.Op == "remove" {
			e.orphan(t, local, there, n)
		} else {
			publish(n + 1)
		}
	}
	next(0)
	_, took := e.killed(t, 0)
	var deaths [tooLate + 1]int
	for n, want := 1, rounds(2, 150); deaths[inTheMiddle] < want; n++ {
		require.Less(t, n, 5*want+50, "it is too seldom in the middle that it is killed: %v", deaths)
		e.restocked(t, from, to, publish)
		next(n)
		after := 1 + rand.N(took)
		if n%5 == 0 {
			after = -after
		}
		when, _ := e.killed(t, after)
		deaths[when]++
		if when == tooLate {
			took -= took / 4
		} else if when == inTheMiddle {
			took += took / 8
		}
		for _, s := range []side{local, there, to} {
			for key, sum := range s.visible(t) {
				require.True(t, known[key+" "+sum], "torn: %s", key)
			}
		}
		e.converges(t, from, to)
	}
	t.Logf("killed %d times while it looked, %d in the middle, %d were done", deaths[tooEarly], deaths[inTheMiddle], deaths[tooLate])
	requireClean(t, e, deaths[inTheMiddle])
}

// restocked brings back what was removed. What was deleted on the remote would not be
// pushed while it is remembered.
func (e errand) restocked(t *testing.T, from, to side, publish func(n int)) {
	if e.Op != "remove" {
		return
	}
	publish(0)
	require.NoError(t, os.RemoveAll(filepath.Join(e.Repo, ".d6tpipe")))
	e.Op = "push"
	e.converges(t, from, to)
}

// orphan deletes files on one side and on the other.
func (e errand) orphan(t *testing.T, local, there side, n int) {
	for i := range killFiles {
		key := fmt.Sprintf("d%d/f%02d.bin", i%3, i)
		switch (i + n) % 3 {
		case 0:
			local.remove(t, key)
		case 1:
			there.remove(t, key)
		}
	}
}

// converges runs the errand to its end, and once more. What a killed process had sent to
// a server may arrive after the plan was made: that is a conflict until the next plan.
func (e errand) converges(t *testing.T, from, to side) {
	t.Helper()
	_, err := e.do(t.Context())
	if errors.Is(err, transfer.ErrConflict) && e.Remote.Kind != "dir" {
		_, err = e.do(t.Context())
	}
	require.NoError(t, err)
	require.Equal(t, from.visible(t), to.visible(t))
	did, err := e.do(t.Context())
	require.NoError(t, err)
	require.Zero(t, did)
}

// requireClean: nothing of ours is left, here or there. On servers for files nobody
// can tell whose process is dead: what a kill leaves there is swept after a day.
func requireClean(t *testing.T, e errand, interrupted int) {
	t.Helper()
	remote := e.Remote.Folder
	if e.Remote.Login.Host != "" {
		remote = filepath.Join(e.Repo, "none")
	}
	for _, folder := range []string{remote, e.local(), filepath.Join(e.Repo, ".d6tpipe", "pipe", "parts"), filepath.Join(e.Repo, ".d6tpipe", "pipe", "uploads")} {
		err := filepath.WalkDir(folder, func(p string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && strings.HasPrefix(d.Name(), ".d6tpipe") || path.Base(folder) == "parts" && err == nil && !d.IsDir() {
				return fmt.Errorf("left behind: %s", p)
			}
			return err
		})
		if !os.IsNotExist(err) {
			require.NoError(t, err)
		}
	}
	if e.Remote.Kind == "s3" {
		uploads, err := filepath.Glob(filepath.Join(e.Remote.Folder, ".sgwtmp", "multipart", "*", "*"))
		require.NoError(t, err)
		// A process that dies between the server's answer and its note of it leaves an
		// upload that only its age betrays: one each time, and with no more in it than the
		// byte that asks the server which sums it knows, for parts are sent once the note is there.
		require.LessOrEqual(t, len(uploads), interrupted, "uploads that nobody will finish")
		for _, upload := range uploads {
			parts, err := filepath.Glob(filepath.Join(upload, "[0-9]*"))
			require.NoError(t, err)
			for _, part := range parts {
				info, err := os.Stat(part)
				require.NoError(t, err)
				require.LessOrEqual(t, info.Size(), int64(1), "an upload that was under way is forgotten")
			}
		}
	}
}
