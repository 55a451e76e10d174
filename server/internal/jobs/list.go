package jobs

import (
	"context"
	"fmt"
	"strings"

	"github.com/d6t/d6tpipe-go/server/internal/db"
)

// many is how many tasks one statement finds.
const many = 200

// anyOf are placeholders for so many subjects, behind the kind.
func anyOf() string {
	var b strings.Builder
	for i := range many {
		fmt.Fprintf(&b, ", $%d", i+2)
	}
	return b.String()[2:]
}

// States is [Find] for many subjects at once. Those that have no task are left out.
func States(ctx context.Context, tx db.Tx, kind Kind, subjects []string) (map[string]State, error) {
	tasks := `SELECT ` + taskColumns + ` FROM tasks WHERE kind = $1 AND subject IN (` + anyOf() + `) AND NOT removed`
	last := `SELECT ` + runColumns + runTables + ` AND r.kind = $1 AND r.subject IN (` + anyOf() + `) AND r.tick = (SELECT MAX(l.tick)
		FROM runs l WHERE l.kind = r.kind AND l.subject = r.subject AND l.state IN ('done', 'failed'))`
	found := map[string]State{}
	for len(subjects) > 0 {
		args := []any{kind}
		for i := range many { // the same text each time, which is known then
			if i < len(subjects) {
				args = append(args, subjects[i])
			} else {
				args = append(args, "")
			}
		}
		subjects = subjects[min(many, len(subjects)):]
		known := len(found)
		if err := addStates(ctx, tx, found, tasks, args); err != nil {
			return nil, err
		}
		if len(found) == known {
			continue
		}
		if err := addLast(ctx, tx, found, last, args); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func addStates(ctx context.Context, tx db.Tx, found map[string]State, query string, args []any) error {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		t, err := scanTask(rows)
		if err != nil {
			return err
		}
		found[t.Subject] = t.state()
	}
	return rows.Err()
}

func addLast(ctx context.Context, tx db.Tx, found map[string]State, query string, args []any) error {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		r, err := scanRun(rows)
		if err != nil {
			return err
		}
		if s, ok := found[r.Subject]; ok {
			s.Last = &r
			found[r.Subject] = s
		}
	}
	return rows.Err()
}

// Count returns how many tasks of a kind somebody has.
func Count(ctx context.Context, tx db.Tx, kind Kind, owner string) (n int, err error) {
	err = tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM tasks WHERE kind = $1 AND owner_id = $2 AND NOT removed`, kind, owner).Scan(&n)
	return n, err
}

// Give makes a task another one's, if there is one.
func Give(ctx context.Context, tx db.Tx, kind Kind, subject, owner string) error {
	_, err := tx.ExecContext(ctx, `UPDATE tasks SET owner_id = $3 WHERE kind = $1 AND subject = $2`, kind, subject, owner)
	return err
}
