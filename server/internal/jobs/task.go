package jobs

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/when"
)

// never is a time that does not come.
const never = math.MaxInt64

// task is a row of tasks.
type task struct {
	Task
	next      int64  // when it is due: worked out of what follows
	scheduled int64  // what the schedule says
	asked     int64  // when somebody wanted it besides; never if nobody does
	notBefore int64  // until when it waits because it failed
	urgent    bool   // who asked does not want it to wait for that
	lastTick  int64  // so that the next one differs
	failures  int64  // since it last went well
	run       string // the id of the run that is at work
	removed   bool   // it goes when that has ended
}

const taskColumns = `kind, subject, owner_id, schedule, next_at, scheduled_at, asked_at, not_before, urgent, last_tick, failures, run_id, removed`

const (
	findTask = `SELECT ` + taskColumns + ` FROM tasks WHERE kind = $1 AND subject = $2`
	makeTask = `INSERT INTO tasks (` + taskColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`
	saveTask = `UPDATE tasks SET owner_id = $3, schedule = $4, next_at = $5, scheduled_at = $6, asked_at = $7, not_before = $8, urgent = $9,
		last_tick = $10, failures = $11, run_id = $12, removed = $13 WHERE kind = $1 AND subject = $2`
	dropTask = `DELETE FROM tasks WHERE kind = $1 AND subject = $2`
)

// Set makes a task, or changes its owner and schedule. A schedule that is the same
// goes on as if nothing had been said; another one begins anew, without the wait that
// failures have earned. What was asked for by [Due] or [Wake] stays asked for, unless it is
// paused. The error is a [*d6tpipe.FieldError] when the schedule cannot be meant.
func Set(ctx context.Context, tx db.Tx, t Task, now time.Time) error {
	known, err := load(ctx, tx, t.Kind, t.Subject)
	isNew := errors.Is(err, d6tpipe.ErrNotFound)
	if err != nil && !isNew {
		return err
	}
	if known.Schedule != t.Schedule {
		if err := when.Check(t.Schedule); err != nil {
			return err
		}
	}
	switch {
	case isNew:
		known = task{Task: t, asked: never}
		err = known.plan(now)
	case known.removed: // what is at work for the former one goes on
		known = task{Task: t, asked: never, run: known.run, lastTick: known.lastTick}
		err = known.plan(now)
	case known.Schedule != t.Schedule:
		known.Schedule, known.notBefore = t.Schedule, 0
		if t.Schedule.Paused {
			known.asked, known.urgent = never, false
		}
		err = known.plan(now)
	}
	if err != nil {
		return err
	}
	known.Owner = t.Owner
	if isNew {
		return known.write(ctx, tx, makeTask)
	}
	return known.write(ctx, tx, saveTask)
}

// Remove removes a task with all of its runs. What is at work is cancelled, by its
// server when that looks next; until then the task cannot be found any more, and one
// that is set in its place does not begin. To remove what is not there is no error.
func Remove(ctx context.Context, tx db.Tx, kind Kind, subject string) error {
	t, err := load(ctx, tx, kind, subject)
	switch {
	case errors.Is(err, d6tpipe.ErrNotFound):
		return nil
	case err != nil:
		return err
	case t.run == "":
		_, err = tx.ExecContext(ctx, dropTask, kind, subject)
		return err
	}
	t.removed, t.next = true, never
	return t.write(ctx, tx, saveTask)
}

// Due wants a task done now, once, whatever its schedule says and however often it
// has failed; when it is at work, once more afterwards. Call [Jobs.Kick] when the
// transaction is committed.
func Due(ctx context.Context, tx db.Tx, kind Kind, subject string, now time.Time) error {
	return ask(ctx, tx, kind, subject, now, true)
}

// Wake is [Due] for what is worth no more than the next regular try: a task that has
// failed waits as long as it would have, and one that is paused stays so.
func Wake(ctx context.Context, tx db.Tx, kind Kind, subject string, now time.Time) error {
	return ask(ctx, tx, kind, subject, now, false)
}

func ask(ctx context.Context, tx db.Tx, kind Kind, subject string, now time.Time, urgent bool) error {
	t, err := find(ctx, tx, kind, subject)
	if err != nil {
		return err
	}
	if !urgent && t.Schedule.Paused {
		return nil
	}
	t.asked = min(t.asked, now.UnixMicro())
	if urgent {
		t.urgent, t.notBefore = true, 0
	}
	t.settle()
	return t.write(ctx, tx, saveTask)
}

// Find returns what has become of a task. There being none is [d6tpipe.ErrNotFound].
func Find(ctx context.Context, tx db.Tx, kind Kind, subject string) (State, error) {
	t, err := find(ctx, tx, kind, subject)
	if err != nil {
		return State{}, err
	}
	s := t.state()
	s.Last, err = lastRun(ctx, tx, kind, subject)
	return s, err
}

// state is all but the last run.
func (t *task) state() State {
	s := State{Task: t.Task, Running: t.run != "", Failures: int(t.failures)}
	if t.next != never {
		s.Next = moment(t.next)
	}
	return s
}

// find is load for those who must not meet what is removed.
func find(ctx context.Context, tx db.Tx, kind Kind, subject string) (task, error) {
	t, err := load(ctx, tx, kind, subject)
	if err == nil && t.removed {
		err = missing(kind, subject)
	}
	return t, err
}

// load reads a task.
func load(ctx context.Context, tx db.Tx, kind Kind, subject string) (task, error) {
	t, err := scanTask(tx.QueryRowContext(ctx, findTask, kind, subject))
	if errors.Is(err, sql.ErrNoRows) {
		err = missing(kind, subject)
	}
	return t, err
}

func missing(kind Kind, subject string) error {
	return fmt.Errorf("%s of %s: %w", kind, subject, d6tpipe.ErrNotFound)
}

// scanTask reads a row with [taskColumns], and what else is selected.
func scanTask(row interface{ Scan(into ...any) error }, more ...any) (t task, err error) {
	var schedule string
	err = row.Scan(append([]any{&t.Kind, &t.Subject, &t.Owner, &schedule, &t.next, &t.scheduled, &t.asked, &t.notBefore, &t.urgent,
		&t.lastTick, &t.failures, &t.run, &t.removed}, more...)...)
	if err == nil {
		err = json.Unmarshal([]byte(schedule), &t.Schedule)
	}
	return t, err
}

// write inserts or updates the row.
func (t *task) write(ctx context.Context, tx db.Tx, statement string) error {
	schedule, err := json.Marshal(t.Schedule)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, statement, t.Kind, t.Subject, t.Owner, schedule, t.next, t.scheduled, t.asked, t.notBefore, t.urgent,
		t.lastTick, t.failures, t.run, t.removed)
	return err
}

// plan works out when the schedule wants the task after a moment.
func (t *task) plan(after time.Time) error {
	at, err := when.Next(t.Schedule, after, t.Subject)
	if err != nil {
		return err
	}
	t.scheduled = never
	if !at.IsZero() && !t.Schedule.Paused {
		t.scheduled = at.UnixMicro()
	}
	t.settle()
	return nil
}

// settle works out when the task is due.
func (t *task) settle() {
	t.next = min(t.scheduled, t.asked)
	if t.next != never {
		t.next = max(t.next, t.notBefore)
	}
}

// begin is what happens to a task that is due when its run is made. It returns the
// run's tick.
func (t *task) begin(run string, now time.Time) (tick int64, err error) {
	tick = max(t.next, t.lastTick+1)
	t.run, t.lastTick, t.asked, t.notBefore, t.urgent = run, tick, never, 0, false
	return tick, t.plan(moment(max(tick, now.UnixMicro())))
}

// done is what happens to a task when its run went well.
func (t *task) done() {
	t.run, t.failures, t.notBefore, t.urgent = "", 0, 0, false
	t.settle()
}

// later is done for a task that has more to do: it is due, and has waited for nothing yet.
func (t *task) later(now time.Time) {
	t.done()
	t.asked, t.notBefore = min(t.asked, now.UnixMicro()), now.UnixMicro()
	t.settle()
}

// failed is what happens to a task when its run did not, and it is to be left alone for
// a while: forever, unless it is scheduled or asked for, when that is negative or the
// task is paused.
func (t *task) failed(now time.Time, wait time.Duration) {
	t.run = ""
	t.failures++
	if wait >= 0 && t.scheduled == never && !t.Schedule.Paused {
		t.asked = min(t.asked, now.UnixMicro()) // nothing else would try it again
	}
	if !t.urgent {
		t.notBefore = now.Add(max(wait, 0)).UnixMicro()
	}
	t.urgent = false
	t.settle()
}

// moment is the time of a column, zero for 0.
func moment(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}
