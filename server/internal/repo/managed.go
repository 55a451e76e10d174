package repo

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/internal/jsonfile"
	"github.com/d6t/d6tpipe-go/server/internal/db"
)

// manage makes of a record that leaves its files to the server one that lies in a
// folder of managed storage, and keeps it there. The rules see a bucket like any
// other.
func (s *session) manage(ctx context.Context, tx db.Tx, x *row, verb catalog.Verb, said refs, in json.RawMessage) (json.RawMessage, error) {
	fields, err := jsonfile.Parse(in)
	if len(in) == 0 || err != nil || !catalog.IsName(cmp.Or(said.Name, x.name)) {
		return in, nil // the rules say what is wrong
	}
	bare := x.kind == catalog.Pipes && said.Protocol == "" && text(said.Parent) == "" && text(said.Remote) == ""
	wants := said.Protocol == d6tpipe.ProtocolManaged || bare && verb == catalog.Create
	switch {
	case x.managed:
		return s.keepManaged(x, verb, said, fields)
	case !wants:
		return in, nil
	case verb != catalog.Create:
		return nil, &d6tpipe.FieldError{Field: "protocol", Reason: "The files of a record that exists cannot move to managed storage; create another one."}
	case text(said.Parent) != "" || text(said.Remote) != "":
		return nil, &d6tpipe.FieldError{Field: "protocol", Reason: "A pipe in managed storage of its own has neither parent nor remote."}
	case s.o.Storage == nil:
		return nil, &d6tpipe.FieldError{Field: "protocol", Reason: "This server keeps no files: give a protocol and a location, a remote or a parent."}
	}
	if _, ok := s.urlsOnly(); ok && x.kind == catalog.Remotes {
		return nil, &d6tpipe.FieldError{Field: "protocol", Reason: "The storage of this server has no keys to hand out, and a remote is of no use without: create a pipe."}
	}
	location, err := s.freeLocation(ctx, tx, x, said.Name)
	if err != nil {
		return nil, err
	}
	x.managed = true
	return place(fields, location)
}

// freeLocation is a folder of managed storage, named after the owner and the record,
// in which nobody else's files are: neither those of a remote of the same name nor those
// of a record that is gone and whose files are not yet.
func (s *session) freeLocation(ctx context.Context, tx db.Tx, x *row, name string) (string, error) {
	prefix := s.user.name + "/" + name
	location := s.o.Storage.Bucket() + "/" + prefix
	left, err := lookup(ctx, tx, `SELECT key FROM meta WHERE key = $1`, leftoverKey+prefix+"/")
	if err != nil {
		return "", err
	}
	rows, err := tx.QueryContext(ctx, `SELECT body FROM records WHERE managed AND name = $1`, name)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	taken := left != ""
	for rows.Next() {
		var other row
		if err := rows.Scan(&other.body); err != nil {
			return "", err
		}
		there, err := other.location()
		if err != nil {
			return "", err
		}
		taken = taken || there == location
	}
	if taken {
		location += "-" + x.id[:8]
	}
	return location, rows.Err()
}

// place says where the files of a managed record lie.
func place(fields *jsonfile.Object, location string) (json.RawMessage, error) {
	quoted, err := json.Marshal(location)
	if err != nil {
		return nil, err
	}
	fields.Set("protocol", json.RawMessage(`"`+string(d6tpipe.ProtocolS3)+`"`))
	fields.Set("location", quoted)
	for _, field := range secrets { // the server makes its own
		fields.Delete(field)
	}
	return fields.MarshalJSON()
}

// keepManaged lets nobody move a managed record, on purpose or not.
func (s *session) keepManaged(x *row, verb catalog.Verb, said refs, fields *jsonfile.Object) (json.RawMessage, error) {
	if text(said.Parent) != "" || text(said.Remote) != "" {
		return nil, &d6tpipe.FieldError{Field: "parent", Reason: "The files of this pipe are in managed storage; it cannot get a parent or a remote."}
	}
	if said.Protocol != "" && said.Protocol != d6tpipe.ProtocolS3 && said.Protocol != d6tpipe.ProtocolManaged {
		return nil, &d6tpipe.FieldError{Field: "protocol", Reason: "The files of this record are in managed storage and stay there."}
	}
	location, err := x.location()
	if err != nil {
		return nil, err
	}
	if raw, ok := fields.Get("location"); ok && string(raw) != "null" {
		var to string
		if json.Unmarshal(raw, &to) != nil || to != "" && to != location {
			return nil, &d6tpipe.FieldError{Field: "location", Reason: "The files of this record are in managed storage and stay there."}
		}
	}
	return place(fields, location)
}

