package repo

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/jobs"
)

// permissions lists what is granted on a record, to those who administer it.
func (s *session) permissions(ctx context.Context, tx db.Tx, r resource) (all []json.RawMessage, err error) {
	x, _, err := s.need(ctx, tx, r.kind, r.name, administers)
	if err != nil {
		return nil, err
	}
	rows, err := tx.QueryContext(ctx, `SELECT g.grantee, g.role, g.expires, COALESCE(u.username, ''), COALESCE(t.name, '')
		FROM grants g LEFT JOIN users u ON u.id = substr(g.grantee, 6) AND g.grantee LIKE 'user:%'
			LEFT JOIN teams t ON t.id = substr(g.grantee, 7) AND g.grantee LIKE 'group:%'
		WHERE g.record_id = $1 ORDER BY g.grantee`, x.id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var grantee, expires, username, team string
		var has rank
		if err := rows.Scan(&grantee, &has, &expires, &username, &team); err != nil {
			return nil, err
		}
		p := d6tpipe.Permission{Username: username, Group: team, Role: has.granted()}
		switch kind, rest, _ := strings.Cut(grantee, ":"); kind {
		case "email":
			p.Email = rest
		case d6tpipe.Public:
			p.Username = d6tpipe.Public
		}
		if err := p.Expires.UnmarshalText([]byte(expires)); err != nil {
			return nil, err
		}
		raw, err := json.Marshal(p)
		if err != nil {
			return nil, err
		}
		all = append(all, raw)
	}
	return all, rows.Err()
}

// granted is the role that was granted.
func (r rank) granted() d6tpipe.Role {
	for role, rank := range ranks {
		if rank == r {
			return role
		}
	}
	return ""
}

// grant gives or takes back a permission. It takes the place of the former one.
func (s *session) grant(ctx context.Context, tx db.Tx, r resource, in json.RawMessage) (json.RawMessage, error) {
	x, _, err := s.need(ctx, tx, r.kind, r.name, administers)
	if err != nil {
		return nil, err
	}
	var p d6tpipe.Permission
	if err := json.Unmarshal(in, &p); err != nil {
		if field := new(d6tpipe.FieldError); errors.As(err, &field) {
			return nil, field
		}
		return nil, d6tpipe.ErrInvalid
	}
	p.Email = strings.ToLower(strings.TrimSpace(p.Email))
	if err := p.Validate(); err != nil {
		return nil, err
	}
	grantee, err := s.grantee(ctx, tx, p)
	if err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM grants WHERE record_id = $1 AND grantee = $2`, x.id, grantee); err != nil {
		return nil, err
	}
	if p.Role != d6tpipe.RoleRevoke {
		if err := s.checkFilters(ctx, tx, x, p); err != nil {
			return nil, err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO grants (record_id, grantee, role, expires, granted_by, created_at) VALUES ($1, $2, $3, $4, $5, $6)`,
			x.id, grantee, int64(ranks[p.Role]), p.Expires.String(), s.user.id, s.now()); err != nil {
			return nil, err
		}
	}
	to := p.Username + p.User + p.Email + p.Group
	if err := s.note(ctx, tx, s.user, event{action: "grant", kind: x.kind, name: x.name, record: x.id, owner: x.owner,
		detail: strings.TrimSpace(fmt.Sprintf("%s to %s %s", p.Role, to, p.Expires))}); err != nil {
		return nil, err
	}
	return json.Marshal(p)
}

// grantee is whom a permission is for: a user, also when named by the e-mail
// address, an address that nobody has yet, a team, or everybody.
func (s *session) grantee(ctx context.Context, tx db.Tx, p d6tpipe.Permission) (string, error) {
	name := p.Username + p.User
	switch {
	case name == d6tpipe.Public:
		return d6tpipe.Public, nil
	case name != "":
		id, err := lookup(ctx, tx, `SELECT id FROM users WHERE username = $1`, name)
		if err == nil && id == "" {
			err = noObject("username", name)
		}
		return "user:" + id, err
	case p.Group != "":
		t, err := s.teamOf(ctx, tx, p.Group)
		if errors.Is(err, d6tpipe.ErrNotFound) || errors.Is(err, d6tpipe.ErrPermission) {
			err = noObject("group", p.Group)
		}
		return "group:" + t.id, err
	}
	if !emails().MatchString(p.Email) {
		return "", &d6tpipe.FieldError{Field: "email", Reason: "Enter a valid email address."}
	}
	id, err := lookup(ctx, tx, `SELECT id FROM users WHERE email = $1`, p.Email)
	if id == "" {
		return "email:" + p.Email, err
	}
	return "user:" + id, err
}

