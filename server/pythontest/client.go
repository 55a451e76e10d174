package pythontest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A realClient is an interpreter that can import d6tpipe.
type realClient struct {
	path       string
	generation string // final, first, or mid, which is the first with small changes
}

const generationOf = `
import inspect, d6tpipe, d6tpipe.api
if hasattr(d6tpipe, 'upsert_pipe'):
    print('final')
else:
    print('first' if 'get(request_body' in inspect.getsource(d6tpipe.api.create_or_update) else 'mid')`

// realClients are the interpreters that D6TPIPE_PYTHON names.
func realClients(t *testing.T) (found []realClient) {
	t.Helper()
	for _, path := range filepath.SplitList(os.Getenv("D6TPIPE_PYTHON")) {
		cmd := exec.CommandContext(t.Context(), path, "-c", generationOf)
		cmd.Env = append(environment(), "HOME="+t.TempDir())
		out, err := cmd.Output()
		require.NoError(t, err, "%s of D6TPIPE_PYTHON has no d6tpipe", path)
		said := strings.Fields(string(out))
		found = append(found, realClient{path, said[len(said)-1]})
	}
	return found
}

// runClient has the real client live through a day: accounts, pipes, sharing, and
// files where the target has some.
func runClient(t *testing.T, client realClient, target Target) {
	t.Helper()
	script := "client_final.py"
	if client.generation != "final" {
		script = "client_first.py"
	}
	run(t, client.path, settings(t, target), script)
}
