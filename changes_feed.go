package d6tpipe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// A feeder is an API that may keep a change feed: a server's.
type feeder interface {
	lister
	changeFeed(ctx context.Context, pipe string, o FeedOptions) (ChangePage, error)
}

// errNoFeed says that a server's feed is not to be gone by: whoever wants to know looks
// at the storage.
var errNoFeed = errors.New("the server has no feed to go by")

// A pipeFeed is a server's feed of a pipe.
type pipeFeed struct {
	pipe   *Pipe
	server feeder
	// patient waits for a server that cannot be reached just now, and does without names
	// that cannot be used. Others look at the storage then.
	patient bool
	// refused is how many of those names there were when the server last told.
	refused int
}

// feed returns the server's feed of the pipe, nil when there can be none.
func (p *Pipe) feed(patient bool) *pipeFeed {
	if _, ok := p.lister(); !ok {
		return nil
	}
	server, ok := p.api.(feeder)
	if !ok {
		return nil
	}
	return &pipeFeed{pipe: p, server: server, patient: patient}
}

// Name implements [transfer.Feed].
func (f *pipeFeed) Name() string { return f.server.address() }

// Next implements [transfer.Feed].
func (f *pipeFeed) Next(ctx context.Context, cursor string, wait time.Duration) (out transfer.FeedPage, err error) {
	page, err := f.page(ctx, FeedOptions{Cursor: cursor, Wait: wait})
	if err != nil {
		return out, err
	}
	out = transfer.FeedPage{Cursor: page.Cursor, More: page.More, Changes: make([]transfer.FeedChange, len(page.Changes))}
	for i, c := range page.Changes {
		out.Changes[i] = transfer.FeedChange{Gone: c.Kind == ChangeGone, Object: storage.Object{Key: c.Key, Size: c.File.Size, ModTime: c.File.ModTime, Tag: c.File.Tag}}
	}
	return out, nil
}

// page asks for a part of the feed. It is not gone by when the server did not see the
// storage as it is, or, unless patience is asked for, saw names that it cannot tell of, or
// may not have heard yet of what was pushed from here.
func (f *pipeFeed) page(ctx context.Context, o FeedOptions) (ChangePage, error) {
	if !f.patient {
		if notes, idle := f.pipe.unsettled(ctx); !idle || len(notes) > 0 {
			return ChangePage{}, errNoFeed
		}
	}
	page, err := f.server.changeFeed(ctx, f.pipe.Name(), o)
	switch {
	case err != nil:
		return page, f.failed(ctx, err)
	case page.Stale != "" || page.Refused > 0 && !f.patient:
		return page, errNoFeed
	}
	f.refused = page.Refused
	return page, nil
}

// failed tells what is to be done about an error of the server.
func (f *pipeFeed) failed(ctx context.Context, err error) error {
	var no *StatusError
	answered := errors.As(err, &no)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, ErrCursorExpired), answered && no.Status == http.StatusBadRequest: // it is none of this server's
		return transfer.ErrNoCursor
	case f.patient && passes(err) && !(answered && no.Status == http.StatusBadGateway):
		return err
	}
	return fmt.Errorf("%w: %w", errNoFeed, err)
}

// passes reports whether the same may go better in a while.
func passes(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrRateLimited) || errors.Is(err, context.DeadlineExceeded)
}

// start returns what a consumer needs to follow the feed. One that knows something may
// know it from a look at the storage, so that the server has to look, too.
func (f *pipeFeed) start(ctx context.Context, knows bool) (s transfer.Start, err error) {
	page, err := f.page(ctx, FeedOptions{})
	if err != nil {
		return s, err
	}
	where, _, err := f.pipe.where(ctx, RoleRead, false)
	if err == nil {
		s.Place, err = where.identity()
	}
	if err != nil {
		return s, err
	}
	if where.Protocol == ProtocolDir { // a folder is another one on each machine
		return s, errNoFeed
	}
	l, err := f.listing(ctx, knows)
	if err != nil {
		return s, err
	}
	s.Match, s.Listing, s.Cursor = matchAll(where.Filters), l.files, page.Cursor
	f.refused = len(l.files.Refused)
	return s, nil
}

// maxAgain is for how long to wait until a server may look again.
const maxAgain = 10 * time.Second

// listing asks for the server's listing. Who may only read is told to come again when
// the server has just looked.
func (f *pipeFeed) listing(ctx context.Context, refresh bool) (listingAnswer, error) {
	for try := 0; ; try++ {
		l, err := f.server.listing(ctx, f.pipe.Name(), "", refresh)
		switch {
		case err != nil:
			return l, f.failed(ctx, err)
		case l.stale == "" && (f.patient || len(l.files.Refused) == 0):
			return l, nil
		case try > 0 || l.again <= 0 || l.again > maxAgain:
			return l, errNoFeed
		}
		if err := sleep(ctx, l.again); err != nil {
			return l, err
		}
	}
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
