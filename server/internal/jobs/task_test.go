package jobs_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
	"github.com/d6t/d6tpipe-go/server/internal/jobs"
)

var scan = jobs.Task{Kind: jobs.Scan, Subject: "p1", Owner: "ann", Schedule: quarterly}

func TestSetPlansTheNextRun(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		addUsers(t, d, "ann", "bob")
		set(t, d, scan, start)
		require.Equal(t, jobs.State{Task: scan, Next: start.Add(10 * time.Minute)}, find(t, d, scan))

		theirs := scan
		theirs.Owner = "bob"
		set(t, d, theirs, start.Add(time.Hour))
		require.Equal(t, jobs.State{Task: theirs, Next: start.Add(10 * time.Minute)}, find(t, d, scan), "the same schedule goes on")

		theirs.Schedule = hourly
		set(t, d, theirs, start)
		require.Equal(t, start.Add(55*time.Minute), find(t, d, scan).Next)
		theirs.Schedule.Paused = true
		set(t, d, theirs, start)
		require.Zero(t, find(t, d, scan).Next)
		theirs.Schedule = d6tpipe.Schedule{}
		set(t, d, theirs, start)
		require.Equal(t, jobs.State{Task: theirs}, find(t, d, scan))

		for name, wrong := range map[string]d6tpipe.Schedule{
			"cron": {Cron: "never"}, "jitter": {Cron: "*/10 * * * *", Jitter: d6tpipe.Interval(10 * time.Minute)},
		} {
			theirs.Schedule = wrong
			err := d.Write(t.Context(), func(ctx context.Context, tx db.Tx) error { return jobs.Set(ctx, tx, theirs, start) })
			var field *d6tpipe.FieldError
			require.ErrorAs(t, err, &field)
			require.Equal(t, name, field.Field)
		}
	})
}

func TestDueIsNow(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		addUsers(t, d, "ann")
		set(t, d, scan, start)
		for _, ask := range []func(context.Context, db.Tx, jobs.Kind, string, time.Time) error{jobs.Due, jobs.Wake} {
			other := scan
			other.Kind, other.Schedule = jobs.Webhook, d6tpipe.Schedule{}
			set(t, d, other, start)
			ask := func(task jobs.Task, at time.Time) error {
				return d.Write(t.Context(), func(ctx context.Context, tx db.Tx) error { return ask(ctx, tx, task.Kind, task.Subject, at) })
			}
			require.NoError(t, ask(other, start.Add(time.Second)))
			require.NoError(t, ask(other, start.Add(time.Minute)))
			require.Equal(t, start.Add(time.Second), find(t, d, other).Next)
			other.Schedule = hourly
			set(t, d, other, start)
			require.Equal(t, start.Add(time.Second), find(t, d, other).Next, "what is asked for stays so")
			require.Equal(t, start.Add(10*time.Minute), find(t, d, scan).Next, "others are not meant")
			remove(t, d, other)
			require.ErrorIs(t, ask(other, start), d6tpipe.ErrNotFound)
		}
	})
}

func remove(t testing.TB, d *db.DB, task jobs.Task) {
	t.Helper()
	write(t, d, func(ctx context.Context, tx db.Tx) error { return jobs.Remove(ctx, tx, task.Kind, task.Subject) })
}

func TestTasksGoWithTheirOwner(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		addUsers(t, d, "ann", "bob")
		other := jobs.Task{Kind: jobs.Scan, Subject: "p2", Owner: "bob"}
		set(t, d, scan, start)
		set(t, d, other, start)
		write(t, d, func(ctx context.Context, tx db.Tx) error {
			_, err := tx.ExecContext(ctx, `DELETE FROM users WHERE id = 'ann'`)
			return err
		})
		require.False(t, isThere(t, d, scan))
		remove(t, d, other)
		require.False(t, isThere(t, d, other))
		remove(t, d, other)
	})
}
