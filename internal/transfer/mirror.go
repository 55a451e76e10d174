package transfer

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// A mirror copies from remote to remote, through this machine and not to its disk.
// The planner sees the remote that is copied from in the place of the folder: "here"
// is there. It remembers for each file which version it copied, and which one that
// has become, so that it copies again what changed at the source and never replaces
// what somebody else changed at the target unless told to.
//
//	source, target           default: fail / keep / overwrite
//	same, same               -
//	same, edited             conflict/skip/copy
//	same, deleted            copy
//	edited, same             copy
//	edited, edited           conflict/skip/copy
//	edited, deleted          copy
//	deleted, same            removed, if asked to
//	deleted, edited          skip
//	absent, new              skip
//	new, absent              copy
//	new, new                 conflict/skip/copy
//
// Where both sides have the same content, it only remembers that.

// Mirror is the direction from remote to remote.
const Mirror Direction = "mirror"

// Reasons of a mirror's steps.
const (
	GoneThere   Reason = "gone at the source"
	EditedThere Reason = "edited at the target"
	OnlyTarget  Reason = "only at the target"
)

// MirrorOptions are how two remotes are brought together.
type MirrorOptions struct {
	Merge Merge
	// Mode is ModeDefault or ModeAll.
	Mode Mode
	// Match narrows the Config's own; nil is all.
	Match func(key string) bool
	// Delete removes what is gone at the source, of what earlier mirrors copied and
	// nobody has changed since. The limits of RemoveOrphans hold.
	Delete bool
	// Force lifts these limits, and also removes what was edited or was not copied by
	// a mirror.
	Force bool
	// Dry only plans.
	Dry bool
}

// Mirror makes the Store what From is. It returns what it planned, what it did (nil
// when it did nothing), and the files of the target that the source does not have;
// those are removed last, and only when everything was copied.
func (s *Sync) Mirror(ctx context.Context, opt MirrorOptions) (p *Plan, report *Report, orphans []Orphan, err error) {
	if s.cfg.From == nil {
		return nil, nil, nil, errors.New("transfer: a mirror needs a remote to copy from")
	}
	err = s.locked(ctx, func(w *writer) error {
		retries := s.retries.Load()
		in, err := s.lookAtBoth(ctx, w)
		if err != nil {
			return err
		}
		if p, err = s.planMirror(ctx, in, opt); err != nil {
			return err
		}
		p.retries = int(s.retries.Load() - retries)
		orphans = s.orphans(in, Remote)
		orphans = slices.DeleteFunc(orphans, func(o Orphan) bool { return opt.Match != nil && !opt.Match(o.Key) })
		if opt.Dry {
			return nil
		}
		if report, err = s.copyAll(ctx, p, w); err != nil || !opt.Delete {
			return err
		}
		if err := s.guard(in, orphans, opt.Force); err != nil {
			return err
		}
		return s.removeAll(ctx, w, orphans, opt.Force)
	})
	return p, report, orphans, err
}

// lookAtBoth lists both remotes.
func (s *Sync) lookAtBoth(ctx context.Context, w *writer) (in states, err error) {
	in.base, in.known = w.entries, w.entries
	g, inner := errgroup.WithContext(ctx)
	var from storage.Listing
	g.Go(func() (err error) {
		from, err = storage.Collect(inner, s.cfg.From, "")
		return err
	})
	g.Go(func() error {
		l, err := s.scanRemote(inner)
		in.remote, in.refused = l.Objects(), l.Refused
		return err
	})
	if err := g.Wait(); err != nil {
		return states{}, err
	}
	if !from.Complete() {
		return states{}, errors.New("transfer: the listing of the source is not complete")
	}
	in.unfit = from.Refused
	s.origins = from.Objects()
	in.local = make([]LocalFile, len(s.origins))
	for i := range s.origins {
		in.local[i] = copyable(&s.origins[i])
	}
	return in, nil
}

// copyable is an object of the source as the planner sees it: what tells its version
// takes the place of the hash of its content.
func copyable(o *storage.Object) LocalFile {
	version := cmp.Or(o.Tag, o.ModTime.String())
	return LocalFile{Key: o.Key, Size: o.Size, ModTime: StampOf(o.ModTime), Sum: sha256.Sum256([]byte(version)), Checked: now()}
}

