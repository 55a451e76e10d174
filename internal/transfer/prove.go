package transfer

import (
	"context"
	"errors"
	"io/fs"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// A plan that was read from a file may be old, and anybody may have written it. What
// the engine checks of every plan is not enough then.

// basedOn reports whether the manifest still remembers the sync that a plan from a
// file was made from. When it was last looked at does not matter.
func (s *Step) basedOn(e *Entry, known bool) bool {
	if s.Base == nil || !known {
		return s.Base == nil && !known
	}
	return e.Synced == s.Base.Synced && e.Tag == s.Base.Tag && e.Size == s.Base.Size && e.Sum == s.Base.Sum
}

// stillThere makes sure that the remote file is the one that the plan saw, where
// reading or replacing it will not find out. A download of what has no tag brings what
// is there now, and only a plan from a file can mind.
func (r *run) stillThere(ctx context.Context, s *Step) error {
	if s.Remote == nil || s.Remote.Tag != "" || !r.plan.decoded && s.Action != Upload {
		return nil
	}
	_, err := r.ask(ctx, s)
	return err
}

// ask returns the remote file of a step, which must be the one that the plan saw.
func (r *run) ask(ctx context.Context, s *Step) (*storage.Object, error) {
	o, err := r.cfg.Store.Stat(ctx, s.Key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errMeanwhile
	}
	if err != nil {
		return nil, err
	}
	if !sameVersion(s.Remote, &o) {
		return nil, errMeanwhile
	}
	return &o, nil
}

// proveEqual looks at both sides of a file that a plan says are equal, when that may
// be long ago.
func (r *run) proveEqual(ctx context.Context, s *Step) (Entry, error) {
	o, err := r.ask(ctx, s)
	if err != nil {
		return Entry{}, err
	}
	local := *s.Local
	local.Sum, local.Checked, local.Equal = Hash{}, 0, false
	again := Step{Key: s.Key, Action: Adopt, Local: &local, Remote: o}
	if err := r.equal(ctx, r.dir, &again); err != nil {
		return Entry{}, err
	}
	if !local.Equal {
		return Entry{}, errMeanwhile
	}
	return entryOf(o, &local, local.Sum, local.Checked), nil
}

// outdated reports whether an error says that a plan from a file does not fit any
// more.
func (r *run) outdated(err error) bool {
	return r.plan.decoded && (errors.Is(err, storage.ErrChanged) || errors.Is(err, fs.ErrNotExist))
}
