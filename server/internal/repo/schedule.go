package repo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/jobs"
	"github.com/d6t/d6tpipe-go/server/internal/listing"
	"github.com/d6t/d6tpipe-go/server/internal/when"
)

var errNoSchedule = refusal(http.StatusNotFound, "This pipe has no schedule.")

// mostSchedules is how many pipes of one owner are scanned on schedules.
const mostSchedules = 10_000

// schedule is the schedule of a pipe's scans.
func (s *session) schedule(ctx context.Context, tx db.Tx, verb catalog.Verb, r resource, in json.RawMessage) (json.RawMessage, error) {
	x, _, err := s.need(ctx, tx, r.kind, r.name, r.needs(verb))
	if err != nil {
		return nil, err
	}
	switch verb {
	case catalog.Get:
		return s.scheduleOf(ctx, tx, x)
	case catalog.Replace, catalog.Update:
		return s.setSchedule(ctx, tx, x, verb, in)
	case catalog.Delete:
		return nil, s.removeSchedule(ctx, tx, x)
	}
	return nil, d6tpipe.ErrNotFound
}

func (s *session) scheduleOf(ctx context.Context, tx db.Tx, x *row) (json.RawMessage, error) {
	state, err := jobs.Find(ctx, tx, jobs.Scan, x.id)
	if errors.Is(err, d6tpipe.ErrNotFound) {
		return nil, errNoSchedule
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(stateOf(x.name, state))
}

// setSchedule gives a pipe a schedule, or changes what is named of the one that it has.
// What is new begins at once.
func (s *session) setSchedule(ctx context.Context, tx db.Tx, x *row, verb catalog.Verb, in json.RawMessage) (json.RawMessage, error) {
	was, err := jobs.Find(ctx, tx, jobs.Scan, x.id)
	isNew := errors.Is(err, d6tpipe.ErrNotFound)
	switch {
	case isNew && verb == catalog.Update:
		return nil, errNoSchedule
	case err != nil && !isNew:
		return nil, err
	case verb == catalog.Update:
		if in, err = overlay(was.Schedule, in); err != nil {
			return nil, err
		}
	}
	schedule, err := readSchedule(in)
	switch {
	case err != nil:
		return nil, err
	case schedule.Every == 0 && schedule.Cron == "":
		return nil, &d6tpipe.FieldError{Field: "every", Reason: "Give the time between two scans, every, or a cron expression, cron."}
	}
	if isNew || !schedule.Paused { // to pause asks nothing of the pipe
		place, err := s.scannable(ctx, tx, x)
		if err == nil {
			err = openable("pipe", place)
		}
		if err != nil {
			return nil, err
		}
	}
	if isNew {
		if err := s.roomForSchedule(ctx, tx, x.owner); err != nil {
			return nil, err
		}
	}
	if isNew || was.Schedule != schedule {
		if err := s.putSchedule(ctx, tx, x, schedule); err != nil {
			return nil, err
		}
	}
	return s.scheduleOf(ctx, tx, x)
}

// putSchedule writes a schedule that is another one than before.
func (s *session) putSchedule(ctx context.Context, tx db.Tx, x *row, schedule d6tpipe.Schedule) error {
	now := s.o.Now()
	if err := jobs.Set(ctx, tx, jobs.Task{Kind: jobs.Scan, Subject: x.id, Owner: x.owner, Schedule: schedule}, now); err != nil {
		return err
	}
	if !schedule.Paused {
		if err := jobs.Due(ctx, tx, jobs.Scan, x.id, now); err != nil {
			return err
		}
	}
	return s.note(ctx, tx, s.user, event{action: "schedule", kind: x.kind, name: x.name, record: x.id, owner: x.owner, detail: describe(schedule)})
}

func (s *session) roomForSchedule(ctx context.Context, tx db.Tx, owner string) error {
	n, err := jobs.Count(ctx, tx, jobs.Scan, owner)
	if err == nil && n >= mostSchedules {
		err = refusal(http.StatusForbidden, fmt.Sprintf("The owner of this pipe has %d schedules already, which is the most; delete some.", mostSchedules))
	}
	return err
}

func (s *session) removeSchedule(ctx context.Context, tx db.Tx, x *row) error {
	if _, err := s.scheduleOf(ctx, tx, x); err != nil {
		return err
	}
	if err := jobs.Remove(ctx, tx, jobs.Scan, x.id); err != nil {
		return err
	}
	return s.note(ctx, tx, s.user, event{action: "schedule", kind: x.kind, name: x.name, record: x.id, owner: x.owner, detail: "none"})
}

// describe is a schedule as the audit log has it.
func describe(schedule d6tpipe.Schedule) string {
	parts := []string{"every " + schedule.Every.String()}
	if schedule.Cron != "" {
		parts[0] = strings.TrimSpace("cron " + schedule.Cron + " " + schedule.TimeZone)
	}
	if schedule.Jitter != 0 {
		parts = append(parts, "jitter "+schedule.Jitter.String())
	}
	if schedule.Paused {
		parts = append(parts, "paused")
	}
	return strings.Join(parts, ", ")
}

// readSchedule reads a schedule, and refuses what cannot be meant. What a GET has
// besides may be sent back.
func readSchedule(in json.RawMessage) (schedule d6tpipe.Schedule, err error) {
	f := form{
		"every": {&schedule.Every, mustInterval}, "jitter": {&schedule.Jitter, mustInterval}, "paused": {&schedule.Paused, mustBool},
		"cron": {&schedule.Cron, mustText}, "time_zone": {&schedule.TimeZone, mustText},
	}
	if err := f.answered("name", "next", "running", "failures", "last").read(in, "A schedule"); err != nil {
		return schedule, err
	}
	return schedule, when.Check(schedule)
}

// scannable returns where the files of a pipe lie, and refuses one whose files the server
// cannot list, or not for its owner's sake.
func (r *Repo) scannable(ctx context.Context, tx db.Tx, x *row) (place Whereabouts, err error) {
	h := handout{row: x, family: family{}}
	if err := h.family.add(ctx, tx, x); err != nil {
		return place, err
	}
	if err := h.read(); err != nil {
		return place, err
	}
	if up := h.family[x.parent]; up != nil && up.kind == catalog.Remotes {
		owner := &session{Repo: r, user: user{id: x.owner}}
		has, err := owner.rank(ctx, tx, up.id)
		if err != nil {
			return place, err
		}
		if has < reads {
			return place, refusal(http.StatusForbidden, "The owner of this pipe may not read its remote.")
		}
	}
	if place, err = r.whereabouts(ctx, h, d6tpipe.RoleRead); err == nil {
		_, err = listing.View(place.Storage)
	}
	var field *d6tpipe.FieldError
	switch {
	case errors.As(err, &field) && field.Field == "key":
		return place, refusal(http.StatusBadRequest, "The settings of this pipe are encrypted with a key that the server has not got, so it cannot see the files.")
	case errors.Is(err, d6tpipe.ErrNotFound):
		return place, refusal(http.StatusBadRequest, "The remote or the parent of this pipe is gone.")
	case errors.Is(err, d6tpipe.ErrUnsupported):
		return place, refusal(http.StatusBadRequest, "The server cannot see the files of this pipe: a folder is another one on each machine. Schedules are for pipes on S3, SFTP, FTP, the web, or this server's own storage.")
	}
	return place, err
}

// openable refuses users' storage that cannot be opened whatever there is at the other end,
// since its settings or credentials are none. It connects to nothing. The field is that
// which named the pipe.
func openable(field string, w Whereabouts) error {
	if w.Managed {
		return nil
	}
	store, err := w.Open(d6tpipe.OpenOptions{Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.ErrUnsupported
	}})
	if err != nil {
		return &d6tpipe.FieldError{Field: field, Reason: "The server cannot open its storage: " + err.Error()}
	}
	return store.Close()
}

