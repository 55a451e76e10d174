package transfer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"time"

	"github.com/d6t/d6tpipe-go/internal/atomicfile"
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
}

// ackBatch is how many acknowledgements are written down at a time, at most: as many
// come again after a crash.
const ackBatch = 64

// Changes yields what is new, modified or gone on the remote since it was
// acknowledged, sorted by key. A change is acknowledged when the next one is asked
// for; one whose loop was left comes again, and after a crash up to 64 do. What is
// gone follows only from a complete listing, and [ErrRefused] comes when all is gone
// at once, unless forced. An error comes last. Loops of one consumer wait for each
// other, in this process and others.
func (s *Sync) Changes(ctx context.Context, opt ChangesOptions) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		if err := s.changes(ctx, opt, yield); err != nil {
			yield(Change{}, err)
		}
	}
}

func (s *Sync) changes(ctx context.Context, opt ChangesOptions, yield func(Change, error) bool) (err error) {
	path := filepath.Join(s.cfg.State, "changes-"+opt.Consumer)
	m := newManifest(path)
	unlock, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.sameRemote(m); err != nil {
		return err
	}
	w, err := m.writer()
	if err != nil {
		return err
	}
	there, err := s.ScanRemote(ctx)
	if err != nil {
		return errors.Join(err, w.close())
	}
	match := Request{Match: opt.Match}.matcher(s.cfg.Match)
	a := acknowledged{w: w, last: time.Now()}
	left := false
	defer func() { // also when the loop panics
		failed := errors.Join(a.flush(), w.close())
		if !left { // who has left the loop hears nothing more, and sees the changes again
			err = errors.Join(err, failed)
		}
	}()
	if err := guardChanges(w.entries, there, match, opt.Force); err != nil {
		return err
	}
	refused := Plan{Refused: there.Refused}
	for st := range (states{base: w.entries, remote: there.Objects()}).each {
		c, changed := st.change()
		if !changed || !match(st.Key) || refused.refuses(st.Key) { // a name that is refused is there all the same
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		left = true
		if !yield(c, nil) {
			return nil
		}
		left = false
		if err := a.add(c.acknowledge()); err != nil {
			return err
		}
	}
	if len(there.Refused) > 0 {
		return &PartialError{Refused: there.Refused}
	}
	return nil
}

// sameRemote starts over when what is remembered is of another remote.
func (s *Sync) sameRemote(m *manifest) error {
	name := m.path + ".place"
	last, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && string(last) == s.cfg.Place {
		return nil
	}
	if err := m.reset(); err != nil {
		return err
	}
	return atomicfile.Write(name, []byte(s.cfg.Place), 0o600)
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

// acknowledged are the changes that the consumer is done with.
type acknowledged struct {
	w     *writer
	batch []Entry
	last  time.Time
}

func (a *acknowledged) add(e Entry) error {
	a.batch = append(a.batch, e)
	if len(a.batch) < ackBatch && time.Since(a.last) < batchTime {
		return nil
	}
	return a.flush()
}

func (a *acknowledged) flush() error {
	batch := a.batch
	a.batch, a.last = nil, time.Now()
	return a.w.append(batch)
}
