package repo_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
	"github.com/d6t/d6tpipe-go/server/internal/jobs"
	"github.com/d6t/d6tpipe-go/server/internal/mirror"
	"github.com/d6t/d6tpipe-go/server/internal/repo"
)

// mirrorWorld has an owner with a pipe on FTP, a managed one, and one on a remote.
func mirrorWorld(t *testing.T, d *db.DB) (w *world, owner *d6tpipe.APIClient) {
	w = newWorld(t, d)
	owner = w.user(t, "owner")
	_, err := owner.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{Name: "depot", Protocol: d6tpipe.ProtocolSFTP, Location: "sftp.example.com",
		ReadCredentials: d6tpipe.Credentials{"username": "r", "password": "p"}, WriteCredentials: d6tpipe.Credentials{"username": "w", "password": "p"}})
	require.NoError(t, err)
	for _, p := range []d6tpipe.PipeSettings{
		{Name: "vendor", Protocol: d6tpipe.ProtocolFTP, Location: "ftp.example.com", Credentials: d6tpipe.Credentials{"username": "u", "password": "canary-ftp"}},
		{Name: "vendor-part", Parent: "vendor", Options: d6tpipe.PipeOptions{Dir: "part"}},
		{Name: "copies"}, {Name: "stored", Remote: "depot"},
		{Name: "folder", Protocol: d6tpipe.ProtocolDir, Location: "/data"},
		{Name: "web", Protocol: d6tpipe.ProtocolHTTPS, Location: "https://example.com/data/", Settings: json.RawMessage(`{"files":["a"]}`)},
	} {
		_, err := owner.Pipes().Create(t.Context(), p)
		require.NoError(t, err, p.Name)
	}
	return w, owner
}