// location is where the files of a record of its own lie.
func (x *row) location() (string, error) { return locationIn(x.body) }

func locationIn(record string) (string, error) {
	var said struct {
		Location string `json:"location"`
	}
	err := json.Unmarshal([]byte(record), &said)
	return said.Location, err
}

// managedRoot returns the folder of managed storage in which the files of pipe x
// lie, if they do: x or its topmost parent is managed, and nothing in between says
// that they lie elsewhere.
func (f family) managedRoot(x *row, shown *d6tpipe.PipeSettings) (prefix string, managed bool) {
	root := x
	for root.parent != "" && f[root.parent] != nil {
		root = f[root.parent]
	}
	location, err := root.location()
	if !root.managed || err != nil || shown.Protocol != d6tpipe.ProtocolS3 {
		return "", false
	}
	path, ok := strings.CutPrefix(shown.Options.RemotePath, "s3://")
	if !ok || !strings.HasPrefix(path, location+"/") {
		return "", false
	}
	_, prefix, _ = strings.Cut(path, "/")
	return prefix, true
}

// A handout is a request for the keys of a pipe, looked up.
type handout struct {
	row    *row
	family family
	shown  d6tpipe.PipeSettings
	prefix string // in managed storage
	here   bool   // whether the files are in managed storage
}

// handout looks up a pipe for somebody who may do with it what role says.
func (s *session) handout(ctx context.Context, name string, role d6tpipe.Role) (h handout, err error) {
	err = s.o.DB.Read(ctx, func(ctx context.Context, tx db.Tx) (err error) {
		if h.row, _, err = s.need(ctx, tx, catalog.Pipes, name, ranks[role]); err != nil {
			return err
		}
		h.family = family{}
		return h.family.add(ctx, tx, h.row)
	})
	if err != nil {
		return h, err
	}
	return h, h.read()
}

// read takes apart what is shown of the pipe.
func (h *handout) read() error {
	if err := json.Unmarshal([]byte(h.row.shown), &h.shown); err != nil {
		return fmt.Errorf("record %s is damaged: %w", h.row.id, err)
	}
	h.prefix, h.here = h.family.managedRoot(h.row, &h.shown)
	return nil
}

// grant is what the keys of a managed pipe may do.
func (s *session) grantOf(h handout, role d6tpipe.Role) Grant {
	g := Grant{Prefix: h.prefix, Role: role, Subject: subject(s.user, h.row.id)}
	if own := (d6tpipe.Filter{Include: h.shown.Options.Include, Exclude: h.shown.Options.Exclude}); own.Include != "" || own.Exclude != "" {
		g.Filters = append(g.Filters, own)
	}
	g.Filters = append(g.Filters, h.shown.Filters...)
	return g
}

// credentials hands out the keys of a pipe: temporary ones of managed storage,
// elsewhere what its owner has stored for the role.
func (s *session) credentials(ctx context.Context, name string, in json.RawMessage) (json.RawMessage, error) {
	var query catalog.CredentialsQuery
	if err := json.Unmarshal(in, &query); err != nil {
		return nil, d6tpipe.ErrInvalid
	}
	role := cmp.Or(d6tpipe.Role(query.Role), d6tpipe.RoleRead)
	h, err := s.handout(ctx, name, role)
	if err != nil {
		return nil, err
	}
	if place, ok := s.urlsOnly(); ok && h.here {
		if !query.URLs {
			return nil, refusal(http.StatusNotImplemented, ErrURLsOnly.Error())
		}
		place["signed_urls"] = true
		return json.Marshal(place)
	}
	if err := s.handed(ctx, h, string(role), 1); err != nil {
		return nil, err
	}
	if h.here {
		return s.temporary(ctx, s.grantOf(h, role), query.Expiration)
	}
	rules, err := s.rules(h.family)
	if err != nil {
		return nil, err
	}
	return rules.Do(ctx, catalog.Get, catalog.Pipes+"/"+name+"/credentials", "", in)
}

// urlsOnly says where the bucket is for which there are no keys.
func (r *Repo) urlsOnly() (place map[string]any, ok bool) {
	if r.o.Storage == nil {
		return nil, false
	}
	return r.o.Storage.URLsOnly()
}

