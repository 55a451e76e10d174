package jobs

import (
	"context"
	"encoding/json"
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
