package jobs_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
	"github.com/d6t/d6tpipe-go/server/internal/jobs"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// start is when the tests' clocks begin, five minutes into an hour.
var start = time.Date(2026, 11, 25, 12, 5, 0, 0, time.UTC)

var (
	quarterly = d6tpipe.Schedule{Cron: "*/15 * * * *"}
	hourly    = d6tpipe.Schedule{Cron: "@hourly"}
)

// addUsers makes accounts, whose ids are their names.
func addUsers(t testing.TB, d *db.DB, names ...string) {
	write(t, d, func(ctx context.Context, tx db.Tx) error {
		for _, name := range names {
			_, err := tx.ExecContext(ctx, `INSERT INTO users VALUES ($1, $1, $1, '', $1, '', false, 1) ON CONFLICT DO NOTHING`, name)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func write(t testing.TB, d *db.DB, fn func(context.Context, db.Tx) error) {
	t.Helper()
	require.NoError(t, d.Write(t.Context(), fn))
}

func set(t testing.TB, d *db.DB, task jobs.Task, now time.Time) {
	t.Helper()
	write(t, d, func(ctx context.Context, tx db.Tx) error { return jobs.Set(ctx, tx, task, now) })
}

func find(t testing.TB, d *db.DB, task jobs.Task) (s jobs.State) {
	t.Helper()
	require.NoError(t, d.Read(t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
		s, err = jobs.Find(ctx, tx, task.Kind, task.Subject)
		return err
	}))
	return s
}

// isThere reports whether a task can be found.
func isThere(t testing.TB, d *db.DB, task jobs.Task) bool {
	t.Helper()
	err := d.Read(t.Context(), func(ctx context.Context, tx db.Tx) error {
		_, err := jobs.Find(ctx, tx, task.Kind, task.Subject)
		return err
	})
	if err != nil {
		require.ErrorIs(t, err, d6tpipe.ErrNotFound)
	}
	return err == nil
}

func runs(t testing.TB, d *db.DB, q jobs.Query) (found []jobs.Run) {
	t.Helper()
	require.NoError(t, d.Read(t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
		found, err = jobs.Runs(ctx, tx, q)
		return err
	}))
	return found
}
