package transfer

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// A Side is where files are removed.
type Side string

// The sides.
const (
	Local  Side = "local"
	Remote Side = "remote"
	Both   Side = "both"
)

// An Orphan is a file that only one side has.
type Orphan struct {
	Key  string
	Side Side // where it is: Local or Remote
	Size int64
	// Kept says why the orphan is not removed unless forced: EditedHere, OnlyHere
	// (never pushed), Modified (on the remote), OnlyThere (never pulled). Empty
	// when the file is as the last sync left it.
	Kept Reason
	// Err says that the file could not be removed; Removed that it was.
	Err     error
	Removed bool

	local  *LocalFile
	remote *storage.Object
}

// OrphanOptions are how orphans are removed.
type OrphanOptions struct {
	Side Side // Both when empty
	// Apply removes the files; without it nothing is removed.
	Apply bool
	// Force also removes what was edited or never synced, and lifts the limits on
	// how much may go. It does not make up for a listing that is not complete.
	Force bool
}

// The most that goes without Force: this many files, or half of them.
const freeRemovals = 10

// RemoveOrphans removes the files that only one side has, or says which it would
// remove. It refuses with [ErrRefused] when the other side is empty while the
// manifest is not, and when more than ten files and more than half of a side
// would go, unless forced; and whatever is asked with an error when the listing is
// not complete. The orphans it found come back in any case.
func (s *Sync) RemoveOrphans(ctx context.Context, opt OrphanOptions) (orphans []Orphan, err error) {
	if opt.Side = cmp.Or(opt.Side, Both); opt.Side != Local && opt.Side != Remote && opt.Side != Both {
		return nil, fmt.Errorf("transfer: unknown side %q", opt.Side)
	}
	if !opt.Apply {
		in, err := s.lookClosely(ctx)
		return s.orphans(in, opt.Side), err
	}
	err = s.locked(ctx, func(w *writer) error {
		in, err := s.lookClosely(ctx)
		if err != nil {
			return err
		}
		orphans = s.orphans(in, opt.Side)
		if err := s.guard(in, orphans, opt.Force); err != nil {
			return err
		}
		return s.removeAll(ctx, w, orphans, opt.Force)
	})
	return orphans, err
}

// lookClosely makes the scans and finds out which files were edited.
func (s *Sync) lookClosely(ctx context.Context) (states, error) {
	in, err := s.look(ctx)
	if err == nil {
		_, err = s.check(ctx, in, s.cfg.Match)
	}
	if err != nil {
		return states{}, err // half a listing is no ground for anything
	}
	return in, nil
}

func (s *Sync) orphans(in states, side Side) (found []Orphan) {
	refused := map[string]bool{}
	for _, e := range slices.Concat(in.refused, in.unfit) {
		refused[e.Key] = true
	}
	for st := range in.each {
		if !s.cfg.Match(st.Key) || refused[st.Key] {
			continue
		}
		switch {
		case st.Remote == nil && st.Local != nil && side != Remote:
			found = append(found, Orphan{Key: st.Key, Side: Local, Size: st.Local.Size, Kept: st.keptHere(), local: st.Local})
		case st.Local == nil && st.Remote != nil && side != Local:
			found = append(found, Orphan{Key: st.Key, Side: Remote, Size: st.Remote.Size, Kept: st.keptThere(), remote: st.Remote})
		}
	}
	return found
}

func (s Step) keptHere() Reason {
	switch {
	case s.Base == nil:
		return OnlyHere
	case s.changedHere():
		return EditedHere
	}
	return ""
}

func (s Step) keptThere() Reason {
	switch {
	case s.Base == nil:
		return OnlyThere
	case s.changedThere():
		return Modified
	}
	return ""
}

// guard refuses removals that look like an accident: an unmounted folder, a
// bucket that was emptied, the wrong pipe.
func (s *Sync) guard(in states, orphans []Orphan, force bool) error {
	if force {
		return nil
	}
	local, remote, synced := 0, 0, 0
	for st := range in.each {
		if !s.cfg.Match(st.Key) {
			continue
		}
		local += one(st.Local != nil)
		remote += one(st.Remote != nil)
		synced += one(st.Base != nil)
	}
	if err := guardSide(Local, orphans, local, remote == 0 && synced > 0); err != nil {
		return err
	}
	return guardSide(Remote, orphans, remote, local == 0 && synced > 0)
}

// guardSide looks at the removals on one side, which has so many files.
func guardSide(side Side, orphans []Orphan, files int, otherEmpty bool) error {
	gone := 0
	for _, o := range orphans {
		gone += one(o.Side == side && o.Kept == "")
	}
	switch {
	case gone > 0 && otherEmpty:
		return fmt.Errorf("%w: the other side of the %s files is empty", ErrRefused, side)
	case gone > freeRemovals && 2*gone > files:
		return fmt.Errorf("%w: %d of %d %s files would go", ErrRefused, gone, files, side)
	}
	return nil
}

func one(yes bool) int {
	if yes {
		return 1
	}
	return 0
}
