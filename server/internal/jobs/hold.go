package jobs

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/d6t/d6tpipe-go/server/internal/db"
)

const (
	claimRun = `UPDATE runs SET state = 'running', attempt = attempt + 1, holder = $2, lease_at = $3, began_at = $4
		WHERE id = $1 AND state = 'queued' RETURNING tick, attempt`
	jobOfRun = `SELECT t.kind, t.subject, t.owner_id, t.failures FROM runs r
		JOIN tasks t ON t.kind = r.kind AND t.subject = r.subject WHERE r.id = $1`
	renewLease = `UPDATE runs SET lease_at = $4 WHERE id = $1 AND attempt = $2 AND holder = $3 AND state = 'running'
		AND EXISTS (SELECT 1 FROM tasks t WHERE t.kind = runs.kind AND t.subject = runs.subject AND t.run_id = runs.id AND NOT t.removed)`
)

// errLost is why the context of a run ends that does not belong to this engine any more.
var errLost = errors.New("the run was taken away")

// A holding is a run that this engine is at.
type holding struct {
	Job
	cancel context.CancelCauseFunc
	until  time.Time // when the lease ends, by the clock that nobody sets
}

func (one *holding) subject() subject { return subject{one.Kind, one.Subject} }

// holdings are those of an engine. The zero value is ready.
type holdings struct {
	mu  sync.Mutex
	all map[subject]*holding // nil while one is about to be
}

// subject is what a task is for.
type subject struct {
	kind Kind
	id   string
}

// reserve refuses a subject for which another run has not returned yet: it was taken
// away, and may not know it.
func (h *holdings) reserve(s subject) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all == nil {
		h.all = map[subject]*holding{}
	}
	if _, ok := h.all[s]; ok {
		return false
	}
	h.all[s] = nil
	return true
}

// hold puts a run where a place is reserved.
func (h *holdings) hold(one *holding) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all[one.subject()] = one
}

func (h *holdings) free(s subject) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.all, s)
}

// count is how many of a kind there are, or are about to be.
func (h *holdings) count(kind Kind) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.all {
		if s.kind == kind {
			n++
		}
	}
	return n
}

// held are those that are not only about to be, in the order of their runs.
func (h *holdings) held() (some []*holding) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, one := range h.all {
		if one != nil {
			some = append(some, one)
		}
	}
	slices.SortFunc(some, func(a, b *holding) int { return cmp.Compare(a.RunID, b.RunID) })
	return some
}

// onLoss says what to call when a run is taken away.
func (h *holdings) onLoss(one *holding, cancel context.CancelCauseFunc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	one.cancel = cancel
}

// lose calls it.
func (h *holdings) lose(one *holding) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if one.cancel != nil {
		one.cancel(errLost)
	}
}

// prolong says that the lease of a run was renewed.
func (h *holdings) prolong(one *holding, until time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	one.until = until
}

// endOf is when the lease of a run ends.
func (h *holdings) endOf(one *holding) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return one.until
}

// claim makes a run this engine's, unless somebody else has it, or it is gone: then it
// returns nil.
func (j *Jobs) claim(ctx context.Context, id string) (*holding, error) {
	var job *Job
	err := j.DB.Write(ctx, func(ctx context.Context, tx db.Tx) (err error) {
		job, err = jobOf(ctx, tx, id)
		return err
	})
	if err != nil || job == nil {
		return nil, err
	}
	one := &holding{Job: *job}
	if !j.mine.reserve(one.subject()) {
		return nil, nil // it is sent again when its time as a waiting run ends
	}
	claimed, err := j.take(ctx, one)
	if err != nil || !claimed {
		j.mine.free(one.subject())
		return nil, err
	}
	j.mine.hold(one)
	return one, nil
}

// take notes in the database that this engine is at a run.
func (j *Jobs) take(ctx context.Context, one *holding) (claimed bool, err error) {
	err = j.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		one.until = time.Now().Add(j.Lease)
		var tick int64
		row := tx.QueryRowContext(ctx, claimRun, one.RunID, j.name, one.until.UnixMicro(), j.Now().UnixMicro())
		err := row.Scan(&tick, &one.Attempt)
		claimed, one.Tick = err == nil, moment(tick)
		if errors.Is(err, sql.ErrNoRows) { // somebody else has it
			return nil
		}
		return err
	})
	return claimed, err
}

// jobOf is what a run is about; nil when there is nothing to do any more.
func jobOf(ctx context.Context, tx db.Tx, id string) (*Job, error) {
	if gone, err := dropRemoved(ctx, tx, id); gone || err != nil {
		return nil, err
	}
	job := Job{RunID: id}
	err := tx.QueryRowContext(ctx, jobOfRun, id).Scan(&job.Kind, &job.Subject, &job.Owner, &job.Failures)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &job, err
}

// keep renews the leases of what this engine is at, until ctx ends.
func (j *Jobs) keep(ctx context.Context) {
	for pause(ctx, j.Lease/5) {
		j.renew(ctx)
	}
}

// renew renews all leases, and cancels what does not belong to this engine any more, or
// may soon not. A run that this engine is not at is not renewed, though it be noted as
// this one's: nobody knows how it ended.
func (j *Jobs) renew(ctx context.Context) {
	before := j.mine.held()
	if len(before) == 0 {
		return
	}
	now := time.Now()
	kept, err := j.renewed(ctx, before, now.Add(j.Lease))
	if err != nil && ctx.Err() == nil {
		j.metrics.errors.Inc()
		j.Log.Warn("leases could not be renewed", "error", err)
	}
	for _, one := range before {
		switch {
		case err == nil && kept[one]:
			j.mine.prolong(one, now.Add(j.Lease))
		case err == nil, time.Until(j.mine.endOf(one)) < j.Lease/4:
			j.mine.lose(one)
		}
	}
}

// renewed returns those whose leases are renewed.
func (j *Jobs) renewed(ctx context.Context, some []*holding, until time.Time) (kept map[*holding]bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, j.Lease/5)
	defer cancel()
	err = j.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		kept = map[*holding]bool{}
		for _, one := range some {
			n, err := affected(tx.ExecContext(ctx, renewLease, one.RunID, one.Attempt, j.name, until.UnixMicro()))
			if err != nil {
				return err
			}
			kept[one] = n > 0
		}
		return nil
	})
	return kept, err
}
