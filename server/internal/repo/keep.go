package repo

import (
	"context"
	"strings"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/db"
)

// Meta returns what the database remembers under a name, "" when it does not.
func Meta(ctx context.Context, d *db.DB, key string) (value string, err error) {
	err = d.Read(ctx, func(ctx context.Context, tx db.Tx) (err error) {
		value, err = lookup(ctx, tx, `SELECT value FROM meta WHERE key = $1`, key)
		return err
	})
	return value, err
}

// Meta is the function of this name, of the repo's database.
func (r *Repo) Meta(ctx context.Context, key string) (string, error) { return Meta(ctx, r.o.DB, key) }

// subject names who got keys, and for what.
func subject(u user, record string) string { return u.id + " " + record }

// StillMay reports whether who got keys with this subject may still do what they are
// for. A user or a record that is gone may do nothing.
func (r *Repo) StillMay(ctx context.Context, subject string, role d6tpipe.Role) (ok bool, err error) {
	if subject == ServerSubject { // nobody else can have keys with it: they are signed
		return role == d6tpipe.RoleRead, nil
	}
	id, record, _ := strings.Cut(subject, " ")
	err = r.o.DB.Read(ctx, func(ctx context.Context, tx db.Tx) error {
		s := &session{Repo: r, user: user{id: id}}
		if id != "" {
			name, err := lookup(ctx, tx, `SELECT username FROM users WHERE id = $1`, id)
			if err != nil || name == "" {
				return err
			}
			s.user.name = name
		}
		has, err := s.rank(ctx, tx, record)
		ok = has >= ranks[role] && ranks[role] > nothing
		return err
	})
	return ok, err
}

// page is how many values are read at a time.
const page = 500

func pairs(ctx context.Context, tx db.Tx, query, after string) (all [][2]string, err error) {
	rows, err := tx.QueryContext(ctx, query, after, page)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var v [2]string
		if err := rows.Scan(&v[0], &v[1]); err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}
