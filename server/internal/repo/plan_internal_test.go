package repo

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
)

// TestPlans: who asks for little is not made to wait for the number of records and
// grants that others have. Every one is found in an index.
func TestPlans(t *testing.T) {
	d := dbtest.Open(t, dbtest.SQLite(t))
	for name, query := range map[string]string{"rankOf": rankOf, "reachable": reachable} {
		t.Run(name, func(t *testing.T) {
			steps := plan(t, d, query)
			require.NotEmpty(t, steps)
			for _, step := range steps {
				scanned, isScan := strings.CutPrefix(step, "SCAN ")
				for _, table := range []string{"records", "r", "grants", "g", "members"} {
					require.False(t, isScan && scanned == table || strings.HasPrefix(scanned, table+" "), "%s reads all of a table: %s", name, step)
				}
				require.NotContains(t, step, "AUTOMATIC", "an index that is made for each request")
			}
		})
	}
}

// plan is what SQLite does for a query, step by step.
func plan(t *testing.T, d *db.DB, query string) (steps []string) {
	t.Helper()
	args := []any{"id", "2026-11-25", "pipes"}
	require.NoError(t, d.Read(t.Context(), func(ctx context.Context, tx db.Tx) error {
		rows, err := tx.QueryContext(ctx, "EXPLAIN QUERY PLAN "+query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id, parent, unused int
			var step string
			if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
				return err
			}
			t.Log(step)
			steps = append(steps, step)
		}
		return rows.Err()
	}))
	return steps
}
