package transfer

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// origin is the object of the remote that a mirror copies from.
func (s *Sync) origin(key string) *storage.Object {
	i, _ := slices.BinarySearchFunc(s.origins, key, func(o storage.Object, key string) int { return strings.Compare(o.Key, key) })
	return &s.origins[i]
}

// relay copies one file from remote to remote. Nothing of it lands on disk.
func (r *run) relay(ctx context.Context, i int, s *Step) {
	from := r.origin(s.Key)
	if r.sendsInParts(from.Size) && from.Tag != "" {
		r.relayInParts(ctx, i, s, from, condition(s), false)
		return
	}
	e, err := r.relayWhole(ctx, s, from)
	r.ended(ctx, i, s, e, err)
}

// relayWhole copies a file in one piece. Bytes that are not what either remote
// says are copied once more.
func (r *run) relayWhole(ctx context.Context, s *Step, from *storage.Object) (Entry, error) {
	o, err := r.relayOnce(ctx, s, from, condition(s))
	if errors.Is(err, ErrCorrupt) {
		o, err = r.relayOnce(ctx, s, from, conditionAgain(s, o.Tag))
	}
	if err != nil {
		return Entry{}, err
	}
	return entryOf(&o, s.Local, s.Local.Sum, now()), nil
}

func (r *run) relayOnce(ctx context.Context, s *Step, from *storage.Object, cond storage.Cond) (storage.Object, error) {
	src := &relayReader{stream: stream{ctx: ctx, store: r.cfg.From, obj: from}, run: r, step: s}
	defer src.close()
	o, err := r.cfg.Store.Put(ctx, s.Key, src, from.Size, cond)
	if errors.Is(err, storage.ErrChanged) && src.sent != nil {
		o, err = r.oursToo(ctx, src.sent, s.Key, err)
	}
	if err != nil {
		return storage.Object{Tag: corruptTag(err)}, corrupted(s.Key, src.sent.whole(), err)
	}
	if strings.HasPrefix(o.Sum, kindMD5) {
		r.md5.Store(true)
	}
	if src.sent == nil {
		return o, &VerifyError{s.Key, "size", decimal(from.Size), "less"}
	}
	return o, src.sent.check(&o)
}

// oursToo is ours for what cannot be read again.
func (r *run) oursToo(ctx context.Context, sent *digest, key string, changed error) (storage.Object, error) {
	o, err := r.cfg.Store.Stat(ctx, key)
	if err != nil || !sent.proves(&o) {
		return storage.Object{}, changed
	}
	return o, nil
}

// A stream reads an object of one version from some offset on.
type stream struct {
	ctx   context.Context
	store storage.Store
	obj   *storage.Object
	body  io.ReadCloser // nil before the first byte
	off   int64         // of the next byte that body yields
	end   int64         // of body
}

// from makes the stream ready to be read from off on; n is how much will be wanted.
func (s *stream) from(off, n int64) error {
	if s.body != nil && s.off == off && s.off+n <= s.end {
		return nil
	}
	s.close()
	body, err := s.store.Open(s.ctx, *s.obj, off, n)
	if err != nil {
		return err
	}
	s.body, s.off, s.end = body, off, off+n
	return nil
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.body.Read(p)
	s.off += int64(n)
	return n, err
}

func (s *stream) close() {
	if s.body != nil {
		_ = s.body.Close() // it was only read
		s.body = nil
	}
}

// A relayReader reads a whole object for another remote. At its end it makes sure
// that it is what its own remote vouches for, so that nothing wrong appears.
type relayReader struct {
	stream
	run    *run
	step   *Step
	sum    string // what the remote says
	digest *digest
	sent   *digest // of the last attempt that read the object to its end
}

func (r *relayReader) begin() error {
	if err := r.from(0, r.obj.Size); err != nil {
		return err
	}
	r.sum = strongest(r.body, r.obj)
	r.digest = newDigest(cmp.Or(md5Of(r.sum), r.run.sumWanted(r.step)))
	return nil
}

// md5Of returns sum when it is an MD5: others need no asking.
func md5Of(sum string) string {
	if strings.HasPrefix(sum, kindMD5) {
		return sum
	}
	return ""
}

func (r *relayReader) Read(p []byte) (int, error) {
	if r.digest == nil {
		if err := r.begin(); err != nil {
			return 0, err
		}
	}
	n, err := r.stream.Read(p)
	if n > 0 {
		_, _ = r.digest.Write(p[:n])
		r.run.moved(r.step, int64(n))
	}
	if r.digest.size > r.obj.Size {
		return 0, errTooLong
	}
	if err == io.EOF {
		want := *r.obj
		want.Sum = r.sum
		if wrong := r.digest.check(&want); wrong != nil {
			return 0, wrong
		}
		r.sent = r.digest
	}
	return n, err
}

// Seek goes back to the beginning, and nowhere else.
func (r *relayReader) Seek(offset int64, whence int) (int64, error) {
	at := int64(0)
	if r.digest != nil {
		at = r.digest.size
	}
	switch {
	case offset == 0 && whence == io.SeekCurrent:
		return at, nil
	case offset != 0 || whence != io.SeekStart:
		return 0, errors.ErrUnsupported
	}
	r.run.moved(r.step, -at)
	r.close()
	r.digest = nil
	return 0, nil
}
