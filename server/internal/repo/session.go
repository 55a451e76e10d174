package repo

import (
	"context"
	"encoding/json"
	"fmt"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/internal/wire"
	"github.com/d6t/d6tpipe-go/server/internal/db"
)

// A session is the service as one user sees it.
type session struct {
	*Repo
	user  user
	token string // "" is anybody's
}

var _ wire.Session = (*session)(nil)

// List lists a collection, or what lies below a record: all of it, as it is at one
// moment, because the answer to a request has no pages either. The audit log and
// analytics have: page is the query that says which.
func (s *session) List(ctx context.Context, path, page string) (rows []json.RawMessage, next string, err error) {
	r := parse(path, "")
	if r.isRecord() && r.name == "" {
		rows, err = s.records(ctx, r.kind)
		return rows, "", err
	}
	err = s.o.DB.Read(ctx, func(ctx context.Context, tx db.Tx) (err error) {
		rows, err = s.list(ctx, tx, r, page)
		return err
	})
	return rows, "", err
}

func (s *session) list(ctx context.Context, tx db.Tx, r resource, page string) ([]json.RawMessage, error) {
	switch {
	case r.isRecord() && r.sub == "permissions":
		return s.permissions(ctx, tx, r)
	case r.kind == catalog.Pipes && r.sub == "analytics":
		return s.analytics(ctx, tx, r, page)
	case r.kind == "groups" && r.sub == "members":
		return s.members(ctx, tx, r.name)
	case r.kind == "groups" && r.sub == "":
		return s.teams(ctx, tx)
	case r.kind == "audit":
		return s.audited(ctx, tx, page)
	case r.kind == "schedules":
		return s.schedules(ctx, tx)
	case r.kind == "admin":
		return s.jobs(ctx, tx, page)
	case r.kind == catalog.Pipes && r.sub == "webhooks" && r.act == "":
		return s.webhooks(ctx, tx, r)
	case r.kind == catalog.Pipes && r.act == "deliveries":
		return s.deliveries(ctx, tx, r, page)
	case r.kind == "mirrors" && r.sub == "":
		return s.mirrors(ctx, tx)
	case r.kind == "mirrors" && r.sub == "runs":
		return s.mirrorRuns(ctx, tx, r, page)
	}
	return nil, d6tpipe.ErrNotFound
}

// Do carries out a verb. Who may do it is looked at again, in the transaction
// that does it.
func (s *session) Do(ctx context.Context, verb catalog.Verb, path, name string, in json.RawMessage) (out json.RawMessage, err error) {
	r := parse(path, name)
	switch {
	case r.kind == "accounts" && r.sub == "token":
		return s.resetToken(ctx, r.name)
	case r.isRecord() && r.sub == "" && verb == catalog.Get:
		err = s.o.DB.Read(ctx, func(ctx context.Context, tx db.Tx) (err error) {
			out, err = s.get(ctx, tx, r)
			return err
		})
		return out, err
	case r.kind == catalog.Pipes && r.sub == "credentials":
		return s.credentials(ctx, r.name, in)
	case r.kind == catalog.Pipes && r.sub == "urls":
		return s.urls(ctx, r.name, in)
	case r.sub == "webhooks" && r.act == "test":
		return s.testHook(ctx, r)
	case r.sub == "webhooks" && (verb == catalog.Create || verb == catalog.Update):
		return s.changeHook(ctx, verb, r, in)
	case r.kind == "groups" && verb == catalog.Get:
		err = s.o.DB.Read(ctx, func(ctx context.Context, tx db.Tx) (err error) {
			out, err = s.team(ctx, tx, r.name)
			return err
		})
		return out, err
	case r.isWork() && verb == catalog.Get:
		err = s.o.DB.Read(ctx, func(ctx context.Context, tx db.Tx) (err error) {
			out, err = s.work(ctx, tx, verb, r, nil)
			return err
		})
		return out, err
	}
	if s.isDemo() {
		return nil, refusal(403, "The demo account cannot register pipes.")
	}
	err = s.o.DB.Write(ctx, func(ctx context.Context, tx db.Tx) (err error) {
		out, err = s.change(ctx, tx, verb, r, in)
		return err
	})
	if err != nil {
		return nil, err
	}
	if r.isWork() {
		s.o.Kick()
	}
	return out, nil
}

func (s *session) change(ctx context.Context, tx db.Tx, verb catalog.Verb, r resource, in json.RawMessage) (json.RawMessage, error) {
	if !s.user.isKnown() {
		return nil, d6tpipe.ErrUnauthorized
	}
	switch {
	case r.isRecord() && r.sub == "" && verb == catalog.Delete:
		return nil, s.delete(ctx, tx, r)
	case r.isRecord() && r.sub == "":
		return s.edit(ctx, tx, verb, r, in)
	case r.isRecord() && r.sub == "permissions" && verb == catalog.Create:
		return s.grant(ctx, tx, r, in)
	case r.isRecord() && r.sub == "owner":
		return s.transfer(ctx, tx, r, in)
	case r.kind == "groups" && r.sub == "" && verb == catalog.Create:
		return s.addTeam(ctx, tx, in)
	case r.kind == "groups" && r.sub == "" && verb == catalog.Delete:
		return nil, s.removeTeam(ctx, tx, r.name)
	case r.kind == "groups" && r.sub == "members" && verb == catalog.Create:
		return s.addMember(ctx, tx, r.name, in)
	case r.isWork():
		return s.work(ctx, tx, verb, r, in)
	}
	return nil, fmt.Errorf("%w: %s of %s", d6tpipe.ErrNotFound, verb, r.kind)
}

// isWork reports whether it is about what the server does by itself.
func (r resource) isWork() bool {
	return r.kind == "mirrors" || r.kind == catalog.Pipes && (r.sub == "schedule" || r.sub == "webhooks")
}

// work reads or changes what the server does by itself.
func (s *session) work(ctx context.Context, tx db.Tx, verb catalog.Verb, r resource, in json.RawMessage) (json.RawMessage, error) {
	switch {
	case r.kind == "mirrors":
		return s.mirror(ctx, tx, verb, r, in)
	case r.sub == "schedule":
		return s.schedule(ctx, tx, verb, r, in)
	default:
		return s.webhook(ctx, tx, verb, r, in)
	}
}
