package repo

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/jobs"
)

// mirrorsKind is what the audit log calls mirrors.
const mirrorsKind = "mirrors"

// maxMirrors is how many mirrors an account can have.
const maxMirrors = 1000

// A mirror as the database has it. Its settings hold none of what only an answer has.
type mirror struct {
	id, owner      string
	source, target string // ids of records, which may be gone
	settings       d6tpipe.MirrorSettings
	revision       int64
}

const mirrorColumns = `id, owner_id, source_id, target_id, body, revision`

func scanMirror(r interface{ Scan(...any) error }) (*mirror, error) {
	var m mirror
	var body string
	err := r.Scan(&m.id, &m.owner, &m.source, &m.target, &body, &m.revision)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, d6tpipe.ErrNotFound
	}
	if err == nil {
		err = json.Unmarshal([]byte(body), &m.settings)
	}
	return &m, err
}

// mirrors lists the caller's.
func (s *session) mirrors(ctx context.Context, tx db.Tx) (all []json.RawMessage, err error) {
	if !s.user.isKnown() {
		return nil, d6tpipe.ErrUnauthorized
	}
	found, err := mirrorsOf(ctx, tx, s.user.id)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(found))
	for i, m := range found {
		ids[i] = m.id
	}
	states, err := jobs.States(ctx, tx, jobs.Mirror, ids)
	if err != nil {
		return nil, err
	}
	for _, m := range found {
		raw, err := m.shown(states[m.id])
		if err != nil {
			return nil, err
		}
		all = append(all, raw)
	}
	return all, nil
}

func mirrorsOf(ctx context.Context, tx db.Tx, owner string) (all []*mirror, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT `+mirrorColumns+` FROM mirrors WHERE owner_id = $1 ORDER BY name`, owner)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		m, err := scanMirror(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, rows.Err()
}

// showMirror is a mirror with what has become of it.
func showMirror(ctx context.Context, tx db.Tx, m *mirror) (json.RawMessage, error) {
	state, err := jobs.Find(ctx, tx, jobs.Mirror, m.id)
	if err != nil {
		return nil, err
	}
	return m.shown(state)
}

func (m *mirror) shown(state jobs.State) (json.RawMessage, error) {
	shown := m.settings
	shown.Next, shown.Running, shown.Failures = timeOrNil(state.Next), state.Running, state.Failures
	if state.Last != nil {
		last := runOf(shown.Name, *state.Last)
		shown.Last = &last
	}
	return json.Marshal(shown)
}

// mirror makes, reads, changes, removes or runs one of the caller's. Those of others
// are not there.
func (s *session) mirror(ctx context.Context, tx db.Tx, verb catalog.Verb, r resource, in json.RawMessage) (json.RawMessage, error) {
	if !s.user.isKnown() {
		return nil, d6tpipe.ErrUnauthorized
	}
	if verb == catalog.Create && r.sub == "" {
		return s.createMirror(ctx, tx, in)
	}
	m, err := s.ownMirror(ctx, tx, r.name)
	if err != nil {
		return nil, err
	}
	switch {
	case r.sub == "runs" && verb == catalog.Create:
		return s.runMirror(ctx, tx, m, in)
	case r.sub != "":
		return nil, d6tpipe.ErrNotFound
	case verb == catalog.Get:
		return showMirror(ctx, tx, m)
	case verb == catalog.Delete:
		return nil, s.deleteMirror(ctx, tx, m)
	}
	return s.changeMirror(ctx, tx, verb, m, in)
}

func (s *session) ownMirror(ctx context.Context, tx db.Tx, name string) (*mirror, error) {
	return scanMirror(tx.QueryRowContext(ctx, `SELECT `+mirrorColumns+` FROM mirrors WHERE owner_id = $1 AND name = $2`, s.user.id, name))
}

func (s *session) createMirror(ctx context.Context, tx db.Tx, in json.RawMessage) (json.RawMessage, error) {
	m := &mirror{id: newID(), owner: s.user.id, revision: 1}
	if err := m.take(in, nil); err != nil {
		return nil, err
	}
	if err := s.aim(ctx, tx, m, bothEnds); err != nil {
		return nil, err
	}
	var n int64
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM mirrors WHERE owner_id = $1`, m.owner).Scan(&n); err != nil {
		return nil, err
	}
	if n >= maxMirrors {
		return nil, refusal(http.StatusForbidden, fmt.Sprintf("An account has at most %d mirrors; delete one that is not needed any more.", maxMirrors))
	}
	body, err := json.Marshal(m.settings)
	if err != nil {
		return nil, err
	}
	result, err := tx.ExecContext(ctx, `INSERT INTO mirrors (id, owner_id, name, source_id, target_id, body, revision, created_at, updated_at, force_at, force_run)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, 0, '') ON CONFLICT DO NOTHING`, m.id, m.owner, m.settings.Name, m.source, m.target, string(body), m.revision, s.now())
	if err != nil {
		return nil, err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return nil, cmp.Or(err, taken("name"))
	}
	return s.saved(ctx, tx, catalog.Create, m, true)
}

