package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
	"github.com/d6t/d6tpipe-go/server/internal/jobs"
)

// patience is how long a test waits for what must come.
const patience = 2 * time.Minute

// clock is one that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: start} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return c.now
}

// scene is a database with accounts, and engines on it.
type scene struct {
	testing.TB
	*clock
	url   string
	queue string
	d     *db.DB
}

// each runs a test on both engines at the same time.
func each(t *testing.T, test func(t *testing.T, s *scene)) {
	t.Parallel()
	dbtest.EachURL(t, func(t *testing.T, url string) {
		t.Parallel()
		test(t, newScene(t, url))
	})
}

func newScene(t testing.TB, url string) *scene {
	s := &scene{TB: t, clock: newClock(), url: url, queue: url, d: dbtest.Open(t, url)}
	if s.d.Engine() == "sqlite" {
		s.queue = filepath.Join(t.TempDir(), "jobs.db")
	}
	addUsers(t, s.d, "ann", "bob", "eve")
	return s
}

// work is what a pool does.
type work = func(ctx context.Context, job jobs.Job) (json.RawMessage, error)

func minutes(failures int) time.Duration { return time.Duration(failures) * time.Minute }

// pool is one of two workers.
func pool(do work) jobs.Pool { return jobs.Pool{Do: do, Workers: 2, Backoff: minutes} }

// config is that of an engine that does scans, from which no stall of the machine takes
// a run.
func (s *scene) config(p jobs.Pool) jobs.Config {
	return jobs.Config{
		DB: s.d, Queue: s.queue, Pools: map[jobs.Kind]jobs.Pool{jobs.Scan: p}, Now: s.Now,
		Poll: 200 * time.Millisecond, Lease: time.Hour, Log: slog.New(slog.NewTextHandler(s.Output(), nil)),
	}
}

// open starts an engine. It is closed at the end of the test, or before.
func (s *scene) open(c jobs.Config) (j *jobs.Jobs, end func()) {
	s.Helper()
	j, err := jobs.Open(s.Context(), c)
	require.NoError(s, err)
	end = sync.OnceFunc(func() { require.NoError(s, j.Close()) })
	s.Cleanup(end)
	return j, end
}

func (s *scene) find(task jobs.Task) jobs.State { s.Helper(); return find(s, s.d, task) }

// due asks for a run now.
func (s *scene) due(j *jobs.Jobs, task jobs.Task) {
	s.Helper()
	write(s, s.d, func(ctx context.Context, tx db.Tx) error { return jobs.Due(ctx, tx, task.Kind, task.Subject, s.Now()) })
	j.Kick()
}

// await waits until something holds.
func (s *scene) await(what string, holds func() bool) {
	s.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(25 * time.Millisecond) {
		require.True(s, time.Now().Before(end), what)
	}
}

// ended waits until a task has so many runs that ended, and returns them.
func (s *scene) ended(task jobs.Task, n int) []jobs.Run {
	s.Helper()
	var found []jobs.Run
	s.await(fmt.Sprint(n, " runs that ended"), func() bool {
		found = runs(s, s.d, jobs.Query{Kind: task.Kind, Subject: task.Subject})
		for _, r := range found {
			if r.Ended.IsZero() {
				return false
			}
		}
		return len(found) >= n
	})
	require.Len(s, found, n)
	return found
}

// receive waits for what a work sends.
func receive[T any](t testing.TB, from <-chan T) (value T) {
	t.Helper()
	select {
	case value = <-from:
	case <-time.After(patience):
		require.Fail(t, "nothing came")
	}
	return value
}

