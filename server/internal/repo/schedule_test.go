package repo_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/wire"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
	"github.com/d6t/d6tpipe-go/server/internal/jobs"
	"github.com/d6t/d6tpipe-go/server/internal/repo"
)

var (
	quarterly = d6tpipe.Schedule{Every: d6tpipe.Interval(15 * time.Minute), Jitter: d6tpipe.Interval(time.Minute)}
	mornings  = d6tpipe.Schedule{Cron: "0 6 * * 1-5", TimeZone: "Europe/Berlin"}
)

// root is a client of an administrator of the server.
func (w *world) root(t *testing.T) *d6tpipe.APIClient {
	t.Helper()
	_, err := w.repo.AddAccount(t.Context(), wire.Registration{Username: "root", Email: "root@example.com", Password: "secret-of-root"}, true)
	require.NoError(t, err)
	c := w.anybody(t)
	_, err = c.Login(t.Context(), "root", "secret-of-root")
	require.NoError(t, err)
	return c
}

// TestSchedule: those who administer a pipe have it scanned, those who read it see when.
func TestSchedule(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		kicks := 0
		w := newWorld(t, d, func(o *repo.Options) { o.Kick = func() { kicks++ } })
		owner, admin, reader, stranger := w.user(t, "owner"), w.user(t, "admin"), w.user(t, "reader"), w.user(t, "stranger")
		_, err := owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
		require.NoError(t, err)
		require.NoError(t, owner.Grant(t.Context(), "p", d6tpipe.Permission{Username: "admin", Role: d6tpipe.RoleAdmin}))
		require.NoError(t, owner.Grant(t.Context(), "p", d6tpipe.Permission{Username: "reader", Role: d6tpipe.RoleRead}))

		_, err = owner.Schedule(t.Context(), "p")
		require.ErrorIs(t, err, d6tpipe.ErrNotFound)
		require.ErrorContains(t, err, "This pipe has no schedule.")
		require.ErrorIs(t, owner.DeleteSchedule(t.Context(), "p"), d6tpipe.ErrNotFound)
		require.Zero(t, kicks)

		set, err := admin.SetSchedule(t.Context(), "p", quarterly)
		require.NoError(t, err)
		now := w.clock.Now()
		require.Equal(t, d6tpipe.ScheduleState{Schedule: quarterly, Name: "p", Next: &now}, set, "it begins at once")
		require.Equal(t, 1, kicks)
		for _, c := range []*d6tpipe.APIClient{owner, admin, reader} {
			got, err := c.Schedule(t.Context(), "p")
			require.NoError(t, err)
			require.Equal(t, set, got)
		}
		for _, c := range []*d6tpipe.APIClient{reader, stranger} {
			_, err = c.SetSchedule(t.Context(), "p", mornings)
			require.ErrorIs(t, err, d6tpipe.ErrPermission)
			require.ErrorIs(t, c.DeleteSchedule(t.Context(), "p"), d6tpipe.ErrPermission)
		}
		_, err = stranger.Schedule(t.Context(), "p")
		require.ErrorIs(t, err, d6tpipe.ErrPermission)

		w.clock.forward(time.Minute)
		set, err = owner.SetSchedule(t.Context(), "p", quarterly)
		require.NoError(t, err)
		require.Equal(t, now, *set.Next, "the same again is no news")
		paused := mornings
		paused.Paused = true
		set, err = owner.SetSchedule(t.Context(), "p", paused)
		require.NoError(t, err)
		require.Equal(t, d6tpipe.ScheduleState{Schedule: paused, Name: "p"}, set)
		set, err = owner.SetSchedule(t.Context(), "p", mornings)
		require.NoError(t, err)
		require.Equal(t, w.clock.Now(), *set.Next)

		set, err = admin.PauseSchedule(t.Context(), "p", true)
		require.NoError(t, err)
		require.Equal(t, d6tpipe.ScheduleState{Schedule: paused, Name: "p"}, set, "what else it says stays")
		w.clock.forward(time.Minute)
		set, err = admin.PauseSchedule(t.Context(), "p", false)
		require.NoError(t, err)
		require.Equal(t, mornings, set.Schedule)
		require.Equal(t, w.clock.Now(), *set.Next)
		_, err = reader.PauseSchedule(t.Context(), "p", true)
		require.ErrorIs(t, err, d6tpipe.ErrPermission)

		require.NoError(t, owner.DeleteSchedule(t.Context(), "p"))
		_, err = owner.PauseSchedule(t.Context(), "p", true)
		require.ErrorIs(t, err, d6tpipe.ErrNotFound)
		require.ErrorContains(t, err, "This pipe has no schedule.")
		_, err = owner.Schedule(t.Context(), "p")
		require.ErrorIs(t, err, d6tpipe.ErrNotFound)
		var noted []string
		for e, err := range owner.AuditLog(t.Context(), d6tpipe.AuditOptions{Pipe: "p"}) {
			require.NoError(t, err)
			if e.Action == "schedule" {
				noted = append(noted, e.Actor+": "+e.Detail)
			}
		}
		require.ElementsMatch(t, []string{
			"admin: every 15m, jitter 1m", "owner: cron 0 6 * * 1-5 Europe/Berlin, paused", "owner: cron 0 6 * * 1-5 Europe/Berlin",
			"admin: cron 0 6 * * 1-5 Europe/Berlin, paused", "admin: cron 0 6 * * 1-5 Europe/Berlin", "owner: none",
		}, noted)
	})
}

