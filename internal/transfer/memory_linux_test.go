package transfer_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMemoryOfOneFile moves a file of 64 MiB and one of 1 GiB (10 GiB as a proof) with
// four workers: both take the memory of the workers, and not of the file.
func TestMemoryOfOneFile(t *testing.T) {
	const (
		small   = 64 << 20
		most    = 32 << 10 // KiB of the process, the program itself included
		between = 16 << 10 // KiB by which two runs of one file may differ
	)
	big := rounds(1<<30, 10<<30)
	program := filepath.Join(t.TempDir(), "big")
	out, err := exec.Command("go", "build", "-race=false", "-o", program, "./testdata/big").CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, op := range []string{"pull", "push", "mirror"} {
		t.Run(op, func(t *testing.T) {
			little, much := peakOf(t, program, op, small), peakOf(t, program, op, big)
			t.Logf("%d KiB for %d MiB, %d KiB for %d MiB", little, small>>20, much, big>>20)
			require.Less(t, much, most)
			require.Less(t, much, little+between)
		})
	}
}

// peakOf is what a process took at most, in KiB, with Go's own settings.
func peakOf(t *testing.T, program, op string, size int) int {
	t.Helper()
	cmd := exec.Command(program, op, strconv.Itoa(size), t.TempDir())
	for _, setting := range os.Environ() {
		if !strings.HasPrefix(setting, "GOGC=") && !strings.HasPrefix(setting, "GOMEMLIMIT=") {
			cmd.Env = append(cmd.Env, setting)
		}
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Run(), "%s", stderr.String())
	peak, err := strconv.Atoi(strings.TrimSpace(stdout.String()))
	require.NoError(t, err)
	return peak
}
