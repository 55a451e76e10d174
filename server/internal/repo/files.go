package repo

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/internal/wire"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/jobs"
	"github.com/d6t/d6tpipe-go/server/internal/listing"
)

var _ wire.Files = (*session)(nil)

// Files returns the listing of a pipe.
func (s *session) Files(ctx context.Context, name string, refresh bool) (wire.Listing, error) {
	p, err := s.listed(ctx, name, d6tpipe.RoleRead)
	if err != nil {
		return wire.Listing{}, err
	}
	if refresh {
		if p.Reader, err = s.onlyReads(ctx, name); err != nil {
			return wire.Listing{}, err
		}
	}
	return s.o.Lister.Files(ctx, p, refresh)
}

// FilesChanged says that files of a pipe have changed.
func (s *session) FilesChanged(ctx context.Context, name string) (time.Time, error) {
	p, err := s.listed(ctx, name, d6tpipe.RoleWrite)
	if err != nil {
		return time.Time{}, err
	}
	at, err := s.o.Lister.Changed(ctx, p)
	if err != nil {
		return at, err
	}
	return at, s.scanSoon(ctx, p.ID)
}

// scanSoon has a pipe scanned now that is scanned on a schedule: those who follow it
// hear of what was pushed as soon as they can.
func (s *session) scanSoon(ctx context.Context, id string) error {
	err := s.o.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		return jobs.Wake(ctx, tx, jobs.Scan, id, s.o.Now())
	})
	if errors.Is(err, d6tpipe.ErrNotFound) {
		return nil
	}
	if err == nil {
		s.o.Kick()
	}
	return err
}

// listed looks up a pipe whose files are listed.
func (s *session) listed(ctx context.Context, name string, role d6tpipe.Role) (p listing.Pipe, err error) {
	if s.o.Lister == nil {
		return p, d6tpipe.ErrNotFound
	}
	var h handout
	err = s.o.DB.Read(ctx, func(ctx context.Context, tx db.Tx) error {
		x, _, err := s.need(ctx, tx, catalog.Pipes, name, ranks[role])
		if err == nil {
			h, err = s.usable(ctx, tx, x, role)
		}
		return err
	})
	if err != nil {
		return p, err
	}
	if err := h.read(); err != nil {
		return p, err
	}
	place, err := s.whereabouts(ctx, h, d6tpipe.RoleRead)
	if err != nil {
		return p, err
	}
	p, err = s.listedAs(place)
	p.Account = cmp.Or(s.user.id, "nobody")
	return p, err
}

// listedAs is a pipe as the lister wants it.
func (r *Repo) listedAs(w Whereabouts) (listing.Pipe, error) {
	view, err := listing.View(w.Storage)
	return listing.Pipe{ID: w.Record, View: view, MaxAge: r.o.ListingAge}, err
}

// usable looks up a pipe of which the server opens the storage for the caller, who may
// do with the pipe what role says. The server does so with the credentials of the
// remote, so that the caller must have a right to these, too.
func (s *session) usable(ctx context.Context, tx db.Tx, x *row, role d6tpipe.Role) (h handout, err error) {
	h = handout{row: x, family: family{}}
	if err := h.family.add(ctx, tx, x); err != nil {
		return h, err
	}
	if up := h.family[x.parent]; up != nil && up.kind == catalog.Remotes {
		has, err := s.rank(ctx, tx, up.id)
		if err != nil || has < ranks[role] {
			return h, cmp.Or(err, d6tpipe.ErrPermission)
		}
	}
	return h, nil
}

// onlyReads reports whether somebody who may read a pipe may not write to it.
func (s *session) onlyReads(ctx context.Context, name string) (bool, error) {
	err := s.o.DB.Read(ctx, func(ctx context.Context, tx db.Tx) error {
		_, _, err := s.need(ctx, tx, catalog.Pipes, name, ranks[d6tpipe.RoleWrite])
		return err
	})
	if errors.Is(err, d6tpipe.ErrPermission) || errors.Is(err, d6tpipe.ErrUnauthorized) {
		return true, nil
	}
	return false, err
}

// Whereabouts are where the files of a pipe lie. Those of managed pipes have no
// credentials: who opens them makes some for the grant.
type Whereabouts struct {
	d6tpipe.Storage
	Record  string // the id of the pipe's
	Managed bool
	Grant   Grant
}

// whereabouts are where the files of a pipe lie that was looked up, for who opens them
// in a role.
func (r *Repo) whereabouts(ctx context.Context, h handout, role d6tpipe.Role) (w Whereabouts, err error) {
	w.Record = h.row.id
	rules, err := r.rules(h.family)
	if err != nil {
		return w, err
	}
	if w.Storage, err = rules.Storage(ctx, h.row.name, role); err != nil {
		return w, err
	}
	if up := h.family[h.row.parent]; up != nil && up.kind == catalog.Remotes && up.managed {
		h.here, h.prefix = true, w.Dir+"/"
	}
	if h.here {
		w.Managed, w.Credentials = true, nil
		w.Grant = Grant{Prefix: h.prefix, Role: role, Subject: ServerSubject}
	}
	return w, nil
}

// ServerSubject is the subject of keys that the server makes for itself. They only read.
const ServerSubject = "server"

