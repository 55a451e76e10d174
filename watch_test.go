package d6tpipe_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// TestWatchTellsOfNamesOnce: names that cannot be used are there at each look, and a
// watcher is told of them when there are others.
func TestWatchTellsOfNamesOnce(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such names")
	}
	p := parties(t, "vendor")[0]
	folder := addDir(t, p.api)
	addPipe(t, p.api, d6tpipe.PipeSettings{Name: "sales"})
	put := func(name string) { require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte("1"), 0o600)) }
	put("a.csv")
	put(`one\bad`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var told []string
	o := d6tpipe.WatchOptions{Interval: time.Millisecond, Trouble: func(err error, _ time.Duration) {
		require.ErrorIs(t, err, d6tpipe.ErrPartial)
		told = append(told, err.Error())
		if strings.Contains(err.Error(), "2 refused") || len(told) > 2 {
			cancel()
		}
	}}
	next := map[string]string{"a.csv": "b.csv", "b.csv": "c.csv", "c.csv": `two\bad`}
	for c, err := range p.open("sales").Watch(ctx, o) {
		require.NoError(t, err)
		put(next[c.Key])
	}
	require.Len(t, told, 2, told)
}
