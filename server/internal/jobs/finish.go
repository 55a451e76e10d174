package jobs

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/db"
)

const (
	endRun = `UPDATE runs SET state = $4, ended_at = $5, error = $6, detail = $7
		WHERE id = $1 AND state = 'running' AND attempt = $2 AND holder = $3`
	putBack = `UPDATE runs SET state = 'queued', lease_at = 0 WHERE id = $1 AND state = 'running' AND attempt = $2 AND holder = $3`
	// leave has the runs taken up at once that a server made and did not begin.
	leave = `UPDATE runs SET lease_at = 0 WHERE state = 'queued' AND holder = $1`

	removedOf = `SELECT t.kind, t.subject FROM runs r JOIN tasks t ON t.kind = r.kind AND t.subject = r.subject WHERE r.id = $1 AND t.removed`
)

// The room for what a run leaves behind, in bytes.
const (
	mostError  = 1000
	mostDetail = 64 << 10
)

// A result is what came of a run.
type result struct {
	outcome outcome
	text    string // of the error
	detail  string
	wait    time.Duration // until the next one, when it failed
	later   bool          // there is more to do
}

// finish notes the result of a run, if it is still this engine's. It goes on trying for as
// long as the lease lasts; then somebody else takes the run up.
func (j *Jobs) finish(ctx context.Context, one *holding, r result) error {
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), j.mine.endOf(one).Add(-j.Lease/10))
	defer cancel()
	for {
		err := j.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error { return j.note(ctx, tx, one, r) })
		if err == nil || errors.Is(err, errLost) || !pause(ctx, time.Second/4) {
			return err
		}
	}
}

// note notes a result.
func (j *Jobs) note(ctx context.Context, tx db.Tx, one *holding, r result) error {
	query, args := putBack, []any{one.RunID, one.Attempt, j.name}
	if state := r.outcome.state(); state != "" {
		query, args = endRun, append(args, state, j.Now().UnixMicro(), r.text, r.detail)
	}
	n, err := affected(tx.ExecContext(ctx, query, args...))
	if err != nil {
		return err
	}
	if n == 0 {
		return errLost
	}
	if r.outcome == outcomeGone {
		_, err := tx.ExecContext(ctx, dropTask, one.Kind, one.Subject)
		return err
	}
	if gone, err := dropRemoved(ctx, tx, one.RunID); gone || err != nil || r.outcome == outcomeCancelled {
		return err
	}
	return j.settle(ctx, tx, one.subject(), r)
}

// settle notes in a task what came of its run.
func (j *Jobs) settle(ctx context.Context, tx db.Tx, s subject, r result) error {
	t, err := load(ctx, tx, s.kind, s.id)
	if err != nil {
		return err
	}
	switch {
	case r.outcome != outcomeDone:
		t.failed(j.Now(), r.wait)
	case r.later && !t.Schedule.Paused:
		t.later(j.Now())
	default:
		t.done()
	}
	if err := t.write(ctx, tx, saveTask); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, pruneTask, s.kind, s.id, keepRuns)
	return err
}

// giveUp fails a run that was lost too often.
func (j *Jobs) giveUp(ctx context.Context, tx db.Tx, id string) error {
	if gone, err := dropRemoved(ctx, tx, id); gone || err != nil {
		return err
	}
	job, err := jobOf(ctx, tx, id)
	if err != nil || job == nil {
		return err
	}
	r := result{outcome: outcomeFailed, wait: j.Pools[job.Kind].Backoff(job.Failures + 1)}
	r.text = fmt.Sprintf("The server was lost %d times while it was at this.", mostLost)
	if _, err := tx.ExecContext(ctx, failLost, id, j.Now().UnixMicro(), r.text); err != nil {
		return err
	}
	return j.settle(ctx, tx, subject{job.Kind, job.Subject}, r)
}

const failLost = `UPDATE runs SET state = 'failed', ended_at = $2, error = $3 WHERE id = $1`

// dropRemoved removes the task of a run if that is what is still to be done.
func dropRemoved(ctx context.Context, tx db.Tx, id string) (gone bool, err error) {
	var s subject
	err = tx.QueryRowContext(ctx, removedOf, id).Scan(&s.kind, &s.id)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err == nil {
		_, err = tx.ExecContext(ctx, dropTask, s.kind, s.id)
	}
	return err == nil, err
}

// leaveQueued lets others take up at once what this engine has made and not begun.
func (j *Jobs) leaveQueued() error {
	ctx, cancel := context.WithTimeout(context.Background(), leavePatience)
	defer cancel()
	return j.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		_, err := tx.ExecContext(ctx, leave, j.name)
		return err
	})
}

// leavePatience is how long an engine that closes waits for the database.
const leavePatience = 10 * time.Second

func affected(r sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// An outcome is how a run ends, as the metrics count it.
type outcome string

const (
	outcomeDone      outcome = "done"
	outcomeFailed    outcome = "failed"
	outcomeGone      outcome = "gone"      // what it was for is not there any more
	outcomeCancelled outcome = "cancelled" // it is to be done again, or not at all
	outcomeLost      outcome = "lost"      // its server is gone
)

// outcomes are all of them.
var outcomes = [...]outcome{outcomeDone, outcomeFailed, outcomeGone, outcomeCancelled, outcomeLost}

// state is what a run with this outcome is in; "" when it has not ended.
func (o outcome) state() d6tpipe.RunState {
	switch o {
	case outcomeDone, outcomeGone:
		return d6tpipe.RunDone
	case outcomeFailed:
		return d6tpipe.RunFailed
	}
	return ""
}

// storable is a text as the database takes it: UTF-8, without NUL, not too long.
func storable(text string, most int) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\ufffd"), "\x00", "\ufffd")
	if len(text) <= most {
		return text
	}
	const more = " ..."
	cut := most - len(more)
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + more
}

// storableDetail is a detail as it is kept, "" for one that cannot be.
func storableDetail(detail json.RawMessage) (text string, ok bool) {
	if len(detail) == 0 {
		return "", true
	}
	if len(detail) > mostDetail || !json.Valid(detail) || !utf8.Valid(detail) {
		return "", false
	}
	return string(detail), true
}
