package jobs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/jobs"
)

// A held is a run that a test lets end.
type held struct {
	jobs.Job
	ctx context.Context
	end chan error
}

// holder is a work whose runs wait for the test. They do not wait for it when their
// context ends.
func holder() (did chan held, do work) {
	did = make(chan held, 1000)
	return did, func(ctx context.Context, job jobs.Job) (json.RawMessage, error) {
		h := held{job, ctx, make(chan error, 1)}
		did <- h
		select {
		case err := <-h.end:
			return nil, err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// alone is a task that is only done when it is asked for.
func alone(subject, owner string) jobs.Task {
	return jobs.Task{Kind: jobs.Scan, Subject: subject, Owner: owner}
}

// wanted sets tasks and asks for them.
func (s *scene) wanted(tasks ...jobs.Task) {
	s.Helper()
	write(s, s.d, func(ctx context.Context, tx db.Tx) error {
		for _, task := range tasks {
			err := jobs.Set(ctx, tx, task, s.Now())
			if err == nil {
				err = jobs.Due(ctx, tx, task.Kind, task.Subject, s.Now())
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func TestDueWhileAtWorkIsOnceMore(t *testing.T) {
	each(t, func(t *testing.T, s *scene) {
		did, do := holder()
		j, _ := s.open(s.config(pool(do)))
		task := alone("p1", "ann")
		set(t, s.d, task, s.Now())
		s.due(j, task)
		first := receive(t, did)
		for range 3 {
			s.due(j, task)
		}
		require.True(t, s.find(task).Running)
		require.Equal(t, start, s.find(task).Next)
		first.end <- errors.New("no")
		second := receive(t, did)
		require.Equal(t, start.Add(time.Microsecond), second.Tick, "at the same time, but another tick")
		require.Equal(t, 1, second.Failures, "who wants it at once does not wait for a failure")
		write(t, s.d, func(ctx context.Context, tx db.Tx) error { return jobs.Wake(ctx, tx, task.Kind, task.Subject, s.Now()) })
		second.end <- errors.New("no")
		s.await("it ends", func() bool { return !s.find(task).Running })
		require.Equal(t, start.Add(2*time.Minute), s.find(task).Next, "who only wakes it does")
		s.advance(2 * time.Minute)
		receive(t, did).end <- nil
		s.ended(task, 3)
		require.Zero(t, s.find(task).Next)
		require.Empty(t, did)
	})
}

// No owner has more than half of the workers, and who has least comes first, however
// many tasks of others have waited for longer.
func TestOwnersShareTheWorkers(t *testing.T) {
	each(t, func(t *testing.T, s *scene) {
		did, do := holder()
		p := pool(do)
		p.Workers = 4
		var tasks []jobs.Task
		for _, owner := range []string{"ann", "bob"} { // many more than there are workers
			for i := range 20 {
				tasks = append(tasks, alone(fmt.Sprint(owner, i), owner))
			}
		}
		s.wanted(tasks...)
		s.advance(time.Hour)
		s.wanted(alone("late", "eve"))
		c := s.config(p)
		registry := prometheus.NewPedanticRegistry()
		c.Registry = registry
		s.open(c)
		has := map[string][]held{}
		next := func() {
			h := receive(t, did)
			has[h.Owner] = append(has[h.Owner], h)
		}
		for range 4 {
			next()
		}
		require.Len(t, has["eve"], 1, "the one who came last")
		require.Equal(t, 3, len(has["ann"])+len(has["bob"]))
		require.NotEmpty(t, has["ann"])
		require.NotEmpty(t, has["bob"])
		require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
			# HELP d6tpipe_jobs_running Runs that are at work here.
			# TYPE d6tpipe_jobs_running gauge
			d6tpipe_jobs_running{kind="scan"} 4
			# HELP d6tpipe_jobs_late_seconds For how long the task that waits longest for a worker has been due.
			# TYPE d6tpipe_jobs_late_seconds gauge
			d6tpipe_jobs_late_seconds{kind="scan"} 3600
		`), "d6tpipe_jobs_running", "d6tpipe_jobs_late_seconds"))
		for range 6 { // the one who has more ends one: it is another one's turn
			more := "ann"
			if len(has["bob"]) > len(has["ann"]) {
				more = "bob"
			}
			has[more][0].end <- nil
			has[more] = has[more][1:]
			next()
			require.LessOrEqual(t, max(len(has["ann"]), len(has["bob"])), 2)
		}
		has["eve"][0].end <- nil
		next()
		require.Equal(t, 2, len(has["ann"]))
		require.Equal(t, 2, len(has["bob"]))
	})
}

// An owner who is alone has half of the workers.
func TestOneOwnerHasHalf(t *testing.T) {
	each(t, func(t *testing.T, s *scene) {
		did, do := holder()
		p := pool(do)
		p.Workers = 6
		for i := range 8 {
			s.wanted(alone(fmt.Sprint("p", i), "ann"))
		}
		bob := alone("bob", "bob")
		set(t, s.d, bob, s.Now())
		j, _ := s.open(s.config(p))
		for range 3 {
			receive(t, did)
		}
		s.due(j, bob) // when it is begun, it has been looked for more
		require.Equal(t, "bob", receive(t, did).Owner)
		require.Empty(t, did)
	})
}

func TestWhatIsRemovedIsCancelled(t *testing.T) {
	each(t, func(t *testing.T, s *scene) {
		did, do := holder()
		c := s.config(pool(do))
		c.Lease = time.Second
		j, _ := s.open(c)
		for _, remove := range []func(jobs.Task){
			func(task jobs.Task) {
				remove(t, s.d, task)
				require.False(t, isThere(t, s.d, task))
				require.Empty(t, runs(t, s.d, jobs.Query{}))
				require.Empty(t, runs(t, s.d, jobs.Query{State: d6tpipe.RunRunning}))
			},
			func(jobs.Task) {
				write(t, s.d, func(ctx context.Context, tx db.Tx) error {
					_, err := tx.ExecContext(ctx, `DELETE FROM users WHERE id = 'bob'`)
					return err
				})
			},
		} {
			addUsers(t, s.d, "bob")
			task := alone("p1", "bob")
			set(t, s.d, task, s.Now())
			s.due(j, task)
			run := receive(t, did)
			remove(task)
			receive(t, run.ctx.Done())
			s.await("nothing is left of it", func() bool { return count(t, s.d, `SELECT count(*) FROM runs`) == 0 })
			require.Zero(t, count(t, s.d, `SELECT count(*) FROM tasks`))
		}
	})
}

func count(t testing.TB, d *db.DB, query string, args ...any) (n int) {
	t.Helper()
	require.NoError(t, d.Read(t.Context(), func(ctx context.Context, tx db.Tx) error {
		return tx.QueryRowContext(ctx, query, args...).Scan(&n)
	}))
	return n
}

// A task that is set in the place of one whose run has not ended waits for that.
func TestWhatIsSetAnewWaitsForTheFormerRun(t *testing.T) {
	each(t, func(t *testing.T, s *scene) {
		did, do := holder()
		p := pool(do)
		p.Workers = 6 // it is not for want of one
		j, _ := s.open(s.config(p))
		task := alone("p1", "ann")
		set(t, s.d, task, s.Now())
		s.due(j, task)
		first := receive(t, did)
		remove(t, s.d, task)
		other := alone("p1", "bob")
		set(t, s.d, other, s.Now())
		s.due(j, other)
		mark := alone("p2", "ann")
		set(t, s.d, mark, s.Now())
		s.due(j, mark)
		require.Equal(t, "p2", receive(t, did).Subject, "what is due has been looked for since")
		require.Empty(t, did)
		first.end <- nil
		second := receive(t, did)
		require.Equal(t, "bob", second.Owner)
		require.NotEqual(t, first.RunID, second.RunID)
	})
}

// A run that another server has taken up ends here.
func TestALostLeaseEndsTheRun(t *testing.T) {
	each(t, func(t *testing.T, s *scene) {
		did, do := holder()
		c := s.config(pool(do))
		c.Lease = 10 * time.Second // it is looked at every 2 s
		j, _ := s.open(c)
		set(t, s.d, scan, s.Now())
		s.due(j, scan)
		run := receive(t, did)
		write(t, s.d, func(ctx context.Context, tx db.Tx) error {
			_, err := tx.ExecContext(ctx, `UPDATE runs SET holder = 'another', attempt = 2, lease_at = lease_at + 3600000000`)
			return err
		})
		receive(t, run.ctx.Done())
		require.ErrorContains(t, context.Cause(run.ctx), "taken away")
		other := alone("p2", "bob")
		set(t, s.d, other, s.Now())
		s.due(j, other)
		receive(t, did).end <- nil // a worker is free again
		s.await("it ends", func() bool { return !s.find(other).Running })
		state := s.find(scan)
		require.True(t, state.Running, "it is the other one's")
		require.Zero(t, state.Failures)
		require.Equal(t, 1, count(t, s.d, `SELECT count(*) FROM runs WHERE holder = 'another' AND state = 'running' AND attempt = 2`))
	})
}

// What came of a run may be lost. Then it is done again, also when its server goes on and
// is at another one.
func TestWhatCannotBeNotedIsDoneAgain(t *testing.T) {
	each(t, func(t *testing.T, s *scene) {
		var log syncBuffer
		var attempts atomic.Int64
		did := make(chan jobs.Job, 1000)
		c := s.config(pool(func(ctx context.Context, job jobs.Job) (json.RawMessage, error) {
			did <- job
			if job.Subject == "other" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			attempts.Add(1)
			return nil, nil
		}))
		c.Lease = 4 * time.Second // long enough for a slow disk
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
		j, _ := s.open(c)
		s.wanted(alone("other", "bob"))
		require.Equal(t, "other", receive(t, did).Subject)
		restore := s.refuse("runs", `NEW.state = 'done'`)
		set(t, s.d, scan, s.Now())
		s.due(j, scan)
		s.await("it gives up", func() bool { return strings.Contains(log.String(), "cannot be noted; it is done again") })
		restore()
		run := s.ended(scan, 1)[0]
		require.Equal(t, d6tpipe.RunDone, run.State)
		require.GreaterOrEqual(t, run.Attempt, 2)
		require.EqualValues(t, run.Attempt, attempts.Load())
	})
}

// refuse has the database refuse changes of a table's rows, until it is told otherwise.
func (s *scene) refuse(table, condition string) (restore func()) {
	s.Helper()
	create, drop := []string{`CREATE TRIGGER refuse BEFORE UPDATE ON ` + table + ` WHEN ` + condition + ` BEGIN SELECT RAISE(ABORT, 'refused'); END`},
		`DROP TRIGGER refuse`
	if s.d.Engine() == "postgres" {
		create = []string{`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''refused''; END'`,
			`CREATE TRIGGER refuse BEFORE UPDATE ON ` + table + ` FOR EACH ROW WHEN (` + condition + `) EXECUTE FUNCTION refuse()`}
		drop = `DROP FUNCTION refuse CASCADE`
	}
	exec := func(statements ...string) {
		write(s, s.d, func(ctx context.Context, tx db.Tx) error {
			for _, text := range statements {
				if _, err := tx.ExecContext(ctx, text); err != nil {
					return err
				}
			}
			return nil
		})
	}
	exec(create...)
	return func() { exec(drop) }
}

// A run that nobody renews is taken up, a few times: it may be what kills the servers.
func TestARunThatIsLostTooOftenFails(t *testing.T) {
	each(t, func(t *testing.T, s *scene) {
		did, do := holder()
		c := s.config(pool(do))
		c.Lease = time.Hour
		registry := prometheus.NewPedanticRegistry()
		c.Registry = registry
		j, _ := s.open(c)
		set(t, s.d, scan, s.Now())
		s.due(j, scan)
		receive(t, did).end <- nil
		s.ended(scan, 1)
		for lost := 1; lost <= 10; lost++ {
			write(t, s.d, func(ctx context.Context, tx db.Tx) error {
				_, err := tx.ExecContext(ctx, `UPDATE runs SET state = 'running', holder = 'dead', lease_at = 0, ended_at = 0, lost = $1`, lost-1)
				if err == nil {
					_, err = tx.ExecContext(ctx, `UPDATE tasks SET run_id = (SELECT id FROM runs)`)
				}
				return err
			})
			if lost < 10 {
				receive(t, did).end <- nil
				s.ended(scan, 1)
			}
		}
		run := s.ended(scan, 1)[0]
		require.Equal(t, d6tpipe.RunFailed, run.State)
		require.Equal(t, "The server was lost 10 times while it was at this.", run.Error)
		require.Equal(t, 1, s.find(scan).Failures)
		require.False(t, s.find(scan).Running)
		require.Empty(t, did)
		for _, line := range []string{
			`d6tpipe_jobs_total{kind="scan",outcome="lost"} 10`, `d6tpipe_jobs_total{kind="scan",outcome="done"} 10`,
			`d6tpipe_job_seconds{kind="scan"} 10`, `d6tpipe_jobs_running{kind="scan"} 0`, `d6tpipe_jobs_workers{kind="scan"} 2`, `d6tpipe_jobs_errors_total{} 0`,
		} {
			s.await(line, func() bool { return strings.Contains(exposed(t, registry), line+"\n") })
		}
	})
}

// exposed is what a registry shows.
func exposed(t testing.TB, registry *prometheus.Registry) string {
	families, err := registry.Gather()
	require.NoError(t, err)
	var b strings.Builder
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			value := m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			fmt.Fprintf(&b, "%s{%s} %g\n", f.GetName(), strings.Join(labels, ","), value)
		}
	}
	return b.String()
}

// What a server was at when it closed is taken up by the next one at once, however long
// its lease is, and is no failure.
func TestCloseLeavesTheRunToTheNext(t *testing.T) {
	each(t, func(t *testing.T, s *scene) {
		did, do := holder()
		c := s.config(pool(do))
		c.Lease = time.Hour
		j, end := s.open(c)
		set(t, s.d, scan, s.Now())
		s.due(j, scan)
		first := receive(t, did)
		end()
		require.Error(t, first.ctx.Err())
		require.True(t, s.find(scan).Running)
		require.Equal(t, d6tpipe.RunQueued, runs(t, s.d, jobs.Query{})[0].State)
		s.open(c)
		second := receive(t, did)
		require.Equal(t, first.RunID, second.RunID)
		require.Equal(t, first.Tick, second.Tick)
		require.Equal(t, 2, second.Attempt)
		second.end <- nil
		require.Equal(t, d6tpipe.RunDone, s.ended(scan, 1)[0].State)
	})
}

// Losing all that river has loses nothing.
func TestWhatRiverLosesIsSentAgain(t *testing.T) {
	each(t, func(t *testing.T, s *scene) {
		did, do := holder()
		c := s.config(pool(do))
		c.Lease = time.Second
		set(t, s.d, scan, s.Now())
		write(t, s.d, func(ctx context.Context, tx db.Tx) error { // a server died before it had sent it
			_, err := tx.ExecContext(ctx, `INSERT INTO runs VALUES ('1', 'scan', 'p1', 1, 'queued', 0, 0, 'dead', $1, 0, 0, '', '')`,
				time.Now().Add(time.Second).UnixMicro())
			if err == nil {
				_, err = tx.ExecContext(ctx, `UPDATE tasks SET run_id = '1'`)
			}
			return err
		})
		s.open(c)
		run := receive(t, did)
		require.Equal(t, "1", run.RunID)
		require.Equal(t, 1, run.Attempt)
	})
}

// What a work returns, or does instead of returning, is what becomes of its run.
func TestWhatAWorkReturns(t *testing.T) {
	each(t, func(t *testing.T, s *scene) {
		var log syncBuffer
		c := s.config(pool(func(_ context.Context, job jobs.Job) (json.RawMessage, error) {
			switch job.Subject {
			case "panics":
				panic("the password is secret")
			case "fault":
				var nothing *jobs.Job
				return nil, errors.New(nothing.Subject)
			case "gone":
				return nil, fmt.Errorf("pipe: %w", jobs.ErrGone)
			case "no JSON":
				return json.RawMessage(`{`), nil
			case "long":
				return json.RawMessage(`"` + strings.Repeat("x", 64<<10) + `"`), nil
			}
			return json.RawMessage(`{"n":1}`), errors.New(strings.Repeat("ä", 600))
		}))
		slow := pool(func(ctx context.Context, _ jobs.Job) (json.RawMessage, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		slow.Time = time.Second
		c.Pools[jobs.Mirror] = slow
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
		j, end := s.open(c)
		did := func(subject string, kind jobs.Kind) jobs.Run {
			task := alone(subject, "ann")
			task.Kind = kind
			set(t, s.d, task, s.Now())
			s.due(j, task)
			return s.ended(task, 1)[0]
		}
		for _, subject := range []string{"panics", "fault"} {
			run := did(subject, jobs.Scan)
			require.Equal(t, d6tpipe.RunFailed, run.State)
			require.Equal(t, "An internal error. It is in the server's log.", run.Error)
		}
		run := did("slow", jobs.Mirror)
		require.Equal(t, d6tpipe.RunFailed, run.State)
		require.Equal(t, "It took longer than 1s, and was ended.", run.Error)
		for _, subject := range []string{"no JSON", "long"} {
			run := did(subject, jobs.Scan)
			require.Equal(t, d6tpipe.RunDone, run.State)
			require.Nil(t, run.Detail)
		}
		run = did("wordy", jobs.Scan)
		require.JSONEq(t, `{"n":1}`, string(run.Detail))
		require.Equal(t, strings.Repeat("ä", 498)+" ...", run.Error)

		gone := alone("gone", "ann")
		set(t, s.d, gone, s.Now())
		s.due(j, gone)
		s.await("it is removed", func() bool { return !isThere(t, s.d, gone) })
		require.Empty(t, runs(t, s.d, jobs.Query{Kind: jobs.Scan, Subject: "gone"}))
		end()
		require.Contains(t, log.String(), "nil pointer dereference")
		require.Contains(t, log.String(), "work_test.go", "the stack")
		require.NotContains(t, log.String(), "secret")
	})
}

// A run that stops before all is done goes on, behind all that wait, also when its
// schedule has wanted it since.
func TestWhatGoesOnLaterIsBehindOthers(t *testing.T) {
	each(t, func(t *testing.T, s *scene) {
		did, do := holder()
		p := pool(do)
		p.Workers = 1
		j, _ := s.open(s.config(p))
		set(t, s.d, scan, s.Now())
		s.due(j, scan)
		first := receive(t, did)
		first.end <- errors.New("no")
		s.ended(scan, 1)
		s.due(j, scan)
		first = receive(t, did)
		require.Equal(t, 1, first.Failures)
		s.advance(20 * time.Minute)
		s.wanted(alone("p2", "bob"))
		s.advance(time.Minute)
		first.end <- fmt.Errorf("enough for now: %w", jobs.ErrLater)
		other := receive(t, did)
		require.Equal(t, "p2", other.Subject)
		s.await("it ends", func() bool { return !s.find(scan).Running })
		state := s.find(scan)
		require.Equal(t, d6tpipe.RunDone, state.Last.State)
		require.Empty(t, state.Last.Error)
		require.Zero(t, state.Failures)
		require.Equal(t, s.Now(), state.Next)
		other.end <- nil
		second := receive(t, did)
		require.Equal(t, s.Now(), second.Tick)
		require.Zero(t, second.Failures)
		paused := scan
		paused.Schedule.Paused = true
		set(t, s.d, paused, s.Now())
		second.end <- jobs.ErrLater
		s.ended(scan, 3)
		require.Zero(t, s.find(scan).Next, "it is paused")
		paused.Schedule.Paused = false
		set(t, s.d, paused, s.Now())
		s.due(j, scan)
		receive(t, did).end <- nil
		s.ended(scan, 4)
		require.Equal(t, start.Add(25*time.Minute), s.find(scan).Next, "what is done does not go on")
	})
}

type syncBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}
