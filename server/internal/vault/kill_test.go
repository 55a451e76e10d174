package vault_test

import (
	"bufio"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/atomicfile"
	"github.com/d6t/d6tpipe-go/server/internal/vault"
)

const childDir = "D6TPIPE_TEST_VAULT_CHILD"

// store is a database of the simplest kind: a file for each value, and one for the check.
type store struct {
	t   testing.TB
	dir string
}

const records = 8

func (s store) key() string { return filepath.Join(s.dir, "keys", "key.json") }

func (s store) get(name string) string { return content(s.t, filepath.Join(s.dir, name)) }

func (s store) put(name, sealed string) {
	require.NoError(s.t, atomicfile.Write(filepath.Join(s.dir, name), []byte(sealed), 0o600))
}

func (s store) place(i int) vault.Place { return vault.Place{Record: strconv.Itoa(i), Field: "x"} }

func (s store) all() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for i := range records {
			if !yield(s.get(strconv.Itoa(i)), nil) {
				return
			}
		}
	}
}

// rewrap is what a server does after a rotation.
func (s store) rewrap(keys *vault.Keys) {
	for i := range records {
		sealed, changed, err := keys.Reseal(check(s.t, keys), s.get(strconv.Itoa(i)), s.place(i))
		require.NoError(s.t, err)
		require.True(s.t, changed)
		s.put(strconv.Itoa(i), sealed)
	}
	s.put("check", check(s.t, keys))
}

// TestKillChild is not a test but the process that the proof starts and kills: it
// rotates, seals everything anew and prunes, without end.
func TestKillChild(t *testing.T) {
	s := store{t, os.Getenv(childDir)}
	if s.dir == "" {
		return
	}
	keys := load(t, vault.Source{Make: s.key()}, s.get("check"))
	for {
		rotate(t, keys)
		fmt.Println("rotated " + seal(t, keys, "acknowledged"))
		s.rewrap(keys)
		settle(t, s.key())
		_, err := keys.Prune(t.Context(), s.get("check"), s.all())
		require.NoError(t, err)
	}
}

// TestRotationSurvivesKills kills a rotation at random instants: the key file is
// the old one or the new one, has every key that was acknowledged, and every value
// opens; what the dead left is gone after the next start.
func TestRotationSurvivesKills(t *testing.T) {
	const lanes = 2
	for lane := range lanes {
		t.Run(strconv.Itoa(lane), func(t *testing.T) {
			t.Parallel()
			s := store{t, t.TempDir()}
			keys := load(t, vault.Source{Make: s.key()}, "")
			s.put("check", check(t, keys))
			for i := range records {
				sealed, err := keys.Seal([]byte(strconv.Itoa(i)), s.place(i))
				require.NoError(t, err)
				s.put(strconv.Itoa(i), sealed)
			}
			strays := 0
			for range proofs(50, 500) / lanes {
				acknowledged := killed(t, s)
				strays += len(strayKeys(t, s))
				keys := load(t, vault.Source{Make: s.key()}, s.get("check"))
				require.Empty(t, keys.Made())
				require.Empty(t, strayKeys(t, s))
				requireOpens(t, keys, acknowledged, "acknowledged")
				for i := range records {
					plain, err := keys.Open(s.get(strconv.Itoa(i)), s.place(i))
					require.NoError(t, err)
					require.Equal(t, strconv.Itoa(i), string(plain))
				}
			}
			t.Logf("%d stray files were swept away", strays)
		})
	}
}

// killed runs the child, kills it a random time after its first rotation, and
// returns a value of its last one that it acknowledged.
func killed(t *testing.T, s store) (last string) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKillChild$", "-test.count=1")
	cmd.Env = append(os.Environ(), childDir+"="+s.dir, "GORACE=atexit_sleep_ms=0")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		sealed, ok := strings.CutPrefix(lines.Text(), "rotated ")
		if !ok {
			t.Error(lines.Text())
			continue
		}
		if last == "" {
			time.AfterFunc(rand.N(100*time.Millisecond), func() { _ = cmd.Process.Kill() })
		}
		last = sealed
	}
	require.Error(t, cmd.Wait(), "it was killed")
	require.NotEmpty(t, last)
	return last
}

func strayKeys(t *testing.T, s store) []string {
	strays, err := atomicfile.Strays(s.key())
	require.NoError(t, err)
	return strays
}
