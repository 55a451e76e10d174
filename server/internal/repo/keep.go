package repo

import (
	"context"
	"errors"
	"iter"
	"strings"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/vault"
)

// MasterKey is under which name the database has the sealed secret of the embedded
// storage.
const MasterKey = "storage master"

// MasterPlace is where that secret belongs.
func MasterPlace() vault.Place { return vault.Place{Record: MasterKey, Field: "secret"} }

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

// FirstMeta remembers a value, unless somebody was faster, and returns what is
// remembered now.
func FirstMeta(ctx context.Context, d *db.DB, key, value string) (first string, err error) {
	err = d.Write(ctx, func(ctx context.Context, tx db.Tx) (err error) {
		if _, err := tx.ExecContext(ctx, `INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT DO NOTHING`, key, value); err != nil {
			return err
		}
		first, err = lookup(ctx, tx, `SELECT value FROM meta WHERE key = $1`, key)
		return err
	})
	return first, err
}

// SetMeta remembers a value in the place of the former one.
func (r *Repo) SetMeta(ctx context.Context, key, value string) error {
	return r.o.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value`, key, value)
		return err
	})
}

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

// resealed is a column of values that are sealed, and where each belongs.
type resealed struct {
	list, update string
	place        func(id string) vault.Place
}

var allSealed = []resealed{
	{`SELECT id, token_sealed FROM users WHERE id > $1 ORDER BY id LIMIT $2`,
		`UPDATE users SET token_sealed = $3 WHERE id = $1 AND token_sealed = $2`, tokenPlace},
	{`SELECT id, sealed FROM records WHERE sealed <> '' AND id > $1 ORDER BY id LIMIT $2`,
		`UPDATE records SET sealed = $3 WHERE id = $1 AND sealed = $2`, secretsPlace},
	{`SELECT key, value FROM meta WHERE key = '` + MasterKey + `' AND key > $1 ORDER BY key LIMIT $2`,
		`UPDATE meta SET value = $3 WHERE key = $1 AND value = $2`, func(string) vault.Place { return MasterPlace() }},
}

// Reseal seals with the newest key what is sealed with an older one, and returns how
// many values that were. It can be interrupted and called again, and others may
// write meanwhile: a value that has changed since it was read is left to them.
func (r *Repo) Reseal(ctx context.Context) (n int, err error) {
	for _, column := range allSealed {
		for after := ""; ; {
			last, changed, err := r.resealPage(ctx, column, after)
			n += changed
			if err != nil {
				return n, err
			}
			if after = last; after == "" {
				break
			}
		}
	}
	return n, nil
}

// Sealed are all values that are sealed, for who wants to know with which keys.
func (r *Repo) Sealed(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, column := range allSealed {
			for after := ""; ; {
				var values [][2]string
				err := r.o.DB.Read(ctx, func(ctx context.Context, tx db.Tx) (err error) {
					values, err = pairs(ctx, tx, column.list, after)
					return err
				})
				if err != nil {
					yield("", err)
					return
				}
				for _, v := range values {
					after = v[0]
					if !yield(v[1], nil) {
						return
					}
				}
				if len(values) == 0 {
					break
				}
			}
		}
	}
}

// resealPage works on what follows after, and returns the last id, "" at the end.
func (r *Repo) resealPage(ctx context.Context, column resealed, after string) (last string, n int, err error) {
	err = r.o.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		last, n = "", 0
		values, err := pairs(ctx, tx, column.list, after)
		if err != nil {
			return err
		}
		for _, v := range values {
			last = v[0]
			sealed, changed, err := r.o.Keys.Reseal(v[1], column.place(v[0]))
			if err != nil {
				return errors.Join(errors.New("sealed value of "+v[0]), err)
			}
			if !changed {
				continue
			}
			if _, err := tx.ExecContext(ctx, column.update, v[0], v[1], sealed); err != nil {
				return err
			}
			n++
		}
		return nil
	})
	return last, n, err
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
