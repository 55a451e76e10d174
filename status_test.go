package d6tpipe_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go"
)

// actions are what a plan does with each key.
func actions(p *d6tpipe.Plan) map[string]d6tpipe.Action {
	all := map[string]d6tpipe.Action{}
	for _, s := range p.Steps {
		all[s.Key] = s.Action
	}
	return all
}

// One look tells what a pull and a push would do, and they do it.
func TestStatus(t *testing.T) {
	both := parties(t, "vendor", "client")
	folder := addDir(t, both[0].api)
	addPipe(t, both[0].api, d6tpipe.PipeSettings{Name: "sales", Options: d6tpipe.PipeOptions{Exclude: "*.tmp"}})
	v, c := both[0].open("sales"), both[1].open("sales")
	for _, key := range []string{"same", "there", "here", "both", "gone", "equal"} {
		write(t, v, key, "1")
	}
	push(t, v)
	pull(t, c)
	status, err := c.Status(t.Context())
	require.NoError(t, err)
	require.True(t, status.InSync)
	require.Equal(t, 6, status.Pull.Unchanged)
	require.Empty(t, status.Push.Steps)

	for key, text := range map[string]string{"there": "22", "both": "22", "equal": "new", "new": "1", "x.tmp": "1"} {
		write(t, v, key, text)
	}
	push(t, v)
	require.NoError(t, os.Remove(filepath.Join(folder, "gone")))
	for key, text := range map[string]string{"here": "333", "both": "333", "equal": "new", "only": "1"} {
		write(t, c, key, text)
	}
	status, err = c.Status(t.Context())
	require.NoError(t, err)
	require.False(t, status.InSync)
	require.Equal(t, "sales", status.Pipe)
	require.Equal(t, map[string]d6tpipe.Action{"there": "download", "new": "download", "both": "conflict", "equal": "adopt",
		"here": "skip", "gone": "skip", "only": "skip"}, actions(status.Pull))
	require.Equal(t, map[string]d6tpipe.Action{"here": "upload", "only": "upload", "both": "conflict", "there": "conflict",
		"new": "conflict", "equal": "adopt", "gone": "skip"}, actions(status.Push))

	report, err := c.Pull(t.Context(), d6tpipe.PullOptions{Merge: d6tpipe.MergeKeep})
	require.NoError(t, err)
	require.Equal(t, []string{"new", "there"}, keys(report))
	_, err = c.Apply(t.Context(), status.Push)
	require.ErrorIs(t, err, d6tpipe.ErrConflict, "a plan of a status is one like any other")
}

func TestFailures(t *testing.T) {
	p := parties(t, "client")[0]
	folder := addDir(t, p.api)
	addPipe(t, p.api, d6tpipe.PipeSettings{Name: "sales"})
	require.NoError(t, os.MkdirAll(filepath.Join(folder, "sales"), 0o755))
	for _, name := range []string{"good", "bad\x1b[31m"} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, "sales", name), nil, 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), nil, 0o644))
	}
	_, err := p.open("sales").Pull(t.Context(), d6tpipe.PullOptions{Files: []string{"good", "missing"}})
	failed, refused := d6tpipe.Failures(err)
	require.Len(t, failed, 1)
	require.Equal(t, "missing", failed[0].Key)
	require.ErrorIs(t, failed[0].Err, d6tpipe.ErrNotFound)
	require.Empty(t, refused)
	_, err = p.open("sales").ScanRemote(t.Context(), d6tpipe.ListOptions{})
	failed, refused = d6tpipe.Failures(err)
	require.Empty(t, failed)
	require.NotEmpty(t, refused)
	require.Contains(t, refused[0].Key, "bad\x1b[31m")
	failed, refused = d6tpipe.Failures(errors.New("another"))
	require.Empty(t, failed)
	require.Empty(t, refused)
}
