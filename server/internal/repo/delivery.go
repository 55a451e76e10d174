package repo

import (
	"context"
	"encoding/json"
	"math"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/hook"
)

// keepDeliveries is how many deliveries are remembered of a webhook.
const keepDeliveries = 200

// An attempt is what is known of a delivery before it is made.
type attempt struct {
	hook, message, kind string
	number              int64
}

// remember writes an attempt to the log of deliveries, and drops what is too much
// there.
func (r *Repo) remember(ctx context.Context, tx db.Tx, a attempt, o hook.Outcome) (d6tpipe.Delivery, error) {
	id, at := newID(), o.Began.UnixMicro()
	d := d6tpipe.Delivery{
		ID: lineID(at, id), Time: timeOf(at), Message: a.message, Type: a.kind, Attempt: int(a.number),
		Status: o.Status, Took: d6tpipe.Interval(o.Took.Round(100 * time.Microsecond)), Said: o.Said,
	}
	if o.Err != nil {
		d.Error = o.Err.Error()
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO deliveries (id, webhook_id, at, message_id, type, attempt, status, took, error, said)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		id, a.hook, at, a.message, a.kind, a.number, int64(d.Status), time.Duration(d.Took).Microseconds(), d.Error, d.Said); err != nil {
		return d, err
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM deliveries WHERE webhook_id = $1 AND id NOT IN
		(SELECT id FROM deliveries WHERE webhook_id = $1 ORDER BY at DESC, id DESC LIMIT $2)`, a.hook, keepDeliveries)
	return d, err
}

// deliveries are what was sent to a webhook, the newest first.
func (s *session) deliveries(ctx context.Context, tx db.Tx, r resource, page string) (all []json.RawMessage, err error) {
	x, _, err := s.need(ctx, tx, catalog.Pipes, r.name, administers)
	if err != nil {
		return nil, err
	}
	p, err := readPage(page)
	if err != nil {
		return nil, err
	}
	before, beforeID, err := p.cursor()
	if err != nil {
		return nil, err
	}
	if _, err := findHook(ctx, tx, x.id, r.id); err != nil {
		return nil, err
	}
	rows, err := tx.QueryContext(ctx, `SELECT id, at, message_id, type, attempt, status, took, error, said FROM deliveries
		WHERE webhook_id = $1 AND (at, id) < (CAST($2 AS BIGINT), CAST($3 AS TEXT)) ORDER BY at DESC, id DESC LIMIT $4`, r.id, before, beforeID, p.limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var d d6tpipe.Delivery
		var id string
		var at, took int64
		if err := rows.Scan(&id, &at, &d.Message, &d.Type, &d.Attempt, &d.Status, &took, &d.Error, &d.Said); err != nil {
			return nil, err
		}
		d.ID, d.Time, d.Took = lineID(at, id), timeOf(at), d6tpipe.Interval(time.Duration(min(took, math.MaxInt64/1000))*time.Microsecond)
		raw, err := json.Marshal(d)
		if err != nil {
			return nil, err
		}
		all = append(all, raw)
	}
	return all, rows.Err()
}

// ForgetDeliveries drops the deliveries from before a time, in small steps, and returns
// how many those were.
func (r *Repo) ForgetDeliveries(ctx context.Context, before time.Time) (n int64, err error) {
	for {
		some := int64(0)
		err := r.o.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
			result, err := tx.ExecContext(ctx, `DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE at < $1 ORDER BY at, id LIMIT $2)`, before.UnixMicro(), auditPage)
			if err == nil {
				some, err = result.RowsAffected()
			}
			return err
		})
		n += some
		if err != nil || some < auditPage {
			return n, err
		}
	}
}
