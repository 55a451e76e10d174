package server_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// TestMirrorMemory: a mirror takes no more memory for a big file than for a small one. The
// big one has a GiB in a proof.
func TestMirrorMemory(t *testing.T) {
	t.Parallel()
	config := processConfig{Listen: "127.0.0.1:0", Data: t.TempDir(), KeyFile: filepath.Join(t.TempDir(), "key"), Quick: true}
	createRoot(t, config.server())
	p := launch(t, config)
	owner, err := d6tpipe.NewAPIClient(d6tpipe.Config{Profile: "p", Server: p.url(), FileRepo: t.TempDir(), Tokens: d6tpipe.MemoryTokens()})
	require.NoError(t, err)
	t.Cleanup(owner.CloseIdleConnections)
	_, err = owner.Login(t.Context(), "root", password+"root")
	require.NoError(t, err)
	x := newMirrored(t, owner, d6tpipe.MirrorSettings{})
	x.put("small.bin", "small")
	run, _ := x.run()
	require.Equal(t, d6tpipe.RunDone, run.State, run.Error)
	before := peak(t, p.cmd.Process.Pid)
	x.put("big.bin", "")
	big := int64(scaled(20<<20, 1<<30))
	require.NoError(t, os.Truncate(filepath.Join(x.source, "big.bin"), big))
	begin := time.Now()
	run, did := x.run()
	require.Equal(t, d6tpipe.RunDone, run.State, run.Error)
	require.Equal(t, big, did.Bytes)
	grown := peak(t, p.cmd.Process.Pid) - before
	t.Logf("%d MiB in %v; %d MiB of memory, %d more than before", big>>20, time.Since(begin), (before+grown)>>20, grown>>20)
	require.Less(t, grown, int64(192<<20)) // with the race detector too
	p.term()
}

// peak is the most memory that a process has had, in bytes.
func peak(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	found := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	require.NotNil(t, found)
	n, err := strconv.ParseInt(string(found[1]), 10, 64)
	require.NoError(t, err)
	return n << 10
}