// mirrorID finds a mirror in the database.
func mirrorID(t *testing.T, w *world, name string) (id string) {
	t.Helper()
	require.NoError(t, w.db.Read(t.Context(), func(ctx context.Context, tx db.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT id FROM mirrors WHERE name = $1`, name).Scan(&id)
	}))
	return id
}

func TestMirrors(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, owner := mirrorWorld(t, d)
		nightly := d6tpipe.MirrorSettings{Name: "nightly", Source: "vendor", Target: "copies", Schedule: d6tpipe.Schedule{Cron: "0 3 * * *"},
			Include: "*.csv", Merge: d6tpipe.MergeKeep, Delete: true, Rate: 1 << 20}
		m, err := owner.Mirrors().Create(t.Context(), nightly)
		require.NoError(t, err)
		require.Equal(t, time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC), *m.Next)
		_, err = owner.Mirrors().Create(t.Context(), nightly)
		require.ErrorIs(t, err, d6tpipe.ErrExists)
		read, err := owner.Mirrors().Get(t.Context(), "nightly")
		require.NoError(t, err)
		require.Equal(t, m, read)
		read.Next = nil
		require.Equal(t, nightly, read)

		m, err = owner.Mirrors().Update(t.Context(), d6tpipe.MirrorSettings{Name: "nightly", Schedule: d6tpipe.Schedule{Every: d6tpipe.Interval(time.Hour)}})
		require.NoError(t, err)
		require.Equal(t, d6tpipe.Schedule{Every: d6tpipe.Interval(time.Hour)}, m.Schedule, "it is replaced whole")
		require.True(t, m.Delete, "what was not named stays")
		m, err = owner.PauseMirror(t.Context(), "nightly", true)
		require.NoError(t, err)
		require.True(t, m.Paused)
		require.Nil(t, m.Next)
		m, err = owner.RunMirror(t.Context(), "nightly", d6tpipe.MirrorRunOptions{})
		require.NoError(t, err)
		require.Equal(t, w.clock.Now().UnixMicro(), m.Next.UnixMicro(), "run now, paused or not")
		m, err = owner.PauseMirror(t.Context(), "nightly", false)
		require.NoError(t, err)
		require.False(t, m.Paused)
		m, err = owner.UpdateMirror(t.Context(), "nightly", d6tpipe.MirrorUpdate{Delete: new(false), Include: new(""), Rate: new(int64(2 << 20))})
		require.NoError(t, err)
		require.Equal(t, d6tpipe.MirrorSettings{Name: "nightly", Source: "vendor", Target: "copies", Schedule: d6tpipe.Schedule{Every: d6tpipe.Interval(time.Hour)},
			Merge: d6tpipe.MergeKeep, Rate: 2 << 20, Next: m.Next, Running: m.Running}, m)
		m, err = owner.Mirrors().Replace(t.Context(), d6tpipe.MirrorSettings{Name: "nightly", Source: "vendor", Target: "copies"})
		require.NoError(t, err)
		require.False(t, m.Delete, "what is not said is gone")

		other := w.user(t, "other")
		for mine, err := range other.Mirrors().All(t.Context()) {
			require.NoError(t, err)
			t.Fatalf("%s is shown to others", mine.Name)
		}
		_, err = other.Mirrors().Get(t.Context(), "nightly")
		require.ErrorIs(t, err, d6tpipe.ErrNotFound)
		_, err = other.PauseMirror(t.Context(), "nightly", true)
		require.ErrorIs(t, err, d6tpipe.ErrNotFound)
		_, err = other.RunMirror(t.Context(), "nightly", d6tpipe.MirrorRunOptions{})
		require.ErrorIs(t, err, d6tpipe.ErrNotFound)
		require.ErrorIs(t, other.Mirrors().Delete(t.Context(), "nightly"), d6tpipe.ErrNotFound)
		for _, err := range other.MirrorRuns(t.Context(), "nightly") {
			require.ErrorIs(t, err, d6tpipe.ErrNotFound)
		}
		_, err = other.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "others"})
		require.NoError(t, err)
		_, err = other.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "others-too"})
		require.NoError(t, err)
		_, err = other.Mirrors().Create(t.Context(), d6tpipe.MirrorSettings{Name: "nightly", Source: "others", Target: "others-too"})
		require.NoError(t, err, "a name is one's own")

		require.NoError(t, owner.Mirrors().Delete(t.Context(), "nightly"))
		names, err := owner.Mirrors().Names(t.Context())
		require.NoError(t, err)
		require.Empty(t, names)
		var said []string
		for e, err := range owner.AuditLog(t.Context(), d6tpipe.AuditOptions{}) {
			require.NoError(t, err)
			if e.Kind == "mirrors" || e.Action == "mirror" {
				said = append(said, e.Action+" "+e.Kind+" "+e.Name+" "+e.Detail)
			}
		}
		require.ElementsMatch(t, []string{
			"POST mirrors nightly vendor to copies", "mirror pipes vendor vendor to copies", "mirror pipes copies vendor to copies",
			"PATCH mirrors nightly vendor to copies", "PATCH mirrors nightly vendor to copies", "run mirrors nightly vendor to copies",
			"PATCH mirrors nightly vendor to copies", "PATCH mirrors nightly vendor to copies", "PUT mirrors nightly vendor to copies", "DELETE mirrors nightly vendor to copies",
		}, said)
		require.NoError(t, other.Unregister(t.Context(), "other"), "it has a mirror")
	})
}

// TestMirrorNamesake: a mirror whose pipe was removed does not turn to another one that has
// got its name, which may be anybody's, until its owner says so.
func TestMirrorNamesake(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, owner := mirrorWorld(t, d)
		_, err := owner.Mirrors().Create(t.Context(), d6tpipe.MirrorSettings{Name: "m", Source: "vendor", Target: "copies"})
		require.NoError(t, err)
		id := mirrorID(t, w, "m")
		require.NoError(t, owner.Pipes().Delete(t.Context(), "copies"))
		other := w.user(t, "other")
		_, err = other.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "copies"})
		require.NoError(t, err)
		require.NoError(t, other.Grant(t.Context(), "copies", d6tpipe.Permission{Username: "owner", Role: d6tpipe.RoleWrite}))

		refused := func(err error) {
			t.Helper()
			require.ErrorContains(t, err, "does not exist any more")
			_, err = w.repo.Mirror(t.Context(), id)
			require.ErrorContains(t, err, "does not exist any more")
		}
		_, err = owner.PauseMirror(t.Context(), "m", true)
		require.NoError(t, err)
		_, err = owner.PauseMirror(t.Context(), "m", false)
		refused(err)
		_, err = owner.UpdateMirror(t.Context(), "m", d6tpipe.MirrorUpdate{Paused: new(false), Rate: new(int64(2 << 20))})
		refused(err)
		_, err = owner.UpdateMirror(t.Context(), "m", d6tpipe.MirrorUpdate{Source: new("stored"), Paused: new(false)})
		refused(err)

		_, err = owner.UpdateMirror(t.Context(), "m", d6tpipe.MirrorUpdate{Target: new("copies")})
		require.NoError(t, err)
		_, err = owner.PauseMirror(t.Context(), "m", false)
		require.NoError(t, err)
		m, err := w.repo.Mirror(t.Context(), id)
		require.NoError(t, err)
		require.True(t, m.To.Managed)
	})
}

// TestMirrorForce: force is for one run, that which was asked for, however often it is
// begun, and of the mirror as it was then.
func TestMirrorForce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, owner := mirrorWorld(t, d)
		settings := d6tpipe.MirrorSettings{Name: "m", Source: "vendor", Target: "copies", Delete: true, Schedule: d6tpipe.Schedule{Cron: "0 3 * * *"}}
		_, err := owner.Mirrors().Create(t.Context(), settings)
		require.NoError(t, err)
		id, force := mirrorID(t, w, "m"), d6tpipe.MirrorRunOptions{Force: true}
		forced := func(run string, due time.Time) bool {
			t.Helper()
			forced, err := w.repo.Forced(t.Context(), jobs.Job{Kind: jobs.Mirror, Subject: id, RunID: run, Tick: due})
			require.NoError(t, err)
			return forced
		}
		_, err = owner.RunMirror(t.Context(), "m", d6tpipe.MirrorRunOptions{})
		require.NoError(t, err)
		require.False(t, forced("plain", w.clock.Now()))

		w.clock.forward(time.Second) // one that was wanted before is that of both
		m, err := owner.RunMirror(t.Context(), "m", force)
		require.NoError(t, err)
		require.False(t, forced("at work", m.Next.Add(-time.Second)))
		require.True(t, forced("asked", *m.Next))
		require.True(t, forced("asked", *m.Next), "a run that is taken up")
		require.NoError(t, w.repo.ForceAgain(t.Context(), jobs.Job{Kind: jobs.Mirror, Subject: id, RunID: "asked", Tick: *m.Next}))
		require.True(t, forced("goes on", m.Next.Add(time.Second)))
		require.False(t, forced("next", m.Next.Add(time.Minute)))

		m, err = owner.RunMirror(t.Context(), "m", force)
		require.NoError(t, err)
		_, err = owner.Mirrors().Replace(t.Context(), settings)
		require.NoError(t, err)
		require.False(t, forced("changed", *m.Next))

		_, err = owner.Backend().Do(t.Context(), "POST", "mirrors/m/runs", "", json.RawMessage(`{"forse":true}`))
		require.ErrorIs(t, err, d6tpipe.ErrInvalid)
		settings.Delete = false
		_, err = owner.Mirrors().Replace(t.Context(), settings)
		require.NoError(t, err)
		_, err = owner.RunMirror(t.Context(), "m", force)
		require.ErrorIs(t, err, d6tpipe.ErrInvalid)
		require.Contains(t, err.Error(), "removes nothing")
		for e, err := range owner.AuditLog(t.Context(), d6tpipe.AuditOptions{}) {
			require.NoError(t, err)
			if e.Action == "run by force" {
				return
			}
		}
		t.Fatal("the audit log does not tell of it")
	})
}

// TestMirrorRefusals: what cannot be mirrored, or not by whom, is refused with the reason.
func TestMirrorRefusals(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, owner := mirrorWorld(t, d)
		mary := w.user(t, "mary")
		_, err := mary.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "marys"})
		require.NoError(t, err)
		require.NoError(t, owner.Grant(t.Context(), "copies", d6tpipe.Permission{Username: "mary", Role: d6tpipe.RoleRead}))
		require.NoError(t, owner.Grant(t.Context(), "stored", d6tpipe.Permission{Username: "mary", Role: d6tpipe.RoleWrite}))
		_, err = owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "odd", Protocol: d6tpipe.ProtocolS3, Location: "No Bucket"})
		require.NoError(t, err)
		base := d6tpipe.MirrorSettings{Name: "m", Source: "vendor", Target: "copies"}
		with := func(change func(*d6tpipe.MirrorSettings)) d6tpipe.MirrorSettings { m := base; change(&m); return m }
		for _, c := range []struct {
			who  *d6tpipe.APIClient
			m    d6tpipe.MirrorSettings
			kind error
			text string
		}{
			{owner, with(func(m *d6tpipe.MirrorSettings) { m.Source = "missing" }), d6tpipe.ErrInvalid, "does not exist"},
			{owner, with(func(m *d6tpipe.MirrorSettings) { m.Target = "vendor-part" }), d6tpipe.ErrInvalid, "overlap"},
			{owner, with(func(m *d6tpipe.MirrorSettings) { m.Source, m.Target = "vendor-part", "vendor" }), d6tpipe.ErrInvalid, "overlap"},
			{owner, with(func(m *d6tpipe.MirrorSettings) { m.Source = "folder" }), d6tpipe.ErrInvalid, "a folder is another one"},
			{owner, with(func(m *d6tpipe.MirrorSettings) { m.Source = "odd" }), d6tpipe.ErrInvalid, "source: The server cannot open its storage"},
			{owner, with(func(m *d6tpipe.MirrorSettings) { m.Target = "odd" }), d6tpipe.ErrInvalid, "target: The server cannot open its storage"},
			{owner, with(func(m *d6tpipe.MirrorSettings) { m.Target = "web" }), d6tpipe.ErrInvalid, "web server"},
			{owner, with(func(m *d6tpipe.MirrorSettings) { m.Schedule.Cron = "nonsense" }), d6tpipe.ErrInvalid, "schedule.cron"},
			{owner, with(func(m *d6tpipe.MirrorSettings) { m.Name = "a/b" }), d6tpipe.ErrInvalid, "alphanumeric"},
			{mary, with(func(m *d6tpipe.MirrorSettings) { m.Source, m.Target = "vendor", "marys" }), d6tpipe.ErrPermission, "may not read vendor"},
			{mary, with(func(m *d6tpipe.MirrorSettings) { m.Source, m.Target = "marys", "copies" }), d6tpipe.ErrPermission, "may not write to copies"},
			{mary, with(func(m *d6tpipe.MirrorSettings) { m.Source, m.Target = "marys", "stored" }), d6tpipe.ErrPermission, "remote of stored"},
			{mary, with(func(m *d6tpipe.MirrorSettings) { m.Source, m.Target = "stored", "marys" }), d6tpipe.ErrPermission, "remote of stored"},
			{w.anybody(t), base, d6tpipe.ErrUnauthorized, ""},
		} {
			_, err := c.who.Mirrors().Create(t.Context(), c.m)
			require.ErrorIs(t, err, c.kind, "%+v", c.m)
			require.Contains(t, err.Error(), c.text)
		}
		require.NoError(t, owner.GrantRemote(t.Context(), "depot", d6tpipe.Permission{Username: "mary", Role: d6tpipe.RoleRead}))
		_, err = mary.Mirrors().Create(t.Context(), d6tpipe.MirrorSettings{Name: "m", Source: "stored", Target: "marys"})
		require.NoError(t, err)
		_, err = mary.Mirrors().Create(t.Context(), d6tpipe.MirrorSettings{Name: "n", Source: "marys", Target: "stored"})
		require.ErrorIs(t, err, d6tpipe.ErrPermission, "to read is not to write")
		for _, body := range []string{`[]`, `"x"`, `{"name":5}`, `{"name":"m","source":"vendor","target":"copies","rate":"fast"}`, `{"name":"m","source":"vendor","target":"copies","rate":5}`,
			`{"name":"m","source":"vendor","target":"copies","merge":"maybe"}`, `{"name":"m","source":"vendor","target":"copies","schedule":{"paused":true}}`,
			`{"name":"m","source":"vendor","target":"copies","schedule":{"every":"soon"}}`, `{"name":"m","source":"vendor","target":"copies","detele":true}`,
			`{"name":"m","source":"vendor","target":"copies","delete":true,"force":true}`, `{"name":"m","source":"vendor","target":"copies","schedule":{"evry":"1h"}}`} {
			_, err := owner.Backend().Do(t.Context(), "POST", "mirrors", "", json.RawMessage(body))
			require.ErrorIs(t, err, d6tpipe.ErrInvalid, body)
		}
		_, err = owner.Mirrors().Create(t.Context(), base)
		require.NoError(t, err)
		_, err = owner.Backend().Do(t.Context(), "PATCH", "mirrors", "m", json.RawMessage(`{"exlude":"secret*"}`))
		require.ErrorIs(t, err, d6tpipe.ErrInvalid)
		require.Contains(t, err.Error(), "exlude: A mirror has no such field; it has delete, exclude,")
		raw, err := owner.Backend().Do(t.Context(), "GET", "mirrors", "m", nil)
		require.NoError(t, err)
		_, err = owner.Backend().Do(t.Context(), "PUT", "mirrors", "m", raw)
		require.NoError(t, err, "an answer may be sent back")
	})
}

// TestMirrorRights: a mirror may do what its owner may do now, and to pause it takes no
// right.
func TestMirrorRights(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, owner := mirrorWorld(t, d)
		mary := w.user(t, "mary")
		_, err := mary.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "marys"})
		require.NoError(t, err)
		grant := func(role d6tpipe.Role, until d6tpipe.Date) {
			t.Helper()
			require.NoError(t, owner.Grant(t.Context(), "copies", d6tpipe.Permission{Username: "mary", Role: role, Expires: until}))
		}
		grant(d6tpipe.RoleWrite, d6tpipe.Date{})
		_, err = mary.Mirrors().Create(t.Context(), d6tpipe.MirrorSettings{Name: "m", Source: "marys", Target: "copies"})
		require.NoError(t, err)
		id := mirrorID(t, w, "m")
		m, err := w.repo.Mirror(t.Context(), id)
		require.NoError(t, err)
		require.True(t, m.From.Managed && m.To.Managed)
		require.Equal(t, d6tpipe.RoleRead, m.From.Grant.Role)
		require.Equal(t, d6tpipe.RoleWrite, m.To.Grant.Role)
		may, err := w.repo.StillMay(t.Context(), m.To.Grant.Subject, d6tpipe.RoleWrite)
		require.NoError(t, err)
		require.True(t, may, "the keys are the owner's")

		grant(d6tpipe.RoleRead, d6tpipe.Date{})
		_, err = w.repo.Mirror(t.Context(), id)
		require.ErrorIs(t, err, d6tpipe.ErrPermission)
		require.Contains(t, err.Error(), "may not write to copies")
		may, err = w.repo.StillMay(t.Context(), m.To.Grant.Subject, d6tpipe.RoleWrite)
		require.NoError(t, err)
		require.False(t, may)
		_, err = mary.RunMirror(t.Context(), "m", d6tpipe.MirrorRunOptions{})
		require.ErrorIs(t, err, d6tpipe.ErrPermission)
		_, err = mary.PauseMirror(t.Context(), "m", true)
		require.NoError(t, err)
		_, err = mary.PauseMirror(t.Context(), "m", false)
		require.ErrorIs(t, err, d6tpipe.ErrPermission)

		grant(d6tpipe.RoleWrite, d6tpipe.Date{Year: 2026, Month: 11, Day: 24})
		_, err = w.repo.Mirror(t.Context(), id)
		require.NoError(t, err)
		w.clock.forward(48 * time.Hour)
		_, err = w.repo.Mirror(t.Context(), id)
		require.ErrorIs(t, err, d6tpipe.ErrPermission, "it has expired")

		grant(d6tpipe.RoleWrite, d6tpipe.Date{})
		require.NoError(t, owner.Pipes().Delete(t.Context(), "copies"))
		_, err = w.repo.Mirror(t.Context(), id)
		require.ErrorIs(t, err, d6tpipe.ErrInvalid)
		require.Contains(t, err.Error(), "does not exist any more")
		require.NoError(t, mary.Mirrors().Delete(t.Context(), "m"))
		_, err = w.repo.Mirror(t.Context(), id)
		require.ErrorIs(t, err, d6tpipe.ErrNotFound)
	})
}

// TestMirrorCredentials: each end is opened with the credentials of its role, and no
// answer and no error has them.
func TestMirrorCredentials(t *testing.T) {
	w, owner := mirrorWorld(t, dbtest.Open(t, dbtest.SQLite(t)))
	_, err := owner.Mirrors().Create(t.Context(), d6tpipe.MirrorSettings{Name: "m", Source: "vendor", Target: "stored"})
	require.NoError(t, err)
	m, err := w.repo.Mirror(t.Context(), mirrorID(t, w, "m"))
	require.NoError(t, err)
	require.Equal(t, "canary-ftp", m.From.Credentials["password"])
	require.Equal(t, "w", m.To.Credentials["username"])
	raw, err := owner.Backend().Do(t.Context(), "GET", "mirrors", "m", nil)
	require.NoError(t, err)
	require.NotContains(t, string(raw), "canary")
}

// TestMirrorMemoryDamaged: a damaged row is told apart from a database that does not answer.
func TestMirrorMemoryDamaged(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, owner := mirrorWorld(t, d)
		_, err := owner.Mirrors().Create(t.Context(), d6tpipe.MirrorSettings{Name: "m", Source: "vendor", Target: "copies"})
		require.NoError(t, err)
		id, keeper := mirrorID(t, w, "m"), repo.MirrorMemories{DB: w.db}
		require.NoError(t, keeper.Claim(t.Context(), id, "", "holder"))
		require.NoError(t, w.db.Write(t.Context(), func(ctx context.Context, tx db.Tx) error {
			_, err := tx.ExecContext(ctx, `UPDATE mirror_memory SET body = '*' WHERE mirror_id = $1`, id)
			return err
		}))
		_, err = keeper.Load(t.Context(), id)
		require.ErrorIs(t, err, mirror.ErrDamaged)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = keeper.Load(ctx, id)
		require.Error(t, err)
		require.NotErrorIs(t, err, mirror.ErrDamaged)
	})
}

// TestMirrorLimit: an account has at most a thousand.
func TestMirrorLimit(t *testing.T) {
	w, owner := mirrorWorld(t, dbtest.Open(t, dbtest.SQLite(t)))
	require.NoError(t, w.db.Write(t.Context(), func(ctx context.Context, tx db.Tx) error {
		for i := range 1000 {
			_, err := tx.ExecContext(ctx, `INSERT INTO mirrors SELECT $1, id, $1, '', '', '{}', 1, 1, 1, 0, '' FROM users WHERE username = 'owner'`, fmt.Sprintf("m%d", i))
			if err != nil {
				return err
			}
		}
		return nil
	}))
	_, err := owner.Mirrors().Create(t.Context(), d6tpipe.MirrorSettings{Name: "m", Source: "vendor", Target: "copies"})
	require.ErrorIs(t, err, d6tpipe.ErrPermission)
	require.Contains(t, err.Error(), "at most 1000 mirrors")
}

// TestMirrorHistory: runs come in pages, the newest first.
func TestMirrorHistory(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, owner := mirrorWorld(t, d)
		_, err := owner.Mirrors().Create(t.Context(), d6tpipe.MirrorSettings{Name: "m", Source: "vendor", Target: "copies"})
		require.NoError(t, err)
		id, detail := mirrorID(t, w, "m"), `{"copied":1,"bytes":5,"unchanged":0}`
		require.NoError(t, w.db.Write(t.Context(), func(ctx context.Context, tx db.Tx) error {
			for i := range 120 {
				_, err := tx.ExecContext(ctx, `INSERT INTO runs (id, kind, subject, tick, state, attempt, lost, holder, lease_at, began_at, ended_at, error, detail)
					VALUES ($1, $2, $3, $4, 'done', 1, 0, 'secret-host', 0, 5, 6, '', $5)`, fmt.Sprintf("%08d", i), jobs.Mirror, id, i+1, detail)
				if err != nil {
					return err
				}
			}
			return nil
		}))
		var ids []string
		for run, err := range owner.MirrorRuns(t.Context(), "m") {
			require.NoError(t, err)
			ids = append(ids, run.ID)
			require.Equal(t, "m", run.Name)
			require.Equal(t, d6tpipe.RunDone, run.State)
			require.JSONEq(t, detail, string(run.Detail))
			require.Empty(t, run.Server, "that is for administrators")
		}
		require.Len(t, ids, 120)
		require.True(t, slices.IsSortedFunc(ids, func(a, b string) int { return strings.Compare(b, a) }))
		m, err := owner.Mirrors().Get(t.Context(), "m")
		require.NoError(t, err)
		require.Equal(t, "00000119", m.Last.ID)
		require.NoError(t, owner.Mirrors().Delete(t.Context(), "m"))
		_, err = owner.Mirrors().Get(t.Context(), "m")
		require.True(t, errors.Is(err, d6tpipe.ErrNotFound))
	})
}
