package d6tpipe_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go"
)

// Variables by which a test tells its child, another process of the same binary,
// what to do.
const (
	envLocalJob  = "D6TPIPE_TEST_LOCAL_JOB"
	envLocalPath = "D6TPIPE_TEST_LOCAL_PATH"
	envLocalN    = "D6TPIPE_TEST_LOCAL_N"
)

// scaled is how often a proof repeats: small by default, full when a proof is
// asked for.
func scaled(small, full int) int {
	if os.Getenv("D6TPIPE_PROOF") != "" {
		return full
	}
	return small
}

// memory returns a folder in memory where there is one. What is proven there is
// what processes do to each other; a kill takes nothing from the page cache.
func memory(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "d6tpipe-test-") // t.TempDir is on the disk
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// TestLocalChild is not a test but what the children do.
func TestLocalChild(t *testing.T) {
	job, path := os.Getenv(envLocalJob), os.Getenv(envLocalPath)
	n, _ := strconv.Atoi(os.Getenv(envLocalN))
	switch job {
	case "revise":
		childRevises(t, openLocal(t, path))
	case "once":
		runtime.LockOSThread() // strace counts the calls of each thread by itself
		if _, err := openLocal(t, path).Pipes().Upsert(t.Context(), revised(n)); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("acknowledged %d\n", n)
	case "count":
		childCounts(t, openLocal(t, path), n)
	}
}

// localChild makes a command of this binary that does a job on a catalogue.
func localChild(t testing.TB, job, path string, n int, wrapper ...string) *exec.Cmd {
	self, err := os.Executable()
	require.NoError(t, err)
	args := append(wrapper, self, "-test.run=^TestLocalChild$", "-test.count=1")
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env = append(os.Environ(), envLocalJob+"="+job, envLocalPath+"="+path, envLocalN+"="+strconv.Itoa(n))
	return cmd
}

// revised is the pipe "rev" with a revision in it.
func revised(rev int) d6tpipe.PipeSettings {
	p := s3pipe("rev")
	p.Schema = json.RawMessage(fmt.Sprintf(`{"rev": %d, "pad": %q}`, rev, strings.Repeat("x", rev%5000)))
	return p
}

// revision reads it back, 0 when there is none.
func revision(t testing.TB, api d6tpipe.API) int {
	p, err := api.Pipes().Get(t.Context(), "rev")
	if errors.Is(err, d6tpipe.ErrNotFound) {
		return 0
	}
	require.NoError(t, err)
	var schema struct{ Rev int }
	require.NoError(t, json.Unmarshal(p.Schema, &schema))
	return schema.Rev
}

// childRevises counts the revision up and says so after each save.
func childRevises(t testing.TB, api *d6tpipe.APILocal) {
	for rev := revision(t, api) + 1; ; rev++ {
		if _, err := api.Pipes().Upsert(t.Context(), revised(rev)); err != nil {
			t.Fatal(err)
		}
		fmt.Println(rev)
	}
}

// A process that is killed at any instant takes nothing with it that it had
// acknowledged, leaves a whole file, and what it leaves beside the file is gone
// after the next opening.
func TestProofLocalKills(t *testing.T) {
	const lanes = 4
	rounds := scaled(200, 10000) / lanes
	for lane := range lanes {
		t.Run(fmt.Sprint("lane", lane), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(memory(t), "catalog.json")
			last, changed := 0, 0
			for range rounds {
				acked := killOne(t, path, last)
				api := openLocal(t, path)
				require.Empty(t, strays(t, path))
				rev := revision(t, api)
				require.GreaterOrEqual(t, rev, acked, "an acknowledged change is lost")
				require.LessOrEqual(t, rev, acked+1)
				if rev > last {
					changed++
				}
				last = rev
			}
			require.Greater(t, changed, rounds/2, "most of them did something before they died")
		})
	}
}

