package transfer

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/minio/crc64nvme"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// relaying is a big file that is copied in parts.
type relaying struct {
	*run
	ctx   context.Context
	index int
	step  *Step
	from  *storage.Object
	cond  storage.Cond
	last  bool   // it was damaged once before
	wrong string // the version at the target that is not what was copied
	ship  *shipment
	sum   string  // what its remote vouches for
	order *digest // of the parts that were read, in order; nil when that is not needed
	one   *stream // that all parts are read from; nil for one each
	spans []piece // that are read, in order
	turn  *turn   // of who reads one, and may change order
}

// ahead is how many workers are at a file that is read from one stream: while the
// remote makes sure of a part, the next one is on its way.
const ahead = 2

// relayInParts copies a big file. Whoever copies the last part ends the step.
func (r *run) relayInParts(ctx context.Context, i int, s *Step, from *storage.Object, cond storage.Cond, last bool) {
	re := &relaying{run: r, ctx: ctx, index: i, step: s, from: from, cond: cond, last: last}
	if err := re.begin(); err != nil {
		r.ended(ctx, i, s, Entry{}, err)
		return
	}
	j := &job{width: re.width(), pieces: re.pieces(), most: re.ship.up.PartSize, move: re.move, finish: re.finish}
	j.ctx, j.cancel = context.WithCancelCause(ctx)
	r.queue.start(j)
}

func (re *relaying) begin() error {
	if err := re.learn(); err != nil {
		return err
	}
	s := re.step
	re.ship = &shipment{
		ctx: re.ctx, key: s.Key, size: re.from.Size, source: versionOf(re.from), cond: re.cond,
		to: storage.MultipartOf(re.cfg.Store), path: uploadPath(re.cfg.State, re.cfg.Place, s.Key),
	}
	// The version is the same, so that the bytes are.
	if err := re.ship.begin(re.cfg.Place, func(sentPart) (bool, error) { return true, nil }); err != nil {
		return err
	}
	if re.order == nil {
		re.moved(s, re.ship.arrivedBytes())
	}
	return nil
}

// versionOf names a version of an object.
func versionOf(o *storage.Object) string { return decimal(o.Size) + " " + o.Tag }

// learn asks for the strongest sum. One that cannot be put together from those of
// the parts is taken of all bytes in order.
func (re *relaying) learn() error {
	var err error
	if re.sum, err = re.askSum(re.ctx, re.cfg.From, re.from); err != nil {
		return err
	}
	if vouched(re.sum) && !strings.HasPrefix(re.sum, kindCRC) {
		re.order = newDigest(re.sum)
	}
	if re.order != nil || storage.Streams(re.cfg.From) {
		re.one = &stream{store: re.cfg.From, obj: re.from}
	}
	return nil
}

// width is how many workers may be at it at a time, 0 for as many as there are.
func (re *relaying) width() int {
	switch {
	case re.ship.up.Serial:
		return 1
	case re.one != nil:
		return ahead
	}
	return 0
}

// pieces are the parts to be sent, and those before them that have to be read.
func (re *relaying) pieces() []piece {
	re.spans = []piece{{n: re.ship.size}}
	if re.order == nil {
		re.spans = re.ship.missing()
	}
	if len(re.spans) > 0 {
		re.turn = newTurn(re.spans[0].off)
	}
	return slices.Clone(re.spans) // the queue cuts off what it hands out
}

// after is where the part begins that follows one that ends at end.
func (re *relaying) after(end int64) int64 {
	for _, s := range re.spans {
		if end < s.off+s.n {
			return max(end, s.off)
		}
	}
	return re.ship.size
}

// move copies one part, and once more when the remote got other bytes.
func (re *relaying) move(ctx context.Context, p piece) error {
	r := &relayPart{re: re, ctx: ctx, piece: p}
	if err := r.begin(); err != nil {
		return err
	}
	defer r.end()
	err := r.move()
	if errors.Is(err, ErrCorrupt) {
		r.rewind()
		err = r.move()
	}
	return err
}

// finish puts the object together.
func (re *relaying) finish(err error) {
	var e Entry
	if re.one != nil {
		re.one.close()
	}
	if err == nil {
		e, err = re.complete()
	}
	if err = re.ship.end(err); errors.Is(err, ErrCorrupt) && !re.last {
		re.moved(re.step, -re.ship.arrivedBytes())
		re.relayInParts(re.ctx, re.index, re.step, re.from, conditionAgain(re.step, re.wrong), true)
		return
	}
	re.ended(re.ctx, re.index, re.step, e, err)
}

