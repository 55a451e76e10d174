package jobs

import (
	"context"
	"database/sql"
	"math/rand/v2"
	"strings"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/db"
)

const (
	// peekKind finds the first task of a kind that is due, peekLeases the first lease of
	// each kind that ends. Runs that are active are asked for by nothing but that: they are
	// few, and a database that knows little of what is stored may take them for many.
	peekKind   = `SELECT 'KIND', (SELECT next_at FROM tasks WHERE kind = 'KIND' AND next_at <= $1 AND run_id = '' ORDER BY next_at LIMIT 1), NULL`
	peekLeases = `SELECT kind, NULL, min(lease_at) FROM runs WHERE state IN ('queued', 'running') GROUP BY kind`

	endedLeases = `SELECT id, kind, state, lost FROM runs WHERE state IN ('queued', 'running') AND lease_at <= $1`
	takeUp      = `UPDATE runs SET state = 'queued', lost = $2, holder = $3, lease_at = $4 WHERE id = $1`
)

// mostLost is how often a server may die over a run before it is given up: it may be
// what kills them.
const mostLost = 10

// pruneEvery is how often runs are looked for that are too old.
const pruneEvery = time.Hour

// A view is what a look at a kind sees.
type view struct {
	kind    Kind
	due     bool
	late    time.Duration
	expired bool // a lease has ended
}

// dispatch looks for work until ctx ends.
func (j *Jobs) dispatch(ctx context.Context) {
	var pruned time.Time // when there was last nothing left that is too old
	well := true
	for ctx.Err() == nil {
		err := j.round(ctx)
		if err == nil && time.Since(pruned) > pruneEvery {
			var more bool
			if more, err = j.prune(ctx); err == nil && !more {
				pruned = time.Now()
			}
		}
		well = j.report(ctx, err, well)
		j.await(ctx)
	}
}

// await waits for the next look. Servers that were started at the same time drift
// apart.
func (j *Jobs) await(ctx context.Context) {
	timer := time.NewTimer(j.Poll - rand.N(j.Poll/8+1))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-j.kick:
	}
}

// report logs when looking for work begins to fail and when it works again.
func (j *Jobs) report(ctx context.Context, err error, well bool) bool {
	switch {
	case err != nil && ctx.Err() != nil:
		return well
	case err != nil:
		j.metrics.errors.Inc()
		if well {
			j.Log.Error("what is due cannot be looked for; it is tried again", "error", err)
		}
	case !well:
		j.Log.Info("what is due is looked for again")
	}
	return err == nil
}

// round looks once for what there is to do, and has it done.
func (j *Jobs) round(ctx context.Context) error {
	views, err := j.look(ctx)
	if err != nil {
		return err
	}
	for _, v := range views {
		j.metrics.late.WithLabelValues(string(v.kind)).Set(v.late.Seconds())
		if v.expired {
			if err := j.retake(ctx, v.kind); err != nil {
				return err
			}
		}
		if v.due && j.free(v.kind) > 0 {
			if err := j.begin(ctx, v.kind); err != nil {
				return err
			}
		}
	}
	return nil
}

// free is how many workers of this engine have nothing to do.
func (j *Jobs) free(kind Kind) int { return j.Pools[kind].Workers - j.mine.count(kind) }

func peekQuery(kinds []Kind) string {
	parts := []string{peekLeases}
	for _, kind := range kinds {
		parts = append(parts, strings.ReplaceAll(peekKind, "KIND", string(kind)))
	}
	return strings.Join(parts, " UNION ALL ")
}

// look asks one cheap question.
func (j *Jobs) look(ctx context.Context) (views []view, err error) {
	now := j.Now().UnixMicro()
	err = j.DB.Query(ctx, func(rows *sql.Rows) error {
		seen := map[Kind]view{}
		for rows.Next() {
			var kind Kind
			var due, lease sql.NullInt64
			if err := rows.Scan(&kind, &due, &lease); err != nil {
				return err
			}
			seen[kind] = seen[kind].with(kind, due, lease, now)
		}
		views = nil
		for _, kind := range j.kinds {
			views = append(views, seen[kind])
		}
		return rows.Err()
	}, j.peek, now)
	return views, err
}