// TestSchedules: one sees those of the pipes that one may read, whoever granted them.
func TestSchedules(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		owner, reader := w.user(t, "owner"), w.user(t, "reader")
		for _, name := range []string{"b", "a", "c", "d"} {
			_, err := owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: name})
			require.NoError(t, err)
			if name != "d" {
				_, err = owner.SetSchedule(t.Context(), name, quarterly)
				require.NoError(t, err)
			}
		}
		_, err := owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "b-child", Parent: "b", Options: d6tpipe.PipeOptions{Dir: "x"}})
		require.NoError(t, err)
		_, err = owner.SetSchedule(t.Context(), "b-child", mornings)
		require.NoError(t, err)
		names := func(c *d6tpipe.APIClient) (all []string) {
			schedules, err := c.Schedules(t.Context())
			require.NoError(t, err)
			for _, s := range schedules {
				one, err := c.Schedule(t.Context(), s.Name)
				require.NoError(t, err)
				require.Equal(t, one, s)
				all = append(all, s.Name)
			}
			return all
		}
		require.Equal(t, []string{"a", "b", "b-child", "c"}, names(owner))
		require.Empty(t, names(reader))
		require.NoError(t, owner.Grant(t.Context(), "b", d6tpipe.Permission{Username: "reader", Role: d6tpipe.RoleRead}))
		require.NoError(t, owner.Grant(t.Context(), "c", d6tpipe.Permission{Username: "public", Role: d6tpipe.RoleRead}))
		require.NoError(t, owner.Grant(t.Context(), "d", d6tpipe.Permission{Username: "reader", Role: d6tpipe.RoleRead}))
		require.Equal(t, []string{"b", "b-child", "c"}, names(reader))
		_, err = w.anybody(t).Schedules(t.Context())
		require.ErrorIs(t, err, d6tpipe.ErrUnauthorized)
	})
}

// TestSchedulesGoWithPipes: a schedule is its pipe's and the pipe's owner's.
func TestSchedulesGoWithPipes(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		owner, heir := w.user(t, "owner"), w.user(t, "heir")
		for _, p := range []d6tpipe.PipeSettings{{Name: "p"}, {Name: "child", Parent: "p"}, {Name: "q"}} {
			_, err := owner.Pipes().Create(t.Context(), p)
			require.NoError(t, err)
			_, err = owner.SetSchedule(t.Context(), p.Name, quarterly)
			require.NoError(t, err)
		}
		require.Equal(t, 3, tasksOf(t, d, "owner"))
		require.NoError(t, owner.Transfer(t.Context(), "p", "heir"))
		require.Equal(t, 1, tasksOf(t, d, "owner"))
		require.Equal(t, 2, tasksOf(t, d, "heir"))
		require.NoError(t, heir.Pipes().Delete(t.Context(), "child"))
		require.Equal(t, 1, tasksOf(t, d, "heir"))
		_, err := heir.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "child"})
		require.NoError(t, err)
		_, err = heir.Schedule(t.Context(), "child")
		require.ErrorIs(t, err, d6tpipe.ErrNotFound, "another one of the same name")
		require.NoError(t, heir.Unregister(t.Context(), "heir"))
		require.Equal(t, 1, tasksOf(t, d, ""), "those of an account that is closed are gone")
	})
}

