package repo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/server/internal/db"
)

// rank is what somebody may do with a record. Who has a higher one may do what a
// lower one allows.
type rank int64

const (
	nothing rank = iota
	reads
	writes
	administers
	owns
)

var ranks = map[d6tpipe.Role]rank{d6tpipe.RoleRead: reads, d6tpipe.RoleWrite: writes, d6tpipe.RoleAdmin: administers}

// role is what a pipe's record calls it: the contract knows read and write.
func (r rank) role() d6tpipe.Role {
	if r <= reads {
		return d6tpipe.RoleRead
	}
	return d6tpipe.RoleWrite
}

// called are the names under which the caller is granted something, each with the
// most that it can be: what is granted to everybody is to read, or nothing. $1 is the
// caller's id.
const called = `SELECT 'public' AS name, CAST(1 AS BIGINT) AS most
	UNION ALL SELECT 'user:' || $1, CAST(3 AS BIGINT) WHERE $1 <> ''
	UNION ALL SELECT 'group:' || team_id, CAST(3 AS BIGINT) FROM members WHERE $1 <> '' AND member = 'user:' || $1`

// valid is what a grant must be for its grantee to have it; $2 is today.
const valid = `g.grantee = called.name AND g.role <= called.most AND (g.expires = '' OR g.expires >= $2)`

// Both queries look every name up by itself, in an index: with an OR, or with joins
// that the database turns around, they would read the grants of all the world. CROSS
// JOIN is how SQLite is told to keep the order.

// rankOf is the most that a record, its parents and its remote allow. Who owns one
// of these owns the record: a child belongs to whom its parent belongs to.
const rankOf = `WITH RECURSIVE up (id, parent_id, owner_id) AS (
		SELECT id, parent_id, owner_id FROM records WHERE id = $3
		UNION SELECT r.id, r.parent_id, r.owner_id FROM up CROSS JOIN records r WHERE r.id = up.parent_id)
	SELECT COALESCE(MAX(rank), 0) FROM (
		SELECT CAST(4 AS BIGINT) AS rank FROM up WHERE owner_id = $1 AND $1 <> ''
		UNION ALL SELECT g.role FROM up CROSS JOIN (` + called + `) called CROSS JOIN grants g WHERE g.record_id = up.id AND ` + valid + `) ranks`

// reachable are the records of a kind, $3, of which the caller may read something,
// in no order: what is owned or granted, and all below it. A record comes once for
// each rank that some way to it gives.
const reachable = `WITH RECURSIVE mine (id, rank) AS (
		SELECT id, CAST(4 AS BIGINT) FROM records WHERE owner_id = $1 AND $1 <> ''
		UNION ALL SELECT g.record_id, g.role FROM (` + called + `) called CROSS JOIN grants g WHERE ` + valid + `
		UNION SELECT r.id, mine.rank FROM mine CROSS JOIN records r WHERE r.parent_id = mine.id AND r.parent_id <> '')
	SELECT r.name, r.id, r.shown, r.sealed, r.managed, m.rank FROM mine m CROSS JOIN records r WHERE r.id = m.id AND r.kind = $3`

// A row is a record as the database has it.
type row struct {
	id, kind, name, owner, parent string
	managed                       bool
	body, sealed, shown           string
	revision                      int64
}

const columns = `id, kind, name, owner_id, parent_id, managed, body, sealed, shown, revision`

func scanRow(r interface{ Scan(...any) error }) (*row, error) {
	var x row
	err := r.Scan(&x.id, &x.kind, &x.name, &x.owner, &x.parent, &x.managed, &x.body, &x.sealed, &x.shown, &x.revision)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, d6tpipe.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return &x, nil
}

// find returns the record of a name.
func find(ctx context.Context, tx db.Tx, kind, name string) (*row, error) {
	return scanRow(tx.QueryRowContext(ctx, `SELECT `+columns+` FROM records WHERE kind = $1 AND name = $2`, kind, name))
}

