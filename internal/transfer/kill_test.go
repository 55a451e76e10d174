package transfer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/dir"
	"github.com/d6t/d6tpipe-go/internal/storage/ftp"
	"github.com/d6t/d6tpipe-go/internal/storage/ftp/ftptest"
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
}

// A login is what the options of sftp and ftp have in common and can be written down.
type login struct {
	Host, User, Password, Fingerprint, Root string
	Key                                     []byte
}

func (e end) open() (storage.Store, error) {
	switch e.Kind {
	case "s3":
		return s3.New(e.S3)
	case "ftp":
		l := e.Login
		return ftp.New(ftp.Options{Host: l.Host, User: l.User, Password: l.Password, Root: l.Root})
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
}

func (e errand) local() string { return filepath.Join(e.Repo, "pipe") }

// do carries the errand out and returns how many bytes were moved. begun is told of all
// that happens, and may be nil.
func (e errand) do(ctx context.Context, begun func(transfer.Event)) (moved int64, err error) {
	store, err := e.Remote.open()
	if err != nil {
		return 0, err
	}
	defer store.Close()
	cfg := transfer.Config{Store: store, State: filepath.Join(e.Repo, ".d6tpipe", "pipe"), Workers: 4, Range: 1 << 20, Progress: func(e transfer.Event) {
		if e.Kind == transfer.Finished {
			moved += e.Bytes
		}
		if begun != nil {
			begun(e)
		}
	}}
	if e.Op != "mirror" {
		cfg.Dir = e.local()
	} else if cfg.From, err = e.From.open(); err == nil {
		defer cfg.From.Close()
	}
	if err != nil {
		return 0, err
	}
	s, err := transfer.Open(cfg)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	switch e.Op {
	case "mirror":
		_, _, _, err = s.Mirror(ctx, transfer.MirrorOptions{Delete: true, Force: true})
	case "remove":
		if begun != nil { // there is no other sign
			begun(transfer.Event{Kind: transfer.Moved})
		}
		_, err = s.RemoveOrphans(ctx, transfer.OrphanOptions{Apply: true, Force: true})
	default:
		var p *transfer.Plan
		if p, err = s.Plan(ctx, transfer.Request{Direction: transfer.Direction(e.Op)}); err == nil {
			_, err = s.Apply(ctx, p)
		}
	}
	return moved, err
}

// runErrand is what the killed process does.
func runErrand(spec string) int {
	var e errand
	err := json.Unmarshal([]byte(spec), &e)
	if err == nil {
		_, err = e.do(context.Background(), announce())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// command is the errand as a process of its own.
func (e errand) command(t *testing.T) *exec.Cmd {
	spec, err := json.Marshal(e)
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "D6TPIPE_TRANSFER_ERRAND="+string(spec))
	cmd.Stderr = new(strings.Builder)
	return cmd
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
		data, err := os.ReadFile(p)
		rel, _ := filepath.Rel(s.folder, p)
		files[filepath.ToSlash(rel)] = hash(data)
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
			remote := start(t)
			for _, op := range []string{"pull", "push", "remove", "mirror"} {
				t.Run(op, func(t *testing.T) { killRounds(t, errand{Op: op, Remote: remote(t), Repo: t.TempDir()}) })
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
	within, interrupted := window(60*time.Millisecond), 0
	for n := range rounds(6, 1000) {
		if e.Op == "remove" {
			e.orphan(t, local, there, n)
		} else {
			publish(n + 1)
		}
		if within.kill(t, e.command(t), n) {
			interrupted++
		}
		for _, s := range []side{local, there, to} {
			for key, sum := range s.visible(t) {
				require.True(t, known[key+" "+sum], "torn: %s", key)
			}
		}
		e.converges(t, from, to)
		if e.Op == "remove" { // all of them again; what was deleted on the remote would not be pushed
			publish(0)
			require.NoError(t, os.RemoveAll(filepath.Join(e.Repo, ".d6tpipe")))
			e.Op = "push"
			e.converges(t, from, to)
			e.Op = "remove"
		}
	}
	require.True(t, interrupted > 0 || rounds(0, 1) == 0, "none was killed in time")
	requireClean(t, e, interrupted)
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

// converges runs the errand to its end, and once more.
func (e errand) converges(t *testing.T, from, to side) {
	t.Helper()
	_, err := e.do(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, from.visible(t), to.visible(t))
	moved, err := e.do(t.Context(), nil)
	require.NoError(t, err)
	require.Zero(t, moved)
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
		// upload that only its age betrays: rare, and no more than one each time.
		require.LessOrEqual(t, len(uploads), interrupted/2, "uploads that nobody will finish")
	}
}
