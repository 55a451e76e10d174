package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/jobs"
)

// TestStates: many are found as each is by itself, with their last runs.
func TestStates(t *testing.T) {
	each(t, func(t *testing.T, s *scene) {
		var subjects []string
		write(t, s.d, func(ctx context.Context, tx db.Tx) error {
			subjects = nil
			for i := range 450 { // more than one statement finds
				task := scan
				task.Subject = fmt.Sprintf("p%d", i)
				subjects = append(subjects, task.Subject)
				if i%3 == 0 || i == 449 {
					if err := jobs.Set(ctx, tx, task, start); err != nil {
						return err
					}
				}
			}
			return nil
		})
		other := scan
		other.Kind = jobs.Mirror
		set(t, s.d, other, start)
		begun, runsOf := make(chan string, 9), map[string]int{}
		slow := jobs.Pool{Workers: 8, Backoff: minutes, Do: func(ctx context.Context, job jobs.Job) (json.RawMessage, error) {
			switch {
			case job.Subject == "p3":
				return nil, errors.New("no")
			case job.Subject == "p6", job.Subject == "p12" && runsOf[job.Subject] > 0:
				begun <- job.Subject
				<-ctx.Done()
				return nil, ctx.Err()
			}
			runsOf[job.Subject]++ // they come one after the other
			return json.RawMessage(`{"n":1}`), nil
		}}
		j, _ := s.open(s.config(slow))
		for _, subject := range []string{"p0", "p3", "p449", "p12"} {
			task := scan
			task.Subject = subject
			s.due(j, task)
			s.ended(task, 1)
		}
		for _, subject := range []string{"p12", "p6"} {
			task := scan
			task.Subject = subject
			s.due(j, task)
			require.Equal(t, subject, receive(t, begun))
		}
		removed := scan // at work
		removed.Subject = "p6"
		remove(t, s.d, removed)
		var states map[string]jobs.State
		require.NoError(t, s.d.Read(t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
			states, err = jobs.States(ctx, tx, jobs.Scan, append(subjects, "nobody"))
			return err
		}))
		require.Len(t, states, 150)
		for subject, state := range states {
			task := scan
			task.Subject = subject
			require.Equal(t, s.find(task), state)
		}
		require.Equal(t, "no", states["p3"].Last.Error)
		require.JSONEq(t, `{"n":1}`, string(states["p449"].Last.Detail))
		require.Nil(t, states["p9"].Last)
		require.True(t, states["p12"].Running)
		require.Equal(t, d6tpipe.RunDone, states["p12"].Last.State)
		require.NotContains(t, states, "p6")
	})
}

func TestCountAndGive(t *testing.T) {
	each(t, func(t *testing.T, s *scene) {
		count := func(owner string) (n int) {
			require.NoError(t, s.d.Read(t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
				n, err = jobs.Count(ctx, tx, jobs.Scan, owner)
				return err
			}))
			return n
		}
		second, mirror := scan, scan
		second.Subject, mirror.Kind = "p2", jobs.Mirror
		for _, task := range []jobs.Task{scan, second, mirror} {
			set(t, s.d, task, start)
		}
		require.Equal(t, 2, count("ann"))
		for _, subject := range []string{"p1", "nobody"} {
			write(t, s.d, func(ctx context.Context, tx db.Tx) error { return jobs.Give(ctx, tx, jobs.Scan, subject, "bob") })
		}
		require.Equal(t, 1, count("ann"))
		require.Equal(t, 1, count("bob"))
		require.Equal(t, "bob", s.find(scan).Owner)
		require.Equal(t, scan.Schedule, s.find(scan).Schedule)
		require.Equal(t, "ann", s.find(mirror).Owner)
	})
}

// TestPausedRunsNothing: what was asked for before is forgotten, and what fails is not
// tried again; what is asked for afterwards is done.
func TestPausedRunsNothing(t *testing.T) {
	each(t, func(t *testing.T, s *scene) {
		paused := scan
		paused.Schedule.Paused = true
		set(t, s.d, scan, start)
		write(t, s.d, func(ctx context.Context, tx db.Tx) error { return jobs.Due(ctx, tx, jobs.Scan, scan.Subject, start) })
		require.Equal(t, start, s.find(scan).Next)
		set(t, s.d, paused, start)
		require.Zero(t, s.find(scan).Next)
		write(t, s.d, func(ctx context.Context, tx db.Tx) error { return jobs.Wake(ctx, tx, jobs.Scan, scan.Subject, start) })
		require.Zero(t, s.find(scan).Next, "what others do is no reason")

		j, _ := s.open(s.config(pool(func(context.Context, jobs.Job) (json.RawMessage, error) { return nil, errors.New("no") })))
		s.due(j, paused)
		require.Equal(t, d6tpipe.RunFailed, s.ended(paused, 1)[0].State)
		s.await("it to be at rest", func() bool { return !s.find(paused).Running })
		require.Zero(t, s.find(paused).Next)
		set(t, s.d, scan, s.Now())
		require.Equal(t, start.Add(10*time.Minute), s.find(scan).Next)
	})
}
