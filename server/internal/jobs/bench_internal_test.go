package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
)

// BenchmarkDispatcher is what the dispatcher takes among few and many tasks: for a look
// when nothing is due, for a task that is due, until its run has ended, and for the choice
// when everything is due. A tenth of the tasks have as many runs behind them as are kept.
func BenchmarkDispatcher(b *testing.B) {
	for engine, url := range map[string]func(testing.TB) string{"sqlite": dbtest.SQLite, "postgres": dbtest.Postgres} {
		for _, tasks := range []int{1_000, 100_000} {
			b.Run(fmt.Sprintf("%s/%d", engine, tasks), func(b *testing.B) {
				s := newCrowd(b, url(b), tasks)
				b.Run("idle", s.idle)
				b.Run("due", s.due)
				b.Run("overload", s.overload)
			})
		}
	}
}

// crowd is an engine among many tasks, of a hundred owners.
type crowd struct {
	*Jobs
	tasks int
	ended sync.WaitGroup
}

func newCrowd(b *testing.B, url string, tasks int) *crowd {
	s := &crowd{tasks: tasks}
	d := dbtest.Open(b, url)
	queue := url
	if d.Engine() == "sqlite" {
		queue = filepath.Join(b.TempDir(), "jobs.db")
	}
	require.NoError(b, d.Write(b.Context(), func(ctx context.Context, tx db.Tx) error {
		const numbers = `WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < `
		for _, statement := range []string{
			numbers + `100) INSERT INTO users SELECT 'u' || i, 'u' || i, 'u' || i, '', 'u' || i, '', false, 1 FROM n`,
			numbers + fmt.Sprint(tasks) + `) INSERT INTO tasks SELECT 'scan', 'p' || i, 'u' || (i % 100), '{}', 9000000000000000 + i, 9000000000000000 + i,
				9223372036854775807, 0, false, 1000, 0, '', false FROM n`,
			numbers + fmt.Sprint(10*tasks) + `) INSERT INTO runs SELECT '` + idsFrom(time.Now()) + `' || i, 'scan', 'p' || (i / 100), i % 100, 'done', 1, 0, 'x', 1, 1, 1, '', '' FROM n`,
		} {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	}))
	j, err := Open(b.Context(), Config{DB: d, Queue: queue, Poll: time.Hour, Pools: map[Kind]Pool{Scan: {
		Workers: 8, Backoff: func(int) time.Duration { return time.Hour },
		Do: func(context.Context, Job) (json.RawMessage, error) { s.ended.Done(); return nil, nil },
	}}})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, j.Close()) })
	s.Jobs = j
	return s
}

func (s *crowd) idle(b *testing.B) {
	for b.Loop() {
		views, err := s.look(b.Context())
		require.NoError(b, err)
		require.False(b, views[0].due)
	}
}

func (s *crowd) due(b *testing.B) {
	n := 0
	for b.Loop() {
		s.ended.Add(4)
		require.NoError(b, s.DB.Write(b.Context(), func(ctx context.Context, tx db.Tx) error {
			for range 4 {
				n += 7
				if err := Due(ctx, tx, Scan, fmt.Sprint("p", n%s.tasks), s.Now()); err != nil {
					return err
				}
			}
			return nil
		}))
		s.Kick()
		s.ended.Wait()
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(4*b.N), "ms/run")
}

// overload chooses as if all tasks were due, and leaves it at that.
func (s *crowd) overload(b *testing.B) {
	for s.free(Scan) < 8 { // the last ones note that they have ended
		time.Sleep(time.Millisecond)
	}
	for b.Loop() {
		require.NoError(b, s.DB.Write(b.Context(), func(ctx context.Context, tx db.Tx) error {
			chosen, err := s.choose(ctx, tx, Scan, time.UnixMicro(9_100_000_000_000_000))
			require.Len(b, chosen, 8)
			return err
		}))
	}
}
