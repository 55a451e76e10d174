// Package deploy has what an administrator installs beside the program.
package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// unit is the systemd unit with a program that is there on every machine.
func unit(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("there is no systemd here")
	}
	text, err := os.ReadFile("d6tpipe.service")
	require.NoError(t, err)
	const program = "/usr/local/bin/d6tpipe"
	require.Contains(t, string(text), "ExecStart="+program+" serve\n")
	name := filepath.Join(t.TempDir(), "d6tpipe.service")
	require.NoError(t, os.WriteFile(name, []byte(strings.ReplaceAll(string(text), program, "/bin/true")), 0o600))
	return name
}

// TestUnit: systemd understands every line of it.
func TestUnit(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify", "--man=no", unit(t)).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Empty(t, string(out))
}

// TestUnitIsHardened: what systemd calls its exposure, 0 to 10, stays low.
func TestUnitIsHardened(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=true", "--threshold=20", unit(t)).CombinedOutput()
	require.NoError(t, err, "%s", out)
}
