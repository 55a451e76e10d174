package d6tpipe_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/storage/s3/s3test"
)

// A pull that stops in the middle of a file leaves a part file, and the next one
// none.
func TestUnfinished(t *testing.T) {
	g := s3test.Start(t)
	all := parties(t, "vendor", "client")
	_, err := all[0].api.Remotes().Create(t.Context(), bucketOf(t, g, g.Endpoint))
	require.NoError(t, err)
	_, err = all[0].api.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "sales", Remote: "bucket"})
	require.NoError(t, err)
	pipe := all[0].open("sales")
	require.NoError(t, os.MkdirAll(pipe.Dir(), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(pipe.Dir(), "big"), make([]byte, 24<<20), 0o644))
	_, err = pipe.Push(t.Context(), d6tpipe.PushOptions{})
	require.NoError(t, err)

	cfg := all[1].cfg
	left, err := cfg.Unfinished()
	require.NoError(t, err)
	require.Empty(t, left)
	ctx, cancel := context.WithCancel(t.Context())
	theirs, err := d6tpipe.OpenPipe(ctx, all[1].api, "sales", d6tpipe.OpenOptions{Progress: func(e d6tpipe.Event) {
		if e.Kind == d6tpipe.EventMoved {
			cancel()
		}
	}})
	require.NoError(t, err)
	_, err = theirs.Pull(ctx, d6tpipe.PullOptions{})
	require.ErrorIs(t, err, context.Canceled)
	left, err = cfg.Unfinished()
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.Equal(t, "sales", left[0].Pipe)
	require.Equal(t, 1, left[0].Files)
	require.WithinDuration(t, time.Now(), left[0].Last, time.Minute)

	_, err = theirs.Pull(t.Context(), d6tpipe.PullOptions{})
	require.NoError(t, err)
	left, err = cfg.Unfinished()
	require.NoError(t, err)
	require.Empty(t, left)
}
