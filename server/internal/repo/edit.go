package repo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/internal/jsonfile"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/jobs"
)

// refs are the names in a record that stand for others, and what says that the server
// keeps the files.
type refs struct {
	Name     string           `json:"name"`
	Protocol d6tpipe.Protocol `json:"protocol"`
	Parent   *string          `json:"parent"`
	Remote   *string          `json:"remote"`
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// edit creates, replaces or updates a record.
func (s *session) edit(ctx context.Context, tx db.Tx, verb catalog.Verb, r resource, in json.RawMessage) (json.RawMessage, error) {
	var said refs
	if len(in) > 0 && json.Unmarshal(in, &said) != nil {
		said = refs{} // the rules say better what is wrong
	}
	x := &row{id: newID(), kind: r.kind, owner: s.user.id}
	f := family{}
	if verb != catalog.Create {
		var err error
		if x, _, err = s.need(ctx, tx, r.kind, r.name, administers); err != nil {
			return nil, err
		}
		if err := f.add(ctx, tx, x); err != nil {
			return nil, err
		}
	}
	up, err := s.above(ctx, tx, x, said)
	if err != nil {
		return nil, err
	}
	if up != nil {
		if err := s.adopt(ctx, tx, verb, x, up); err != nil {
			return nil, err
		}
		if err := f.add(ctx, tx, up); err != nil {
			return nil, err
		}
	}
	if in, err = s.manage(ctx, tx, x, verb, said, in); err != nil {
		return nil, err
	}
	return s.apply(ctx, tx, change{verb: verb, row: x, family: f, up: up, said: said, in: in})
}

// above returns the record that x is to inherit from, if the request names one.
// Who cannot see it is told that there is none.
func (s *session) above(ctx context.Context, tx db.Tx, x *row, said refs) (*row, error) {
	if x.kind != catalog.Pipes {
		return nil, nil
	}
	for _, ref := range []struct {
		field, kind, name string
		need              rank
	}{
		{"parent", catalog.Pipes, text(said.Parent), administers},
		{"remote", catalog.Remotes, text(said.Remote), reads},
	} {
		if ref.name == "" {
			continue
		}
		up, err := find(ctx, tx, ref.kind, ref.name)
		if errors.Is(err, d6tpipe.ErrNotFound) || err == nil && up.id == x.parent {
			continue // what is missing the rules say; what was so stays so
		}
		if err != nil {
			return nil, err
		}
		has, err := s.rank(ctx, tx, up.id)
		switch {
		case err != nil:
			return nil, err
		case has < reads:
			return nil, &d6tpipe.FieldError{Field: ref.field, Reason: fmt.Sprintf("Object with name=%s does not exist.", ref.name)}
		case has < ref.need:
			return nil, refusal(403, fmt.Sprintf("Only who administers %s can put pipes below it.", ref.name))
		}
		return up, nil
	}
	return nil, nil
}

// adopt makes x belong to whom its new parent belongs to: who may do what with a
// family is decided in one place. Only who owns a pipe can give it away like that.
func (s *session) adopt(ctx context.Context, tx db.Tx, verb catalog.Verb, x, up *row) error {
	if up.kind != catalog.Pipes || x.owner == up.owner {
		return nil
	}
	if verb != catalog.Create {
		if has, err := s.rank(ctx, tx, x.id); err != nil || has < owns {
			return errors.Join(err, refusal(403, fmt.Sprintf("Only its owner can put %s below %s, which is somebody else's.", x.name, up.name)))
		}
		if err := s.give(ctx, tx, x, x.owner, up.owner); err != nil {
			return err
		}
	}
	x.owner = up.owner
	return nil
}

// A change is an edit whose parts were looked up.
type change struct {
	verb   catalog.Verb
	row    *row
	family family
	up     *row // what the record is to inherit from, if that changes
	said   refs
	in     json.RawMessage
}

// apply lets the rules make the record, and keeps it.
func (s *session) apply(ctx context.Context, tx db.Tx, c change) (json.RawMessage, error) {
	rules, err := s.rules(c.family)
	if err != nil {
		return nil, err
	}
	shown, err := rules.Do(ctx, c.verb, c.row.kind, c.row.name, c.in)
	if err != nil {
		return nil, err
	}
	name := c.row.name
	if c.verb == catalog.Create {
		if name, err = nameOf(shown); err != nil {
			return nil, err
		}
	}
	stored, err := rules.Stored(c.row.kind, name)
	if err != nil {
		return nil, err
	}
	x := *c.row
	x.name = name
	if err := s.take(ctx, tx, &x, stored, shown, c); err != nil {
		return nil, err
	}
	if err := s.save(ctx, tx, c.verb, &x); err != nil {
		return nil, err
	}
	if err := s.refresh(ctx, tx, &x); err != nil {
		return nil, err
	}
	if err := s.note(ctx, tx, s.user, event{action: string(c.verb), kind: x.kind, name: x.name, record: x.id, owner: x.owner}); err != nil {
		return nil, err
	}
	has, err := s.rank(ctx, tx, x.id)
	if err != nil {
		return nil, err
	}
	return s.show(ctx, &x, has)
}

func nameOf(record json.RawMessage) (string, error) {
	var said refs
	err := json.Unmarshal(record, &said)
	return said.Name, err
}

// take fills in a row with what the rules made.
func (s *session) take(ctx context.Context, tx db.Tx, x *row, stored, shown json.RawMessage, c change) (err error) {
	if x.body, x.sealed, err = s.split(ctx, tx, x.id, stored); err != nil {
		return err
	}
	if x.shown, err = withoutSecrets(shown); err != nil {
		return err
	}
	var now refs
	if err := json.Unmarshal([]byte(x.body), &now); err != nil {
		return err
	}
	switch {
	case text(now.Parent) == "" && text(now.Remote) == "":
		x.parent = ""
	case c.up != nil:
		x.parent = c.up.id
	}
	return nil
}

// split takes the credentials out of a record and seals them.
func (r *Repo) split(ctx context.Context, tx db.Tx, id string, stored json.RawMessage) (body, sealed string, err error) {
	fields, err := jsonfile.Parse(stored)
	if err != nil {
		return "", "", err
	}
	sets := map[string]json.RawMessage{}
	for _, field := range secrets {
		if set, ok := fields.Get(field); ok {
			sets[field] = set
			fields.Delete(field)
		}
	}
	if len(sets) > 0 {
		plain, err := json.Marshal(sets)
		if err != nil {
			return "", "", err
		}
		if sealed, err = r.seal(ctx, tx, plain, secretsPlace(id)); err != nil {
			return "", "", err
		}
	}
	raw, err := fields.MarshalJSON()
	return string(raw), sealed, err
}

// withoutSecrets is what the database has of an answer.
func withoutSecrets(shown json.RawMessage) (string, error) {
	fields, err := jsonfile.Parse(shown)
	if err != nil {
		return "", err
	}
	for _, field := range append([]string{"role"}, secrets...) {
		fields.Delete(field)
	}
	raw, err := fields.MarshalJSON()
	return string(raw), err
}

func (s *session) save(ctx context.Context, tx db.Tx, verb catalog.Verb, x *row) error {
	if verb == catalog.Create {
		result, err := tx.ExecContext(ctx, `INSERT INTO records (`+columns+`, created_at, updated_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1, $10, $10) ON CONFLICT DO NOTHING`,
			x.id, x.kind, x.name, x.owner, x.parent, x.managed, x.body, x.sealed, x.shown, s.now())
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, taken("name"))
		}
		return nil
	}
	_, err := tx.ExecContext(ctx, `UPDATE records SET parent_id = $2, body = $3, sealed = $4, shown = $5, revision = revision + 1, updated_at = $6 WHERE id = $1`,
		x.id, x.parent, x.body, x.sealed, x.shown, s.now())
	return err
}

