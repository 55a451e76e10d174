package transfer

import (
	"context"
	"errors"
	"io/fs"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// A Finding is what Verify found of one file.
type Finding struct {
	Key    string
	Size   int64 // bytes, as it was synced
	Local  Condition
	Remote Condition // Unchecked without a Store
	Err    error     // of a file that could not be read
}

// OK reports whether the file is what the last sync left, on both sides.
func (f *Finding) OK() bool {
	return f.Local == Intact && (f.Remote == Intact || f.Remote == Unchecked)
}

// A Condition is how a file is, compared with what the manifest remembers.
type Condition string

// The conditions.
const (
	Intact     Condition = "intact"     // as the last sync left it
	Gone       Condition = "gone"       // it is not there any more
	Edited     Condition = "edited"     // it has changed since
	Damaged    Condition = "damaged"    // other content under the same size and time, or the same version
	Unreadable Condition = "unreadable" // see Err
	Unsynced   Condition = "unsynced"   // it was never synced
	Unchecked  Condition = "unchecked"  // there is no remote to ask
)

// Verifying is the action of the events of a Verify.
const Verifying Action = "verify"

// Verify reads every file of the manifest that passes match, and compares what is
// here with the manifest, and both with what the remote has now and vouches for,
// where there is a Store. It changes nothing. The findings are sorted by key; with
// all they include the files of the folder that were never synced.
func (s *Sync) Verify(ctx context.Context, match func(key string) bool, all bool) ([]Finding, error) {
	in, err := s.lookForVerify(ctx)
	if err != nil {
		return nil, err
	}
	var steps []Step
	bytes := int64(0)
	for st := range in.each {
		if s.cfg.Match(st.Key) && (match == nil || match(st.Key)) && (st.Base != nil || all && st.Local != nil) {
			steps = append(steps, st)
			if st.Base != nil {
				bytes += st.Base.Size
			}
		}
	}
	s.tell(Event{Kind: Planned, Files: len(steps), Bytes: bytes})
	found := make([]Finding, len(steps))
	err = s.parallel(ctx, len(steps), func(ctx context.Context, dir *folder, i int) error {
		found[i] = s.verify(ctx, dir, &steps[i])
		if ctx.Err() == nil {
			s.tell(Event{Kind: Done, Key: steps[i].Key, Action: Verifying})
		}
		return ctx.Err()
	})
	if errors.Is(err, fs.ErrNotExist) { // no folder, no files
		for i := range steps {
			found[i] = s.verify(ctx, nil, &steps[i])
		}
		err = nil
	}
	s.tell(Event{Kind: Finished, Files: len(steps), Bytes: bytes})
	return found, err
}

// lookForVerify is look, also for a Sync without a remote.
func (s *Sync) lookForVerify(ctx context.Context) (in states, err error) {
	if s.cfg.Store != nil {
		return s.look(ctx)
	}
	l, err := s.scanLocal(ctx)
	if err != nil {
		return in, err
	}
	in.local = l.Files
	if in.base, err = s.manifest.load(); err != nil {
		return in, err
	}
	return in, s.recall(ctx, &in)
}

// verify compares one file.
func (s *Sync) verify(ctx context.Context, dir *folder, st *Step) Finding {
	f := Finding{Key: st.Key, Local: Unsynced, Remote: Unchecked}
	if st.Base == nil {
		f.Size = st.Local.Size
		return f
	}
	f.Size = st.Base.Size
	sum := ""
	if st.Remote != nil {
		sum = st.Remote.Sum
	}
	d := newDigest(sum)
	f.Local, f.Err = s.verifyHere(ctx, dir, st, d)
	switch {
	case s.cfg.Store == nil:
	case st.Remote == nil:
		f.Remote = Gone
	case !st.Base.there(st.Remote):
		f.Remote = Edited
	case f.Local == Intact:
		f.Remote, f.Err = s.verifyThere(ctx, *st.Remote, d)
	default:
		f.Remote = Intact
	}
	return f
}

// verifyThere compares the file that was read here with what the remote vouches for.
// It is asked only about big files of which the listing has no sum, as those that came
// in parts: of small ones a listing tells what the remote knows.
func (s *Sync) verifyThere(ctx context.Context, o storage.Object, d *digest) (c Condition, err error) {
	if !vouched(o.Sum) && o.Size >= smallFile {
		o.Sum, err = s.askSum(ctx, s.cfg.Store, &o)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Gone, nil
	case errors.Is(err, storage.ErrChanged):
		return Edited, nil
	case err != nil:
		return Unreadable, err
	case d.check(&o) != nil:
		return Damaged, nil
	}
	return Intact, nil
}

func (s *Sync) verifyHere(ctx context.Context, dir *folder, st *Step, d *digest) (Condition, error) {
	switch {
	case st.Local == nil || dir == nil:
		return Gone, nil
	case st.Local.Irregular:
		return Edited, nil
	}
	file, err := dir.read(st.Key)
	if errors.Is(err, fs.ErrNotExist) {
		return Gone, nil
	}
	if err != nil {
		return Unreadable, err
	}
	defer file.Close()
	if err := s.copy(ctx, verifying{s, st.Key, d}, file); err != nil {
		return Unreadable, err
	}
	switch {
	case d.is(st.Base.Sum) && d.size == st.Base.Size:
		return Intact, nil
	case st.Local.Size == st.Base.Size && st.Local.ModTime == st.Base.ModTime:
		return Damaged, nil
	}
	return Edited, nil
}

// verifying is a digest that tells of the bytes that pass.
type verifying struct {
	s   *Sync
	key string
	d   *digest
}

func (v verifying) Write(p []byte) (int, error) {
	v.s.tell(Event{Kind: Moved, Key: v.key, Action: Verifying, Bytes: int64(len(p))})
	return v.d.Write(p)
}