// temporary makes keys for a grant, and says when they end if that is asked for.
func (s *session) temporary(ctx context.Context, g Grant, sayEnd bool) (json.RawMessage, error) {
	if s.o.Storage == nil {
		return nil, refusal(http.StatusServiceUnavailable, "This server keeps no files any more.")
	}
	set, expires, err := s.o.Storage.Credentials(ctx, g)
	switch {
	case errors.Is(err, ErrURLsOnly), errors.Is(err, ErrGrant):
		return nil, refusal(http.StatusNotImplemented, err.Error())
	case err != nil:
		return nil, err
	}
	if sayEnd {
		set["expiration"] = expires.UTC().Format(time.RFC3339)
	}
	return json.Marshal(set)
}

// handed writes down that n sets of keys, or URLs, are handed out, before they are.
func (s *session) handed(ctx context.Context, h handout, what string, n int) error {
	return s.o.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		if err := s.count(ctx, tx, h.row.id, what, int64(n)); err != nil {
			return err
		}
		return s.note(ctx, tx, s.user, event{action: "credentials", kind: h.row.kind, name: h.row.name, record: h.row.id, owner: h.row.owner, detail: what})
	})
}

// managedSets are the keys in a managed remote, as the first generation wants them. It
// has none where the storage, which was another one when it was made, makes none.
func (s *session) managedSets(ctx context.Context, x *row) (map[string]json.RawMessage, error) {
	if _, ok := s.urlsOnly(); ok {
		return nil, nil
	}
	location, err := locationIn(x.shown) // a list has no more of a record
	if err != nil {
		return nil, err
	}
	_, prefix, _ := strings.Cut(location, "/")
	sets := map[string]json.RawMessage{}
	for field, role := range map[string]d6tpipe.Role{"readCredentials": d6tpipe.RoleRead, "writeCredentials": d6tpipe.RoleWrite} {
		if sets[field], err = s.temporary(ctx, Grant{Prefix: prefix + "/", Role: role, Subject: subject(s.user, x.id)}, false); err != nil {
			return nil, err
		}
	}
	return sets, nil
}

// forgetManaged puts the folders of managed records that are about to be removed on
// the list of what is to be cleaned up, with the time.
func (s *session) forgetManaged(ctx context.Context, tx db.Tx, where string, arg string) error {
	rows, err := tx.QueryContext(ctx, `SELECT id, body FROM records WHERE managed AND `+where, arg)
	if err != nil {
		return err
	}
	defer rows.Close()
	var gone []string
	for rows.Next() {
		var x row
		if err := rows.Scan(&x.id, &x.body); err != nil {
			return err
		}
		location, err := x.location()
		if err != nil {
			return err
		}
		_, prefix, _ := strings.Cut(location, "/")
		gone = append(gone, prefix+"/")
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for _, prefix := range gone {
		value, err := json.Marshal(Leftover{Prefix: prefix, Since: s.now()})
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO meta (key, value) VALUES ($1, $2)`, leftoverKey+prefix, string(value)); err != nil {
			return err
		}
	}
	return nil
}

const leftoverKey = "leftover:"

// A Leftover is a folder of managed storage whose record is gone.
type Leftover struct {
	Prefix string `json:"prefix"`
	Since  int64  `json:"since"` // Unix microseconds
}

// Leftovers lists what was left before a time.
func (r *Repo) Leftovers(ctx context.Context, before int64) (all []Leftover, err error) {
	err = r.o.DB.Read(ctx, func(ctx context.Context, tx db.Tx) error {
		all = nil
		rows, err := tx.QueryContext(ctx, `SELECT value FROM meta WHERE key >= $1 AND key < $2 ORDER BY key`, leftoverKey, strings.TrimSuffix(leftoverKey, ":")+";")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var value string
			var l Leftover
			if err := rows.Scan(&value); err != nil {
				return err
			}
			if err := json.Unmarshal([]byte(value), &l); err != nil {
				return err
			}
			if l.Since < before {
				all = append(all, l)
			}
		}
		return rows.Err()
	})
	return all, err
}

// Cleaned says that a leftover's files are gone.
func (r *Repo) Cleaned(ctx context.Context, l Leftover) error {
	return r.o.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM meta WHERE key = $1`, leftoverKey+l.Prefix)
		return err
	})
}
