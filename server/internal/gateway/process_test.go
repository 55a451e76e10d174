package gateway_test

import (
	"bytes"
	"crypto/md5"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/gateway"
)

// children are the processes of this one that run the S3 server.
func children(t testing.TB) (pids []int) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("looks into /proc")
	}
	lists, err := filepath.Glob("/proc/self/task/*/children")
	require.NoError(t, err)
	for _, list := range lists {
		data, _ := os.ReadFile(list) // threads end
		for _, field := range strings.Fields(string(data)) {
			pid, err := strconv.Atoi(field)
			require.NoError(t, err)
			if args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); bytes.Contains(args, []byte(gateway.ChildArg)) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func child(t testing.TB) int {
	t.Helper()
	pids := children(t)
	require.Len(t, pids, 1)
	return pids[0]
}

// Nobody who may look at processes sees a key: not in the arguments, not in the
// environment, and not in a file.
func TestChildHidesSecrets(t *testing.T) {
	t.Setenv("D6TPIPE_CANARY", "a password in the server's environment")
	master := []byte("canary-master-canary-master-12345678")
	w := start(t, func(cfg *gateway.EmbeddedConfig) { cfg.Master = master })
	k := w.keys(t, write("alice/x/"))
	put(t, w.clientWith(t, k), "alice/x/a", "x")
	_, err := get(t, w.clientWith(t, keys{k.access, "wrong", k.token}), "alice/x/a")
	require.Error(t, err)
	for _, name := range []string{"cmdline", "environ"} {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", child(t), name))
		require.NoError(t, err)
		for _, secret := range []string{string(master), k.secret, k.token, "a password"} {
			require.NotContains(t, string(data), secret, name)
		}
	}
	require.NoError(t, filepath.WalkDir(w.dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		for _, secret := range []string{string(master), k.secret, k.token} {
			require.NotContains(t, string(data), secret, path)
		}
		return err
	}))
	for _, secret := range []string{string(master), k.secret, k.token} {
		require.NotContains(t, w.log.String(), secret)
	}
	info, err := os.Stat(filepath.Dir(w.Socket()))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	info, err = os.Stat(w.file("alice/x/a"))
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o007, "others cannot read files")
}

// A child that is killed comes back; who is in the middle gets an error soon, and
// nothing that is not whole can be seen.
func TestChildKilled(t *testing.T) {
	rounds := 3
	if os.Getenv("D6TPIPE_PROOF") != "" {
		rounds = 50
	}
	w := start(t)
	w.requireReady(t)
	c := w.client(t, write("alice/x/"))
	old := bytes.Repeat([]byte("old"), 1<<20)
	put(t, c, "alice/x/file", string(old))
	for round := range rounds {
		pid := child(t)
		body, feed := io.Pipe()
		failed := make(chan error, 1)
		go func() {
			_, err := c.Client.PutObject(t.Context(), bucket, "alice/x/file", body, 8<<20, minio.PutObjectOptions{DisableMultipart: true})
			failed <- err
		}()
		_, err := feed.Write(make([]byte, 1<<20)) // it is under way
		require.NoError(t, err)
		process, err := os.FindProcess(pid)
		require.NoError(t, err)
		require.NoError(t, process.Kill())
		began := time.Now()
		feed.CloseWithError(io.ErrUnexpectedEOF)
		require.Error(t, <-failed)
		require.Less(t, time.Since(began), patience, "an error comes soon")

		require.Eventually(t, func() bool { p := children(t); return len(p) == 1 && p[0] != pid }, patience, 5*time.Millisecond)
		now, err := get(t, c, "alice/x/file") // it waits for the new one
		require.NoError(t, err)
		require.True(t, now == string(old), "round %d", round)
		require.Equal(t, []string{"alice/x/file"}, keysIn(t, c, minio.ListObjectsOptions{Prefix: "alice/x/", Recursive: true}))
		w.requireReady(t)
	}
	put(t, c, "alice/x/file", "new")
	now, err := get(t, c, "alice/x/file")
	require.NoError(t, err)
	require.Equal(t, "new", now)
}

