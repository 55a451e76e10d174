package jobs_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
	"github.com/d6t/d6tpipe-go/server/internal/jobs"
)

// Several servers start at once on what is empty.
func TestSeveralOpenAtOnce(t *testing.T) {
	each(t, func(t *testing.T, s *scene) {
		var all errgroup.Group
		for range 4 {
			c := s.config(pool(func(context.Context, jobs.Job) (json.RawMessage, error) { return nil, nil }))
			c.DB = dbtest.Open(t, s.url)
			all.Go(func() error {
				j, err := jobs.Open(t.Context(), c)
				if err == nil {
					err = j.Close()
				}
				return err
			})
		}
		require.NoError(t, all.Wait())
	})
}

// Alone is nobody while an engine has the queue open.
func TestAlone(t *testing.T) {
	each(t, func(t *testing.T, s *scene) {
		did := 0
		alone := func() error { return jobs.Alone(t.Context(), s.queue, func() error { did++; return nil }) }
		require.NoError(t, alone(), "a queue that is none yet")
		c := s.config(pool(func(context.Context, jobs.Job) (json.RawMessage, error) { return nil, nil }))
		j, err := jobs.Open(t.Context(), c)
		require.NoError(t, err)
		require.Eventually(t, func() bool { return errors.Is(alone(), jobs.ErrInUse) }, patience, 20*time.Millisecond) // who leads is found out first
		did = 0
		require.ErrorIs(t, alone(), jobs.ErrInUse)
		require.Zero(t, did)
		require.NoError(t, j.Close())
		require.Eventually(t, func() bool { return alone() == nil }, patience, 20*time.Millisecond)
		require.Equal(t, 1, did)
	})
}

// Who opens a queue in a file waits for who is alone with it.
func TestAloneKeepsOthersAway(t *testing.T) {
	t.Parallel()
	s := newScene(t, dbtest.SQLite(t))
	c := s.config(pool(func(context.Context, jobs.Job) (json.RawMessage, error) { return nil, nil }))
	opened := make(chan error)
	require.NoError(t, jobs.Alone(t.Context(), s.queue, func() error {
		go func() {
			j, err := jobs.Open(t.Context(), c)
			if err == nil {
				err = j.Close()
			}
			opened <- err
		}()
		select {
		case err := <-opened:
			return fmt.Errorf("it is open: %w", err)
		case <-time.After(100 * time.Millisecond):
			return nil
		}
	}))
	require.NoError(t, <-opened)
}

// The queue's file may be anything: who has it alone makes it anew.
func TestADamagedQueueIsMadeAnew(t *testing.T) {
	t.Parallel()
	s := newScene(t, dbtest.SQLite(t))
	require.NoError(t, os.WriteFile(s.queue, []byte(strings.Repeat("not a database\n", 100)), 0o600))
	did, do := holder()
	j, _ := s.open(s.config(pool(do)))
	set(t, s.d, scan, s.Now())
	s.due(j, scan)
	receive(t, did).end <- nil
	info, err := os.Stat(s.queue)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "nobody else's business")
}

func TestOpenRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	s := newScene(t, dbtest.SQLite(t))
	good := s.config(pool(func(context.Context, jobs.Job) (json.RawMessage, error) { return nil, nil }))
	for name, spoil := range map[string]func(*jobs.Config){
		"no database":    func(c *jobs.Config) { c.DB = nil },
		"no queue":       func(c *jobs.Config) { c.Queue = "" },
		"no pools":       func(c *jobs.Config) { c.Pools = nil },
		"another engine": func(c *jobs.Config) { c.Queue = "postgres://me:secret@127.0.0.1:1/x" },
		"no work":        func(c *jobs.Config) { c.Pools = map[jobs.Kind]jobs.Pool{jobs.Scan: {Workers: 1, Backoff: minutes}} },
		"an unknown kind": func(c *jobs.Config) {
			c.Pools = map[jobs.Kind]jobs.Pool{"x": good.Pools[jobs.Scan]}
		},
		"no folder": func(c *jobs.Config) { c.Queue = "/dev/null/jobs.db" },
	} {
		c := good
		spoil(&c)
		_, err := jobs.Open(t.Context(), c)
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "secret", name)
	}
}

func TestURLsAreNotTold(t *testing.T) {
	t.Parallel()
	s := newScene(t, dbtest.Postgres(t))
	c := s.config(pool(func(context.Context, jobs.Job) (json.RawMessage, error) { return nil, nil }))
	for _, url := range []string{"postgres://me:secret@host:port/x", "postgres://me:secret@127.0.0.1:1/x?sslmode=disable"} {
		c.Queue = url
		_, err := jobs.Open(t.Context(), c)
		require.Error(t, err)
		require.NotContains(t, err.Error(), "secret")
	}
}

