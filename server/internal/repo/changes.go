package repo

import (
	"context"
	"errors"
	"net/http"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/internal/wire"
	"github.com/d6t/d6tpipe-go/server/internal/feed"
	"github.com/d6t/d6tpipe-go/server/internal/listing"
)

var _ wire.Feed = (*session)(nil)

// watchedAge is how old a listing may be for those who ask for changes, when nobody goes
// by listings otherwise.
const watchedAge = time.Minute

// Changes returns a part of a pipe's feed.
func (s *session) Changes(ctx context.Context, name string, q wire.ChangesQuery) (page d6tpipe.ChangePage, err error) {
	p, err := s.watched(ctx, name)
	if err != nil {
		return page, err
	}
	if q.Cursor == "" {
		return s.looked(ctx, p, func() (d6tpipe.ChangePage, error) { return s.feedEnd(ctx, p.ID) })
	}
	from, err := feed.Parse(q.Cursor)
	if err != nil {
		return page, errCursor
	}
	after := func() (d6tpipe.ChangePage, error) { return s.feedPage(ctx, p.ID, p.View, from, q.Limit) }
	if q.Wait <= 0 {
		return s.looked(ctx, p, after)
	}
	if page, err = after(); err != nil || len(page.Changes) > 0 {
		return page, err
	}
	return s.await(ctx, name, p, from, q)
}

// looked looks at the storage, if that is due, and reads a page then.
func (s *session) looked(ctx context.Context, p listing.Pipe, read func() (d6tpipe.ChangePage, error)) (page d6tpipe.ChangePage, err error) {
	stale, err := s.look(ctx, p)
	if err != nil {
		return page, err
	}
	page, err = read()
	page.Stale = stale
	return page, err
}

// watched looks up a pipe whose changes are asked for, which takes the same rights as to
// see its files.
func (s *session) watched(ctx context.Context, name string) (p listing.Pipe, err error) {
	if s.o.Waiters == nil {
		return p, d6tpipe.ErrNotFound
	}
	p, err = s.listed(ctx, name, d6tpipe.RoleRead)
	if p.MaxAge <= 0 {
		p.MaxAge = watchedAge
	}
	return p, err
}

// look has the pipe listed when its listing is too old.
func (s *session) look(ctx context.Context, p listing.Pipe) (stale string, err error) {
	l, err := s.o.Lister.Files(ctx, p, false)
	return l.Stale, err
}

// await waits until there is something after a place, and returns it. The request is in
// nobody's way meanwhile: it has no place among those that are at work, and no
// connection to the database.
func (s *session) await(ctx context.Context, name string, p listing.Pipe, from feed.Cursor, q wire.ChangesQuery) (page d6tpipe.ChangePage, err error) {
	account := s.user.id
	if account == "" || s.isDemo() {
		account = accountOfNobody
	}
	leave, err := s.o.Waiters.enter(account, s.o.Peer(ctx).String())
	if err != nil {
		return page, err
	}
	defer leave()
	resume := s.o.Rest(ctx)
	stale, err := s.wait(ctx, p, from, q.Wait)
	if resumed := resume(ctx); err != nil || resumed != nil {
		return page, errors.Join(err, resumed)
	}
	return s.afterWait(ctx, name, from, q, stale)
}

// wait looks at the storage first. When that takes longer than the wait, it goes on
// without the request; and when too many pipes are to be looked at, others or a later
// request see what there is.
func (s *session) wait(ctx context.Context, p listing.Pipe, from feed.Cursor, d time.Duration) (stale string, err error) {
	limited, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	stop := context.AfterFunc(s.o.Waiters.ctx, cancel)
	defer stop()
	stale, err = s.look(limited, p)
	var no *d6tpipe.StatusError
	switch {
	case limited.Err() != nil && ctx.Err() == nil:
		err = nil
	case errors.As(err, &no) && no.Status == http.StatusServiceUnavailable:
		stale, err = "", nil
	}
	if err != nil {
		return stale, err
	}
	if err := s.o.Waiters.wait(limited, p.ID, from); err != nil {
		return stale, err
	}
	return stale, ctx.Err()
}

// afterWait answers a request that has waited, to whom it comes from now: the token may
// be good for nothing any more, or the pipe for others.
func (s *session) afterWait(ctx context.Context, name string, from feed.Cursor, q wire.ChangesQuery, stale string) (page d6tpipe.ChangePage, err error) {
	again, err := s.Open(ctx, s.token)
	if err != nil {
		return page, err
	}
	if err := again.Authorize(ctx, catalog.Get, catalog.Pipes+"/"+name+"/changes", ""); err != nil {
		return page, err
	}
	now, ok := again.(*session)
	if !ok {
		return page, errors.ErrUnsupported
	}
	p, err := now.watched(ctx, name)
	if err != nil {
		return page, err
	}
	page, err = now.feedPage(ctx, p.ID, p.View, from, q.Limit)
	page.Stale = stale
	return page, err
}
