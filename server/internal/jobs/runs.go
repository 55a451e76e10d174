package jobs

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/db"
)

// The runs that are kept.
const (
	keepRuns = 100 // of a task
	keepTime = 30 * 24 * time.Hour
	// pruneStep is how many are removed at a time.
	pruneStep = 100
)

// states are all that a run can be in.
var states = [...]d6tpipe.RunState{d6tpipe.RunQueued, d6tpipe.RunRunning, d6tpipe.RunDone, d6tpipe.RunFailed}

const (
	makeRun = `INSERT INTO runs (id, kind, subject, tick, state, attempt, lost, holder, lease_at, began_at, ended_at, error, detail)
		VALUES ($1, $2, $3, $4, 'queued', 0, 0, $5, $6, 0, 0, '', '')`

	runColumns = `r.id, r.kind, r.subject, t.owner_id, r.state, r.tick, r.began_at, r.ended_at, r.attempt, r.holder, r.error, r.detail`
	runTables  = ` FROM runs r JOIN tasks t ON t.kind = r.kind AND t.subject = r.subject WHERE NOT t.removed`

	findLast = `SELECT ` + runColumns + runTables + ` AND r.kind = $1 AND r.subject = $2 AND r.state IN ('done', 'failed')
		ORDER BY r.tick DESC LIMIT 1`
	runsOfAll     = `SELECT ` + runColumns + runTables + ` AND r.id < $1 ORDER BY r.id DESC LIMIT $2`
	runsOfSubject = `SELECT ` + runColumns + runTables + ` AND r.id < $1 AND r.kind = $3 AND r.subject = $4 AND ($5 = '' OR r.state = $5)
		ORDER BY r.tick DESC LIMIT $2`
	// runsOfState is one of several that are put together, since an index has the runs
	// of one state and kind in order.
	runsOfState = `SELECT * FROM (SELECT r.id, r.kind, r.subject, r.state FROM runs r WHERE r.id < $1 AND r.state = '%s' AND r.kind = '%s'
		ORDER BY r.id DESC LIMIT $2) q%d`

	// pruneTask removes the runs of a task that are more than so many back.
	pruneTask = `DELETE FROM runs WHERE kind = $1 AND subject = $2 AND tick <=
		(SELECT tick FROM runs WHERE kind = $1 AND subject = $2 ORDER BY tick DESC LIMIT 1 OFFSET $3) AND state IN ('done', 'failed')`
	// pruneOld removes some of the runs that were made before an id.
	pruneOld = `DELETE FROM runs WHERE id IN (SELECT id FROM runs WHERE id < $1 AND state NOT IN ('queued', 'running') ORDER BY id LIMIT $2)`
)

// Runs finds runs, the newest first.
func Runs(ctx context.Context, tx db.Tx, q Query) ([]Run, error) {
	query, args, err := q.statement()
	if err != nil || query == "" {
		return nil, err
	}
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var runs []Run
	for rows.Next() {
		r, err := scanRun(rows)
		if err != nil {
			return nil, err
		}
		runs = append(runs, r)
	}
	return runs, rows.Err()
}

// statement is the one that finds what is asked for, "" when there can be nothing.
func (q Query) statement() (query string, args []any, err error) {
	args = []any{cmp.Or(q.Before, "~"), cmp.Or(q.Limit, 100)} // "~" is behind all ids
	switch {
	case q.Subject != "" && q.Kind == "":
		return "", nil, errors.New("runs of a subject without its kind")
	case q.Subject != "":
		return runsOfSubject, append(args, q.Kind, q.Subject, q.State), nil
	case q.Kind == "" && q.State == "":
		return runsOfAll, args, nil
	}
	return q.union(), args, nil
}

// union takes the newest of each state and kind.
func (q Query) union() string {
	var parts []string
	for _, kind := range kinds {
		for _, state := range states {
			if (q.Kind == "" || q.Kind == kind) && (q.State == "" || q.State == state) {
				parts = append(parts, fmt.Sprintf(runsOfState, state, kind, len(parts)))
			}
		}
	}
	if len(parts) == 0 { // there is no such kind or state
		return ""
	}
	return `SELECT ` + runColumns + ` FROM (` + strings.Join(parts, " UNION ALL ") + `) n JOIN runs r ON r.id = n.id
		JOIN tasks t ON t.kind = n.kind AND t.subject = n.subject WHERE NOT t.removed ORDER BY n.id DESC LIMIT $2`
}

// lastRun returns the run of a task that ended last, nil if none did.
func lastRun(ctx context.Context, tx db.Tx, kind Kind, subject string) (*Run, error) {
	r, err := scanRun(tx.QueryRowContext(ctx, findLast, kind, subject))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &r, err
}

// scanRun reads a row with [runColumns].
func scanRun(row interface{ Scan(into ...any) error }) (r Run, err error) {
	var tick, began, ended int64
	var detail string
	err = row.Scan(&r.ID, &r.Kind, &r.Subject, &r.Owner, &r.State, &tick, &began, &ended, &r.Attempt, &r.Server, &r.Error, &detail)
	r.Tick, r.Began, r.Ended = moment(tick), moment(began), moment(ended)
	if detail != "" {
		r.Detail = json.RawMessage(detail)
	}
	return r, err
}

// newRunID is one that sorts by the time.
func newRunID(now time.Time, random uint32) string {
	return fmt.Sprintf("%s%08x", idsFrom(now), random)
}

// idsFrom is before all ids that are made from a moment on.
func idsFrom(at time.Time) string { return fmt.Sprintf("%014x", at.UnixMicro()) }

// pruneOldRuns removes some runs that are too old, and reports how many.
func pruneOldRuns(ctx context.Context, tx db.Tx, now time.Time) (n int64, err error) {
	result, err := tx.ExecContext(ctx, pruneOld, idsFrom(now.Add(-keepTime)), pruneStep)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}