// lookup returns one text, "" when there is none.
func lookup(ctx context.Context, tx db.Tx, query string, args ...any) (string, error) {
	var found string
	err := tx.QueryRowContext(ctx, query, args...).Scan(&found)
	if errors.Is(err, sql.ErrNoRows) || errors.Is(err, db.ErrArgument) {
		return "", nil
	}
	return found, err
}

// checkFilters refuses to share a filtered child where only stored credentials could
// be handed out: they open the parent's files, too.
func (s *session) checkFilters(ctx context.Context, tx db.Tx, x *row, p d6tpipe.Permission) error {
	if p.AcceptUnfiltered || s.o.ShareUnfiltered || x.kind != catalog.Pipes || x.parent == "" {
		return nil
	}
	var shown d6tpipe.PipeSettings
	if err := json.Unmarshal([]byte(x.shown), &shown); err != nil {
		return err
	}
	if shown.Parent == "" || shown.Options.Include == "" && shown.Options.Exclude == "" && len(shown.Filters) == 0 {
		return nil
	}
	f := family{}
	if err := f.add(ctx, tx, x); err != nil {
		return err
	}
	if _, managed := f.managedRoot(x, &shown); managed {
		return nil
	}
	return &d6tpipe.FieldError{Field: "accept_unfiltered", Reason: fmt.Sprintf(
		"The credentials of %s open more files than its filters let through; share it with accept_unfiltered if that is meant, or keep the files in managed storage.", x.name)}
}

// transfer gives a record, and the pipes that inherit from it, to somebody else.
func (s *session) transfer(ctx context.Context, tx db.Tx, r resource, in json.RawMessage) (json.RawMessage, error) {
	x, _, err := s.need(ctx, tx, r.kind, r.name, owns)
	if err != nil {
		return nil, err
	}
	var to struct {
		Username string `json:"username"`
	}
	if json.Unmarshal(in, &to) != nil || to.Username == "" {
		return nil, &d6tpipe.FieldError{Field: "username", Reason: "This field is required."}
	}
	id, err := lookup(ctx, tx, `SELECT id FROM users WHERE username = $1`, to.Username)
	switch {
	case err != nil:
		return nil, err
	case id == "":
		return nil, noObject("username", to.Username)
	case x.kind == catalog.Pipes && x.parent != "":
		if up, err := byID(ctx, tx, x.parent); err == nil && up.kind == catalog.Pipes {
			return nil, refusal(400, fmt.Sprintf("%s belongs to whom its parent %s belongs to; transfer that.", x.name, up.name))
		} else if err != nil && !errors.Is(err, d6tpipe.ErrNotFound) {
			return nil, err
		}
	}
	if err := s.give(ctx, tx, x, x.owner, id); err != nil {
		return nil, err
	}
	if err := s.note(ctx, tx, s.user, event{action: "transfer", kind: x.kind, name: x.name, record: x.id, owner: x.owner, detail: "to " + to.Username}); err != nil {
		return nil, err
	}
	return json.Marshal(to)
}

// give makes a record another one's, with all below it that was the old owner's.
func (r *Repo) give(ctx context.Context, tx db.Tx, x *row, from, to string) error {
	if x.owner != from {
		return nil
	}
	if _, err := tx.ExecContext(ctx, `UPDATE records SET owner_id = $2 WHERE id = $1`, x.id, to); err != nil {
		return err
	}
	if err := jobs.Give(ctx, tx, jobs.Scan, x.id, to); err != nil {
		return err
	}
	if err := giveHooks(ctx, tx, x.id, to, r.o.Now()); err != nil {
		return err
	}
	children, err := below(ctx, tx, x.id)
	if err != nil || x.kind == catalog.Remotes { // the pipes on a remote may be anybody's
		return err
	}
	for _, child := range children {
		if err := r.give(ctx, tx, child, from, to); err != nil {
			return err
		}
	}
	return nil
}
