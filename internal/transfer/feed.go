package transfer

import (
	"context"
	"errors"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// A Feed tells what changed on the remote, as the scans of somebody else saw it.
type Feed interface {
	// Name tells one feed from another.
	Name() string
	// Next returns what changed after a cursor, in the order of the scans. It waits while
	// there is nothing, no longer than wait. An [ErrNoCursor] says that the feed does not
	// reach back to the cursor.
	Next(ctx context.Context, cursor string, wait time.Duration) (FeedPage, error)
}

// A FeedPage is a part of a [Feed].
type FeedPage struct {
	Changes []FeedChange
	Cursor  string // the place after them
	More    bool   // there is more after Cursor already
}

// A FeedChange is what a scan saw of one file.
type FeedChange struct {
	Object storage.Object // as it was then; only the Key when it is gone
	Gone   bool
}

// ErrNoCursor says that there is no place in a feed to go on from: all files are to be
// compared.
var ErrNoCursor = errors.New("there is no place in the feed to go on from")

// maxReplay is how many changes of a feed are read in one go. Beyond that it is less work
// to compare all files.
const maxReplay = 200_000

// Follow tells of what a feed has after the consumer's place in it, sorted by key, and
// waits for something when there is nothing. Without a place it is [ErrNoCursor]. It
// reports whether the loop was left.
//
// What the feed tells of a file is what some scan saw, not what is there now; all that
// it has is read before anything is told, so that only the last word on a file counts.
func (c *Consumer) Follow(ctx context.Context, f Feed, wait time.Duration, yield func([]Change) bool) (left bool, err error) {
	if c.inFeed.Cursor == "" || c.inFeed.Feed != f.Name() {
		return false, ErrNoCursor
	}
	if err := c.ready(); err != nil {
		return false, err
	}
	match := Request{Match: c.opt.Match}.matcher(func(string) bool { return true })
	latest, cursor, err := c.replay(ctx, f, wait, match)
	if err != nil {
		return false, err
	}
	pending := c.unknown(latest)
	if err := c.guard(match, pending); err != nil {
		return false, err
	}
	t := c.telling(ctx, yield)
	for _, change := range sorted(pending) {
		if on, err := t.add(change); !on || err != nil {
			return !on, err
		}
	}
	if on, err := t.end(); !on || err != nil {
		return !on, err
	}
	return false, c.keepPlace(f.Name(), cursor)
}

// unknown returns what the consumer has not acknowledged of the last words on files.
func (c *Consumer) unknown(latest map[string]FeedChange) map[string]Change {
	pending := map[string]Change{}
	for key, told := range latest {
		st := Step{Key: key}
		if e, ok := c.find(key); ok {
			st.Base = &e
		}
		if !told.Gone {
			st.Remote = &told.Object
		}
		if change, changed := st.change(); changed && (st.Base != nil || st.Remote != nil) {
			pending[key] = change
		}
	}
	return pending
}

// replay reads a feed to its end, and returns the last word on each file.
func (c *Consumer) replay(ctx context.Context, f Feed, wait time.Duration, match func(string) bool) (latest map[string]FeedChange, cursor string, err error) {
	latest, cursor = map[string]FeedChange{}, c.inFeed.Cursor
	for read, more := 0, true; more; wait = 0 {
		page, err := f.Next(ctx, cursor, wait)
		if err != nil {
			return nil, "", err
		}
		for _, told := range page.Changes {
			if match(told.Object.Key) {
				latest[told.Object.Key] = told
			}
		}
		cursor, more = page.Cursor, page.More
		if read += len(page.Changes); read > maxReplay && more {
			return nil, "", ErrNoCursor
		}
	}
	return latest, cursor, nil
}

// A Start is what a consumer needs to follow a feed from now on.
type Start struct {
	Place   string                // which remote it is
	Match   func(key string) bool // which keys belong to the pipe
	Listing storage.Listing       // of the scan that the feed had got to, or of a later one
	Cursor  string                // of the feed, from before Listing
}

// Begin tells of what a feed's own listing has that the consumer does not remember, and
// follows the feed from there, without the names of it that are refused, which are an
// [ErrPartial] at the end. The listing must not be older than what the consumer was
// told by its own look at the remote. It reports whether the loop was left.
func (c *Consumer) Begin(ctx context.Context, f Feed, s Start, yield func([]Change) bool) (left bool, err error) {
	if err := c.forgetPlace(); err != nil {
		return false, err
	}
	left, err = c.compare(ctx, s.Place, s.Match, s.Listing, yield)
	if left || err != nil && !errors.Is(err, ErrPartial) {
		return left, err
	}
	if failed := c.keepPlace(f.Name(), s.Cursor); failed != nil {
		return false, failed
	}
	return false, err
}

// Knows reports whether the consumer has acknowledged anything.
func (c *Consumer) Knows() bool { return c.w == nil || len(c.w.entries)+len(c.newer) > 0 }