func (s *Sync) planMirror(ctx context.Context, in states, opt MirrorOptions) (*Plan, error) {
	req := Request{Direction: Mirror, Mode: opt.Mode, Merge: opt.Merge, Match: opt.Match}
	if err := req.validate(); err != nil {
		return nil, err
	}
	p := newPlan(in, req, req.matcher(s.cfg.Match))
	p.Place = s.cfg.Place
	if err := s.compareRemotes(ctx, p); err != nil {
		return nil, err
	}
	s.tell(Event{Kind: Planned, Files: p.Files, Bytes: p.Bytes})
	return p, nil
}

// decideMirror is the table above.
func (p *Plan) decideMirror(s Step) (Action, Reason) {
	here, there := s.changedHere(), s.changedThere()
	switch {
	case s.Local == nil && s.Base == nil:
		return Skip, OnlyTarget
	case s.Local == nil && there:
		return Skip, EditedThere
	case s.Local == nil:
		return Skip, GoneThere
	case s.Remote == nil && s.Base == nil:
		return Upload, New
	case s.Remote == nil:
		return Upload, MissingThere
	case !here && !there:
		return p.again(Upload)
	case !there:
		return Upload, Modified
	case s.Local.Equal && p.Mode != ModeAll:
		return Adopt, EqualContent
	}
	why := EditedThere
	if s.Base == nil {
		why = NewBoth
	}
	switch p.Merge {
	case MergeKeep:
		return Skip, why
	case MergeOverwrite:
		return Upload, why
	}
	return Conflict, why
}

// compareRemotes finds out which clashes are none, because both remotes have the
// same content.
func (s *Sync) compareRemotes(ctx context.Context, p *Plan) error {
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(s.cfg.Workers)
	for i := range p.Steps {
		st := &p.Steps[i]
		if st.Local == nil || st.Remote == nil || st.Local.Size != st.Remote.Size || st.Reason != NewBoth && st.Reason != EditedThere {
			continue
		}
		g.Go(func() (err error) {
			st.Local.Equal, err = s.sameContent(inner, s.origin(st.Key), st.Remote, p.Merge != MergeOverwrite)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i := range p.Steps {
		if st := &p.Steps[i]; st.Local != nil && st.Local.Equal {
			p.count(*st, -1)
			if st.Action, st.Reason = p.decide(*st); st.Action == Adopt {
				st.Size = 0
			}
			p.count(*st, 1)
		}
	}
	return nil
}

// sameContent compares two objects of one size, by what the remotes vouch for, and
// where that does not tell, by reading them if that is worth it.
func (s *Sync) sameContent(ctx context.Context, a, b *storage.Object, read bool) (bool, error) {
	if kindA, sumA, _ := strings.Cut(a.Sum, ":"); vouched(a.Sum) {
		if kindB, sumB, _ := strings.Cut(b.Sum, ":"); kindA == kindB {
			return strings.EqualFold(sumA, sumB), nil
		}
	}
	if !read {
		return false, nil
	}
	first, err := s.digestOf(ctx, s.cfg.From, a)
	if err != nil || first == nil {
		return false, err
	}
	second, err := s.digestOf(ctx, s.cfg.Store, b)
	return err == nil && second != nil && first.sum() == second.sum(), err
}

// digestOf reads an object; nil is one that goes on changing.
func (s *Sync) digestOf(ctx context.Context, store storage.Store, o *storage.Object) (*digest, error) {
	r, err := store.Open(ctx, *o, 0, -1)
	if err == nil {
		d := newDigest("")
		err = errors.Join(s.copy(ctx, d, &limited{r: r, left: o.Size}), r.Close())
		if err == nil && d.size == o.Size {
			return d, nil
		}
	}
	if err == nil || errors.Is(err, storage.ErrChanged) || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return nil, err
}

// copyAll carries out the plan of a mirror.
func (s *Sync) copyAll(ctx context.Context, p *Plan, w *writer) (*Report, error) {
	return s.carryOut(p, func(report *Report) error {
		if keys := p.Conflicts(); len(keys) > 0 {
			return &ConflictError{p.Direction, keys}
		}
		if len(p.todo()) == 0 {
			return errors.Join(s.sweepUploads(ctx, p.Direction), ctx.Err())
		}
		return s.run(ctx, p, report, w)
	})
}

// originVersion is the version of an object of the source, "" when there is none.
func (s *Sync) originVersion(key string) (string, error) {
	i, found := slices.BinarySearchFunc(s.origins, key, func(o storage.Object, key string) int { return strings.Compare(o.Key, key) })
	if !found {
		return "", nil
	}
	return versionOf(&s.origins[i]), nil
}
