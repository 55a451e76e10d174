package repo

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
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

// A pageQuery says which part of a list is wanted.
type pageQuery struct {
	kind, name string // of a record; "" is all
	before     string // the id of a line; only those after it in the list
	limit      int
}

// readPage reads the page that a client asks for.
func readPage(text string) (p pageQuery, err error) {
	q, err := url.ParseQuery(text)
	if err != nil {
		return p, d6tpipe.ErrInvalid
	}
	p = pageQuery{before: q.Get("before"), limit: auditPage}
	if limit := q.Get("limit"); limit != "" {
		if p.limit, err = strconv.Atoi(limit); err != nil || p.limit < 1 || p.limit > auditPage {
			return p, &d6tpipe.FieldError{Field: "limit", Reason: fmt.Sprintf("The limit is a number from 1 to %d.", auditPage)}
		}
	}
	switch pipe, remote := q.Get("pipe"), q.Get("remote"); {
	case pipe != "" && remote != "":
		return p, &d6tpipe.FieldError{Field: "remote", Reason: "Name a pipe or a remote, not both."}
	case pipe != "":
		p.kind, p.name = catalog.Pipes, pipe
	case remote != "":
		p.kind, p.name = catalog.Remotes, remote
	}
	return p, nil
}

// lineID is what clients know a line by, and go on from: its time, and its own id.
func lineID(at int64, id string) string { return strconv.FormatInt(at, 10) + "-" + id }

// cursor is where a list goes on; without an id at the first line before a time.
func (p pageQuery) cursor() (at int64, id string, err error) {
	if p.before == "" {
		return math.MaxInt64, "", nil
	}
	first, id, _ := strings.Cut(p.before, "-")
	if at, err = strconv.ParseInt(first, 10, 64); err != nil {
		err = &d6tpipe.FieldError{Field: "before", Reason: "This is no line of the list, nor a time in microseconds since 1970."}
	}
	return at, id, err
}

// The lines of the audit log, from $1, $2 on, of the record $3, $4: all of them, and
// those of what a user owns or has done, each found by an index.
const (
	auditLines = `SELECT id, at, actor, peer, action, kind, name, detail FROM audit
		WHERE (at, id) < (CAST($1 AS BIGINT), CAST($2 AS TEXT)) AND (CAST($3 AS TEXT) = '' OR kind = $3 AND name = $4)`
	auditAll = auditLines + ` ORDER BY at DESC, id DESC LIMIT $5`
	auditOwn = `SELECT * FROM (` + auditLines + ` AND owner_id = $6 ORDER BY at DESC, id DESC LIMIT $5) a
		UNION SELECT * FROM (` + auditLines + ` AND actor = $7 AND at >= (SELECT created_at FROM users WHERE id = $6) ORDER BY at DESC, id DESC LIMIT $5) b
		ORDER BY 2 DESC, 1 DESC LIMIT $5`
)

// audited is what happened to what the caller owns, and what the caller did. An
// administrator of the server sees all of it.
func (s *session) audited(ctx context.Context, tx db.Tx, page string) (all []json.RawMessage, err error) {
	if !s.user.isKnown() {
		return nil, d6tpipe.ErrUnauthorized
	}
	p, err := readPage(page)
	if err != nil {
		return nil, err
	}
	at, id, err := p.cursor()
	if err != nil {
		return nil, err
	}
	query, args := auditOwn, []any{at, id, p.kind, p.name, p.limit, s.user.id, s.user.name}
	if s.user.admin {
		query, args = auditAll, args[:5]
	}
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var e d6tpipe.AuditEvent
		if err := rows.Scan(&id, &at, &e.Actor, &e.Peer, &e.Action, &e.Kind, &e.Name, &e.Detail); err != nil {
			return nil, err
		}
		e.ID, e.Time = lineID(at, id), time.UnixMicro(at).UTC()
		raw, err := json.Marshal(e)
		if err != nil {
			return nil, err
		}
		all = append(all, raw)
	}
	return all, rows.Err()
}

// Forget drops what the audit log and the usage of pipes have from before a time, and
// returns how many lines of the log that were. It does so in small steps, between which
// others can write.
func (r *Repo) Forget(ctx context.Context, before time.Time) (n int64, err error) {
	for {
		some := int64(0)
		err := r.o.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
			result, err := tx.ExecContext(ctx, `DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < $1 ORDER BY at, id LIMIT $2)`, before.UnixMicro(), auditPage)
			if err == nil {
				some, err = result.RowsAffected()
			}
			return err
		})
		n += some
		if err != nil {
			return n, err
		}
		if some < auditPage {
			break
		}
	}
	return n, r.o.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM usage WHERE day < $1`, d6tpipe.DateOf(before.UTC()).String())
		return err
	})
}

// count adds to the usage of a record.
func (r *Repo) count(ctx context.Context, tx db.Tx, record, what string, n int64) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO usage (record_id, day, what, n) VALUES ($1, $2, $3, $4)
		ON CONFLICT (record_id, day, what) DO UPDATE SET n = usage.n + excluded.n`, record, r.today(), what, n)
	return err
}

// analytics are how often, by day, keys of a pipe were handed out. A page begins after
// a line's day and word, or with a day alone before that.
func (s *session) analytics(ctx context.Context, tx db.Tx, r resource, page string) (all []json.RawMessage, err error) {
	x, _, err := s.need(ctx, tx, r.kind, r.name, administers)
	if err != nil {
		return nil, err
	}
	p, err := readPage(page)
	if err != nil {
		return nil, err
	}
	day, what, within := strings.Cut(p.before, " ")
	if day == "" {
		day = "9999"
	}
	rows, err := tx.QueryContext(ctx, `SELECT day, what, n FROM usage WHERE record_id = $1 AND (day < $2 OR $3 AND day = $2 AND what > $4)
		ORDER BY day DESC, what LIMIT $5`, x.id, day, within, what, p.limit)
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
