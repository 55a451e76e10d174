package pythontest

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write testdata/requests anew from the clients of D6TPIPE_PYTHON")

// A step is one call of the client: the requests that it sent, without the names
// of ports and versions, and what became of it.
type step struct {
	Requests []string `json:"requests"`
	Result   string   `json:"result"`
	Unasked  int      `json:"unasked,omitempty"` // answers that nobody wanted
}

func recorded(t *testing.T, interpreter, who, generation string) map[string]step {
	t.Helper()
	out := map[string]step{}
	require.NoError(t, json.Unmarshal(run(t, interpreter, nil, "recorded.py", who, generation), &out))
	require.NotEmpty(t, out)
	return out
}

// TestBytes: what testdata/speaker.py sends is, byte for byte, what the real
// client sent when testdata/requests was recorded, and what it sends where there
// is one.
func TestBytes(t *testing.T) {
	clients := realClients(t)
	for _, generation := range []string{"final", "first", "mid"} {
		t.Run(generation, func(t *testing.T) {
			file := filepath.Join("testdata", "requests", generation+".json")
			for _, client := range clients {
				if client.generation == generation {
					got := recorded(t, client.path, "client", generation)
					if *update {
						write(t, file, got)
					}
					require.Equal(t, golden(t, file), got, "the real client")
				}
			}
			require.Equal(t, golden(t, file), recorded(t, python(t), "ours", generation), "our speaker")
		})
	}
}

func golden(t *testing.T, file string) map[string]step {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	out := map[string]step{}
	require.NoError(t, json.Unmarshal(data, &out))
	return out
}

func write(t *testing.T, file string, steps map[string]step) {
	t.Helper()
	data, err := json.MarshalIndent(steps, "", "\t")
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o750))
	require.NoError(t, os.WriteFile(file, append(data, '\n'), 0o600))
}