// tasksOf counts the schedules of somebody, or of all.
func tasksOf(t *testing.T, d *db.DB, owner string) (n int) {
	t.Helper()
	require.NoError(t, d.Read(t.Context(), func(ctx context.Context, tx db.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM tasks WHERE kind = 'scan' AND ($1 = '' OR owner_id = (SELECT id FROM users WHERE username = $1))`, owner).Scan(&n)
	}))
	return n
}

// TestBadSchedules: what cannot be meant is refused, naming the field.
func TestBadSchedules(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, dbtest.SQLite(t)))
	owner := w.user(t, "owner")
	_, err := owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
	require.NoError(t, err)
	token, err := owner.Login(t.Context(), "owner", "secret-of-owner")
	require.NoError(t, err)
	handler := wire.New(w.repo, wire.Options{})
	put := func(pipe, body string) (int, string) {
		got := ask(handler, "PUT", "/v1/api/pipes/"+pipe+"/schedule/", body, []string{"Token " + string(token)})
		return got.Code, got.Body.String()
	}
	for body, field := range map[string]string{
		`{}`: "every", `{"paused":true}`: "every", `{"every":15}`: "every", `{"every":"often"}`: "every", `{"every":"1s"}`: "every", `{"every":"-5m"}`: "every",
		`{"cron":"every day"}`: "cron", `{"cron":["@daily"]}`: "cron", `{"every":"5m","cron":"@daily"}`: "cron",
		`{"cron":"@daily","time_zone":"Atlantis"}`: "time_zone", `{"every":"5m","jitter":"5m"}`: "jitter", `{"every":"5m","jitter":true}`: "jitter",
		`{"every":"5m","paused":"yes"}`: "paused", `{"evry":"5m"}`: "evry", `{"every":"5m","workers":5}`: "workers", `{"Every":"5m"}`: "Every",
	} {
		code, answer := put("p", body)
		require.Equal(t, 400, code, body)
		require.True(t, strings.HasPrefix(answer, `{"`+field+`":["`), "%s: %s", body, answer)
	}
	for _, body := range []string{``, `[]`, `"5m"`, `null`} {
		code, _ := put("p", body)
		require.Equal(t, 400, code, body)
	}
	patch := func(body string) (int, string) {
		got := ask(handler, "PATCH", "/v1/api/pipes/p/schedule/", body, []string{"Token " + string(token)})
		return got.Code, got.Body.String()
	}
	code, _ := patch(`{"every":"5m"}`)
	require.Equal(t, 404, code, "there is none to change")
	code, answer := put("p", `{"every":"5m"}`)
	require.Equal(t, 200, code, answer)
	for body, field := range map[string]string{`{"cron":"@daily"}`: "cron", `{"every":null}`: "every", `{"jitter":"5m"}`: "jitter", `{"evry":"5m"}`: "evry"} {
		code, answer := patch(body)
		require.Equal(t, 400, code, body)
		require.True(t, strings.HasPrefix(answer, `{"`+field+`":["`), "%s: %s", body, answer)
	}
	code, _ = patch(`[]`)
	require.Equal(t, 400, code)
	code, again := put("p", answer)
	require.Equal(t, 200, code, "what a GET says can be sent back: %s", again)
	require.JSONEq(t, answer, again)

	// A server sees no folder of somebody's machine.
	_, err = owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "folder", Protocol: d6tpipe.ProtocolDir, Location: "/mnt/data"})
	require.NoError(t, err)
	code, answer = put("folder", `{"every":"5m"}`)
	require.Equal(t, 400, code)
	require.Contains(t, answer, "a folder is another one on each machine")
	require.NotContains(t, answer, "/mnt/data")

	// Nor any there can be none of, whatever answers.
	for name, p := range map[string]d6tpipe.PipeSettings{
		"is not the name of a bucket": {Protocol: d6tpipe.ProtocolS3, Location: "No Bucket"},
		"must be https":               {Protocol: d6tpipe.ProtocolS3, Location: "bucket", Settings: json.RawMessage(`{"endpoint_url":"http://s3.example.com"}`)},
		"username is required":        {Protocol: d6tpipe.ProtocolSFTP, Location: "sftp.example.com"},
	} {
		p.Name = "odd"
		_, err = owner.Pipes().Create(t.Context(), p)
		require.NoError(t, err)
		code, answer = put("odd", `{"every":"5m"}`)
		require.Equal(t, 400, code, answer)
		require.True(t, strings.HasPrefix(answer, `{"pipe":["The server cannot open its storage: `), answer)
		require.Contains(t, answer, name)
		require.NoError(t, owner.Pipes().Delete(t.Context(), "odd"))
	}

	// Nor what its owner keeps from it.
	cfg := owner.Config()
	cfg.Key = "0123456789abcdef0123456789abcdef"
	hidden, err := d6tpipe.Encode(cfg, d6tpipe.PipeSettings{Name: "hidden", Protocol: d6tpipe.ProtocolS3, Location: "b"})
	require.NoError(t, err)
	_, err = owner.Pipes().Create(t.Context(), hidden)
	require.NoError(t, err)
	code, answer = put("hidden", `{"every":"5m"}`)
	require.Equal(t, 400, code)
	require.Contains(t, answer, "encrypted with a key that the server has not got")
}

// TestScheduleOnRemote: a pipe's schedule is no way to keep a remote busy that its owner
// may not read any more.
func TestScheduleOnRemote(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, dbtest.SQLite(t)))
	vendor, owner := w.user(t, "vendor"), w.user(t, "owner")
	_, err := vendor.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{Name: "store", Protocol: d6tpipe.ProtocolS3, Location: "bucket"})
	require.NoError(t, err)
	grant := func(role d6tpipe.Role) {
		require.NoError(t, vendor.GrantRemote(t.Context(), "store", d6tpipe.Permission{Username: "owner", Role: role}))
	}
	grant(d6tpipe.RoleRead)
	_, err = owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p", Remote: "store"})
	require.NoError(t, err)
	_, err = owner.SetSchedule(t.Context(), "p", quarterly)
	require.NoError(t, err)
	id := idOf(t, w.db, "p")
	require.NoError(t, w.repo.MayBeScanned(t.Context(), id))
	grant(d6tpipe.RoleRevoke)
	err = w.repo.MayBeScanned(t.Context(), id)
	require.ErrorIs(t, err, d6tpipe.ErrPermission)
	require.ErrorContains(t, err, "may not read its remote")
	_, err = owner.SetSchedule(t.Context(), "p", mornings)
	require.ErrorIs(t, err, d6tpipe.ErrPermission)
	_, err = owner.PauseSchedule(t.Context(), "p", true)
	require.NoError(t, err, "it ends what goes wrong")
	_, err = owner.PauseSchedule(t.Context(), "p", false)
	require.ErrorIs(t, err, d6tpipe.ErrPermission)
	require.ErrorIs(t, w.repo.MayBeScanned(t.Context(), "gone"), jobs.ErrGone)
	require.NoError(t, vendor.Remotes().Delete(t.Context(), "store"))
	err = w.repo.MayBeScanned(t.Context(), id)
	require.NotErrorIs(t, err, jobs.ErrGone, "the pipe itself is there")
	require.ErrorContains(t, err, "The remote or the parent of this pipe is gone.")
}

