package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// outgoing is a local file that is sent in parts.
type outgoing struct {
	*run
	ctx     context.Context
	index   int
	step    *Step
	file    *os.File
	started Stamp
	sums    *ordered
	ship    *shipment
	cond    storage.Cond
	last    bool   // it was sent once before
	wrong   string // the version on the remote that is not what was sent
}

// sendsInParts reports whether a file of this size is sent in parts.
func (r *run) sendsInParts(size int64) bool {
	return size > r.cfg.Range && storage.MultipartOf(r.cfg.Store) != nil
}

// send sends a big file. Whoever sends the last part ends the step.
func (r *run) send(ctx context.Context, i int, s *Step, cond storage.Cond, last bool) {
	out := &outgoing{run: r, ctx: ctx, index: i, step: s, started: now(), cond: cond, last: last}
	if err := out.begin(); err != nil {
		r.ended(ctx, i, s, Entry{}, err)
		return
	}
	j := &job{width: width(out.ship.up.Serial), pieces: out.ship.missing(), most: out.ship.up.PartSize, move: out.move, finish: out.finish}
	j.ctx, j.cancel = context.WithCancelCause(ctx)
	r.queue.start(j)
}

func (out *outgoing) begin() (err error) {
	s := out.step
	if now, err := out.dir.find(s.Key); err != nil {
		return err
	} else if err := out.unchanged(s, now); err != nil {
		return err
	}
	if out.file, err = out.dir.read(s.Key); err != nil {
		return err
	}
	out.sums = newOrdered(out.file, s.Local.Size)
	out.ship = &shipment{
		ctx: out.ctx, key: s.Key, size: s.Local.Size, source: s.Local.version(), cond: out.cond,
		to: storage.MultipartOf(out.cfg.Store), path: uploadPath(out.cfg.State, out.cfg.Place, s.Key),
	}
	if err = out.sums.beginWith(out.digestFor(s)); err == nil {
		err = out.ship.begin(out.cfg.Place, out.holds)
	}
	if err != nil {
		return errors.Join(err, out.file.Close())
	}
	out.moved(out.step, out.ship.arrivedBytes())
	return nil
}

// localVersion is the version of the file that lies under key, "" when there is
// none.
func (s *Sync) localVersion(key string) (string, error) {
	dir, err := openFolder(s.cfg.Dir, false)
	if err != nil {
		return "", ignoreMissing(err)
	}
	defer dir.close()
	f, err := dir.find(key)
	if f == nil || err != nil {
		return "", err
	}
	return f.version(), nil
}

// version tells the content of a local file from what it held at other times.
func (f *LocalFile) version() string { return fmt.Sprintf("%d-%d", f.Size, f.ModTime) }

// holds reports whether the file still has what was sent as part p.
func (out *outgoing) holds(p sentPart) (bool, error) {
	off, size := out.ship.up.Part(p.Number)
	r := &partReader{out: out, piece: piece{off: off, n: size}, off: off, ctx: out.ctx}
	_, err := io.Copy(io.Discard, r)
	if errors.Is(err, errUnlike) {
		err = out.edited()
	}
	return r.crc == p.CRC, err
}

func (out *outgoing) edited() error { return fmt.Errorf("upload %q: %w", out.step.Key, ErrEdited) }

// move sends one part, and once more when the remote got other bytes.
func (out *outgoing) move(ctx context.Context, p piece) error {
	err := out.moveOnce(ctx, p)
	if errors.Is(err, ErrCorrupt) {
		out.moved(out.step, -p.n)
		err = out.moveOnce(ctx, p)
	}
	return err
}

func (out *outgoing) moveOnce(ctx context.Context, p piece) error {
	r := &partReader{out: out, piece: p, off: p.off, ctx: ctx, counts: true}
	err := out.ship.send(ctx, p, r, func() uint64 { return r.crc })
	if errors.Is(err, errUnlike) {
		return out.edited()
	}
	return err
}

// finish puts the object together, and makes sure that it is the file. One that is
// not is replaced, once: it is there under its name.
func (out *outgoing) finish(err error) {
	var e Entry
	whole := err == nil
	if whole {
		e, err = out.complete()
	}
	err = out.ship.end(err)
	err = errors.Join(err, out.file.Close())
	if whole && errors.Is(err, ErrCorrupt) && !out.last {
		out.moved(out.step, -out.ship.arrivedBytes())
		out.send(out.ctx, out.index, out.step, conditionAgain(out.step, out.wrong), true)
		return
	}
	out.ended(out.ctx, out.index, out.step, e, err)
}

func (out *outgoing) complete() (e Entry, err error) {
	d, err := out.sums.finish("")
	if errors.Is(err, errUnlike) {
		return e, out.edited()
	}
	if err != nil {
		return e, err
	}
	if err := sameFile(out.step, out.file, d); err != nil {
		return e, err
	}
	o, err := out.ship.finish()
	if errors.Is(err, storage.ErrChanged) {
		o, err = out.ours(out.ctx, out.step, out.file, d, err)
	}
	if err == nil {
		err = d.check(&o)
	}
	if err != nil {
		out.wrong = o.Tag
		return e, err
	}
	e = entryOf(&o, out.step.Local, d.sum(), out.started)
	return e, out.log.add(e)
}

// partReader reads a part of a local file for a remote, block by block. It can be
// rewound for another attempt.
type partReader struct {
	out    *outgoing
	piece  piece
	ctx    context.Context
	counts bool // as moved

	off  int64  // up to which the file was read
	rest []byte // of what was read
	buf  []byte
	crc  uint64 // of what was handed out, or is in rest
}

func (r *partReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	if r.counts {
		r.out.moved(r.out.step, int64(n))
	}
	return n, nil
}

func (r *partReader) fill() error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	left := r.piece.off + r.piece.n - r.off
	if left == 0 {
		return io.EOF
	}
	if r.buf == nil {
		r.buf = make([]byte, blockSize)
	}
	block := r.buf[:min(blockSize, left)]
	if _, err := r.out.file.ReadAt(block, r.off); err != nil {
		if err == io.EOF {
			err = errUnlike // it has become shorter
		}
		return err
	}
	crc := crcOf(block)
	if err := r.out.sums.add(int(r.off/blockSize), block, crc); err != nil {
		return err
	}
	r.crc = crcJoin(r.crc, crc, int64(len(block)))
	r.off += int64(len(block))
	r.rest = block
	return nil
}

// Sum implements [storage.Summer].
func (r *partReader) Sum() string {
	return r.out.sumOfSection(r.ctx, r.out.file, r.piece.off, r.piece.n)
}

// Seek goes back to the beginning, and nowhere else.
func (r *partReader) Seek(offset int64, whence int) (int64, error) {
	at := r.off - int64(len(r.rest)) - r.piece.off
	switch {
	case offset == 0 && whence == io.SeekCurrent:
		return at, nil
	case offset != 0 || whence != io.SeekStart:
		return 0, errors.ErrUnsupported
	}
	if r.counts {
		r.out.moved(r.out.step, -at)
	}
	r.off, r.rest, r.crc = r.piece.off, nil, 0
	return 0, nil
}
