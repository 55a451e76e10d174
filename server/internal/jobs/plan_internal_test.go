package jobs

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
)

// TestPlans: however many tasks and runs there are, those that are wanted are found in
// an index.
func TestPlans(t *testing.T) {
	t.Parallel()
	queries := map[string]struct {
		text string
		args []any
	}{
		"findTask":    {findTask, []any{"scan", "p"}},
		"peek":        {peekQuery(kinds[:]), []any{1}},
		"activeRuns":  {activeRuns, nil},
		"dueTasks":    {dueTasks, []any{"scan", 1, 1}},
		"dueOf":       {dueOf, []any{"scan", 1, 1, "ann"}},
		"dueOwners":   {dueOwners, []any{"scan", 1}},
		"endedLeases": {endedLeases, []any{1}},
		"claimRun":    {claimRun, []any{"id", "me", 1, 1}},
		"renewLease":  {renewLease, []any{"id", 1, "me", 1}},
		"jobOfRun":    {jobOfRun, []any{"id"}},
		"removedOf":   {removedOf, []any{"id"}},
		"leave":       {leave, []any{"me"}},
		"adoptAll":    {adoptAll, nil},
		"pruneTask":   {pruneTask, []any{"scan", "p", 100}},
		"pruneOld":    {pruneOld, []any{"id", 100}},
		"findLast":    {findLast, []any{"scan", "p"}},
		"dropTask":    {dropTask, []any{"scan", "p"}},
		"dropOwner":   {"DELETE FROM users WHERE id = $1", []any{"ann"}},
	}
	for name, q := range map[string]Query{
		"all": {}, "state": {State: d6tpipe.RunFailed}, "kind": {Kind: Scan}, "subject": {Kind: Scan, Subject: "p"}, "both": {Kind: Scan, State: d6tpipe.RunDone},
	} {
		text, args, err := q.statement()
		require.NoError(t, err)
		queries["runs of "+name] = struct {
			text string
			args []any
		}{text, args}
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for name, q := range queries {
			steps := plan(t, d, q.text, q.args...)
			require.NotEmpty(t, steps)
			for _, step := range steps {
				require.False(t, readsAll.MatchString(step), "%s: %s", name, step)
			}
		}
	})
}

// readsAll is what stands in the plan of a query that reads all of a table.
var readsAll = regexp.MustCompile(`SCAN (tasks|t|runs|r|users)$|AUTOMATIC|Seq Scan|(Hash|Merge) Join`)

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
	t.Log(query + "\n" + strings.Join(steps, "\n"))
	return steps
}