// Kills at any time, while several write: what was acknowledged is there, and what
// is there is whole.
func TestChildKilledUnderLoad(t *testing.T) {
	kills := 5
	if os.Getenv("D6TPIPE_PROOF") != "" {
		kills = 200
	}
	w := start(t)
	w.requireReady(t)
	stop := make(chan struct{})
	var writers sync.WaitGroup
	acked := make([]map[string]bool, 4)
	var begun atomic.Int64 // writers who have written something
	for n := range acked {
		acked[n] = map[string]bool{}
		c := w.client(t, write(fmt.Sprintf("user%d/x/", n)))
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				key := fmt.Sprintf("user%d/x/%d/%d", n, i%7, i)
				body := strings.Repeat(key, 5000)
				if _, err := c.Client.PutObject(t.Context(), bucket, key, strings.NewReader(body), int64(len(body)), minio.PutObjectOptions{}); err == nil {
					if acked[n][key] = true; len(acked[n]) == 1 {
						begun.Add(1)
					}
				}
			}
		})
	}
	for range kills {
		pause := make([]byte, 1)
		rand.Read(pause)
		time.Sleep(time.Duration(pause[0]) * time.Millisecond)
		for _, pid := range children(t) {
			if p, err := os.FindProcess(pid); err == nil {
				p.Kill()
			}
		}
		w.requireReady(t)
	}
	require.Eventually(t, func() bool { return begun.Load() == int64(len(acked)) }, patience, 5*time.Millisecond)
	close(stop)
	writers.Wait()
	for n := range acked {
		g := read(fmt.Sprintf("user%d/x/", n))
		c, seen := w.client(t, g), map[string]bool{}
		for _, key := range listed(t, w, g) {
			full := g.Prefix + key
			body, err := get(t, c, full)
			require.NoError(t, err)
			require.True(t, body == strings.Repeat(full, 5000), "%s is torn", full)
			seen[full] = true
		}
		for key := range acked[n] {
			require.True(t, seen[key], "%s was acknowledged", key)
		}
	}
}

// A child that stops without end is told apart from one that works.
func TestChildThatDoesNotStart(t *testing.T) {
	w := start(t, func(cfg *gateway.EmbeddedConfig) { cfg.Program = []string{"/bin/false"} })
	require.ErrorIs(t, w.Healthy(t.Context()), gateway.ErrDown)
	began := time.Now()
	_, answer := w.send(t, w.keys(t, read("a/b/")), "GET", "/managed?prefix=a/b/", "")
	http.DefaultClient.CloseIdleConnections()
	require.Contains(t, answer, "ServiceUnavailable")
	require.Less(t, time.Since(began), patience)
	require.Contains(t, w.log.String(), "started again")
}

// TestMain's second role: a parent that waits to be killed.
func TestChildDiesWithParent(t *testing.T) {
	if os.Getenv("D6TPIPE_GATEWAY_PARENT") != "" {
		w := start(t)
		w.requireReady(t)
		fmt.Fprintf(os.Stderr, "child %d\n", child(t))
		select {}
	}
	if runtime.GOOS != "linux" {
		t.Skip("looks into /proc")
	}
	parent := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChildDiesWithParent$")
	parent.Env = append(os.Environ(), "D6TPIPE_GATEWAY_PARENT=1")
	out, err := parent.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	var pid int
	_, err = fmt.Fscanf(out, "child %d\n", &pid)
	require.NoError(t, err)
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	require.NoError(t, err)
	require.Contains(t, string(args), gateway.ChildArg)
	require.NoError(t, parent.Process.Kill())
	parent.Wait()
	require.Eventually(t, func() bool {
		args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		return err != nil || len(args) == 0
	}, patience, 5*time.Millisecond)
}

// Closing waits for requests, and leaves nothing.
func TestEmbeddedClose(t *testing.T) {
	w := start(t)
	w.requireReady(t)
	socket := w.Socket()
	conn, err := net.Dial("unix", socket)
	require.NoError(t, err)
	conn.Close()
	require.NoError(t, w.Close())
	require.Empty(t, children(t))
	_, err = os.Stat(filepath.Dir(socket))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Error(t, w.Healthy(t.Context()))
}

