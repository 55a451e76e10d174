package repo

import (
	"context"
	"encoding/json"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/db"
)

// event is something that the audit log remembers.
type event struct {
	action, kind, name, record, owner, detail string
}

// note writes to the audit log, in the transaction of what it is about: there is no
// change without a line, and no line without a change.
func (r *Repo) note(ctx context.Context, tx db.Tx, actor user, e event) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO audit (id, at, actor, peer, action, kind, name, record_id, owner_id, detail)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		newID(), r.now(), actor.name, r.peer(ctx), e.action, e.kind, e.name, e.record, e.owner, e.detail)
	return err
}

func (r *Repo) peer(ctx context.Context) string {
	if peer := r.o.Peer(ctx); peer.IsValid() {
		return peer.Unmap().WithZone("").String()
	}
	return ""
}

// auditPage is how many lines an answer has at most, the newest first.
const auditPage = 1000

// audited is what happened to what the caller owns, and what the caller did. An
// administrator of the server sees all of it.
func (s *session) audited(ctx context.Context, tx db.Tx) (all []json.RawMessage, err error) {
	if !s.user.isKnown() {
		return nil, d6tpipe.ErrUnauthorized
	}
	rows, err := tx.QueryContext(ctx, `SELECT at, actor, peer, action, kind, name, detail FROM audit
		WHERE $1 OR owner_id = $2 OR actor = $3 AND at >= (SELECT created_at FROM users WHERE id = $2)
		ORDER BY at DESC, id LIMIT $4`, s.user.admin, s.user.id, s.user.name, auditPage)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var e d6tpipe.AuditEvent
		var at int64
		if err := rows.Scan(&at, &e.Actor, &e.Peer, &e.Action, &e.Kind, &e.Name, &e.Detail); err != nil {
			return nil, err
		}
		e.Time = time.UnixMicro(at).UTC()
		raw, err := json.Marshal(e)
		if err != nil {
			return nil, err
		}
		all = append(all, raw)
	}
	return all, rows.Err()
}

// count adds to the usage of a record.
func (r *Repo) count(ctx context.Context, tx db.Tx, record, what string, n int64) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO usage (record_id, day, what, n) VALUES ($1, $2, $3, $4)
		ON CONFLICT (record_id, day, what) DO UPDATE SET n = usage.n + excluded.n`, record, r.today(), what, n)
	return err
}

// analytics are how often, by day, keys of a pipe were handed out.
func (s *session) analytics(ctx context.Context, tx db.Tx, r resource) (all []json.RawMessage, err error) {
	x, _, err := s.need(ctx, tx, r.kind, r.name, administers)
	if err != nil {
		return nil, err
	}
	rows, err := tx.QueryContext(ctx, `SELECT day, what, n FROM usage WHERE record_id = $1 ORDER BY day DESC, what LIMIT $2`, x.id, auditPage)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var u d6tpipe.Usage
		if err := rows.Scan(&u.Day, &u.What, &u.Count); err != nil {
			return nil, err
		}
		raw, err := json.Marshal(u)
		if err != nil {
			return nil, err
		}
		all = append(all, raw)
	}
	return all, rows.Err()
}
