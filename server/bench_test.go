package server_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server"
)

// BenchmarkNothingToDo is a pull with nothing to do, of a managed pipe with 100,000 files
// (2,000 without D6TPIPE_PROOF), as it comes: by the server's listing. It reports the
// time as a part of that of a pull that lists the storage. The server is in this process,
// and its part in both.
func BenchmarkNothingToDo(b *testing.B) {
	files := 2_000
	if os.Getenv("D6TPIPE_PROOF") != "" {
		files = 100_000
	}
	p := managedPipe(b)
	old := time.Now().Add(-time.Hour) // what was just written is read again
	for i := range files {
		path := filepath.Join(p.Dir(), fmt.Sprintf("%03d", i/1000), fmt.Sprintf("part-%06d.csv", i))
		require.NoError(b, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(b, os.WriteFile(path, fmt.Appendf(nil, "file %d\n", i), 0o644))
		require.NoError(b, os.Chtimes(path, old, old))
	}
	_, err := p.Push(b.Context(), d6tpipe.PushOptions{})
	require.NoError(b, err)
	pull := func(o d6tpipe.PullOptions) time.Duration {
		start := time.Now()
		report, err := p.Pull(b.Context(), o)
		require.NoError(b, err)
		require.Zero(b, report.Moved)
		require.Equal(b, files, report.Unchanged)
		return time.Since(start)
	}
	pull(d6tpipe.PullOptions{}) // takes the listing home
	fresh := min(pull(d6tpipe.PullOptions{Fresh: true}), pull(d6tpipe.PullOptions{Fresh: true}))
	b.ResetTimer()
	for b.Loop() {
		pull(d6tpipe.PullOptions{})
	}
	b.ReportMetric((b.Elapsed()/time.Duration(b.N)).Seconds()/fresh.Seconds(), "of-a-fresh-pull")
	b.ReportMetric(fresh.Seconds(), "s-fresh")
}

// managedPipe opens a new pipe of a server that runs until the benchmark ends, whose
// listings are good for an hour.
func managedPipe(b *testing.B) *d6tpipe.Pipe {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	srv, err := server.New(b.Context(), server.Config{Data: filepath.Join(b.TempDir(), "data"), KeyFile: filepath.Join(b.TempDir(), "key"), ListingAge: time.Hour})
	require.NoError(b, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	b.Cleanup(func() {
		stop()
		require.NoError(b, <-done)
		require.NoError(b, srv.Close())
	})
	api, err := d6tpipe.NewAPIClient(d6tpipe.Config{Profile: "bench", Server: "http://" + l.Addr().String(), FileRepo: b.TempDir(), Tokens: d6tpipe.MemoryTokens()})
	require.NoError(b, err)
	b.Cleanup(api.CloseIdleConnections)
	_, err = api.Register(b.Context(), "bench", "bench@example.com", "a password")
	require.NoError(b, err)
	_, err = api.Pipes().Create(b.Context(), d6tpipe.PipeSettings{Name: "sales"})
	require.NoError(b, err)
	p, err := d6tpipe.OpenPipe(b.Context(), api, "sales", d6tpipe.OpenOptions{})
	require.NoError(b, err)
	return p
}
