package db_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
)

// numbers is a query whose rows never end.
const numbers = `WITH RECURSIVE n (i) AS (SELECT $1 + 0 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n`

// A query that was asked before answers what is asked now: with other arguments, on
// every connection, after one that was given up half-way or failed, and when the
// tables have changed since.
func TestQueriesAreAskedAgain(t *testing.T) {
	d := dbtest.Open(t, dbtest.SQLite(t))
	first := func(ctx context.Context, from int64) (got int64, err error) {
		err = d.Read(ctx, func(ctx context.Context, tx db.Tx) error {
			rows, err := tx.QueryContext(ctx, numbers, from)
			if err != nil {
				return err
			}
			defer rows.Close() // nobody reads the rest
			if !rows.Next() {
				return errors.Join(errors.New("no row"), rows.Err())
			}
			return rows.Scan(&got)
		})
		return got, err
	}
	var wg sync.WaitGroup
	wrong := make([]error, 64)
	for i := range wrong {
		wg.Go(func() {
			for from := range int64(5) {
				if got, err := first(t.Context(), from); err != nil || got != from {
					wrong[i] = errors.Join(err, fmt.Errorf("%d, not %d", got, from))
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(wrong...))

	require.NoError(t, write(t.Context(), d, counter))
	require.Zero(t, number(t, d, counted))
	require.NoError(t, write(t.Context(), d, count))
	require.EqualValues(t, 1, number(t, d, counted), "it is not what it was")
	require.NoError(t, write(t.Context(), d, `ALTER TABLE usage ADD COLUMN more BIGINT NOT NULL DEFAULT 7`))
	require.EqualValues(t, 1, number(t, d, counted))

	ctx, cancel := context.WithCancel(t.Context())
	require.ErrorIs(t, d.Read(ctx, func(ctx context.Context, tx db.Tx) error {
		rows, err := tx.QueryContext(ctx, numbers, 0)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			cancel()
		}
		return rows.Err()
	}), context.Canceled)
	got, err := first(t.Context(), 3)
	require.NoError(t, err)
	require.EqualValues(t, 3, got)
}

// What is made up each time is answered as well, and not remembered for ever.
func TestQueriesThatAreMadeUp(t *testing.T) {
	d := dbtest.Open(t, dbtest.SQLite(t))
	for i := range int64(300) {
		require.Equal(t, i, number(t, d, fmt.Sprintf(`SELECT %d`, i)))
	}
	require.LessOrEqual(t, db.Known(d), 128)
	require.Positive(t, db.Known(d))
}

// A query outside of transactions sees what is committed, says what goes wrong in it,
// and is no way around the rules of those.
func TestQuery(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		var got []int64
		read := func(rows *sql.Rows) error {
			got = nil
			for rows.Next() {
				var n int64
				if err := rows.Scan(&n); err != nil {
					return err
				}
				got = append(got, n)
			}
			return nil // what failed is no business of who reads
		}
		const atLeast = `SELECT n FROM usage WHERE n >= $1 ORDER BY n`
		require.NoError(t, d.Query(ctx, read, atLeast, 0))
		require.Empty(t, got)
		require.NoError(t, write(ctx, d, counter, count))
		for from, want := range map[int][]int64{0: {1}, 1: {1}, 2: nil} {
			require.NoError(t, d.Query(ctx, read, atLeast, from))
			require.Equal(t, want, got)
		}
		require.ErrorIs(t, d.Query(ctx, func(*sql.Rows) error { return errOurs }, atLeast, 0), errOurs)
		require.Error(t, d.Query(ctx, read, `SELECT nothing FROM usage`))
		require.ErrorIs(t, d.Query(ctx, read, atLeast, []int{1}), db.ErrArgument)
		require.NoError(t, write(ctx, d, `INSERT INTO usage VALUES ('r2', '2026-11-25', 'pull', 0)`))
		require.Error(t, d.Query(ctx, read, `SELECT abs(-9223372036854775806 - 2 * (1 - n)) FROM usage`), "the second row fails")
		require.ErrorIs(t, d.Read(ctx, func(ctx context.Context, tx db.Tx) error {
			return d.Query(ctx, read, atLeast, 0)
		}), db.ErrNested)
		ended, cancel := context.WithCancel(ctx)
		cancel()
		require.ErrorIs(t, d.Query(ended, read, atLeast, 0), context.Canceled)
		require.EqualValues(t, 1, number(t, d, counted), "all is as it was")
	})
}
