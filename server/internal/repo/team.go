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
)

// team is a group of users to whom things can be granted at once. Its name is
// organisation/team; the organisation is whose its first team is.
type team struct{ id, name, owner string }

// A Team is a group as the API shows it.
type Team struct {
	Name  string `json:"name"`
	Owner string `json:"owner"`
}

// A Member belongs to a group. An address that no account has is an invitation.
type Member struct {
	Username string `json:"username,omitempty"`
	Email    string `json:"email,omitempty"`
	Role     string `json:"role"` // member, admin (who may change the members), revoke
}

// teams lists those that the caller owns or belongs to.
func (s *session) teams(ctx context.Context, tx db.Tx) (all []json.RawMessage, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT t.name, u.username FROM teams t JOIN users u ON u.id = t.owner_id
		WHERE t.owner_id = $1 OR t.id IN (SELECT team_id FROM members WHERE member = 'user:' || $1) ORDER BY t.name`, s.user.id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var t Team
		if err := rows.Scan(&t.Name, &t.Owner); err != nil {
			return nil, err
		}
		raw, err := json.Marshal(t)
		if err != nil {
			return nil, err
		}
		all = append(all, raw)
	}
	return all, rows.Err()
}

// teamOf returns a team that the caller owns or belongs to. Of others nobody is told
// whether they exist.
func (s *session) teamOf(ctx context.Context, tx db.Tx, name string) (t team, err error) {
	err = tx.QueryRowContext(ctx, `SELECT id, name, owner_id FROM teams
		WHERE name = $2 AND (owner_id = $1 OR id IN (SELECT team_id FROM members WHERE member = 'user:' || $1))`, s.user.id, name).
		Scan(&t.id, &t.name, &t.owner)
	if errors.Is(err, sql.ErrNoRows) {
		return t, d6tpipe.ErrNotFound
	}
	return t, err
}

// administered is teamOf for those who may change the members.
func (s *session) administered(ctx context.Context, tx db.Tx, name string) (team, error) {
	t, err := s.teamOf(ctx, tx, name)
	if err != nil || t.owner == s.user.id {
		return t, err
	}
	admin, err := lookup(ctx, tx, `SELECT member FROM members WHERE team_id = $2 AND member = 'user:' || $1 AND is_admin`, s.user.id, t.id)
	if err == nil && admin == "" {
		err = d6tpipe.ErrPermission
	}
	return t, err
}

func (s *session) team(ctx context.Context, tx db.Tx, name string) (json.RawMessage, error) {
	t, err := s.teamOf(ctx, tx, name)
	if err != nil {
		return nil, err
	}
	owner, err := lookup(ctx, tx, `SELECT username FROM users WHERE id = $1`, t.owner)
	if err != nil {
		return nil, err
	}
	return json.Marshal(Team{t.name, owner})
}

func (s *session) addTeam(ctx context.Context, tx db.Tx, in json.RawMessage) (json.RawMessage, error) {
	var form Team
	if json.Unmarshal(in, &form) != nil {
		return nil, d6tpipe.ErrInvalid
	}
	organisation, rest, _ := strings.Cut(form.Name, "/")
	if !catalog.IsName(organisation) || !catalog.IsName(rest) {
		return nil, &d6tpipe.FieldError{Field: "name", Reason: "A group's name is organisation/team; only alphanumeric characters and hyphens are allowed in both."}
	}
	foreign, err := lookup(ctx, tx, `SELECT name FROM teams WHERE owner_id <> $1 AND substr(name, 1, $3) = $2`, s.user.id, organisation+"/", len(organisation)+1)
	if err != nil {
		return nil, err
	}
	if foreign != "" {
		return nil, taken("name")
	}
	t := team{newID(), form.Name, s.user.id}
	result, err := tx.ExecContext(ctx, `INSERT INTO teams (id, name, owner_id, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`, t.id, t.name, t.owner, s.now())
	if err != nil {
		return nil, err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return nil, errors.Join(err, taken("name"))
	}
	if err := s.note(ctx, tx, s.user, event{action: "POST", kind: "groups", name: t.name, record: t.id, owner: t.owner}); err != nil {
		return nil, err
	}
	return json.Marshal(Team{t.name, s.user.name})
}

func (s *session) removeTeam(ctx context.Context, tx db.Tx, name string) error {
	t, err := s.teamOf(ctx, tx, name)
	switch {
	case err != nil:
		return err
	case t.owner != s.user.id:
		return d6tpipe.ErrPermission
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM grants WHERE grantee = $1`, "group:"+t.id); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM teams WHERE id = $1`, t.id); err != nil {
		return err
	}
	return s.note(ctx, tx, s.user, event{action: "DELETE", kind: "groups", name: t.name, record: t.id, owner: t.owner})
}

func (s *session) members(ctx context.Context, tx db.Tx, name string) (all []json.RawMessage, err error) {
	t, err := s.teamOf(ctx, tx, name)
	if err != nil {
		return nil, err
	}
	rows, err := tx.QueryContext(ctx, `SELECT m.member, m.is_admin, COALESCE(u.username, '') FROM members m
		LEFT JOIN users u ON u.id = substr(m.member, 6) AND m.member LIKE 'user:%' WHERE m.team_id = $1 ORDER BY m.member`, t.id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var member string
		var admin bool
		var m Member
		if err := rows.Scan(&member, &admin, &m.Username); err != nil {
			return nil, err
		}
		if m.Role = "member"; admin {
			m.Role = "admin"
		}
		if email, ok := strings.CutPrefix(member, "email:"); ok {
			m.Email = email
		}
		raw, err := json.Marshal(m)
		if err != nil {
			return nil, err
		}
		all = append(all, raw)
	}
	return all, rows.Err()
}

// addMember takes somebody in, or out.
func (s *session) addMember(ctx context.Context, tx db.Tx, name string, in json.RawMessage) (json.RawMessage, error) {
	t, err := s.administered(ctx, tx, name)
	if err != nil {
		return nil, err
	}
	var m Member
	if json.Unmarshal(in, &m) != nil {
		return nil, d6tpipe.ErrInvalid
	}
	m.Email = strings.ToLower(strings.TrimSpace(m.Email))
	switch m.Role {
	case "":
		m.Role = "member"
	case "member", "admin", "revoke":
	default:
		return nil, &d6tpipe.FieldError{Field: "role", Reason: "Roles in a group are member, admin and revoke."}
	}
	if (m.Username == "") == (m.Email == "") || m.Username == d6tpipe.Public {
		return nil, &d6tpipe.FieldError{Field: "username", Reason: "Name the member by exactly one of username and email."}
	}
	member, err := s.grantee(ctx, tx, d6tpipe.Permission{Username: m.Username, Email: m.Email})
	if err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM members WHERE team_id = $1 AND member = $2`, t.id, member); err != nil {
		return nil, err
	}
	if m.Role != "revoke" {
		if _, err := tx.ExecContext(ctx, `INSERT INTO members (team_id, member, is_admin) VALUES ($1, $2, $3)`, t.id, member, m.Role == "admin"); err != nil {
			return nil, err
		}
	}
	if err := s.note(ctx, tx, s.user, event{action: "member", kind: "groups", name: t.name, record: t.id, owner: t.owner,
		detail: fmt.Sprintf("%s %s", m.Role, m.Username+m.Email)}); err != nil {
		return nil, err
	}
	return json.Marshal(m)
}