// killOne starts a process that revises and kills it. It returns the last
// revision that is acknowledged.
func killOne(t *testing.T, path string, acked int) int {
	cmd := localChild(t, "revise", path, 0)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var wait sync.Once
	for lines := bufio.NewReader(out); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			require.ErrorIs(t, err, io.EOF)
			break
		}
		acked, err = strconv.Atoi(strings.TrimSpace(line))
		require.NoError(t, err, line)
		wait.Do(func() { // it is at work: some time of the next few saves
			time.AfterFunc(time.Duration(rand.IntN(4000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
		})
	}
	require.Error(t, cmd.Wait(), "it does not end by itself")
	return acked
}

// strays are the files beside a catalogue and its lock.
func strays(t testing.TB, path string) (names []string) {
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	for _, e := range entries {
		if e.Name() != filepath.Base(path) && e.Name() != ".d6tpipe-lock-"+filepath.Base(path) {
			names = append(names, e.Name())
		}
	}
	return names
}

// childCounts adds n to the revision, by one each time, and says how often it was
// told that somebody else was faster.
func childCounts(t testing.TB, api *d6tpipe.APILocal, n int) {
	conflicts := 0
	for i := 0; i < n; {
		err := api.Transact(t.Context(), func(tx d6tpipe.API) error {
			p := s3pipe("rev")
			p.Schema = json.RawMessage(fmt.Sprintf(`{"rev": %d}`, revision(t, tx)+1))
			_, err := tx.Pipes().Upsert(t.Context(), p)
			return err
		})
		switch {
		case err == nil:
			i++
		case errors.Is(err, d6tpipe.ErrConflict):
			conflicts++
		default:
			t.Fatal(err)
		}
	}
	fmt.Println("conflicts", conflicts)
}

// countTogether lets four processes count and returns their number of conflicts.
func countTogether(t *testing.T, path string, each int) (conflicts int) {
	var wg sync.WaitGroup
	texts := make([]string, 4)
	errs := make([]error, 4)
	for i := range texts {
		wg.Go(func() {
			out, err := localChild(t, "count", path, each).CombinedOutput()
			texts[i], errs[i] = string(out), err
		})
	}
	wg.Wait()
	for i, text := range texts {
		require.NoError(t, errs[i], text)
		var n int
		_, err := fmt.Sscanf(text, "conflicts %d", &n)
		require.NoError(t, err, text)
		conflicts += n
	}
	return conflicts
}

// Four processes change one record some hundred times, ten thousand in a full proof,
// and each change is there.
func TestProofLocalCounts(t *testing.T) {
	t.Parallel()
	path := filepath.Join(memory(t), "catalog.json")
	each := scaled(100, 2500)
	require.Zero(t, countTogether(t, path, each), "the lock keeps them apart")
	require.Equal(t, 4*each, revision(t, openLocal(t, path)))
	require.Empty(t, strays(t, path))
}

// The same when the lock is worth nothing, because its file goes away all the
// time: who was slower is told so, and nothing is lost without a word.
func TestProofLocalCountsWithoutLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(memory(t), "catalog.json")
	stop := make(chan struct{})
	var remover sync.WaitGroup
	remover.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = os.Remove(filepath.Join(filepath.Dir(path), ".d6tpipe-lock-catalog.json"))
				runtime.Gosched()
			}
		}
	})
	defer remover.Wait()
	defer close(stop)
	each := scaled(100, 2500)
	for conflicts, times := 0, 1; conflicts == 0; times++ {
		require.Less(t, times, 50, "they never meet")
		conflicts = countTogether(t, path, each)
		require.Equal(t, 4*each*times, revision(t, openLocal(t, path)))
	}
}

// A process dies at each system call of a save in turn.
func TestProofLocalCrashPoints(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("needs apt package: strace")
	}
	calls := []string{"fsync", "linkat", "renameat", "unlinkat"}
	if scaled(0, 1) == 1 {
		calls = append(calls, "openat", "read", "write", "close", "fstat", "newfstatat", "flock", "fchmod", "getdents64")
	}
	for _, call := range calls {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				path := filepath.Join(memory(t), "catalog.json")
				_, err := openLocal(t, path).Pipes().Create(t.Context(), revised(1))
				require.NoError(t, err)
				cmd := localChild(t, "once", path, 2, "strace", "-f", "-o", "/dev/null", "-e", "trace="+call,
					"-e", fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", call, n))
				out, err := cmd.CombinedOutput()
				acked := strings.Contains(string(out), "acknowledged 2")
				if strings.Contains(string(out), "ptrace") {
					t.Skip("strace may not trace here")
				}
				api := openLocal(t, path)
				require.Empty(t, strays(t, path))
				if acked {
					require.Equal(t, 2, revision(t, api))
				}
				require.Contains(t, []int{1, 2}, revision(t, api))
				if err == nil {
					require.True(t, acked)
					require.Greater(t, n, 1, "there is such a call")
					return
				}
			}
		})
	}
}

// An error of fsync is an error of the call, and the file stays as it was.
func TestLocalFsyncErrors(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("needs apt package: strace")
	}
	path := filepath.Join(t.TempDir(), "catalog.json")
	_, err := openLocal(t, path).Pipes().Create(t.Context(), revised(1))
	require.NoError(t, err)
	before := read(t, path)
	cmd := localChild(t, "once", path, 2, "strace", "-f", "-o", "/dev/null", "-e", "inject=fsync:error=EIO:when=1")
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "ptrace") {
		t.Skip("strace may not trace here")
	}
	require.Error(t, err)
	require.Contains(t, string(out), "input/output error")
	require.NotContains(t, string(out), "acknowledged")
	require.Equal(t, before, read(t, path))
	require.Empty(t, strays(t, path))
}
