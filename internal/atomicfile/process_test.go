package atomicfile_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/atomicfile"
)

// Variables by which a test tells its child, another process of the same binary,
// what to do.
const (
	envJob  = "D6TPIPE_TEST_ATOMICFILE_JOB"
	envPath = "D6TPIPE_TEST_ATOMICFILE_PATH"
)

const (
	oldContent = "the old content"
	newContent = "the new content, which is longer"
)

// TestChild is not a test but what the children do.
func TestChild(t *testing.T) {
	runtime.LockOSThread() // strace counts the calls of each thread by itself
	path := os.Getenv(envPath)
	switch job := os.Getenv(envJob); job {
	case "": // not a child
	case "lock":
		if _, err := atomicfile.Lock(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		fmt.Println("locked")
		select {} // until killed
	default:
		if err := writers[job](t.Context(), path, []byte(oldContent), []byte(newContent)); err != nil {
			t.Fatal(err)
		}
		fmt.Println("acknowledged")
	}
}

// child makes a command of this binary that does a job on path.
func child(t *testing.T, job, path string, wrapper ...string) *exec.Cmd {
	self, err := os.Executable()
	require.NoError(t, err)
	args := append(wrapper, self, "-test.run=^TestChild$", "-test.count=1")
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env = append(os.Environ(), envJob+"="+job, envPath+"="+path)
	return cmd
}

// The lock of a process ends with the process, however it ends.
func TestLockBetweenProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	cmd := child(t, "lock", path)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "locked\n", line)

	got := make(chan error)
	go func() {
		unlock, err := atomicfile.Lock(t.Context(), path)
		if err == nil {
			err = unlock()
		}
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("two hold the lock: %v", err)
	default:
	}
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	require.NoError(t, <-got)
}

// proof tells whether the tests are to walk the whole way.
func proof() bool { return os.Getenv("D6TPIPE_PROOF") != "" }

func strace(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("needs apt package: strace")
	}
}

// calls are the system calls of a save, with how often at least each job makes
// them: a walk that finds fewer proves nothing.
var calls = map[string]map[string]int{
	"openat": {"Write": 2, "Swap": 3}, "write": {"Write": 1, "Swap": 1}, "fchmod": {"Write": 1, "Swap": 1},
	"fsync": {"Write": 2, "Swap": 2}, "fstat": {"Write": 1, "Swap": 1}, "close": {"Write": 2, "Swap": 3}, "read": {"Swap": 1},
	"linkat": {"Swap": 1}, "renameat": {"Write": 1, "Swap": 1}, "newfstatat": {"Swap": 1}, "unlinkat": {"Swap": 1},
}

// injected runs a job with something happening at the n-th call. It reports what
// the job said, and whether there were n calls.
func injected(t *testing.T, job, path, call, event string, n int) (acked, reached bool) {
	log := filepath.Join(t.TempDir(), "log")
	cmd := child(t, job, path, "strace", "-f", "-o", log, "-e", "trace="+call, "-e", fmt.Sprintf("inject=%s:%s:when=%d", call, event, n))
	out, _ := cmd.CombinedOutput()
	text, err := os.ReadFile(log)
	require.NoError(t, err)
	if strings.Contains(string(out)+string(text), "ptrace") {
		t.Skip("strace may not trace here")
	}
	reached = strings.Contains(string(text), "(INJECTED)") || strings.Contains(string(text), "killed by SIGKILL")
	return strings.Contains(string(out), "acknowledged"), reached
}

// memory returns a folder in memory where there is one: the calls are the same
// there, and a busy disk does not make the tests slow.
func memory(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "d6tpipe-test-") // t.TempDir is on the disk
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func prepared(t *testing.T) (dir, path string) {
	dir = memory(t)
	path = filepath.Join(dir, "a")
	require.NoError(t, os.WriteFile(path, []byte(oldContent), 0o600))
	return dir, path
}

// A process that dies at any call of a save leaves the old content or the new,
// and the new one when it has acknowledged it; the next sweep clears up.
func TestEveryCrashPoint(t *testing.T) {
	strace(t)
	for job := range writers {
		for call, least := range calls {
			if changes := []string{"fchmod", "fsync", "linkat", "renameat", "unlinkat"}; !proof() && !slices.Contains(changes, call) {
				continue
			}
			t.Run(job+"/"+call, func(t *testing.T) {
				t.Parallel()
				for n := 1; ; n++ {
					dir, path := prepared(t)
					acked, reached := injected(t, job, path, call, "signal=SIGKILL", n)
					if !reached {
						require.True(t, acked)
						require.Greater(t, n, least[job])
						break
					}
					got := content(t, path)
					if acked {
						require.Equal(t, newContent, got)
					}
					require.Contains(t, []string{oldContent, newContent}, got)
					require.NoError(t, atomicfile.Sweep(path))
					require.Equal(t, []string{"a"}, names(t, dir))
				}
			})
		}
	}
}

// An error of any call surfaces: what was not written durably is never
// acknowledged.
func TestEveryCallMayFail(t *testing.T) {
	strace(t)
	errnos := []string{"EIO"}
	if proof() {
		errnos = []string{"EIO", "ENOSPC", "EROFS", "EACCES"}
	}
	for job := range writers {
		for _, call := range []string{"fchmod", "fsync", "linkat", "renameat"} {
			for _, errno := range errnos {
				t.Run(job+"/"+call+"/"+errno, func(t *testing.T) {
					t.Parallel()
					for n := 1; ; n++ {
						dir, path := prepared(t)
						acked, reached := injected(t, job, path, call, "error="+errno, n)
						if !reached {
							require.True(t, acked)
							require.Greater(t, n, calls[call][job])
							break
						}
						if call == "linkat" && errno == "EACCES" { // a file system without links: the lock has to do
							require.True(t, acked)
							continue
						}
						require.False(t, acked, "call %d", n)
						require.Equal(t, []string{"a"}, names(t, dir))
						want := oldContent
						if call == "fsync" && n > 1 { // of the folder, behind the rename
							want = newContent
						}
						require.Equal(t, want, content(t, path))
					}
				})
			}
		}
	}
}
