package repo

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/feed"
	"github.com/d6t/d6tpipe-go/server/internal/listing"
)

const (
	// MaxChanges is how many changes a page has at most.
	MaxChanges = 1000
	// FeedBytes is how much room the feed of a pipe takes at most, as it is stored. The
	// oldest changes go first; when one scan sees more, the feed begins anew.
	FeedBytes = 64 << 20
)

// The answers about cursors.
var (
	errCursor  = refusal(http.StatusBadRequest, "This is no cursor of a change feed. Ask without one, which returns the cursor of now.")
	errExpired = refusal(http.StatusGone, "The change feed does not reach back to this cursor any more, or has begun anew. Ask without a cursor, and compare with the listing of all files.")
)

// feedRow is the feed of a record.
type feedRow struct {
	epoch, shows  string
	first, next   int64
	cutAt, lastAt int64
	bytes         int64
	refused       int
}

// end is the place after all changes.
func (f *feedRow) end() feed.Cursor { return feed.Cursor{Epoch: f.epoch, Seq: f.next, At: f.lastAt} }

// feedOf returns the feed of a record, nil when it has none yet.
func feedOf(ctx context.Context, tx db.Tx, record string) (*feedRow, error) {
	var f feedRow
	err := tx.QueryRowContext(ctx, `SELECT epoch, shows, first_seq, next_seq, cut_at, last_at, bytes, refused FROM feeds WHERE record_id = $1`, record).
		Scan(&f.epoch, &f.shows, &f.first, &f.next, &f.cutAt, &f.lastAt, &f.bytes, &f.refused)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &f, err
}

func newFeed(view string, now int64) *feedRow {
	return &feedRow{epoch: newEpoch(), shows: view, cutAt: now, lastAt: now}
}

// newEpoch names a feed that begins.
func newEpoch() string { return strings.ToLower(rand.Text()) }

// ChangePage returns what changed of the files of the pipe whose record this is, after a
// cursor and at most limit changes (0 is [MaxChanges]). Without a cursor it is no change
// and the cursor of now, which there is before the first listing, too. A cursor that
// has expired matches [d6tpipe.ErrCursorExpired], a text that is none
// [d6tpipe.ErrInvalid], and a record that is gone [d6tpipe.ErrNotFound].
//
// A cursor is good for as long as changes are kept; it is 128 bytes at most.
func (r *Repo) ChangePage(ctx context.Context, record, cursor string, limit int) (page d6tpipe.ChangePage, err error) {
	if cursor == "" {
		return r.feedEnd(ctx, record)
	}
	from, err := feed.Parse(cursor)
	if err != nil {
		return page, errCursor
	}
	if limit <= 0 || limit > MaxChanges {
		limit = MaxChanges
	}
	where, err := r.Where(ctx, record)
	if err != nil {
		return page, err
	}
	view, err := listing.View(where.Storage)
	if err != nil {
		return page, err
	}
	return r.feedPage(ctx, record, view, from, limit)
}

// feedPage is the page after a place. The feed of another view is not for those who see
// this one.
func (r *Repo) feedPage(ctx context.Context, record, view string, from feed.Cursor, limit int) (page d6tpipe.ChangePage, err error) {
	err = r.o.DB.Read(ctx, func(ctx context.Context, tx db.Tx) (err error) {
		page, err = changePage(ctx, tx, record, view, from, limit)
		return err
	})
	return page, err
}

