package transfer_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage/dir"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// runJob is a pull or push in a process of its own: "pull REMOTE REPO".
func runJob(job string) int {
	f := strings.Fields(job)
	store, err := dir.New(f[1])
	if err == nil && f[0] == "changes" {
		err = consume(store, f[2], f[3])
	} else if err == nil {
		err = syncOnce(store, f[2], transfer.Direction(f[0]), announce())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func config(store *dir.Store, repo string) transfer.Config {
	return transfer.Config{Store: store, Dir: filepath.Join(repo, "pipe"), State: filepath.Join(repo, ".d6tpipe", "pipe"), Workers: 4}
}

// announce writes a line when the first byte moves, for those who wait for it.
func announce() func(transfer.Event) {
	begun := false
	return func(e transfer.Event) {
		if e.Kind == transfer.Moved && !begun {
			begun = true
			fmt.Println("begun")
		}
	}
}

// kill starts a process, waits until it announces that it has begun, if it is to, and
// kills it a while after that. It reports whether the process was still at it.
func kill(t *testing.T, cmd *exec.Cmd, begun bool, after time.Duration) bool {
	t.Helper()
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	if begun {
		_, _ = bufio.NewReader(out).ReadString('\n') // which its end ends too
	}
	time.Sleep(after) // when to kill is the point of the test
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	require.True(t, cmd.ProcessState.Success() || cmd.ProcessState.ExitCode() == -1, "%s", cmd.Stderr)
	return !cmd.ProcessState.Success()
}

// A window is the time within which a process is killed after it has begun. It follows
// what the machine needs, so that kills hit the middle of the work.
type window time.Duration

// kill is kill number n; one of five comes while the process may not have begun yet.
func (w *window) kill(t *testing.T, cmd *exec.Cmd, n int) bool {
	t.Helper()
	begun := n%5 != 2
	inTime := kill(t, cmd, begun, time.Duration(rand.Int64N(int64(*w))))
	switch {
	case !begun:
	case inTime:
		*w += *w / 10
	default:
		*w = max(*w-*w/3, window(time.Millisecond))
	}
	return inTime
}

func syncOnce(store *dir.Store, repo string, direction transfer.Direction, progress func(transfer.Event)) error {
	cfg := config(store, repo)
	cfg.Progress = progress
	s, err := transfer.Open(cfg)
	if err != nil {
		return err
	}
	defer s.Close()
	p, err := s.Plan(context.Background(), transfer.Request{Direction: direction})
	if err != nil {
		return err
	}
	_, err = s.Apply(context.Background(), p)
	return err
}

func command(direction transfer.Direction, remote, repo string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("D6TPIPE_TRANSFER_JOB=%s %s %s", direction, remote, repo))
	cmd.Stderr = new(strings.Builder)
	return cmd
}

// rounds is how often a crash test kills.
func rounds(quick, proof int) int {
	if os.Getenv("D6TPIPE_PROOF") == "1" {
		return proof
	}
	return quick
}

// lot chooses what an everyday run plays of what a proof plays in full: something else
// each time. A run that failed is played again with the number that it tells.
func lot(t *testing.T) *rand.Rand {
	t.Helper()
	seed, err := strconv.ParseUint(os.Getenv("D6TPIPE_LOT"), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	t.Logf("chosen by D6TPIPE_LOT=%d", seed)
	return rand.New(rand.NewPCG(seed, 3))
}

const crashFiles = 24

// version writes version n of the files into a folder and adds their hashes to
// known. Some files stay as they were.
func version(t *testing.T, folder string, n int, known map[string]bool) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(uint64(n), 7))
	for i := range crashFiles {
		if n > 0 && i%3 == n%3 {
			continue
		}
		data := make([]byte, rnd.IntN(64<<10))
		for j := range data {
			data[j] = byte(rnd.Uint32())
		}
		path := filepath.Join(folder, fmt.Sprintf("d%d", i%4), fmt.Sprintf("f%02d.bin", i))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path+".new", data, 0o644))
		require.NoError(t, os.Rename(path+".new", path))
		known[fmt.Sprintf("%s %s", filepath.Base(path), hash(data))] = true
	}
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// A block of what is read of a file at a time. What is allocated anew for each file is
// what the race detector is slowest with.
var blocks = sync.Pool{New: func() any { return new([128 << 10]byte) }}

// hashFile is hash of a file's content.
func hashFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b := blocks.Get().(*[128 << 10]byte)
	defer blocks.Put(b)
	h := sha256.New()
	if _, err := io.CopyBuffer(h, struct{ io.Reader }{f}, b[:]); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// tree returns the files below a folder with their hashes.
func tree(t *testing.T, folder string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.HasPrefix(e.Name(), ".d6tpipe") {
			return err
		}
		rel, _ := filepath.Rel(folder, path)
		files[filepath.ToSlash(rel)], err = hashFile(path)
		return err
	})
	require.NoError(t, err)
	return files
}

func TestKillPull(t *testing.T) { killLoop(t, transfer.Pull) }
func TestKillPush(t *testing.T) { killLoop(t, transfer.Push) }

// killLoop kills a sync again and again. After each kill every visible file is
// whole, old or new; one more run converges and the one after it moves nothing.
func killLoop(t *testing.T, direction transfer.Direction) {
	remote, repo := t.TempDir(), t.TempDir()
	local := filepath.Join(repo, "pipe")
	from, to := remote, local
	if direction == transfer.Push {
		from, to = local, remote
	}
	require.NoError(t, os.MkdirAll(to, 0o755))
	known := map[string]bool{}
	version(t, from, 0, known)
	within, interrupted := window(20*time.Millisecond), 0
	for n := 0; n < rounds(20, 500) || interrupted <= rounds(20, 500)/4; n++ {
		require.Less(t, n, rounds(200, 2000), "too few are killed in time: %d", interrupted)
		version(t, from, n+1, known)
		if within.kill(t, command(direction, remote, repo), n) {
			interrupted++
		}
		for path, sum := range tree(t, to) {
			require.True(t, known[filepath.Base(path)+" "+sum], "torn: %s", path)
		}
		// A pull also converges when the remote changed again after the kill.
		if direction == transfer.Push || n%5 == 4 {
			converges(t, direction, from, to, remote, repo)
		}
	}
	converges(t, direction, from, to, remote, repo)
	parts, err := os.ReadDir(filepath.Join(repo, ".d6tpipe", "pipe", "parts"))
	require.NoError(t, err)
	require.Empty(t, parts, "stray part files")
}

func converges(t *testing.T, direction transfer.Direction, from, to, remote, repo string) {
	t.Helper()
	store, err := dir.New(remote)
	require.NoError(t, err)
	defer store.Close()
	require.NoError(t, syncOnce(store, repo, direction, nil))
	require.Equal(t, tree(t, from), tree(t, to))
	s, err := transfer.Open(config(store, repo))
	require.NoError(t, err)
	defer s.Close()
	p, err := s.Plan(t.Context(), transfer.Request{Direction: direction})
	require.NoError(t, err)
	require.Empty(t, p.Steps)
	require.Equal(t, crashFiles, p.Unchanged)
}