// changeMirror replaces settings, all of them or those that are named.
func (s *session) changeMirror(ctx context.Context, tx db.Tx, verb catalog.Verb, was *mirror, in json.RawMessage) (json.RawMessage, error) {
	m := *was
	var over *d6tpipe.MirrorSettings
	said := bothEnds
	if verb == catalog.Update {
		over, said = &was.settings, endsIn(in)
	}
	if err := m.take(in, over); err != nil {
		return nil, err
	}
	if m.settings.Name != was.settings.Name {
		return nil, &d6tpipe.FieldError{Field: "name", Reason: "A mirror keeps its name; make another one."}
	}
	sameEnds := m.settings.Source == was.settings.Source && m.settings.Target == was.settings.Target
	if verb == catalog.Update {
		sameEnds = !said(sourceEnd) && !said(targetEnd)
	}
	if !sameEnds || !m.settings.Paused { // to pause takes no right to anything
		if err := s.aim(ctx, tx, &m, said); err != nil {
			return nil, err
		}
	}
	moved := m.source != was.source || m.target != was.target
	if moved {
		if _, err := tx.ExecContext(ctx, `DELETE FROM mirror_memory WHERE mirror_id = $1`, m.id); err != nil {
			return nil, err
		}
	}
	body, err := json.Marshal(m.settings)
	if err != nil {
		return nil, err
	}
	m.revision++ // and who meant it by force, did so by other settings
	_, err = tx.ExecContext(ctx, `UPDATE mirrors SET source_id = $2, target_id = $3, body = $4, revision = $5, updated_at = $6, force_at = 0, force_run = '' WHERE id = $1`,
		m.id, m.source, m.target, string(body), m.revision, s.now())
	if err != nil {
		return nil, err
	}
	return s.saved(ctx, tx, verb, &m, moved)
}

// saved is what follows when a mirror was written. A run that is at work ends soon, since
// it is one of other settings, and is made up for.
func (s *session) saved(ctx context.Context, tx db.Tx, verb catalog.Verb, m *mirror, moved bool) (json.RawMessage, error) {
	schedule := m.settings.Schedule
	schedule.Paused = m.settings.Paused
	if err := jobs.Set(ctx, tx, jobs.Task{Kind: jobs.Mirror, Subject: m.id, Owner: m.owner, Schedule: schedule}, s.o.Now()); err != nil {
		return nil, inField("schedule", err)
	}
	state, err := jobs.Find(ctx, tx, jobs.Mirror, m.id)
	if err == nil && state.Running && !m.settings.Paused {
		err = jobs.Due(ctx, tx, jobs.Mirror, m.id, s.o.Now())
	}
	if err != nil {
		return nil, err
	}
	if err := s.noteMirror(ctx, tx, string(verb), m, moved); err != nil {
		return nil, err
	}
	return showMirror(ctx, tx, m)
}

// inField says that what is wrong with a field is a part of another one.
func inField(field string, err error) error {
	var wrong *d6tpipe.FieldError
	if errors.As(err, &wrong) {
		return &d6tpipe.FieldError{Field: field, Reason: wrong.Field + ": " + wrong.Reason, Kind: wrong.Kind}
	}
	return err
}

