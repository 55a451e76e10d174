//go:build unix

package vault_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/server/internal/vault"
)

const crashDir = "D6TPIPE_TEST_VAULT_CRASH"

// TestCrashChild is not a test but the process that dies at one of its calls: it
// rotates, renews the check and prunes, once.
func TestCrashChild(t *testing.T) {
	s := store{t, os.Getenv(crashDir)}
	if s.dir == "" {
		return
	}
	runtime.LockOSThread() // strace counts the calls of each thread by itself
	keys := load(t, vault.Source{Make: s.key()}, s.get("check"))
	rotate(t, keys)
	fmt.Println("rotated " + seal(t, keys, "acknowledged"))
	s.put("check", check(t, keys))
	settle(t, s.key())
	dropped, err := keys.Prune(t.Context(), s.get("check"), values())
	require.NoError(t, err)
	require.Len(t, dropped, 1)
	fmt.Println("pruned")
}

// A rotation that dies at any system call leaves the old keys or the new ones, and
// the new ones when it has acknowledged them; the next start clears up.
func TestEveryCrashPoint(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("needs apt package: strace")
	}
	// How often, at least, they are called: a walk that finds fewer proves nothing.
	for call, least := range map[string]int{
		"fchmod": 3, "fsync": 6, "linkat": 2, "renameat": 3, "unlinkat": 2,
		"openat": 12, "write": 5, "fstat": 8, "close": 12, "read": 8, "newfstatat": 6, "flock": 4, "utimensat": 1,
	} {
		if !slices.Contains([]string{"fsync", "linkat", "renameat"}, call) && proofs(0, 1) == 0 {
			continue
		}
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				s := prepared(t)
				out, reached := killedAt(t, s, call, n)
				if !reached {
					require.Contains(t, out, "pruned")
					require.Greater(t, n, least)
					break
				}
				keys := load(t, vault.Source{Make: s.key()}, s.get("check"))
				require.Empty(t, keys.Made(), "%s %d", call, n)
				require.Empty(t, strayKeys(t, s))
				if _, line, ok := strings.Cut(out, "rotated "); ok {
					sealed, _, _ := strings.Cut(line, "\n")
					requireOpens(t, keys, sealed, "acknowledged")
				}
			}
		})
	}
}

// prepared is a store with a key and nothing sealed, in memory where there is such
// a folder: the calls are the same there, and a busy disk does not make them slow.
func prepared(t *testing.T) store {
	dir, err := os.MkdirTemp("/dev/shm", "d6tpipe-test-")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	s := store{t, dir}
	s.put("check", check(t, load(t, vault.Source{Make: s.key()}, "")))
	return s
}

// killedAt kills the child at its n-th call of a kind. It returns what the child
// said, and whether there were so many calls.
func killedAt(t *testing.T, s store, call string, n int) (out string, reached bool) {
	log := filepath.Join(s.dir, "log")
	cmd := exec.CommandContext(t.Context(), "strace", "-f", "-o", log, "-e", "trace="+call, "-e", fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", call, n),
		os.Args[0], "-test.run=^TestCrashChild$", "-test.count=1")
	cmd.Env = append(os.Environ(), crashDir+"="+s.dir, "GORACE=atexit_sleep_ms=0")
	text, _ := cmd.CombinedOutput()
	traced, err := os.ReadFile(log)
	require.NoError(t, err)
	if strings.Contains(string(text)+string(traced), "ptrace") {
		t.Skip("strace may not trace here")
	}
	return string(text), strings.Contains(string(traced), "killed by SIGKILL")
}
