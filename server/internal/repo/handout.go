package repo

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/server/internal/db"
)

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
	sets := map[string]json.RawMessage{}
	for field, role := range map[string]d6tpipe.Role{"readCredentials": d6tpipe.RoleRead, "writeCredentials": d6tpipe.RoleWrite} {
		if sets[field], err = s.temporary(ctx, Grant{Prefix: folderOf(location), Role: role, Subject: subject(s.user, x.id)}, false); err != nil {
			return nil, err
		}
	}
	return sets, nil
}