// noteMirror writes to the audit log. Who owns the pipes reads there who copies them.
func (s *session) noteMirror(ctx context.Context, tx db.Tx, action string, m *mirror, ends bool) error {
	about := m.settings.Source + " to " + m.settings.Target
	if err := s.note(ctx, tx, s.user, event{action: action, kind: mirrorsKind, name: m.settings.Name, record: m.id, owner: m.owner, detail: about}); err != nil || !ends {
		return err
	}
	for _, id := range []string{m.source, m.target} {
		x, err := byID(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := s.note(ctx, tx, s.user, event{action: "mirror", kind: x.kind, name: x.name, record: x.id, owner: x.owner, detail: about}); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) deleteMirror(ctx context.Context, tx db.Tx, m *mirror) error {
	if err := jobs.Remove(ctx, tx, jobs.Mirror, m.id); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM mirrors WHERE id = $1`, m.id); err != nil {
		return err
	}
	return s.noteMirror(ctx, tx, string(catalog.Delete), m, false)
}

// runMirror wants a run now. A right that is missing is told at once.
func (s *session) runMirror(ctx context.Context, tx db.Tx, m *mirror, in json.RawMessage) (json.RawMessage, error) {
	o, err := mirrorRunOptions(in)
	if err != nil {
		return nil, err
	}
	if o.Force && !m.settings.Delete {
		return nil, &d6tpipe.FieldError{Field: "force", Reason: "This mirror removes nothing; force is for one that does."}
	}
	if _, _, err := s.ends(ctx, tx, m); err != nil {
		return nil, err
	}
	if err := jobs.Due(ctx, tx, jobs.Mirror, m.id, s.o.Now()); err != nil {
		return nil, err
	}
	action := "run"
	if o.Force {
		action = "run by force"
		if err := forceNext(ctx, tx, m.id); err != nil {
			return nil, err
		}
	}
	if err := s.noteMirror(ctx, tx, action, m, false); err != nil {
		return nil, err
	}
	return showMirror(ctx, tx, m)
}

func mirrorRunOptions(in json.RawMessage) (o d6tpipe.MirrorRunOptions, err error) {
	if len(in) == 0 {
		return o, nil
	}
	return o, form{"force": {&o.Force, mustBool}}.read(in, "A run of a mirror")
}

// forceNext has the run that was asked for remove whatever it finds.
func forceNext(ctx context.Context, tx db.Tx, id string) error {
	state, err := jobs.Find(ctx, tx, jobs.Mirror, id)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE mirrors SET force_at = $2 WHERE id = $1`, id, state.Next.UnixMicro())
	return err
}

// Forced reports whether a run of a mirror may remove whatever it finds, which its owner
// has asked for: it and no later one, however often it is begun.
func (r *Repo) Forced(ctx context.Context, job jobs.Job) (forced bool, err error) {
	err = r.o.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE mirrors SET force_at = 0, force_run = $2 WHERE id = $1 AND force_at > 0 AND force_at <= $3`,
			job.Subject, job.RunID, job.Tick.UnixMicro())
		if err != nil {
			return err
		}
		run, err := lookup(ctx, tx, `SELECT force_run FROM mirrors WHERE id = $1`, job.Subject)
		forced = run == job.RunID
		return err
	})
	return forced, err
}

// ForceAgain has the run that goes on where this one was be forced as this one.
func (r *Repo) ForceAgain(ctx context.Context, job jobs.Job) error {
	return r.o.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE mirrors SET force_at = $3 WHERE id = $1 AND force_run = $2`, job.Subject, job.RunID, job.Tick.UnixMicro()+1)
		return err
	})
}

// mirrorRuns are what runs of a mirror did, the newest first.
func (s *session) mirrorRuns(ctx context.Context, tx db.Tx, r resource, page string) (all []json.RawMessage, err error) {
	if !s.user.isKnown() {
		return nil, d6tpipe.ErrUnauthorized
	}
	m, err := s.ownMirror(ctx, tx, r.name)
	if err != nil {
		return nil, err
	}
	q, err := runsQuery(page)
	if err != nil {
		return nil, err
	}
	q.Kind, q.Subject = jobs.Mirror, m.id
	found, err := jobs.Runs(ctx, tx, q)
	if err != nil {
		return nil, err
	}
	for _, run := range found {
		raw, err := json.Marshal(runOf(m.settings.Name, run))
		if err != nil {
			return nil, err
		}
		all = append(all, raw)
	}
	return all, nil
}

// take reads settings, over others if there are some.
func (m *mirror) take(in json.RawMessage, over *d6tpipe.MirrorSettings) (err error) {
	if over != nil {
		if in, err = overlay(over, in); err != nil {
			return err
		}
	}
	if m.settings, err = readMirror(in); err != nil {
		return err
	}
	return m.settings.Validate()
}

// readMirror reads settings. What a GET has besides may be sent back.
func readMirror(in json.RawMessage) (m d6tpipe.MirrorSettings, err error) {
	f := form{
		"name": {&m.Name, mustText}, "source": {&m.Source, mustText}, "target": {&m.Target, mustText},
		"schedule": {(*saidSchedule)(&m.Schedule), "an object"}, "paused": {&m.Paused, mustBool},
		"include": {&m.Include, mustText}, "exclude": {&m.Exclude, mustText},
		"merge": {&m.Merge, mustText}, "delete": {&m.Delete, mustBool}, "rate": {&m.Rate, "a number"},
	}
	return m, f.answered("next", "running", "failures", "last").read(in, "A mirror")
}