// with is the view with what a row adds to it.
func (v view) with(kind Kind, due, lease sql.NullInt64, now int64) view {
	v.kind = kind
	if due.Valid {
		v.due, v.late = true, time.Duration(now-due.Int64)*time.Microsecond
	}
	if lease.Valid {
		v.expired = lease.Int64 <= time.Now().UnixMicro()
	}
	return v
}

// begin makes the runs of tasks that are due, for as many workers as have nothing to
// do, and sends them there.
func (j *Jobs) begin(ctx context.Context, kind Kind) error {
	var made []string
	err := j.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		made = nil
		now := j.Now()
		due, err := j.choose(ctx, tx, kind, now)
		for _, t := range due {
			if err != nil {
				return err
			}
			var id string
			id, err = j.make(ctx, tx, t, now)
			made = append(made, id)
		}
		return err
	})
	if err != nil || len(made) == 0 {
		return err
	}
	return j.carrier.carry(ctx, kind, made)
}

// make makes the run of a task that is due.
func (j *Jobs) make(ctx context.Context, tx db.Tx, t task, now time.Time) (id string, err error) {
	id = newRunID(now, rand.Uint32())
	tick, err := t.begin(id, now)
	if err != nil { // who set it checked it; a time zone may have gone since
		j.Log.Error("a schedule cannot be read any more; its task waits for a day", "error", err)
		t.scheduled = now.Add(24 * time.Hour).UnixMicro()
		t.settle()
	}
	if err := t.write(ctx, tx, saveTask); err != nil {
		return "", err
	}
	_, err = tx.ExecContext(ctx, makeRun, id, t.Kind, t.Subject, tick, j.name, time.Now().Add(j.Lease).UnixMicro())
	return id, err
}

// ended is a run whose lease has ended.
type ended struct {
	id    string
	state d6tpipe.RunState
	lost  int
}

// retake sends runs on their way again of which nobody says any more that he has them.
// Those that only wait are worth it when this engine has a worker for them: otherwise
// they may well still be on their way.
func (j *Jobs) retake(ctx context.Context, kind Kind) error {
	var again []string
	var lost int
	err := j.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		again, lost = nil, 0
		all, err := endedOf(ctx, tx, kind)
		if err != nil {
			return err
		}
		for _, r := range all {
			if r.state == d6tpipe.RunQueued && j.free(kind) <= 0 {
				continue
			}
			if r.state == d6tpipe.RunRunning {
				r.lost++
				lost++
			}
			carry, err := j.revive(ctx, tx, r)
			if err != nil {
				return err
			}
			if carry {
				again = append(again, r.id)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	j.metrics.ended(kind, outcomeLost, lost)
	if len(again) == 0 {
		return nil
	}
	if lost > 0 {
		j.Log.Warn("runs of a server that is gone are taken up", "kind", kind, "runs", lost)
	}
	return j.carrier.carry(ctx, kind, again)
}

func endedOf(ctx context.Context, tx db.Tx, kind Kind) (all []ended, err error) {
	rows, err := tx.QueryContext(ctx, endedLeases, time.Now().UnixMicro())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r ended
		var of Kind
		if err := rows.Scan(&r.id, &of, &r.state, &r.lost); err != nil {
			return nil, err
		}
		if of == kind {
			all = append(all, r)
		}
	}
	return all, rows.Err()
}

// revive makes a run wait for a worker again, if there is still something to do.
func (j *Jobs) revive(ctx context.Context, tx db.Tx, r ended) (carry bool, err error) {
	if r.lost >= mostLost {
		return false, j.giveUp(ctx, tx, r.id)
	}
	if gone, err := dropRemoved(ctx, tx, r.id); gone || err != nil {
		return false, err
	}
	_, err = tx.ExecContext(ctx, takeUp, r.id, r.lost, j.name, time.Now().Add(j.Lease).UnixMicro())
	return true, err
}

// prune removes a few of the runs that are too old, and reports whether there may be
// more: what is due does not wait for all of them.
func (j *Jobs) prune(ctx context.Context) (more bool, err error) {
	err = j.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		n, err := pruneOldRuns(ctx, tx, j.Now())
		more = n == pruneStep
		return err
	})
	return more, err
}
