package repo

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/internal/jsonfile"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/vault"
)

// secrets are the fields that are sealed, and never in the database's body of a
// record.
var secrets = []string{"credentials", "readCredentials", "writeCredentials"}

func secretsPlace(id string) vault.Place { return vault.Place{Record: id, Field: "credentials"} }

// records lists what the caller may read, by name.
func (s *session) records(ctx context.Context, kind string) ([]json.RawMessage, error) {
	found, err := s.reachable(ctx, kind)
	if err != nil {
		return nil, err
	}
	all := make([]json.RawMessage, len(found))
	for i, f := range found {
		if all[i], err = s.show(ctx, &f.row, s.capped(f.has)); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// A ranked record is one with what the caller may do with it.
type ranked struct {
	row
	has rank
}

// reachable returns the records of which the caller may read something, by name.
func (s *session) reachable(ctx context.Context, kind string) (found []ranked, err error) {
	err = s.o.DB.Query(ctx, func(rows *sql.Rows) (err error) {
		found, err = readRanked(rows, kind)
		return err
	}, reachable, s.user.id, s.today(), kind)
	return found, err
}

// readRanked reads the rows of the query [reachable], sorted by name.
func readRanked(rows *sql.Rows, kind string) (found []ranked, err error) {
	at := map[string]int{} // by id
	for rows.Next() {
		x := ranked{row: row{kind: kind}}
		if err := rows.Scan(&x.name, &x.id, &x.shown, &x.sealed, &x.managed, &x.has); err != nil {
			return nil, err
		}
		if i, again := at[x.id]; again {
			found[i].has = max(found[i].has, x.has)
			continue
		}
		at[x.id] = len(found)
		found = append(found, x)
	}
	slices.SortFunc(found, func(a, b ranked) int { return strings.Compare(a.name, b.name) })
	return found, rows.Err()
}

func (s *session) get(ctx context.Context, tx db.Tx, r resource) (json.RawMessage, error) {
	x, has, err := s.need(ctx, tx, r.kind, r.name, reads)
	if err != nil {
		return nil, err
	}
	return s.show(ctx, x, has)
}

// show is a record as who has a rank sees it: with a role when it is a pipe, and
// with the credentials that the first generation looks for in a record.
func (s *session) show(ctx context.Context, x *row, has rank) (json.RawMessage, error) {
	if x.kind == catalog.Pipes && (x.sealed == "" || !strings.Contains(x.shown, `"remote"`)) { // nearly all: no need to take it apart
		return splice(x.shown, `"role":"`+string(has.role())+`"`), nil
	}
	fields, err := jsonfile.Parse([]byte(x.shown))
	if err != nil {
		return nil, fmt.Errorf("record %s is damaged: %w", x.id, err)
	}
	if x.kind == catalog.Pipes {
		fields.Set("role", json.RawMessage(`"`+string(has.role())+`"`))
	}
	sets, err := s.sets(ctx, x, fields)
	if err != nil {
		return nil, err
	}
	for _, field := range []string{"readCredentials", "writeCredentials"} {
		if set, ok := sets[field]; ok && (field == "readCredentials" || has >= writes) {
			fields.Set(field, set)
		}
	}
	return fields.MarshalJSON()
}

// splice adds a field to an object.
func splice(object, field string) json.RawMessage {
	out := make([]byte, 0, len(object)+len(field)+1)
	out = append(out, '{')
	out = append(out, field...)
	if rest := bytes.TrimLeft([]byte(object)[1:], " \n\t"); len(rest) > 0 && rest[0] != '}' {
		out = append(out, ',')
	}
	return append(out, object[1:]...)
}

// sets are the credentials that a record shows: those of a managed remote are made
// for whoever looks.
func (s *session) sets(ctx context.Context, x *row, shown *jsonfile.Object) (map[string]json.RawMessage, error) {
	if x.kind == catalog.Pipes {
		if _, onRemote := shown.Get("remote"); !onRemote {
			return nil, nil
		}
	}
	if x.kind == catalog.Remotes && x.managed {
		return s.managedSets(ctx, x)
	}
	return s.open(x)
}

// open opens the sealed credentials of a record.
func (r *Repo) open(x *row) (sets map[string]json.RawMessage, err error) {
	if x.sealed == "" {
		return nil, nil
	}
	plain, err := r.unseal(x.sealed, secretsPlace(x.id))
	if err != nil {
		return nil, fmt.Errorf("credentials of record %s: %w", x.id, err)
	}
	return sets, json.Unmarshal(plain, &sets)
}

// stored is a record as the rules want it: with its credentials.
func (r *Repo) stored(x *row) (json.RawMessage, error) {
	sets, err := r.open(x)
	if err != nil || len(sets) == 0 {
		return json.RawMessage(x.body), err
	}
	fields, err := jsonfile.Parse([]byte(x.body))
	if err != nil {
		return nil, fmt.Errorf("record %s is damaged: %w", x.id, err)
	}
	for field, set := range sets {
		fields.Set(field, set)
	}
	return fields.MarshalJSON()
}

// A family is what a request is about: records by their ids, with what they
// inherit from.
type family map[string]*row

// add adds a record and all above it.
func (f family) add(ctx context.Context, tx db.Tx, x *row) error {
	for f[x.id] == nil {
		f[x.id] = x
		if x.parent == "" {
			return nil
		}
		up, err := byID(ctx, tx, x.parent)
		if errors.Is(err, d6tpipe.ErrNotFound) {
			return nil // deleted: who asks for the files will be told
		}
		if err != nil {
			return err
		}
		x = up
	}
	return nil
}

// rules applies the catalogue's rules to a family.
func (r *Repo) rules(f family) (*d6tpipe.Records, error) {
	byKind := map[string][]json.RawMessage{}
	for _, x := range f {
		raw, err := r.stored(x)
		if err != nil {
			return nil, err
		}
		byKind[x.kind] = append(byKind[x.kind], raw)
	}
	return d6tpipe.NewRecords(byKind[catalog.Remotes], byKind[catalog.Pipes])
}
