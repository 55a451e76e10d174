package transfer

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// errNoStore says that a Sync without a Store was asked for the remote.
var errNoStore = errors.New("transfer: there is no remote")

// Plan looks at both sides and says what req would do. Nothing is moved, but
// files may be read to see whether they are the same: local ones whose time
// changed, and remote ones of which that cannot be told otherwise. A plan with
// conflicts is made while no other sync of the folder is at work.
func (s *Sync) Plan(ctx context.Context, req Request) (*Plan, error) {
	if err := req.validate(); err != nil {
		return nil, err
	}
	plans, err := s.plans(ctx, req, req.Direction)
	if err != nil {
		return nil, err
	}
	s.tell(Event{Kind: Planned, Files: plans[0].Files, Bytes: plans[0].Bytes})
	return plans[0], nil
}

// Compare plans a pull and a push of everything, from one look at both sides. It is
// otherwise as Plan, and tells of no event: nobody means to carry out both.
func (s *Sync) Compare(ctx context.Context) (pull, push *Plan, err error) {
	plans, err := s.plans(ctx, Request{}, Pull, Push)
	if err != nil {
		return nil, nil, err
	}
	return plans[0], plans[1], nil
}

// plans makes a plan of req for each direction, of which a pull comes first. What it
// would stop at stops a push, too. A push alone also stops at what is to be pulled first,
// but who compares is told of that by the pull, which takes no edit of ours to say so:
// one look does for both.
func (s *Sync) plans(ctx context.Context, req Request, directions ...Direction) ([]*Plan, error) {
	retries := s.retries.Load()
	plans, err := s.plan(ctx, req, directions)
	if err == nil && len(plans[0].Conflicts()) > 0 {
		plans, err = s.planAlone(ctx, req, directions)
	}
	if err != nil {
		return nil, err
	}
	for _, p := range plans {
		p.retries = int(s.retries.Load() - retries)
	}
	return plans, nil
}

// planAlone plans while nobody else moves files: what another process was just
// doing can look like an edit.
func (s *Sync) planAlone(ctx context.Context, req Request, directions []Direction) ([]*Plan, error) {
	unlock, err := s.manifest.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return s.plan(ctx, req, directions)
}

func (s *Sync) plan(ctx context.Context, req Request, directions []Direction) (plans []*Plan, err error) {
	in, err := s.lookAt(ctx, req.Seen)
	if err != nil {
		return nil, err
	}
	match := req.matcher(s.cfg.Match)
	learned, err := s.check(ctx, in, match)
	if err != nil {
		return nil, err
	}
	for _, req.Direction = range directions {
		p := newPlan(in, req, match)
		p.Place = s.cfg.Place
		if err := s.compare(ctx, p); err != nil {
			return nil, err
		}
		plans = append(plans, p)
	}
	learned = deleteFunc(learned, func(e Entry) bool { return e.racy() }) // nothing gained
	// What was gone a while ago may be back.
	if req.Seen == nil {
		for _, key := range plans[0].forget {
			learned = append(learned, Entry{Key: key})
		}
	}
	s.learn(ctx, in.known, append(in.proven, learned...))
	return plans, nil
}

// ScanRemote lists the remote. An error means that the listing is not complete.
func (s *Sync) ScanRemote(ctx context.Context) (storage.Listing, error) {
	l, err := s.scanRemote(ctx)
	return l.Only(s.cfg.Match), err
}

func (s *Sync) scanRemote(ctx context.Context) (storage.Listing, error) {
	if s.cfg.Store == nil {
		return storage.Listing{}, errNoStore
	}
	l, err := storage.Collect(ctx, s.cfg.Store, "")
	if err == nil && !l.Complete() {
		err = errors.New("transfer: the listing of the remote is not complete")
	}
	return l, err
}

func (s *Sync) seen(ctx context.Context, seen *storage.Listing) (storage.Listing, error) {
	if seen != nil {
		return *seen, ctx.Err()
	}
	return s.scanRemote(ctx)
}

// look makes the three scans.
func (s *Sync) look(ctx context.Context) (states, error) { return s.lookAt(ctx, nil) }

// lookAt is look with a listing that is there already, when seen is one.
func (s *Sync) lookAt(ctx context.Context, seen *storage.Listing) (in states, err error) {
	moved, err := s.moved()
	if err != nil {
		return in, err
	}
	if !moved {
		if in.known, err = s.manifest.load(); err != nil {
			return in, err
		}
	}
	in.base = in.known
	g, inner := errgroup.WithContext(ctx)
	g.Go(func() error {
		l, err := s.seen(inner, seen)
		in.remote, in.refused = l.Objects(), l.Refused
		return err
	})
	g.Go(func() error {
		l, err := s.scanLocal(inner)
		in.local, in.unfit = l.Files, l.Refused
		return err
	})
	if err := g.Wait(); err != nil {
		return in, err
	}
	if moved {
		return in, nil
	}
	return in, s.recall(ctx, &in)
}

