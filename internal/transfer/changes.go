package transfer

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// A Change is what became of one remote file since it was last acknowledged.
type Change struct {
	Key    string
	Kind   ChangeKind
	Object storage.Object // as it is now; zero when it is gone
	Before Entry          // as it was acknowledged: Tag, Size and RemoteTime; zero when it is new
}

// A ChangeKind is what happened to a file.
type ChangeKind string

// The kinds of changes.
const (
	ChangeNew      ChangeKind = "new"
	ChangeModified ChangeKind = "modified"
	ChangeGone     ChangeKind = "gone"
)

// ChangesOptions are which changes to tell of, and to whom.
type ChangesOptions struct {
	// Consumer names who is told: each has its own memory. It is a file's name.
	Consumer string
	// Match narrows the Config's own; nil is all.
	Match func(key string) bool
	// Force believes a remote that is empty although files were known.
	Force bool
	// Filter names Match: two of one name let the same keys through. A place in a feed
	// is remembered for one filter.
	Filter string
	// Batch is how many changes to tell of at a time, at most; 0 is one.
	Batch int
	// Held is called when somebody else is the consumer and is waited for; nil is nobody.
	Held func()
}

// Changes yields what is new, modified or gone on the remote since it was
// acknowledged, sorted by key. A change is acknowledged when the next one is asked
// for; one whose loop was left comes again, and after a crash up to 64 do. What is
// gone follows only from a complete listing, and [ErrRefused] comes when all is gone
// at once, unless forced. An error comes last. Loops of one consumer wait for each
// other, in this process and others.
func (s *Sync) Changes(ctx context.Context, opt ChangesOptions) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		left, err := s.changes(ctx, opt, func(batch []Change) bool { return yield(batch[0], nil) })
		if err != nil && !left {
			yield(Change{}, err)
		}
	}
}

func (s *Sync) changes(ctx context.Context, opt ChangesOptions, yield func([]Change) bool) (left bool, err error) {
	c, err := OpenConsumer(ctx, s.cfg.State, opt)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, c.Close()) }() // also when the loop panics
	return s.CompareWith(ctx, c, yield)
}

// CompareWith lists the remote, and tells a consumer of what is not as it remembers it.
// It reports whether the loop was left. Whatever place the consumer had in a feed is not
// good any more: what was seen here may be newer than anything the feed tells.
func (s *Sync) CompareWith(ctx context.Context, c *Consumer, yield func([]Change) bool) (left bool, err error) {
	if err := c.forgetPlace(); err != nil {
		return false, err
	}
	there, err := s.ScanRemote(ctx)
	if err != nil {
		return false, err
	}
	return c.compare(ctx, s.cfg.Place, s.cfg.Match, there, yield)
}

// compare tells of what a listing has that the consumer does not remember.
func (c *Consumer) compare(ctx context.Context, place string, match func(string) bool, there storage.Listing, yield func([]Change) bool) (left bool, err error) {
	if err := c.at(place); err != nil {
		return false, err
	}
	match = Request{Match: c.opt.Match}.matcher(match)
	known := c.entries()
	if err := guardChanges(known, there, match, c.opt.Force); err != nil {
		return false, err
	}
	t := c.telling(ctx, yield)
	refused := Plan{Refused: there.Refused}
	for st := range (states{base: known, remote: there.Objects()}).each {
		change, changed := st.change()
		if !changed || !match(st.Key) || refused.refuses(st.Key) { // a name that is refused is there all the same
			continue
		}
		if on, err := t.add(change); !on || err != nil {
			return !on, err
		}
	}
	if on, err := t.end(); !on || err != nil {
		return !on, err
	}
	if len(there.Refused) > 0 {
		return false, &PartialError{Refused: there.Refused}
	}
	return false, nil
}

// guardChanges refuses to say that everything is gone.
func guardChanges(known []Entry, there storage.Listing, match func(string) bool, force bool) error {
	knew, has := 0, 0
	for i := range known {
		knew += one(match(known[i].Key))
	}
	for o := range there.All() {
		has += one(match(o.Key))
	}
	for _, e := range there.Refused {
		has += one(match(e.Key))
	}
	return refuseNone(knew, has, force)
}

func refuseNone(knew, has int, force bool) error {
	if knew > 0 && has == 0 && !force {
		return fmt.Errorf("%w: the remote is empty, and had %d files", ErrRefused, knew)
	}
	return nil
}

// change tells what became of a file; of its steps only Base and Remote count.
func (s Step) change() (c Change, changed bool) {
	c.Key = s.Key
	if s.Base != nil {
		c.Before = *s.Base
	}
	switch {
	case s.Remote == nil:
		c.Kind = ChangeGone
		return c, true
	case s.Base == nil:
		c.Kind = ChangeNew
	case s.changedThere():
		c.Kind = ChangeModified
	default:
		return c, false
	}
	c.Object = *s.Remote
	return c, true
}

// acknowledge is what is remembered of a change.
func (c Change) acknowledge() Entry {
	if c.Kind == ChangeGone {
		return Entry{Key: c.Key}
	}
	return Entry{Key: c.Key, Tag: c.Object.Tag, Size: c.Object.Size, RemoteTime: StampOf(c.Object.ModTime), Synced: now()}
}