// plantTasks makes 9,999 tasks of the one that is planted: by itself each would take
// some milliseconds.
const plantTasks = `
WITH RECURSIVE more (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM more WHERE n < 9999)
INSERT INTO tasks (kind, subject, owner_id, schedule, next_at, scheduled_at, asked_at, not_before, urgent, last_tick, failures, run_id, removed)
SELECT kind, 'planted ' || n, owner_id, schedule, next_at, scheduled_at, asked_at, not_before, urgent, last_tick, failures, run_id, removed
FROM tasks, more WHERE subject = 'planted 1'`

// TestMostSchedules: one owner's are limited, and the answer says to how many.
func TestMostSchedules(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, dbtest.SQLite(t)))
	owner, other := w.user(t, "owner"), w.user(t, "other")
	for i, c := range []*d6tpipe.APIClient{owner, owner, other} {
		_, err := c.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: fmt.Sprint("p", i)})
		require.NoError(t, err)
	}
	require.NoError(t, w.db.Write(t.Context(), func(ctx context.Context, tx db.Tx) error {
		var id string
		if err := tx.QueryRowContext(ctx, `SELECT id FROM users WHERE username = 'owner'`).Scan(&id); err != nil {
			return err
		}
		if err := jobs.Set(ctx, tx, jobs.Task{Kind: jobs.Scan, Subject: "planted 1", Owner: id, Schedule: mornings}, w.clock.Now()); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, plantTasks)
		return err
	}))
	_, err := owner.SetSchedule(t.Context(), "p0", quarterly)
	require.NoError(t, err)
	_, err = owner.SetSchedule(t.Context(), "p1", quarterly)
	require.ErrorIs(t, err, d6tpipe.ErrPermission)
	require.ErrorContains(t, err, "has 10000 schedules already")
	_, err = owner.SetSchedule(t.Context(), "p0", mornings)
	require.NoError(t, err, "one that is there may be changed")
	_, err = other.SetSchedule(t.Context(), "p2", quarterly)
	require.NoError(t, err)
}