// feedEnd is the page without changes. The feed begins with whom asks for it first.
func (r *Repo) feedEnd(ctx context.Context, record string) (page d6tpipe.ChangePage, err error) {
	var f *feedRow
	look := func(ctx context.Context, tx db.Tx) (err error) {
		f, err = feedOf(ctx, tx, record)
		return err
	}
	if err = r.o.DB.Read(ctx, look); err == nil && f == nil {
		err = r.o.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO feeds (record_id, epoch, shows, first_seq, next_seq, cut_at, last_at, bytes, refused)
				SELECT records.id, $2, COALESCE(listings.shows, ''), 0, 0, CAST($3 AS BIGINT), CAST($3 AS BIGINT), 0, 0
				FROM records LEFT JOIN listings ON listings.record_id = records.id WHERE records.id = $1
				ON CONFLICT (record_id) DO NOTHING`, record, newEpoch(), r.now())
			if err != nil {
				return err
			}
			return look(ctx, tx)
		})
	}
	switch {
	case err != nil:
		return page, err
	case f == nil:
		return page, d6tpipe.ErrNotFound
	}
	return d6tpipe.ChangePage{Changes: []d6tpipe.Change{}, Cursor: f.end().String(), Refused: f.refused}, nil
}

func changePage(ctx context.Context, tx db.Tx, record, view string, from feed.Cursor, limit int) (page d6tpipe.ChangePage, err error) {
	f, err := feedOf(ctx, tx, record)
	if err != nil {
		return page, err
	}
	if f == nil {
		if _, err := byID(ctx, tx, record); err != nil {
			return page, err
		}
		return page, errExpired
	}
	if f.shows != "" && f.shows != view {
		return page, errExpired
	}
	if err := f.reaches(ctx, tx, record, from); err != nil {
		return page, err
	}
	page = d6tpipe.ChangePage{Changes: []d6tpipe.Change{}, Refused: f.refused}
	at, err := f.read(ctx, tx, record, from, limit, &page)
	if err != nil {
		return page, err
	}
	page.Cursor, page.More = at.String(), at.Seq < f.next
	return page, nil
}

// reaches makes sure that nothing is missing between a place and what is kept.
func (f *feedRow) reaches(ctx context.Context, tx db.Tx, record string, from feed.Cursor) error {
	if from.Epoch != f.epoch || from.Seq < f.first || from.Seq > f.next || from.Seq == f.next && from.Done > 0 {
		return errExpired
	}
	last, at := from.Seq-1, f.cutAt
	if from.Done > 0 {
		last = from.Seq
	}
	if last >= f.first {
		err := tx.QueryRowContext(ctx, `SELECT at FROM changes WHERE record_id = $1 AND seq = $2`, record, last).Scan(&at)
		if err != nil {
			return fmt.Errorf("a row of the change feed: %w", err)
		}
	}
	if at != from.At {
		return errExpired
	}
	return nil
}

// read appends to the page what comes after a place, and returns the place after that.
func (f *feedRow) read(ctx context.Context, tx db.Tx, record string, at feed.Cursor, limit int, page *d6tpipe.ChangePage) (feed.Cursor, error) {
	rows, err := tx.QueryContext(ctx, `SELECT seq, at, n, body FROM changes WHERE record_id = $1 AND seq >= $2 ORDER BY seq LIMIT $3`, record, at.Seq, limit)
	if err != nil {
		return at, err
	}
	defer rows.Close()
	for len(page.Changes) < limit && rows.Next() {
		var seq, when int64
		var row feed.Row
		if err := rows.Scan(&seq, &when, &row.N, &row.Body); err != nil {
			return at, err
		}
		before := len(page.Changes)
		if page.Changes, err = row.Read(page.Changes, at.Done, limit-before); err != nil {
			return at, fmt.Errorf("row %d of the changes of record %s: %w", seq, record, err)
		}
		at = feed.Cursor{Epoch: f.epoch, Seq: seq, Done: at.Done + len(page.Changes) - before, At: when}
		if at.Done >= row.N {
			at.Seq, at.Done = seq+1, 0
		}
	}
	return at, rows.Err()
}

// extend puts into the feed of a record what a listing shows that takes the place of
// another one.
func (l Listings) extend(ctx context.Context, tx db.Tx, record string, r listing.Record, c listing.Changes) error {
	f, err := feedOf(ctx, tx, record)
	if err != nil {
		return err
	}
	clock := l.Now
	if clock == nil {
		clock = time.Now
	}
	now := clock().UnixMicro()
	first := c.Since == ""
	if f != nil && f.shows == "" && first { // somebody has asked before there was anything: all is new to them
		f.shows, first = r.View, false
	}
	switch {
	case f == nil:
		f = newFeed(r.View, now)
	case f.shows != r.View || c.Lost || first:
		if _, err := tx.ExecContext(ctx, `DELETE FROM changes WHERE record_id = $1`, record); err != nil {
			return err
		}
		f = newFeed(r.View, now)
	default:
		if err := f.add(ctx, tx, record, now, c.Rows); err != nil {
			return err
		}
		if err := f.trim(ctx, tx, record, cmp.Or(l.FeedBytes, FeedBytes)); err != nil {
			return err
		}
	}
	f.refused = c.Refused
	if err := f.save(ctx, tx, record); err != nil {
		return err
	}
	return changed(ctx, tx, record, time.UnixMicro(now))
}

// add appends rows. Their times only grow, whatever the clocks of servers say.
func (f *feedRow) add(ctx context.Context, tx db.Tx, record string, now int64, rows []feed.Row) error {
	if len(rows) == 0 {
		return nil
	}
	f.lastAt = max(now, f.lastAt+1)
	for _, row := range rows {
		_, err := tx.ExecContext(ctx, `INSERT INTO changes (record_id, seq, at, n, bytes, body) VALUES ($1, $2, $3, $4, $5, $6)`,
			record, f.next, f.lastAt, row.N, len(row.Body), row.Body)
		if err != nil {
			return err
		}
		f.next++
		f.bytes += int64(len(row.Body))
	}
	return nil
}

// trim drops the oldest rows of a feed that takes more room than it may.
func (f *feedRow) trim(ctx context.Context, tx db.Tx, record string, limit int64) error {
	for f.bytes > limit && f.first < f.next {
		var bytes, at int64
		if err := tx.QueryRowContext(ctx, `SELECT bytes, at FROM changes WHERE record_id = $1 AND seq = $2`, record, f.first).Scan(&bytes, &at); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM changes WHERE record_id = $1 AND seq = $2`, record, f.first); err != nil {
			return err
		}
		f.first++
		f.cutAt = at
		f.bytes -= bytes
	}
	return nil
}

