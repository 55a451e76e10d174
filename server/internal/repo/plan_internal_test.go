package repo

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
)

// TestPlans: who asks for little is not made to wait for the number of records and
// grants that others have. Every one is found in an index.
func TestPlans(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for name, query := range map[string]string{"rankOf": rankOf, "reachable": reachable, "rivals": rivals} {
			args := []any{"id", "2026-11-25", "pipes"}
			if query == rivals {
				args = []any{"name", "other"}
			}
			steps := plan(t, d, query, args...)
			require.NotEmpty(t, steps)
			for _, step := range steps {
				require.False(t, readsAll.MatchString(step), "%s: %s", name, step)
			}
		}
	})
}

// readsAll is what stands in the plan of a query that reads all of a table.
var readsAll = regexp.MustCompile(`SCAN (records|r|grants|g|members)\b|AUTOMATIC|Seq Scan|(Hash|Merge) Join`)

// plan is what a database does for a query, step by step.
func plan(t *testing.T, d *db.DB, query string, args ...any) (steps []string) {
	t.Helper()
	require.NoError(t, d.Write(t.Context(), func(ctx context.Context, tx db.Tx) error {
		explain := "EXPLAIN QUERY PLAN "
		if d.Engine() == "postgres" {
			explain = "EXPLAIN "
			if _, err := tx.ExecContext(ctx, `SET LOCAL enable_seqscan = off`); err != nil { // tables as small as these it would read
				return err
			}
		}
		rows, err := tx.QueryContext(ctx, explain+query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		columns, err := rows.Columns()
		if err != nil {
			return err
		}
		row := make([]any, len(columns))
		step := &row[len(row)-1] // SQLite numbers them, too
		for i := range row {
			row[i] = new(any)
		}
		for rows.Next() {
			if err := rows.Scan(row...); err != nil {
				return err
			}
			steps = append(steps, fmt.Sprint(*(*step).(*any)))
		}
		return rows.Err()
	}))
	t.Log(strings.Join(steps, "\n"))
	return steps
}