func TestWhatIsDueIsDone(t *testing.T) {
	each(t, func(t *testing.T, s *scene) {
		did := make(chan jobs.Job, 10)
		j, _ := s.open(s.config(pool(func(_ context.Context, job jobs.Job) (json.RawMessage, error) {
			did <- job
			return json.RawMessage(`{"files":3}`), nil
		})))
		set(t, s.d, scan, s.Now())
		s.advance(10*time.Minute + time.Second)
		job := receive(t, did)
		tick := start.Add(10 * time.Minute)
		require.NotEmpty(t, job.RunID)
		want := jobs.Job{Kind: jobs.Scan, Subject: "p1", Owner: "ann", RunID: job.RunID, Tick: tick, Attempt: 1}
		require.Equal(t, want, job)
		run := s.ended(scan, 1)[0]
		require.NotEmpty(t, run.Server)
		now := tick.Add(time.Second)
		require.Equal(t, jobs.Run{ID: job.RunID, Kind: jobs.Scan, Subject: "p1", Owner: "ann", State: d6tpipe.RunDone, Tick: tick, Began: now, Ended: now,
			Attempt: 1, Server: run.Server, Detail: json.RawMessage(`{"files":3}`)}, run)
		require.Equal(t, jobs.State{Task: scan, Next: tick.Add(15 * time.Minute), Last: &run}, s.find(scan))

		s.due(j, scan)
		job = receive(t, did)
		require.Equal(t, now, job.Tick)
		s.ended(scan, 2)
		require.Equal(t, tick.Add(15*time.Minute), s.find(scan).Next, "the schedule goes on")
		s.advance(24 * time.Hour)
		require.Equal(t, tick.Add(15*time.Minute), receive(t, did).Tick, "what was missed")
		s.ended(scan, 3)
		require.Equal(t, now.Add(24*time.Hour+15*time.Minute-time.Second), s.find(scan).Next, "is one run")
		require.Empty(t, did)
	})
}

func TestAFailureIsKeptAndBacksOff(t *testing.T) {
	each(t, func(t *testing.T, s *scene) {
		answer := make(chan error, 1)
		c := s.config(pool(func(context.Context, jobs.Job) (json.RawMessage, error) { return nil, <-answer }))
		j, _ := s.open(c)
		set(t, s.d, scan, s.Now())
		unscheduled := jobs.Task{Kind: jobs.Scan, Subject: "p2", Owner: "ann"}
		set(t, s.d, unscheduled, s.Now())
		for _, step := range []struct {
			task jobs.Task
			err  error
			wait time.Duration // until the next run
			fail int
			text string
		}{
			{unscheduled, errors.New("the host is down"), time.Minute, 1, "the host is down"},
			{unscheduled, errors.New("a\x00b\xff"), 2 * time.Minute, 2, "a\ufffdb\ufffd"},
			{unscheduled, &jobs.Retry{Err: errors.New("later"), After: time.Hour}, time.Hour, 3, "later"},
			{unscheduled, fmt.Errorf("in it: %w", &jobs.Retry{Err: errors.New("never"), After: -1}), 0, 4, "in it: never"},
			{unscheduled, nil, 0, 0, ""},
			{scan, errors.New("no"), 10 * time.Minute, 1, "no"},
			{scan, &jobs.Retry{Err: errors.New("no"), After: 11 * time.Minute}, 11 * time.Minute, 2, "no"},
			{scan, nil, 10 * time.Minute, 0, ""},
		} {
			before := len(runs(t, s.d, jobs.Query{Kind: jobs.Scan, Subject: step.task.Subject}))
			s.due(j, step.task)
			answer <- step.err
			s.ended(step.task, before+1)
			state := s.find(step.task)
			if step.wait == 0 {
				require.Zero(t, state.Next)
			} else {
				require.Equal(t, start.Add(step.wait), state.Next)
			}
			require.Equal(t, step.fail, state.Failures)
			require.Equal(t, step.text, state.Last.Error)
		}
		all := runs(t, s.d, jobs.Query{State: d6tpipe.RunFailed})
		require.Len(t, all, 6)
		require.Equal(t, all[3:], runs(t, s.d, jobs.Query{State: d6tpipe.RunFailed, Before: all[2].ID}))
		require.Len(t, runs(t, s.d, jobs.Query{Kind: jobs.Scan}), 8)
		require.Len(t, runs(t, s.d, jobs.Query{Limit: 7}), 7)
		require.Len(t, runs(t, s.d, jobs.Query{Kind: jobs.Scan, State: d6tpipe.RunDone}), 2)
		require.Len(t, runs(t, s.d, jobs.Query{Kind: jobs.Scan, Subject: "p2", State: d6tpipe.RunDone}), 1)
		require.Empty(t, runs(t, s.d, jobs.Query{Kind: jobs.Mirror}))
		require.Empty(t, runs(t, s.d, jobs.Query{Kind: "none"}))
	})
}
