// Package jobs does what the server does by itself, on schedules or when somebody
// asks for it: scans, mirrors, deliveries to webhooks. It owns when a thing is done,
// by which server, and that it is done; what is done is its callers' business.
//
// A [Task] is something to be done again and again, a [Run] one time of it. Both lie
// in our own database, which holds the truth: [Set], [Remove], [Due], [Wake], [Find]
// and [Runs] are statements in a caller's transaction, so that what is to be done
// changes with what it is for. The engine, [Jobs], which each server opens, carries it
// out; river only takes the ids of runs to a free worker, and what it knows may be
// lost at any moment.
//
// For each tick, a time that a task is due, there is one run, whatever the number of
// servers; runs of one task never overlap; ticks that pass while a task is at work, or
// while no server is there, become one. A run whose server died is taken up by another
// one: a work may be begun more than once, and must bear that.
package jobs

import (
	"encoding/json"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// Kind is what kind of thing a task does.
type Kind string

// The kinds. The subject of a task is the id of a pipe's record, of a mirror, of a
// webhook.
const (
	Scan    Kind = "scan"
	Mirror  Kind = "mirror"
	Webhook Kind = "webhook"
)

// kinds are all of them.
var kinds = [...]Kind{Scan, Mirror, Webhook}

// A Task is something that is to be done again and again, for a subject; there is one
// for a subject and kind.
type Task struct {
	Kind    Kind
	Subject string
	// Owner is the id of the account whose it is. The task goes with the account, and
	// no account has more than half of the workers.
	Owner string
	// Schedule says when. The zero value is only when it is asked for, by [Due] or [Wake].
	Schedule d6tpipe.Schedule
}

// A State is a task with what has become of it.
type State struct {
	Task
	// Next is when it will be done next, the zero time for never. It may lie in the past:
	// then it waits for a worker, or for the run that is at work.
	Next time.Time
	// Running says that a run is at work, or waits for a worker.
	Running bool
	// Failures counts the runs that failed since the last one that did not.
	Failures int
	// Last is the run that ended last, nil if none did.
	Last *Run
}

// A Run is one time that a task is done.
type Run struct {
	// ID sorts by the time at which the run was made.
	ID      string
	Kind    Kind
	Subject string
	Owner   string
	State   d6tpipe.RunState
	// Tick is when it was due. Began and Ended are zero while it did not; Began is that
	// of the last attempt.
	Tick, Began, Ended time.Time
	// Attempt is how often it was begun, 0 for not yet.
	Attempt int
	// Server is who does it, or did.
	Server string
	// Error says why it failed, for people.
	Error string
	// Detail is what it did, as its kind tells it; nil for nothing.
	Detail json.RawMessage
}

// A Query says which runs [Runs] is to find. Zero values are all.
type Query struct {
	Kind    Kind
	Subject string // only with Kind
	State   d6tpipe.RunState
	// Before is the ID of a run that was found, to get those that are older.
	Before string
	// Limit is how many at most, 100 for zero.
	Limit int
}
