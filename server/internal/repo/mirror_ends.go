package repo

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/listing"
)

// An end of a mirror is the pipe that it reads, or the one that it writes.
type end struct {
	field string // of the settings
	role  d6tpipe.Role
	may   string // what that allows, for people
}

var (
	sourceEnd = end{"source", d6tpipe.RoleRead, "read"}
	targetEnd = end{"target", d6tpipe.RoleWrite, "write to"}
)

func bothEnds(end) bool { return true }

// endsIn tells which ends a body names.
func endsIn(body json.RawMessage) func(end) bool {
	var fields map[string]json.RawMessage
	_ = json.Unmarshal(body, &fields) // who reads the settings tells what is wrong
	return func(e end) bool {
		_, said := fields[e.field]
		return said
	}
}

// aim looks up the pipes that the settings name, and refuses what cannot be mirrored. An
// end that was not said again is the pipe that it was: another one may have its name by now.
func (s *session) aim(ctx context.Context, tx db.Tx, m *mirror, said func(end) bool) error {
	for _, e := range []struct {
		end
		name string
		id   *string
	}{{sourceEnd, m.settings.Source, &m.source}, {targetEnd, m.settings.Target, &m.target}} {
		if !said(e.end) {
			continue
		}
		x, err := find(ctx, tx, catalog.Pipes, e.name)
		if errors.Is(err, d6tpipe.ErrNotFound) {
			return &d6tpipe.FieldError{Field: e.field, Reason: fmt.Sprintf("Object with name=%s does not exist.", e.name)}
		}
		if err != nil {
			return err
		}
		*e.id = x.id
	}
	from, to, err := s.ends(ctx, tx, m)
	if err == nil {
		err = openable(sourceEnd.field, from)
	}
	if err == nil {
		err = openable(targetEnd.field, to)
	}
	return err
}

// ends are both ends of a mirror, as far as the caller may use them.
func (s *session) ends(ctx context.Context, tx db.Tx, m *mirror) (from, to Whereabouts, err error) {
	if from, err = s.end(ctx, tx, sourceEnd, m.source, m.settings.Source); err != nil {
		return from, to, err
	}
	if to, err = s.end(ctx, tx, targetEnd, m.target, m.settings.Target); err != nil {
		return from, to, err
	}
	if to.Protocol == d6tpipe.ProtocolHTTP || to.Protocol == d6tpipe.ProtocolHTTPS {
		return from, to, &d6tpipe.FieldError{Field: targetEnd.field, Reason: "Nothing can be written to a web server."}
	}
	overlap, err := from.Overlaps(to.Storage)
	if err == nil && overlap {
		err = &d6tpipe.FieldError{Field: targetEnd.field, Reason: "Source and target overlap: what is copied would be copied again."}
	}
	return from, to, err
}

// end is one of them. Keys of managed storage are made for the caller, so that they end
// with the permission.
func (s *session) end(ctx context.Context, tx db.Tx, e end, id, name string) (w Whereabouts, err error) {
	x, err := byID(ctx, tx, id)
	if errors.Is(err, d6tpipe.ErrNotFound) {
		return w, &d6tpipe.FieldError{Field: e.field, Reason: fmt.Sprintf("Object with name=%s does not exist any more.", name)}
	}
	if err != nil {
		return w, err
	}
	has, err := s.rank(ctx, tx, id)
	if err != nil {
		return w, err
	}
	if has < ranks[e.role] {
		return w, refusal(http.StatusForbidden, fmt.Sprintf("You may not %s %s.", e.may, name))
	}
	h, err := s.usable(ctx, tx, x, e.role)
	if errors.Is(err, d6tpipe.ErrPermission) {
		return w, refusal(http.StatusForbidden, fmt.Sprintf("You may not %s the remote of %s, with whose credentials the server would do it.", e.may, name))
	}
	if err == nil {
		err = h.read()
	}
	if err != nil {
		return w, err
	}
	if w, err = s.whereabouts(ctx, h, e.role); err == nil {
		_, err = listing.View(w.Storage) // a folder is refused, and what cannot be opened
	}
	if errors.Is(err, d6tpipe.ErrUnsupported) || errors.Is(err, d6tpipe.ErrInvalid) {
		err = &d6tpipe.FieldError{Field: e.field, Reason: "The server cannot open its storage: " + err.Error()}
	}
	w.Grant.Subject = subject(s.user, id)
	return w, err
}

// A Mirror is one that is about to be run, or is.
type Mirror struct {
	ID       string
	Owner    string // the username
	Revision int64  // another one with each change
	Settings d6tpipe.MirrorSettings
	From, To Whereabouts
	Listed   listing.Pipe // the target; its View is "" when it cannot be listed
}

// Mirror looks up a mirror for a run: what its owner may do now is what it may do. There
// being none any more is [d6tpipe.ErrNotFound]; other errors that are for the owner match
// [d6tpipe.ErrPermission] or [d6tpipe.ErrInvalid].
func (r *Repo) Mirror(ctx context.Context, id string) (out Mirror, err error) {
	err = r.o.DB.Read(ctx, func(ctx context.Context, tx db.Tx) error {
		m, err := scanMirror(tx.QueryRowContext(ctx, `SELECT `+mirrorColumns+` FROM mirrors WHERE id = $1`, id))
		if err != nil {
			return err
		}
		s := &session{Repo: r}
		err = tx.QueryRowContext(ctx, `SELECT id, username, email, is_admin FROM users WHERE id = $1`, m.owner).
			Scan(&s.user.id, &s.user.name, &s.user.email, &s.user.admin)
		if errors.Is(err, sql.ErrNoRows) {
			return d6tpipe.ErrNotFound
		}
		if err != nil {
			return err
		}
		out = Mirror{ID: m.id, Owner: s.user.name, Revision: m.revision, Settings: m.settings}
		out.From, out.To, err = s.ends(ctx, tx, m)
		return err
	})
	if err != nil {
		return out, err
	}
	out.Listed, err = r.listedAs(out.To)
	if errors.Is(err, d6tpipe.ErrUnsupported) {
		out.Listed, err = listing.Pipe{}, nil
	}
	return out, err
}

// MirrorIDs are those of all mirrors.
func (r *Repo) MirrorIDs(ctx context.Context) (ids map[string]bool, err error) {
	err = r.o.DB.Query(ctx, func(rows *sql.Rows) error {
		ids = map[string]bool{}
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				return err
			}
			ids[id] = true
		}
		return rows.Err()
	}, `SELECT id FROM mirrors`)
	return ids, err
}
