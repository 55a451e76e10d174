package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// upload sends one file. It replaces the version that the plan saw and no other.
// When the remote got other bytes, they are sent once more.
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
	started := now()
	o, d, err := r.put(ctx, s, f, condition(s))
	if errors.Is(err, ErrCorrupt) {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return e, err
		}
		o, d, err = r.put(ctx, s, f, conditionAgain(s, o.Tag))
	}
	if err != nil {
		return e, err
	}
	// What is edited from here on is an edit of what was sent.
	e = entryOf(&o, s.Local, d.sum(), started)
	return e, r.log.add(e)
}

// put sends a file in one piece and verifies what the remote says of it.
func (r *run) put(ctx context.Context, s *Step, f *os.File, cond storage.Cond) (storage.Object, *digest, error) {
	src := &source{run: r, ctx: ctx, f: f, step: s, digest: r.digestFor(s)}
	o, err := r.cfg.Store.Put(ctx, s.Key, src, s.Local.Size, cond)
	if errors.Is(err, storage.ErrChanged) && src.sent != nil {
		if o, err = r.ours(ctx, s, f, src.sent, err); err == nil {
			r.moved(s, s.Local.Size-src.digest.size) // what an attempt that was refused did not read again
		}
	}
	if err != nil {
		return storage.Object{Tag: corruptTag(err)}, nil, corrupted(s.Key, src.sent.whole(), err)
	}
	if strings.HasPrefix(o.Sum, kindMD5) {
		r.md5.Store(true)
	}
	if src.sent == nil {
		return o, nil, fmt.Errorf("upload %q: the storage did not read the file to its end", s.Key)
	}
	return o, src.sent, src.sent.check(&o)
}

// ours looks whether the version that stood against another attempt is the one
// that an earlier attempt has sent, and only its answer was lost. The remote must
// vouch for the content; where it does not, the next sync compares it.
func (r *run) ours(ctx context.Context, s *Step, f *os.File, sent *digest, changed error) (storage.Object, error) {
	o, err := r.cfg.Store.Stat(ctx, s.Key)
	if err != nil || !vouched(o.Sum) || o.Size != sent.size {
		return storage.Object{}, changed
	}
	if again := newDigest(o.Sum); again.md5 != nil && sent.md5 == nil {
		if err := r.copy(ctx, again, io.NewSectionReader(f, 0, o.Size)); err != nil {
			return storage.Object{}, errors.Join(changed, err)
		}
		if again.crc != sent.crc || !again.is(sent.sum()) {
			return storage.Object{}, changed
		}
		sent = again
	}
	if !sent.proves(&o) {
		return storage.Object{}, changed
	}
	return o, nil
}

// smallFile is the size in bytes up to which a storage may hold a file in memory.
const smallFile = 1 << 20

// sumOfSection returns the CRC-64/NVME of n bytes of a file as a remote wants it, ""
// when they cannot be read: whoever sends them will find out.
func (r *run) sumOfSection(ctx context.Context, f io.ReaderAt, off, n int64) string {
	d := crcWriter(0)
	if err := r.copy(ctx, &d, io.NewSectionReader(f, off, n)); err != nil {
		return ""
	}
	return kindCRC + ":" + hexCRC(uint64(d))
}

// condition is the version that an upload may replace.
func condition(s *Step) storage.Cond {
	if s.Remote == nil {
		return storage.Cond{Absent: true}
	}
	return storage.Cond{Tag: s.Remote.Tag}
}

// conditionAgain is that of a second attempt, which may replace what the first one
// has left there of other bytes; "" is nothing.
func conditionAgain(s *Step, left string) storage.Cond {
	if left == "" {
		return condition(s)
	}
	return storage.Cond{Tag: left}
}

// digestFor is what is computed of a file that is sent: also what is known of it
// already, so that it can be seen to be the same.
func (r *run) digestFor(s *Step) *digest {
	if known := s.Local.Sum; !known.IsZero() && !known.isCRC() {
		return newDigest(r.sumWanted(s))
	}
	return newDigestOf(r.sumWanted(s), s.Local.Size)
}

// sumWanted says which sum the remote will probably answer with.
func (r *run) sumWanted(s *Step) string {
	if r.md5.Load() || s.Remote != nil && s.Remote.Sum != "" {
		return kindMD5 + ":"
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
	s.run.moved(s.step, -s.digest.size)
	s.digest = s.run.digestFor(s.step)
	return s.f.Seek(0, io.SeekStart)
}

// Sum implements [storage.Summer]. Small files are not worth reading twice.
func (s *source) Sum() string {
	if s.step.Local.Size <= smallFile {
		return ""
	}
	return s.run.sumOfSection(s.ctx, s.f, 0, s.step.Local.Size)
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.f.Read(p)
	if n > 0 {
		_, _ = s.digest.Write(p[:n])
		s.run.moved(s.step, int64(n))
	}
	if err == io.EOF {
		if changed := sameFile(s.step, s.f, s.digest); changed != nil {
			return 0, changed
		}
		s.sent = s.digest
	}
	return n, err
}

// sameFile makes sure that an open file is the one that a step is about, and that d
// has its sums.
func sameFile(s *Step, f *os.File, d *digest) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	now := localFile(s.Key, info)
	known := s.Local.Sum
	if !now.is(s.Local) || d.size != now.Size || !known.IsZero() && !d.is(known) {
		return fmt.Errorf("upload %q: %w", s.Key, ErrEdited)
	}
	return nil
}