// check reads the local files of which size and time do not tell whether they
// were edited. It returns the entries of those that were not, brought up to date.
func (s *Sync) check(ctx context.Context, in states, match func(string) bool) (learned []Entry, err error) {
	var doubtful []Step
	for st := range in.each {
		if st.Base != nil && st.Local != nil && st.Base.doubts(st.Local) && match(st.Key) {
			doubtful = append(doubtful, st)
		}
	}
	err = s.parallel(ctx, len(doubtful), func(ctx context.Context, dir *folder, i int) error {
		return s.sum(ctx, dir, doubtful[i].Local, doubtful[i].Base.Sum, nil)
	})
	for _, st := range doubtful {
		if st.Local.Sum == st.Base.Sum {
			e := *st.Base
			e.ModTime, e.Checked = st.Local.ModTime, st.Local.Checked
			learned = append(learned, e)
		}
	}
	return learned, err
}

// doubts reports whether only the content tells if f was edited.
func (e *Entry) doubts(f *LocalFile) bool {
	return !f.Irregular && f.Size == e.Size && (f.ModTime != e.ModTime || e.racy())
}

// compare finds out which clashes are none, because both sides have the same
// content, and decides on these steps again.
func (s *Sync) compare(ctx context.Context, p *Plan) error {
	if s.cfg.Store == nil {
		return nil // whoever has a Store looks again
	}
	var clashes []*Step
	for i := range p.Steps {
		if p.comparable(&p.Steps[i]) {
			clashes = append(clashes, &p.Steps[i])
		}
	}
	err := s.parallel(ctx, len(clashes), func(ctx context.Context, dir *folder, i int) error {
		return s.equal(ctx, dir, clashes[i])
	})
	for _, st := range clashes {
		p.count(*st, -1)
		st.Action, st.Reason = p.decide(*st)
		if st.Action == Adopt || st.Action == Skip {
			st.Size = 0
		}
		p.count(*st, 1)
	}
	return err
}

// comparable reports whether it is worth reading both sides of a step. When the
// file may be overwritten, reading the remote one would cost as much as moving it.
func (p *Plan) comparable(s *Step) bool {
	if s.Reason != EditedBoth && s.Reason != NewBoth || s.Local.Irregular || s.Local.Size != s.Remote.Size {
		return false
	}
	return p.Merge != MergeOverwrite || s.Remote.Sum != ""
}

// equal sets Equal of the step's local file.
func (s *Sync) equal(ctx context.Context, dir *folder, st *Step) error {
	theirs := newDigest(st.Remote.Sum)
	if vouched(st.Remote.Sum) {
		err := s.sum(ctx, dir, st.Local, Hash{}, theirs)
		st.Local.Equal = err == nil && !st.Local.Sum.IsZero() && theirs.proves(st.Remote)
		return err
	}
	if st.Local.Sum.isCRC() {
		st.Local.Sum = Hash{} // enough to see an edit, and not to say that two files are one
	}
	if err := s.sum(ctx, dir, st.Local, Hash{}, nil); err != nil || st.Local.Sum.IsZero() {
		return err
	}
	err := s.fetch(ctx, st.Remote, func(string) io.Writer { return theirs })
	if errors.Is(err, storage.ErrChanged) || errors.Is(err, fs.ErrNotExist) {
		return nil // it goes on changing: no reason to call it equal
	}
	st.Local.Equal = err == nil && theirs.check(st.Remote) == nil && theirs.is(st.Local.Sum)
	return err
}

// learn saves what a look at the files has taught, so that the next one need not
// look again. It is a favour: when somebody else has the lock, or the disk is
// full, it does not happen.
func (s *Sync) learn(ctx context.Context, base, learned []Entry) {
	if len(learned) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	unlock, err := s.manifest.lock(ctx)
	if err != nil {
		return
	}
	defer unlock()
	if moved, err := s.moved(); err != nil || moved {
		return
	}
	w, err := s.manifest.writer()
	if err != nil {
		return
	}
	if len(w.entries) == len(base) && (len(base) == 0 || &w.entries[0] == &base[0]) { // nobody wrote meanwhile
		if w.append(learned) == nil {
			// What it proved is in the manifest now, and the rest is of no more use. An
			// old journal must not prove anything of a file that is forgotten meanwhile.
			_ = os.Remove(filepath.Join(s.cfg.State, journalName))
		}
	}
	_ = w.close()
}

// parallel calls do for 0 to n-1 on the worker pool.
func (s *Sync) parallel(ctx context.Context, n int, do func(ctx context.Context, dir *folder, i int) error) error {
	if n == 0 {
		return nil
	}
	dir, err := openFolder(s.cfg.Dir, false)
	if err != nil {
		return err
	}
	defer dir.close()
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(s.cfg.Workers)
	for i := range n {
		if inner.Err() != nil {
			break
		}
		g.Go(func() error { return do(inner, dir, i) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// deleteFunc is slices.DeleteFunc on a copy.
func deleteFunc[T any](all []T, del func(T) bool) (kept []T) {
	for _, v := range all {
		if !del(v) {
			kept = append(kept, v)
		}
	}
	return kept
}