// TestJobs: an administrator of the server sees all that it does by itself, in pages,
// and nobody else does.
func TestJobs(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		owner, root := w.user(t, "owner"), w.root(t)
		_, err := owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
		require.NoError(t, err)
		_, err = owner.SetSchedule(t.Context(), "p", quarterly)
		require.NoError(t, err)
		const n = 1203
		w.plant(t, n)

		of := func(o d6tpipe.JobsOptions) (all []d6tpipe.Run) {
			for run, err := range root.Jobs(t.Context(), o) {
				require.NoError(t, err)
				require.True(t, len(all) == 0 || run.ID < all[len(all)-1].ID, "the newest first")
				all = append(all, run)
			}
			return all
		}
		all := of(d6tpipe.JobsOptions{})
		require.Len(t, all, n)
		at := w.clock.Now()
		due, ended := at.Add(time.Hour+1202*time.Second), at.Add(1000*time.Second)
		require.Equal(t, d6tpipe.Run{
			ID: all[0].ID, Kind: "scan", Name: "p", State: d6tpipe.RunFailed, Due: due, Began: &at, Ended: &ended, Attempt: 2,
			Error: "the storage failed", Detail: json.RawMessage(`{"files":1202}`), Owner: "owner", Server: "host-1",
		}, all[0])
		require.Len(t, of(d6tpipe.JobsOptions{State: d6tpipe.RunFailed}), n-n/2)
		require.Len(t, of(d6tpipe.JobsOptions{Kind: "scan", State: d6tpipe.RunDone}), n/2)
		require.Empty(t, of(d6tpipe.JobsOptions{Kind: "mirror"}))
		for range root.Jobs(t.Context(), d6tpipe.JobsOptions{}) {
			break
		}
		for _, o := range []d6tpipe.JobsOptions{{Kind: "cleaning"}, {State: "lost"}} {
			for _, err := range root.Jobs(t.Context(), o) {
				require.ErrorIs(t, err, d6tpipe.ErrInvalid)
			}
		}
		for c, kind := range map[*d6tpipe.APIClient]error{owner: d6tpipe.ErrPermission, w.anybody(t): d6tpipe.ErrUnauthorized} {
			for _, err := range c.Jobs(t.Context(), d6tpipe.JobsOptions{}) {
				require.ErrorIs(t, err, kind)
			}
		}

		// Those who may see the pipe see its last run, and not on which machine it was.
		state, err := owner.Schedule(t.Context(), "p")
		require.NoError(t, err)
		require.Equal(t, all[0].ID, state.Last.ID)
		require.Equal(t, "p", state.Last.Name)
		require.Equal(t, "the storage failed", state.Last.Error)
		require.Zero(t, state.Last.Owner+state.Last.Server)
	})
}

// TestJobNames: a run is called as the mirror is, or the pipe whose webhook it is of.
func TestJobNames(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, dbtest.SQLite(t)))
	owner, root := w.user(t, "owner"), w.root(t)
	_, err := owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
	require.NoError(t, err)
	id := idOf(t, w.db, "p")
	require.NoError(t, w.db.Write(t.Context(), func(ctx context.Context, tx db.Tx) error {
		var user string
		if err := tx.QueryRowContext(ctx, `SELECT id FROM users WHERE username = 'owner'`).Scan(&user); err != nil {
			return err
		}
		for _, insert := range []string{
			`INSERT INTO mirrors (id, owner_id, name, source_id, target_id, body, revision, created_at, updated_at, force_at, force_run)
				VALUES ('m', $1, 'nightly', $2, $2, '', 1, 1, 1, 0, '')`,
			`INSERT INTO webhooks (id, record_id, creator_id, place, settings, sealed, paused, disabled, disabled_at, cursor, message_id, message, message_cursor, attempts, retry_at,
				created_at, updated_at) SELECT 'w', $2, $1, '', '', '', false, '', 0, '', '', '', '', 0, 0, 1, 1 FROM users WHERE id = $1`,
		} {
			if _, err := tx.ExecContext(ctx, insert, user, id); err != nil {
				return err
			}
		}
		for _, task := range []jobs.Task{{Kind: jobs.Mirror, Subject: "m", Owner: user}, {Kind: jobs.Webhook, Subject: "w", Owner: user}, {Kind: jobs.Scan, Subject: "gone", Owner: user}} {
			if err := jobs.Set(ctx, tx, task, w.clock.Now()); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, `INSERT INTO runs (id, kind, subject, tick, state, attempt, lost, holder, lease_at, began_at, ended_at, error, detail)
				VALUES ($1, $2, $1, 1, 'queued', 0, 0, '', 0, 0, 0, '', '')`, task.Subject, task.Kind); err != nil {
				return err
			}
		}
		return nil
	}))
	names := map[string]string{}
	for run, err := range root.Jobs(t.Context(), d6tpipe.JobsOptions{}) {
		require.NoError(t, err)
		names[run.Kind] = run.Name
	}
	require.Equal(t, map[string]string{"mirror": "nightly", "webhook": "p", "scan": ""}, names)
}