// Where returns where the files of the pipe lie whose record has an id.
func (r *Repo) Where(ctx context.Context, id string) (w Whereabouts, err error) {
	h := handout{family: family{}}
	err = r.o.DB.Read(ctx, func(ctx context.Context, tx db.Tx) (err error) {
		if h.row, err = byID(ctx, tx, id); err != nil {
			return err
		}
		return h.family.add(ctx, tx, h.row)
	})
	if err != nil {
		return w, err
	}
	if err := h.read(); err != nil {
		return w, err
	}
	return r.whereabouts(ctx, h, d6tpipe.RoleRead)
}

// A Listings is a [listing.Cache] in the database, where it also keeps the feeds.
type Listings struct {
	DB *db.DB
	// Waiters are woken when a feed has grown; nil is nobody.
	Waiters *Waiters
	// FeedBytes is how much room one feed takes; [FeedBytes].
	FeedBytes int64
	// Now is the clock; time.Now.
	Now func() time.Time
}

var _ listing.Cache = Listings{}

// Head implements [listing.Cache].
func (l Listings) Head(ctx context.Context, id string) (r listing.Record, err error) {
	var seen, scanned, changed, text int64
	err = l.DB.Read(ctx, func(ctx context.Context, tx db.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT etag, shows, seen_at, scanned_at, changed_at, files, bytes, octet_length(body) FROM listings WHERE record_id = $1`, id).
			Scan(&r.Tag, &r.View, &seen, &scanned, &changed, &r.Files, &r.Bytes, &text)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return listing.Record{}, nil
	}
	r.Seen, r.Scanned, r.Changed, r.Size = timeOf(seen), timeOf(scanned), timeOf(changed), text/4*3
	return r, err
}

func timeOf(micro int64) time.Time {
	if micro == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micro).UTC()
}

func microOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// Body implements [listing.Cache].
func (l Listings) Body(ctx context.Context, id, tag string) (body []byte, err error) {
	err = l.DB.Read(ctx, func(ctx context.Context, tx db.Tx) (err error) {
		return tx.QueryRowContext(ctx, `SELECT body FROM listings WHERE record_id = $1 AND etag = $2`, id, tag).Scan((*decoded)(&body))
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fs.ErrNotExist
	}
	if errors.Is(err, errNoBase64) {
		return nil, fmt.Errorf("%w: %w", listing.ErrDamaged, err)
	}
	return body, err
}

// decoded is a column in base64. It keeps nothing of the text.
type decoded []byte

var errNoBase64 = errors.New("this is no base64")

// Scan implements [sql.Scanner].
func (d *decoded) Scan(src any) (err error) {
	switch text := src.(type) {
	case string:
		*d, err = base64.StdEncoding.DecodeString(text)
	case []byte:
		*d, err = base64.StdEncoding.AppendDecode(nil, text)
	default:
		return errNoBase64
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errNoBase64, err)
	}
	return nil
}

// Save implements [listing.Cache], and extends the pipe's feed in the same transaction.
func (l Listings) Save(ctx context.Context, id string, r listing.Record, c listing.Changes) error {
	body := base64.StdEncoding.EncodeToString(r.Body)
	saved := false
	err := l.DB.Write(ctx, func(ctx context.Context, tx db.Tx) (err error) {
		if saved, err = l.replaces(ctx, tx, id, r, c.Since); err != nil || !saved {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO listings (record_id, etag, shows, seen_at, scanned_at, changed_at, files, bytes, body)
			VALUES ($1, $2, $3, $4, $5, 0, $6, $7, $8)
			ON CONFLICT (record_id) DO UPDATE SET etag = excluded.etag, shows = excluded.shows, seen_at = excluded.seen_at,
				scanned_at = excluded.scanned_at, files = excluded.files, bytes = excluded.bytes, body = excluded.body`,
			id, r.Tag, r.View, microOf(r.Seen), microOf(r.Scanned), r.Files, r.Bytes, body)
		if err != nil {
			return err
		}
		return l.extend(ctx, tx, id, r, c)
	})
	if err == nil && saved {
		l.Waiters.wake(id)
	}
	return err
}

// replaces reports whether a listing is to take the place of what there is, which must
// have the tag since.
func (l Listings) replaces(ctx context.Context, tx db.Tx, id string, r listing.Record, since string) (bool, error) {
	var tag string
	var scanned int64
	err := tx.QueryRowContext(ctx, `SELECT COALESCE(listings.etag, ''), COALESCE(listings.scanned_at, 0)
		FROM records LEFT JOIN listings ON listings.record_id = records.id WHERE records.id = $1`, id).Scan(&tag, &scanned)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return false, nil // the pipe is gone
	case err != nil, scanned > microOf(r.Scanned):
		return false, err
	case tag != since:
		return false, listing.ErrReplaced
	}
	return true, nil
}

// Confirm implements [listing.Cache].
func (l Listings) Confirm(ctx context.Context, id, tag string, scanned time.Time) error {
	return l.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE listings SET scanned_at = $3 WHERE record_id = $1 AND etag = $2 AND scanned_at < $3`, id, tag, microOf(scanned))
		return err
	})
}

// Changed implements [listing.Cache].
func (l Listings) Changed(ctx context.Context, id string, at time.Time) error {
	return l.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO listings (record_id, etag, shows, seen_at, scanned_at, changed_at, files, bytes, body)
			SELECT id, '', '', 0, 0, CAST($2 AS BIGINT), 0, 0, '' FROM records WHERE id = $1
			ON CONFLICT (record_id) DO UPDATE SET changed_at = excluded.changed_at WHERE listings.changed_at < excluded.changed_at`, id, microOf(at))
		return err
	})
}