// What nobody goes on with is removed, and nothing else.
func TestSweep(t *testing.T) {
	w := start(t)
	c := w.client(t, write("alice/x/"))
	put(t, c, "alice/x/a", "x")
	old, err := c.NewMultipartUpload(t.Context(), bucket, "alice/x/old", minio.PutObjectOptions{})
	require.NoError(t, err)
	_, err = c.PutObjectPart(t.Context(), bucket, "alice/x/old", old, 1, strings.NewReader("part"), 4, minio.PutObjectPartOptions{})
	require.NoError(t, err)
	stray, fresh := w.file("alice/x/.a.sgwtmp.17"), w.file("alice/x/.b.sgwtmp.18")
	temp := w.file(".sgwtmp/" + strings.Repeat("0", 64) + ".1")
	for _, name := range []string{stray, fresh, temp} {
		require.NoError(t, os.WriteFile(name, []byte("x"), 0o600))
	}
	require.Equal(t, []string{"alice/x/a"}, keysIn(t, c, minio.ListObjectsOptions{Prefix: "alice/x/", Recursive: true}), "strays are not shown")

	now := time.Now()
	require.NoError(t, os.Chtimes(stray, now.Add(-2*time.Hour), now.Add(-2*time.Hour)))
	require.NoError(t, w.Sweep(t.Context(), now))
	require.NoFileExists(t, stray)
	require.FileExists(t, fresh)
	require.FileExists(t, temp)
	_, err = c.ListObjectParts(t.Context(), bucket, "alice/x/old", old, 0, 10)
	require.NoError(t, err, "it may go on")

	later, err := c.NewMultipartUpload(t.Context(), bucket, "alice/x/later", minio.PutObjectOptions{})
	require.NoError(t, err)
	uploads, err := filepath.Glob(w.file(".sgwtmp/multipart/*/" + later))
	require.NoError(t, err)
	require.Len(t, uploads, 1)
	week := now.Add(7*24*time.Hour + time.Minute)
	require.NoError(t, os.Chtimes(uploads[0], week, week))
	require.NoError(t, w.Sweep(t.Context(), week))
	_, err = c.ListObjectParts(t.Context(), bucket, "alice/x/old", old, 0, 10)
	require.Equal(t, "NoSuchUpload", code(err))
	_, err = c.ListObjectParts(t.Context(), bucket, "alice/x/later", later, 0, 10)
	require.NoError(t, err)
	require.NoFileExists(t, temp)
	body, err := get(t, c, "alice/x/a")
	require.NoError(t, err)
	require.Equal(t, "x", body)
}

// Where files cannot have attributes, what is known of them is beside them.
func TestSidecar(t *testing.T) {
	w := start(t, func(cfg *gateway.EmbeddedConfig) {
		require.NoError(t, os.Mkdir(filepath.Join(cfg.Dir, "metadata"), 0o700))
	})
	c := w.client(t, write("alice/x/"))
	put(t, c, "alice/x/a/b", "x")
	put(t, c, "alice/x/a/b", "y")
	info, err := c.StatObject(t.Context(), bucket, "alice/x/a/b", minio.StatObjectOptions{})
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("%x", md5.Sum([]byte("y"))), info.ETag)
	_, err = os.Stat(filepath.Join(w.dir, "metadata", bucket, "alice/x/a/b"))
	require.NoError(t, err)
	_, err = c.NewMultipartUpload(t.Context(), bucket, "alice/x/old", minio.PutObjectOptions{})
	require.NoError(t, err)
	beside := filepath.Join(w.dir, "metadata", bucket, ".sgwtmp/multipart/*/*-*")
	found, err := filepath.Glob(beside)
	require.NoError(t, err)
	require.NotEmpty(t, found)
	require.NoError(t, w.Sweep(t.Context(), time.Now().Add(8*24*time.Hour)))
	found, err = filepath.Glob(beside)
	require.NoError(t, err)
	require.Empty(t, found)
	require.Equal(t, []string{"a/b"}, listed(t, w, read("alice/x/")))
	require.NoError(t, w.Remove(t.Context(), "alice/x/"))
	require.Empty(t, listed(t, w, read("alice/x/")))
	_, err = os.Stat(filepath.Join(w.dir, "metadata", bucket, "alice/x"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// Keys that have ended say so, because clients then ask for new ones.
func TestExpired(t *testing.T) {
	w := start(t)
	put(t, w.client(t, write("a/b/")), "a/b/c", "x")
	for name, c := range map[string]struct {
		end  time.Time
		code string
	}{
		"ended":                          {time.Now().Add(-time.Minute), "ExpiredToken"},
		"ended by a clock that is ahead": {time.Now().Add(-10 * time.Second), ""},
		"not ended":                      {time.Now().Add(time.Minute), ""},
	} {
		access, secret, token, err := w.KeysUntil(gateway.Grant{Prefix: "a/b/", Role: d6tpipe.RoleRead}, c.end)
		require.NoError(t, err)
		_, err = get(t, w.clientWith(t, keys{access, secret, token}), "a/b/c")
		require.Equal(t, c.code, code(err), name)
	}
}
