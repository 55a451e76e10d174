package jobs

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/d6t/d6tpipe-go/server/internal/db"
)

const (
	// activeRuns counts what each owner has at work or waiting for a worker.
	activeRuns = `SELECT r.kind, t.owner_id, count(*), sum(CASE r.state WHEN 'queued' THEN 1 ELSE 0 END)
		FROM runs r JOIN tasks t ON t.kind = r.kind AND t.subject = r.subject
		WHERE r.state IN ('queued', 'running') GROUP BY r.kind, t.owner_id`

	dueTasks = `SELECT ` + taskColumns + ` FROM tasks WHERE kind = $1 AND next_at <= $2 AND run_id = '' ORDER BY next_at LIMIT $3`
	dueOf    = `SELECT ` + taskColumns + ` FROM tasks WHERE kind = $1 AND next_at <= $2 AND owner_id = $4 AND run_id = ''
		ORDER BY next_at LIMIT $3`

	// dueOwners goes from one owner to the next, however many tasks they have.
	dueOwners = `WITH RECURSIVE owners (id) AS (
			SELECT min(owner_id) FROM tasks
			UNION ALL SELECT (SELECT min(t.owner_id) FROM tasks t WHERE t.owner_id > owners.id) FROM owners WHERE owners.id IS NOT NULL)
		SELECT owners.id, (SELECT t.next_at FROM tasks t WHERE t.owner_id = owners.id AND t.kind = $1 AND t.next_at <= $2 AND t.run_id = ''
			ORDER BY t.next_at LIMIT 1)
		FROM owners WHERE owners.id IS NOT NULL`
)

// workload is what the owners have at work.
type workload struct {
	active map[string]int64 // runs that an owner has
	queued int64            // that wait for a worker
}

// choose picks from what is due as much as can begin now.
func (j *Jobs) choose(ctx context.Context, tx db.Tx, kind Kind, now time.Time) ([]task, error) {
	l, err := activeOf(ctx, tx, kind)
	if err != nil {
		return nil, err
	}
	room := j.free(kind) - int(l.queued)
	if room <= 0 {
		return nil, nil
	}
	share := int64(max(1, j.Pools[kind].Workers/2))
	most := 8 * j.Pools[kind].Workers
	due, err := tasksOf(ctx, tx, dueTasks, kind, now.UnixMicro(), most)
	if err == nil && len(due) == most { // those that wait longest may hide others
		due, err = fairlyDue(ctx, tx, kind, now.UnixMicro(), l, room, share)
	}
	return l.pick(due, room, share), err
}

// pick takes tasks in turn from the owners who have least at work; of these, from who
// waits longest.
func (l workload) pick(due []task, room int, share int64) (picked []task) {
	for len(picked) < room {
		best := -1
		for i, t := range due {
			if has := l.active[t.Owner]; has < share && (best < 0 || has < l.active[due[best].Owner]) {
				best = i
			}
		}
		if best < 0 {
			return picked
		}
		picked = append(picked, due[best])
		l.active[due[best].Owner]++
		due = slices.Delete(due, best, best+1)
	}
	return picked
}

func activeOf(ctx context.Context, tx db.Tx, kind Kind) (workload, error) {
	l := workload{active: map[string]int64{}}
	rows, err := tx.QueryContext(ctx, activeRuns)
	if err != nil {
		return l, err
	}
	defer rows.Close()
	for rows.Next() {
		var of Kind
		var owner string
		var active, queued int64
		if err := rows.Scan(&of, &owner, &active, &queued); err != nil {
			return l, err
		}
		if of == kind {
			l.active[owner] = active
			l.queued += queued
		}
	}
	return l, rows.Err()
}

// fairlyDue finds what is due of the owners who have least at work, when so much is due
// that not all of it can be looked at.
func fairlyDue(ctx context.Context, tx db.Tx, kind Kind, now int64, l workload, room int, share int64) (due []task, err error) {
	owners, err := ownersOf(ctx, tx, kind, now)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(owners, func(a, b dueOwner) int {
		if d := l.active[a.id] - l.active[b.id]; d != 0 {
			return int(d)
		}
		return int(min(1, max(-1, a.next-b.next)))
	})
	for _, o := range owners[:min(room, len(owners))] {
		more, err := tasksOf(ctx, tx, dueOf, kind, now, share, o.id)
		if err != nil {
			return nil, err
		}
		due = append(due, more...)
	}
	return due, nil
}

// dueOwner is an owner with the first task that is due.
type dueOwner struct {
	id   string
	next int64
}

func ownersOf(ctx context.Context, tx db.Tx, kind Kind, now int64) (owners []dueOwner, err error) {
	rows, err := tx.QueryContext(ctx, dueOwners, kind, now)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var o dueOwner
		var next sql.NullInt64
		if err := rows.Scan(&o.id, &next); err != nil {
			return nil, err
		}
		if o.next = next.Int64; next.Valid {
			owners = append(owners, o)
		}
	}
	return owners, rows.Err()
}

func tasksOf(ctx context.Context, tx db.Tx, query string, args ...any) (tasks []task, err error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		t, err := scanTask(rows)
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, t)
	}
	return tasks, rows.Err()
}