func byID(ctx context.Context, tx db.Tx, id string) (*row, error) {
	return scanRow(tx.QueryRowContext(ctx, `SELECT `+columns+` FROM records WHERE id = $1`, id))
}

// rank is what the caller may do with a record.
func (s *session) rank(ctx context.Context, tx db.Tx, id string) (r rank, err error) {
	err = tx.QueryRowContext(ctx, rankOf, s.user.id, s.today(), id).Scan(&r)
	return s.capped(r), err
}

// capped is a rank that the demo account has no more of than everybody may share.
func (s *session) capped(r rank) rank {
	if s.isDemo() {
		return min(r, reads)
	}
	return r
}

// need returns the record of a name, if the caller may do with it what need says.
func (s *session) need(ctx context.Context, tx db.Tx, kind, name string, need rank) (*row, rank, error) {
	x, err := find(ctx, tx, kind, name)
	if err != nil {
		return nil, nothing, err
	}
	has, err := s.rank(ctx, tx, x.id)
	switch {
	case err != nil:
		return nil, nothing, err
	case has >= need:
		return x, has, nil
	case !s.user.isKnown():
		return nil, has, d6tpipe.ErrUnauthorized
	}
	return nil, has, d6tpipe.ErrPermission
}

// A resource is a path of the contract, taken apart.
type resource struct {
	kind string // "pipes", "remotes", "groups", "audit", "accounts", "mirrors", "schedules", "admin"
	name string // of the record
	sub  string // "permissions", "credentials", ...
	id   string // of a webhook
	act  string // below that, "test" or "deliveries"
}

func parse(path, name string) resource {
	parts := strings.Split(path, "/")
	switch {
	case len(parts) == 5:
		return resource{kind: parts[0], name: parts[1], sub: parts[2], id: parts[3], act: parts[4]}
	case len(parts) == 4 && parts[0] == "groups":
		return resource{kind: parts[0], name: parts[1] + "/" + parts[2], sub: parts[3]}
	case len(parts) == 3 && parts[2] == "webhooks":
		return resource{kind: parts[0], name: parts[1], sub: parts[2], id: name}
	case len(parts) == 3:
		return resource{kind: parts[0], name: parts[1], sub: parts[2]}
	case len(parts) == 2:
		return resource{kind: parts[0], sub: parts[1]}
	}
	return resource{kind: parts[0], name: name}
}

func (r resource) isRecord() bool { return r.kind == catalog.Pipes || r.kind == catalog.Remotes }

// needs is what a verb on a record, or on what lies below it, takes.
func (r resource) needs(verb catalog.Verb) rank {
	switch r.sub {
	case "":
		if verb == catalog.Get {
			return reads
		}
		return administers
	case "files":
		if verb == catalog.Get {
			return reads
		}
		return writes
	case "changes":
		return reads
	case "schedule":
		if verb == catalog.Get {
			return reads
		}
		return administers
	case "credentials", "urls": // which of the roles is asked for is in the request
		return reads
	case "owner":
		return owns
	}
	return administers
}

// Authorize says whether the caller may do it, before the request is read.
func (s *session) Authorize(ctx context.Context, verb catalog.Verb, path, name string) error {
	r := parse(path, name)
	if verb != catalog.Get && s.isDemo() && r.sub != "urls" { // those change nothing for who may only read
		return refusal(403, "The demo account cannot register pipes.")
	}
	if r.isRecord() && r.name != "" {
		return s.o.DB.Read(ctx, func(ctx context.Context, tx db.Tx) error {
			_, _, err := s.need(ctx, tx, r.kind, r.name, r.needs(verb))
			return err
		})
	}
	if r.kind == "admin" && s.user.isKnown() && !s.user.admin {
		return d6tpipe.ErrPermission
	}
	if !s.user.isKnown() && (verb != catalog.Get || !r.isRecord()) {
		return d6tpipe.ErrUnauthorized
	}
	return nil
}

func noObject(field, name string) error {
	return &d6tpipe.FieldError{Field: field, Reason: fmt.Sprintf("Object with %s=%s does not exist.", field, name)}
}
