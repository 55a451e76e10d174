package d6tpipe_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
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

	"github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/atomicfile"
)

const configChild = "D6TPIPE_TEST_CONFIG_CHILD" // the file and how often

// proofs returns a count of rounds: the everyday one, or the full one.
func proofs(everyday, full int) int {
	if os.Getenv("D6TPIPE_PROOF") == "1" {
		return full
	}
	return everyday
}

// TestConfigChild is the process that the proofs start and kill: it counts up in
// a profile and prints each number once it is acknowledged.
func TestConfigChild(t *testing.T) {
	file, times, ok := strings.Cut(os.Getenv(configChild), "|")
	if !ok {
		return
	}
	n, err := strconv.Atoi(times)
	require.NoError(t, err)
	cfg, err := d6tpipe.LoadConfigFile(file, "default")
	require.NoError(t, err)
	for range n {
		fmt.Printf("acknowledged %d\n", increment(t, cfg))
	}
}

func increment(t *testing.T, cfg d6tpipe.Config) (revision int) {
	_, err := cfg.Update(t.Context(), func(s *d6tpipe.ConfigSettings) {
		revision = revisionOf(t, s.Extra["revision"]) + 1
		s.Extra["revision"] = json.RawMessage(strconv.Itoa(revision))
	})
	require.NoError(t, err)
	return revision
}

func revisionOf(t *testing.T, raw json.RawMessage) int {
	n, err := strconv.Atoi(string(raw))
	require.NoError(t, err)
	return n
}

// counting writes a file of profiles with a counter in it, and enough else for a
// write to take its time.
func counting(t *testing.T) string {
	file := filepath.Join(t.TempDir(), "cfg.json")
	text := `{"default": {"revision": 0, "padding": "` + strings.Repeat("x", 20_000) + `"}, "other": {"kept": 1.50}}`
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func child(t *testing.T, file string, times int) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestConfigChild$", "-test.count=1")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%d", configChild, file, times), "GORACE=atexit_sleep_ms=0")
	return cmd
}

// TestConfigSurvivesKills kills a writer at random instants: the file is whole
// after each, holds all that was acknowledged, and no stray file outlives the
// next change.
func TestConfigSurvivesKills(t *testing.T) {
	const lanes = 2
	for lane := range lanes {
		t.Run(strconv.Itoa(lane), func(t *testing.T) {
			t.Parallel()
			file, strays := counting(t), 0
			cfg := d6tpipe.Config{Profile: "default", File: file}
			for range proofs(100, 5_000) / lanes {
				acknowledged := killed(t, file)
				found := strayFiles(t, file)
				strays += len(found)
				revision := increment(t, cfg) // reads it: it is whole
				require.Greater(t, revision, acknowledged)
				require.Empty(t, strayFiles(t, file))
				require.Contains(t, readText(t, file), `"kept": 1.50`)
			}
			t.Logf("%d stray files were swept away", strays)
		})
	}
}

// killed runs a writer, kills it a random time after its first change, and
// returns the last number that it acknowledged.
func killed(t *testing.T, file string) (last int) {
	cmd := child(t, file, 1_000_000)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		number, ok := strings.CutPrefix(lines.Text(), "acknowledged ")
		if !ok {
			continue
		}
		if last == 0 {
			time.AfterFunc(rand.N(12*time.Millisecond), func() { _ = cmd.Process.Kill() })
		}
		last, err = strconv.Atoi(number)
		require.NoError(t, err)
	}
	require.Error(t, cmd.Wait(), "it was killed")
	require.Positive(t, last)
	return last
}

func strayFiles(t *testing.T, file string) []string {
	found, err := filepath.Glob(filepath.Join(filepath.Dir(file), atomicfile.TempPrefix+"*"))
	require.NoError(t, err)
	return found
}

// TestConfigLosesNoUpdate has four processes count together.
func TestConfigLosesNoUpdate(t *testing.T) {
	each := proofs(50, 2_500)
	file := counting(t)
	var wg sync.WaitGroup
	for range 4 {
		cmd := child(t, file, each)
		wg.Go(func() {
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	wg.Wait()
	require.Equal(t, 4*each+1, increment(t, d6tpipe.Config{Profile: "default", File: file}))
}

func lockFile(t *testing.T, file string) func() {
	unlock, err := atomicfile.Lock(t.Context(), file)
	require.NoError(t, err)
	return func() { require.NoError(t, unlock()) }
}

func compact(t *testing.T, raw json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	require.NoError(t, json.Compact(&b, raw))
	return b.Bytes()
}