// MayBeScanned returns nil when the server may list the files of the pipe whose record
// has the id without being asked to. A refusal is a [*d6tpipe.StatusError], and
// [jobs.ErrGone] says that there is no such pipe any more.
func (r *Repo) MayBeScanned(ctx context.Context, id string) error {
	return r.o.DB.Read(ctx, func(ctx context.Context, tx db.Tx) error {
		x, err := byID(ctx, tx, id)
		if errors.Is(err, d6tpipe.ErrNotFound) {
			return jobs.ErrGone
		}
		if err != nil {
			return err
		}
		_, err = r.scannable(ctx, tx, x)
		return err
	})
}

// schedules lists those of the pipes that the caller may read.
func (s *session) schedules(ctx context.Context, tx db.Tx) ([]json.RawMessage, error) {
	if !s.user.isKnown() {
		return nil, d6tpipe.ErrUnauthorized
	}
	rows, err := tx.QueryContext(ctx, reachable, s.user.id, s.today(), catalog.Pipes)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found, err := readRanked(rows, catalog.Pipes)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(found))
	for i, x := range found {
		ids[i] = x.id
	}
	states, err := jobs.States(ctx, tx, jobs.Scan, ids)
	if err != nil {
		return nil, err
	}
	var all []json.RawMessage
	for _, x := range found {
		state, ok := states[x.id]
		if !ok {
			continue
		}
		raw, err := json.Marshal(stateOf(x.name, state))
		if err != nil {
			return nil, err
		}
		all = append(all, raw)
	}
	return all, nil
}

// stateOf is a task as the API shows it to those who may see what it is for.
func stateOf(name string, state jobs.State) d6tpipe.ScheduleState {
	shown := d6tpipe.ScheduleState{Schedule: state.Schedule, Name: name, Next: timeOrNil(state.Next), Running: state.Running, Failures: state.Failures}
	if state.Last != nil {
		last := runOf(name, *state.Last)
		shown.Last = &last
	}
	return shown
}
