package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	if errors.Is(err, storage.ErrChanged) && src.sent != nil {
		o, err = r.ours(ctx, src, err)
	}
	if err != nil {
		return e, err
	}
	if strings.HasPrefix(o.Sum, md5Prefix) {
		r.md5.Store(true)
	}
	if src.sent == nil {
		return e, fmt.Errorf("upload %q: the storage did not read the file to its end", s.Key)
	}
	if err := src.sent.check(&o); err != nil {
		return e, err
	}
	// What is edited from here on is an edit of what was sent.
	e = entryOf(&o, s.Local, src.sent.sum(), started)
	return e, r.log.add(e)
}

// ours looks whether the version that stood against another attempt is the one
// that an earlier attempt has sent, and only its answer was lost. The remote must
// vouch for the content; where it does not, the next sync compares it.
func (r *run) ours(ctx context.Context, src *source, changed error) (storage.Object, error) {
	o, err := r.cfg.Store.Stat(ctx, src.step.Key)
	if err != nil || !strings.HasPrefix(o.Sum, md5Prefix) || o.Size != src.sent.size {
		return storage.Object{}, changed
	}
	if src.sent != src.digest || src.sent.md5 == nil { // it was refused before it was read again
		if err := src.reread(); err != nil {
			return storage.Object{}, errors.Join(changed, err)
		}
	}
	if src.sent.check(&o) != nil {
		return storage.Object{}, changed
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
// file did not change meanwhile, so that no mixture of versions is stored. It can
// be rewound for another attempt.
type source struct {
	run    *run
	digest *digest
	ctx    context.Context
	f      *os.File
	step   *Step
	sent   *digest // of the last attempt that read the file to its end
}

// Seek goes back to the beginning, and nowhere else.
func (s *source) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence == io.SeekEnd {
		return 0, errors.ErrUnsupported
	}
	if whence == io.SeekCurrent {
		return s.f.Seek(0, io.SeekCurrent)
	}
	if s.digest.size > 0 {
		s.run.tell(Event{Kind: Moved, Key: s.step.Key, Action: s.step.Action, Bytes: -s.digest.size})
	}
	s.digest = newDigest(md5Prefix) // the remote may have to tell whose version it has
	return s.f.Seek(0, io.SeekStart)
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
		s.sent = s.digest
	}
	return n, err
}

// reread takes the sums of the whole file.
func (s *source) reread() error {
	if _, err := s.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return s.run.copy(s.ctx, io.Discard, s)
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
