// Package conform is what every [storage.Store] must do, as cases that a program
// can run on a remote of its own: [Run] does so in a scratch folder and tells what
// it found. The tests of the drivers run the same cases by package storagetest.
//
// Nothing of package testing is in here: it would get into every program that
// offers the check.
package conform

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// A Case is one thing that a Store must do.
type Case struct {
	Name string // "Put/replaces"

	run    func(*T, storage.Store)
	closes bool // the store itself, which then is of no use to other cases
}

// Cases returns all that a Store must do that can be written to. Each needs a
// store that is empty.
func Cases() []Case {
	return slices.Concat(listCases, readCases, putCases, conditionCases, multipartCases, removeCases, nameCases, probeCases, lifeCases)
}

// An Outcome is how a case ended.
type Outcome string

// The outcomes.
const (
	OK            Outcome = "ok"
	Failed        Outcome = "failed"
	NotApplicable Outcome = "not applicable"
)

// A Result is what came of a case.
type Result struct {
	Case     string
	Outcome  Outcome
	Reason   string // why it failed, or does not apply: what was wanted and what came
	Where    string // file and line of the case that failed; the stack when it panicked
	Err      error  // of the store, when one led to the failure
	Duration time.Duration
}

// Options say how to run a case.
type Options struct {
	// Full runs it with the sizes that find most: 9 MiB objects and listings of
	// 1,105. Otherwise all cases together move a few MB.
	Full bool
	// Timeout ends the case; 0 is never.
	Timeout time.Duration
}

// grace is how long a case may take to end after its context has.
const grace = 10 * time.Second

// errTimeout is why a case's context ended that took too long.
var errTimeout = errors.New("the case took too long")

// errHangs says that a case did not end when its context did. The goroutine that
// runs it is still there, and nothing that is done beside it means anything.
var errHangs = errors.New("the store does not return when its context has ended")

// Run runs the case on an empty store.
func (c Case) Run(ctx context.Context, store storage.Store, o Options) Result {
	result, _ := c.try(ctx, store, o, &shared{found: &Capabilities{}, objects: &[]storage.Object{}})
	return result
}

// try is Run with an error when the case hangs.
func (c Case) try(ctx context.Context, store storage.Store, o Options, of *shared) (Result, error) {
	start := time.Now()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if o.Timeout > 0 {
		timer := time.AfterFunc(o.Timeout, func() { cancel(errTimeout) })
		defer timer.Stop()
	}
	t := &T{ctx: ctx, full: o.Full, shared: of}
	done := make(chan struct{})
	go func() {
		defer close(done)
		t.protect(func() { c.run(t, store) })
		cancel(nil) // for what the case has left running
		t.group.Wait()
	}()
	if !ends(ctx, done) {
		t.note(nil, "%v", errHangs)
		return t.result(c.Name, start), errHangs
	}
	return t.result(c.Name, start), nil
}

// ends waits for done, and for a while only once ctx has ended.
func ends(ctx context.Context, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-ctx.Done():
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// protect runs a part of a case until it ends, or a check ends it.
func (t *T) protect(part func()) {
	defer func() {
		switch p := recover().(type) {
		case nil, stopped:
		case notApplicable:
			t.skip(string(p))
		default:
			t.noteAt(string(debug.Stack()), nil, "it panics: %v", p)
		}
	}()
	part()
}

func (t *T) result(name string, start time.Time) Result {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := Result{Case: name, Outcome: OK, Duration: time.Since(start)}
	switch {
	case t.failure != nil:
		r.Outcome, r.Reason, r.Where, r.Err = Failed, t.failure.reason, t.failure.where, t.failure.err
		if errors.Is(context.Cause(t.ctx), errTimeout) {
			r.Reason = fmt.Sprintf("%v: %s", errTimeout, r.Reason)
		}
	case t.skipped != "":
		r.Outcome, r.Reason = NotApplicable, t.skipped
	}
	return r
}