// below returns the pipes right below a record.
func below(ctx context.Context, tx db.Tx, id string) (all []*row, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT `+columns+` FROM records WHERE parent_id = $1 ORDER BY id`, id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		x, err := scanRow(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, x)
	}
	return all, rows.Err()
}

// refresh makes anew what is shown of the pipes below x, which inherit from it. What
// is cached of their files may be of another place now.
func (s *session) refresh(ctx context.Context, tx db.Tx, x *row) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM listings WHERE record_id = $1`, x.id); err != nil {
		return err
	}
	children, err := below(ctx, tx, x.id)
	if err != nil {
		return err
	}
	for _, child := range children {
		f := family{}
		if err := f.add(ctx, tx, child); err != nil {
			return err
		}
		rules, err := s.rules(f)
		if err != nil {
			return err
		}
		shown, err := rules.Do(ctx, catalog.Get, child.kind, child.name, nil)
		if err != nil {
			return err
		}
		if child.shown, err = withoutSecrets(shown); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE records SET shown = $2 WHERE id = $1`, child.id, child.shown); err != nil {
			return err
		}
		if err := s.refresh(ctx, tx, child); err != nil {
			return err
		}
	}
	return nil
}

// delete removes a record. What names it stays, and is told that it is gone.
func (s *session) delete(ctx context.Context, tx db.Tx, r resource) error {
	x, _, err := s.need(ctx, tx, r.kind, r.name, administers)
	if err != nil {
		return err
	}
	if err := s.forgetManaged(ctx, tx, `id = $1`, x.id); err != nil {
		return err
	}
	if err := jobs.Remove(ctx, tx, jobs.Scan, x.id); err != nil {
		return err
	}
	if err := removeHooks(ctx, tx, `r.id = $1`, x.id); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM records WHERE id = $1`, x.id); err != nil {
		return err
	}
	if err := s.refresh(ctx, tx, x); err != nil {
		return err
	}
	return s.note(ctx, tx, s.user, event{action: string(catalog.Delete), kind: x.kind, name: x.name, record: x.id, owner: x.owner})
}