// What a user of the database may not do is said.
func TestASchemaThatMayNotBeMade(t *testing.T) {
	t.Parallel()
	s := newScene(t, dbtest.Postgres(t))
	exec := func(url, text string) {
		raw, err := sql.Open("pgx", url)
		require.NoError(t, err)
		defer raw.Close()
		_, err = raw.ExecContext(t.Context(), text)
		require.NoError(t, err)
	}
	name := fmt.Sprint("user", time.Now().UnixNano())
	exec(s.url, "CREATE ROLE "+name+" LOGIN")
	c := s.config(pool(func(context.Context, jobs.Job) (json.RawMessage, error) { return nil, nil }))
	c.Queue = strings.Replace(s.url, "postgres@", name+"@", 1)
	_, err := jobs.Open(t.Context(), c)
	require.ErrorContains(t, err, "must be let make a schema in it, or have one called d6tpipe_jobs")
	exec(s.url, "CREATE SCHEMA d6tpipe_jobs AUTHORIZATION "+name)
	s.open(c)
}

// On SQLite, who is alone takes up at once what others have left, however long their
// leases are; who is not, does not.
func TestWhoIsAloneTakesUpWhatIsLeft(t *testing.T) {
	t.Parallel()
	s := newScene(t, dbtest.SQLite(t))
	did, do := holder()
	c := s.config(pool(do))
	c.Lease = time.Hour
	set(t, s.d, scan, s.Now())
	_, end := s.open(c)
	write(t, s.d, func(ctx context.Context, tx db.Tx) error { // a server died
		_, err := tx.ExecContext(ctx, `INSERT INTO runs VALUES ('1', 'scan', 'p1', 1, 'running', 1, 0, 'dead', $1, 0, 0, '', '')`,
			time.Now().Add(time.Hour).UnixMicro())
		if err == nil {
			_, err = tx.ExecContext(ctx, `UPDATE tasks SET run_id = '1'`)
		}
		return err
	})
	_, endSecond := s.open(c)
	lease := count(t, s.d, `SELECT lease_at FROM runs`)
	require.Positive(t, lease, "somebody may be at it")
	end()
	endSecond()
	s.open(c)
	run := receive(t, did)
	require.Equal(t, "1", run.RunID)
	require.Equal(t, 2, run.Attempt)
}

// As long as nothing is due, nothing is written.
func TestLookingWritesNothing(t *testing.T) {
	t.Parallel()
	s := newScene(t, dbtest.SQLite(t))
	did, do := holder()
	c := s.config(pool(do))
	c.Poll = time.Millisecond
	looked := make(chan struct{}, 1000)
	c.Now = func() time.Time {
		select {
		case looked <- struct{}{}:
		default:
		}
		return s.Now()
	}
	set(t, s.d, scan, s.Now())
	j, _ := s.open(c)
	s.due(j, scan)
	receive(t, did).end <- nil
	s.ended(scan, 1)
	raw, err := sql.Open("sqlite", strings.TrimPrefix(s.url, "sqlite://"))
	require.NoError(t, err)
	defer raw.Close()
	raw.SetMaxOpenConns(1)
	version := func() (n int) {
		require.NoError(t, raw.QueryRowContext(t.Context(), "PRAGMA data_version").Scan(&n))
		return n
	}
	before := version()
	for len(looked) > 0 {
		<-looked
	}
	for range 200 {
		receive(t, looked)
	}
	require.Equal(t, before, version())
	s.due(j, scan)
	receive(t, did).end <- nil
	require.NotEqual(t, before, version(), "it would be seen")
}

func TestRunsArePruned(t *testing.T) {
	each(t, func(t *testing.T, s *scene) {
		set(t, s.d, scan, s.Now())
		old := alone("old", "ann")
		set(t, s.d, old, s.Now())
		add := func(task jobs.Task, n int, at time.Time) {
			write(t, s.d, func(ctx context.Context, tx db.Tx) error {
				for i := range n {
					_, err := tx.ExecContext(ctx, `INSERT INTO runs VALUES ($1, $2, $3, $4, 'done', 1, 0, '', 0, 0, 0, '', '')`,
						fmt.Sprintf("%014x%s%d", at.UnixMicro(), task.Subject, i), task.Kind, task.Subject, i)
					if err != nil {
						return err
					}
				}
				return nil
			})
		}
		add(scan, 150, start)
		add(old, 250, start.Add(-31*24*time.Hour))
		did, do := holder()
		j, _ := s.open(s.config(pool(do)))
		s.await("what is too old goes", func() bool { return len(runs(t, s.d, jobs.Query{Kind: jobs.Scan, Subject: "old"})) == 0 })
		require.Equal(t, 150, count(t, s.d, `SELECT count(*) FROM runs`))
		s.due(j, scan)
		run := receive(t, did)
		require.Equal(t, 151, count(t, s.d, `SELECT count(*) FROM runs`))
		run.end <- nil
		s.await("the last 100 are kept", func() bool { return count(t, s.d, `SELECT count(*) FROM runs`) == 100 })
		require.Equal(t, run.RunID, runs(t, s.d, jobs.Query{Kind: jobs.Scan, Subject: "p1"})[0].ID)
		require.Equal(t, 51, count(t, s.d, `SELECT min(tick) FROM runs`))
	})
}
