package listing_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/s3/s3test"
)

// BenchmarkNothingToDo is a pull with nothing to do of 100,000 files (a tenth without
// D6TPIPE_PROOF) by the server's listing. It reports the time as a part of that of
// listing the S3 server, and of a pull that does.
func BenchmarkNothingToDo(b *testing.B) {
	files := 10_000
	if os.Getenv("D6TPIPE_PROOF") != "" {
		files = 100_000
	}
	s := newScene(b, s3test.Start(b))
	p := s.user("me").openPipe("sales", d6tpipe.OpenOptions{})
	old := time.Now().Add(-time.Hour)
	for i := range files {
		dir := filepath.Join(p.Dir(), fmt.Sprintf("%03d", i/1000))
		if i%1000 == 0 {
			require.NoError(b, os.MkdirAll(dir, 0o755))
		}
		file := filepath.Join(dir, fmt.Sprintf("part-%06d.csv", i))
		require.NoError(b, os.WriteFile(file, fmt.Appendf(nil, "file %d\n", i), 0o644))
		require.NoError(b, os.Chtimes(file, old, old)) // what was just written is read again
	}
	_, err := p.Push(b.Context(), d6tpipe.PushOptions{})
	require.NoError(b, err)
	pull(b, p, d6tpipe.PullOptions{})
	pull(b, p, d6tpipe.PullOptions{})
	timed := func(do func()) time.Duration {
		start := time.Now()
		do()
		return time.Since(start)
	}
	listed := timed(func() {
		l, err := storage.Collect(b.Context(), s.back, "")
		require.NoError(b, err)
		require.Equal(b, files, l.Len())
	})
	fresh := timed(func() { pull(b, p, d6tpipe.PullOptions{Fresh: true}) })
	s.took()
	b.ResetTimer()
	for b.Loop() {
		require.Zero(b, pull(b, p, d6tpipe.PullOptions{}).Moved)
	}
	each := b.Elapsed() / time.Duration(b.N)
	asked, stored := s.took()
	require.Len(b, asked, b.N)
	require.Empty(b, stored)
	b.ReportMetric(each.Seconds()/listed.Seconds(), "of-listing")
	b.ReportMetric(each.Seconds()/fresh.Seconds(), "of-a-fresh-pull")
	b.ReportMetric(listed.Seconds(), "s-listing")
}