func (f *feedRow) save(ctx context.Context, tx db.Tx, record string) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO feeds (record_id, epoch, shows, first_seq, next_seq, cut_at, last_at, bytes, refused) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (record_id) DO UPDATE SET epoch = excluded.epoch, shows = excluded.shows, first_seq = excluded.first_seq, next_seq = excluded.next_seq,
			cut_at = excluded.cut_at, last_at = excluded.last_at, bytes = excluded.bytes, refused = excluded.refused`,
		record, f.epoch, f.shows, f.first, f.next, f.cutAt, f.lastAt, f.bytes, f.refused)
	return err
}

// forgetPage is how many rows of feeds are dropped in one transaction.
const forgetPage = 200

// ForgetChanges drops the changes that were seen before a time, and returns how many
// rows those were.
func (r *Repo) ForgetChanges(ctx context.Context, before time.Time) (n int64, err error) {
	for {
		some := int64(0)
		err := r.o.DB.Write(ctx, func(ctx context.Context, tx db.Tx) (err error) {
			some, err = forgetSome(ctx, tx, before.UnixMicro())
			return err
		})
		n += some
		if err != nil || some < forgetPage {
			return n, err
		}
	}
}

// forgetSome drops a page of rows. Those of one feed go in their order, because their
// times grow with their numbers.
func forgetSome(ctx context.Context, tx db.Tx, before int64) (n int64, err error) {
	type cut struct{ seq, at, bytes int64 }
	cuts := map[string]cut{}
	rows, err := tx.QueryContext(ctx, `SELECT record_id, seq, at, bytes FROM changes WHERE at < $1 ORDER BY at, record_id, seq LIMIT $2`, before, forgetPage)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for ; rows.Next(); n++ {
		var id string
		var seq, at, bytes int64
		if err := rows.Scan(&id, &seq, &at, &bytes); err != nil {
			return 0, err
		}
		cuts[id] = cut{seq, at, cuts[id].bytes + bytes}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return 0, err
	}
	for id, c := range cuts {
		if _, err := tx.ExecContext(ctx, `DELETE FROM changes WHERE record_id = $1 AND seq <= $2`, id, c.seq); err != nil {
			return 0, err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE feeds SET first_seq = $2, cut_at = $3, bytes = bytes - $4 WHERE record_id = $1`, id, c.seq+1, c.at, c.bytes); err != nil {
			return 0, err
		}
	}
	return n, nil
}