// TestJobsInPages: whoever asks says which page, and answers are as they are described.
func TestJobsInPages(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, dbtest.SQLite(t)))
	owner, root := w.user(t, "owner"), w.root(t)
	_, err := owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
	require.NoError(t, err)
	_, err = owner.SetSchedule(t.Context(), "p", quarterly)
	require.NoError(t, err)
	w.plant(t, 250)
	token, err := root.Login(t.Context(), "root", "secret-of-root")
	require.NoError(t, err)
	handler := wire.New(w.repo, wire.Options{})
	get := func(path string) (int, []byte) {
		got := ask(handler, http.MethodGet, "/v1/api/"+path, "", []string{"Token " + string(token)})
		return got.Code, got.Body.Bytes()
	}
	page := func(query string) (runs []d6tpipe.Run) {
		code, body := get("admin/jobs/" + query)
		require.Equal(t, 200, code, "%s", body)
		require.NoError(t, json.Unmarshal(body, &runs))
		return runs
	}
	first := page("")
	require.Len(t, first, 100)
	second := page("?limit=150&before=" + first[99].ID)
	require.Len(t, second, 150)
	require.Less(t, second[0].ID, first[99].ID)
	require.Empty(t, page("?before="+second[149].ID))
	for _, query := range []string{"?limit=0", "?limit=1001", "?limit=x", "?kind=x", "?state=x"} {
		code, _ := get("admin/jobs/" + query)
		require.Equal(t, 400, code, query)
	}
	doc := document(t)
	_, list := get("admin/jobs/")
	checkSchema(t, doc, "Run", list)
	require.NoError(t, owner.Grant(t.Context(), "p", d6tpipe.Permission{Username: "root", Role: d6tpipe.RoleRead}))
	_, list = get("schedules/")
	require.Contains(t, string(list), `"last":{`)
	checkSchema(t, doc, "ScheduleState", list)
}

// checkSchema wants all rows of a list to be of a schema.
func checkSchema(t *testing.T, doc *openapi3.T, schema string, list []byte) {
	t.Helper()
	var rows []any
	require.NoError(t, json.Unmarshal(list, &rows))
	require.NotEmpty(t, rows)
	for _, row := range rows {
		require.NoError(t, doc.Components.Schemas[schema].Value.VisitJSON(row, openapi3.EnableJSONSchema2020(), openapi3.MultiErrors()), "%v", row)
	}
}

// plant writes runs of the pipe p, as servers leave them behind: the odd ones went
// well.
func (w *world) plant(t *testing.T, n int) {
	t.Helper()
	id, at := idOf(t, w.db, "p"), w.clock.Now()
	require.NoError(t, w.db.Write(t.Context(), func(ctx context.Context, tx db.Tx) error {
		for i := range n {
			state, failed := "done", ""
			if i%2 == 0 {
				state, failed = "failed", "the storage failed"
			}
			tick := at.Add(time.Hour + time.Duration(i)*time.Second)
			if _, err := tx.ExecContext(ctx, `INSERT INTO runs (id, kind, subject, tick, state, attempt, lost, holder, lease_at, began_at, ended_at, error, detail)
				VALUES ($1, 'scan', $2, $3, $4, 2, 1, 'host-1', 0, $5, $6, $7, $8)`, fmt.Sprintf("%014x%08x", tick.UnixMicro(), i), id, tick.UnixMicro(), state,
				at.UnixMicro(), at.Add(1000*time.Second).UnixMicro(), failed, fmt.Sprintf(`{"files":%d}`, i)); err != nil {
				return err
			}
		}
		return nil
	}))
}