func (re *relaying) complete() (e Entry, err error) {
	whole := &digest{size: re.from.Size, crc: re.ship.crc()}
	want := *re.from
	want.Sum = re.sum
	if re.order != nil {
		err = re.order.check(&want)
	} else {
		err = whole.check(&want)
	}
	if err != nil {
		return e, err
	}
	o, err := re.ship.finish()
	if errors.Is(err, storage.ErrChanged) {
		o, err = re.oursToo(re.ctx, whole, re.step.Key, err)
	}
	if err == nil {
		err = whole.check(&o)
	}
	if err != nil {
		re.wrong = o.Tag
		return e, err
	}
	return entryOf(&o, re.step.Local, re.step.Local.Sum, now()), nil
}

// relayPart reads one part for the other remote.
type relayPart struct {
	re     *relaying
	ctx    context.Context
	piece  piece
	src    *stream
	at     int64 // bytes of the part that were read
	crc    uint64
	before *digest // of the parts before; nil when there is no order
	order  *digest // before, and what was read of this one
	passed bool    // it was read once, and the stream is at the next part
	handed uint64  // what its crc was then
}

// begin waits until the stream is there.
func (r *relayPart) begin() error {
	if r.re.one == nil {
		r.src = r.own()
		return nil
	}
	if err := r.re.turn.wait(r.ctx, r.piece.off); err != nil {
		return err
	}
	r.src, r.before = r.re.one, r.re.order
	r.src.ctx, r.order = r.ctx, r.before.clone()
	return nil
}

// own is a stream for this part alone.
func (r *relayPart) own() *stream {
	return &stream{ctx: r.ctx, store: r.re.cfg.From, obj: r.re.from}
}

// pass lets the next part be read.
func (r *relayPart) pass() {
	if r.re.one == nil || r.passed {
		return
	}
	r.passed, r.handed, r.re.order = true, r.crc, r.order
	r.re.turn.pass(r.re.after(r.piece.off + r.piece.n))
}

// end closes the stream if no other part is read from it.
func (r *relayPart) end() {
	if r.src != r.re.one {
		r.src.close()
	}
}

// move copies the part. The sum of the whole took in what was read at first, so that
// nothing else may have been sent in the end.
func (r *relayPart) move() error {
	var err error
	if sent, ok := r.re.ship.arrived(r.piece.number); ok {
		err = r.skim(sent.CRC)
	} else {
		err = r.re.ship.send(r.ctx, r.piece, r, func() uint64 { return r.crc })
	}
	if err != nil {
		return err
	}
	r.pass()
	if r.before != nil && r.crc != r.handed {
		return &VerifyError{r.re.step.Key, kindCRC, hexCRC(r.handed), hexCRC(r.crc)}
	}
	return nil
}

func (r *relayPart) Read(p []byte) (int, error) {
	left := r.piece.n - r.at
	if left == 0 {
		return 0, io.EOF
	}
	if r.at == 0 || r.src.body == nil {
		if err := r.open(); err != nil {
			return 0, err
		}
	}
	n, err := r.src.Read(p[:min(int64(len(p)), left)])
	r.read(p[:n])
	if err == io.EOF {
		err = nil
		if r.at < r.piece.n {
			err = &VerifyError{r.re.step.Key, "size", decimal(r.piece.off + r.piece.n), decimal(r.piece.off + r.at)}
		}
	}
	if err == nil && r.at == r.piece.n {
		r.pass()
	}
	return n, err
}

// read takes what was read into the sums.
func (r *relayPart) read(p []byte) {
	r.at += int64(len(p))
	r.crc = crc64nvme.Update(r.crc, p)
	r.re.moved(r.re.step, int64(len(p)))
	if r.order != nil {
		r.order.add(p)
	}
}

func (r *relayPart) open() error {
	n := r.piece.n
	if r.src == r.re.one {
		n = r.re.from.Size - r.piece.off // for the parts that follow too
	}
	return r.src.from(r.piece.off+r.at, n-r.at)
}

// Seek goes back to the beginning, and nowhere else.
func (r *relayPart) Seek(offset int64, whence int) (int64, error) {
	switch {
	case offset == 0 && whence == io.SeekCurrent:
		return r.at, nil
	case offset != 0 || whence != io.SeekStart:
		return 0, errors.ErrUnsupported
	}
	r.rewind()
	return 0, nil
}

// rewind begins again. The stream that the parts share may be in other hands by now,
// and the sum of the whole beyond this part.
func (r *relayPart) rewind() {
	r.re.moved(r.re.step, -r.at)
	r.at, r.crc, r.order = 0, 0, nil
	if r.passed && r.src == r.re.one {
		r.src = r.own()
		return
	}
	r.src.close()
	if !r.passed {
		r.order = r.before.clone()
	}
}

// skim reads a part that has arrived already, for the sums of those after it.
func (r *relayPart) skim(want uint64) error {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	if want != r.crc {
		return &VerifyError{r.re.step.Key, kindCRC, hexCRC(want), hexCRC(r.crc)}
	}
	return nil
}
