package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// upload sends one file. It replaces the version that the plan saw and no other.
func (r *run) upload(ctx context.Context, s *Step) (e Entry, err error) {
	if now, err := r.dir.find(s.Key); err != nil {
		return e, err
	} else if err := r.unchanged(s, now); err != nil {
		return e, err
	}
	f, err := r.dir.read(s.Key)
	if err != nil {
		return e, err
	}
	defer f.Close()
	started := StampOf(time.Now())
	src := &source{run: r, ctx: ctx, f: f, step: s, digest: newDigest(r.sumWanted(s))}
	o, err := r.cfg.Store.Put(ctx, s.Key, src, s.Local.Size, condition(s))
	if errors.Is(err, storage.ErrChanged) {
		o, err = r.arrived(ctx, src, err)
	}
	if err != nil {
		return e, err
	}
	if strings.HasPrefix(o.Sum, md5Prefix) {
		r.md5.Store(true)
	}
	if err := errors.Join(src.verify(), src.digest.check(&o)); err != nil {
		return e, err
	}
	e = entryOf(&o, s.Local, src.digest.sum(), started)
	return e, r.log.add(e)
}

// arrived looks whether the version that stood in the way of an upload is the
// upload's own: the answer to the first attempt was lost, and the second found
// what the first had made. Otherwise the conflict stands.
func (r *run) arrived(ctx context.Context, src *source, conflict error) (storage.Object, error) {
	o, err := r.cfg.Store.Stat(ctx, src.step.Key)
	if err != nil || o.Sum == "" || src.digest.md5 == nil || src.digest.check(&o) != nil {
		return o, conflict
	}
	return o, nil
}

// condition is the version that an upload may replace.
func condition(s *Step) storage.Cond {
	if s.Remote == nil {
		return storage.Cond{Absent: true}
	}
	return storage.Cond{Tag: s.Remote.Tag}
}

// sumWanted says which sum the remote will probably answer with.
func (r *run) sumWanted(s *Step) string {
	if r.md5.Load() || s.Remote != nil && s.Remote.Sum != "" {
		return md5Prefix
	}
	return ""
}

// A source reads a local file for an upload. At its end it makes sure that the
// file did not change meanwhile, so that no mixture of versions is stored.
type source struct {
	run    *run
	digest *digest
	ctx    context.Context
	f      *os.File
	step   *Step
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.f.Read(p)
	if n > 0 {
		_, _ = s.digest.Write(p[:n])
		_, _ = counter{s.run, s.step}.Write(p[:n])
	}
	if err == io.EOF {
		if changed := s.verify(); changed != nil {
			return 0, changed
		}
	}
	return n, err
}

// Seek lets an upload start again after a temporary failure: to the beginning is
// the only way to go.
func (s *source) Seek(offset int64, whence int) (int64, error) {
	switch {
	case offset == 0 && whence == io.SeekCurrent:
		return s.digest.size, nil
	case offset != 0 || whence != io.SeekStart:
		return 0, fs.ErrInvalid
	}
	if _, err := s.f.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	s.run.tell(Event{Kind: Moved, Key: s.step.Key, Action: s.step.Action, Bytes: -s.digest.size})
	s.digest.reset()
	return 0, nil
}

func (s *source) verify() error {
	info, err := s.f.Stat()
	if err != nil {
		return err
	}
	now := localFile(s.step.Key, info)
	known := s.step.Local.Sum
	if !now.is(s.step.Local) || s.digest.size != now.Size || !known.IsZero() && known != s.digest.sum() {
		return fmt.Errorf("upload %q: %w", s.step.Key, ErrEdited)
	}
	return nil
}
