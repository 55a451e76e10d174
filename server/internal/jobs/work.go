package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"time"
)

// A Job is what a worker is asked to do: a run, begun once more.
type Job struct {
	Kind    Kind
	Subject string
	Owner   string // the id of the account whose it is
	RunID   string
	// Tick is when it was due.
	Tick time.Time
	// Attempt is 1, and more when the server that began it died or was stopped.
	Attempt int
	// Failures counts the runs of the task that failed since the last one that did not.
	Failures int
}

// A Pool is how one kind of task is done.
type Pool struct {
	// Do does it. Its context ends when the run is no longer this server's: because the
	// server stops, the task was removed, the run took longer than Time, or another server
	// has taken it up. Then it must return at once, and may be done again. It is begun more
	// than once also when a server dies just after its end. The detail is kept with the
	// run, be there an error or not: JSON, small. The text of an error is shown to people and
	// must hold no secret. A panic fails the run.
	Do func(ctx context.Context, job Job) (detail json.RawMessage, err error)
	// Workers is how many of them this server does at a time. No owner has more than half
	// of them; one at least.
	Workers int
	// Time is how long a run may take. No limit when zero.
	Time time.Duration
	// Backoff is for how long a task that has failed so often in a row is left alone. Its
	// next run is then, or when the schedule says, whichever is later; a task without a
	// schedule is tried again then. When it is negative, only the schedule counts. See
	// [Retry] for what a single failure knows better.
	Backoff func(failures int) time.Duration
}

// A Retry is an error of a [Pool]'s Do that says itself for how long the task is left
// alone, as Backoff would.
type Retry struct {
	Err   error
	After time.Duration
}

// Error is that of Err.
func (r *Retry) Error() string { return r.Err.Error() }

// Unwrap returns Err.
func (r *Retry) Unwrap() error { return r.Err }

// ErrGone is what a [Pool]'s Do returns when what the task is for is not there any
// more: the task is removed.
var ErrGone = errors.New("what is to be done has nothing to be done for")

// ErrLater is what a [Pool]'s Do returns when it has stopped before all was done, so that
// others get their turn: the run is done, and its task is due again at once, behind all
// that wait already. It is not when it is paused.
var ErrLater = errors.New("there is more to be done")

// errTime is why the context of a run ends that takes too long.
var errTime = errors.New("the run took too long")

// work does a run that river has brought. What goes wrong is in the database and the
// log, and is no business of river's.
func (j *Jobs) work(ctx context.Context, id string) {
	one, err := j.claim(ctx, id)
	if err != nil && ctx.Err() == nil {
		j.metrics.errors.Inc()
		j.Log.Warn("a run cannot be begun; it is tried again", "run", id, "error", err)
	}
	if one == nil {
		return
	}
	defer j.Kick() // there is a worker for the next one
	j.metrics.begin(one.Kind)
	began := time.Now()
	r := j.attempt(ctx, one)
	j.mine.free(one.subject()) // before anybody sees its end, and wants it again
	err = j.finish(ctx, one, r)
	if err != nil {
		r.outcome = outcomeCancelled
	}
	if err != nil && !errors.Is(err, errLost) {
		j.Log.Error("what came of a run cannot be noted; it is done again", "kind", one.Kind, "run", id, "error", err)
	}
	took := time.Since(began)
	j.metrics.end(one.Kind, r.outcome, took)
	level := slog.LevelDebug
	if r.outcome == outcomeFailed {
		level = slog.LevelInfo
	}
	j.Log.Log(ctx, level, "run", "kind", one.Kind, "run", id, "attempt", one.Attempt, "outcome", r.outcome, "took", took)
}

// attempt does a run, and says what came of it.
func (j *Jobs) attempt(ctx context.Context, one *holding) result {
	p := j.Pools[one.Kind]
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	j.mine.onLoss(one, cancel)
	timed := running
	if p.Time > 0 {
		var stop context.CancelFunc
		timed, stop = context.WithTimeoutCause(running, p.Time, errTime)
		defer stop()
	}
	detail, err := j.shielded(timed, one)
	r := result{outcome: outcomeDone}
	var ok bool
	if r.detail, ok = storableDetail(detail); !ok {
		j.Log.Error("the detail of a run is too long, or no JSON", "kind", one.Kind, "run", one.RunID)
	}
	var retry *Retry
	switch cause := context.Cause(timed); {
	case err == nil:
	case errors.Is(err, ErrGone):
		r.outcome = outcomeGone
	case errors.Is(err, ErrLater):
		r.later = true
	case cause != nil && !errors.Is(cause, errTime):
		return result{outcome: outcomeCancelled}
	default:
		r.outcome, r.text, r.wait = outcomeFailed, err.Error(), p.Backoff(one.Failures+1)
		if errors.Is(cause, errTime) {
			r.text = fmt.Sprintf("It took longer than %s, and was ended.", p.Time)
		}
		if errors.As(err, &retry) {
			r.wait = retry.After
		}
		r.text = storable(r.text, mostError)
	}
	return r
}

// shielded calls Do. A panic is an error that tells nothing of what is in it.
func (j *Jobs) shielded(ctx context.Context, one *holding) (detail json.RawMessage, err error) {
	defer func() {
		if p := recover(); p != nil {
			j.Log.Error("panic", "kind", one.Kind, "run", one.RunID, "panic", panicText(p), "stack", string(debug.Stack()))
			detail, err = nil, errors.New("An internal error. It is in the server's log.") //nolint:staticcheck // it is for people
		}
	}()
	return j.Pools[one.Kind].Do(ctx, one.Job)
}

// panicText tells the runtime's own words. Those of others may hold anything.
func panicText(p any) string {
	if err, ok := p.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("%T", p)
}
