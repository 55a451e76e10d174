package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// defaultRange is the size in bytes above which a file is moved in pieces of that
// size, unless the Config says so.
const defaultRange = 16 << 20

// inPieces reports whether a file is brought here in pieces. A remote that cannot
// tell versions apart could mix two of them.
func (r *run) inPieces(o *storage.Object) bool { return o.Size > r.cfg.Range && o.Tag != "" }

// incoming is a file that is brought here in pieces.
type incoming struct {
	*run
	ctx   context.Context
	index int
	step  *Step
	part  *partFile
	last  bool // it was damaged once before

	mu  sync.Mutex
	sum string // the strongest that the remote vouches for
}

// receive brings a big file here. Whoever moves the last piece ends the step.
func (r *run) receive(ctx context.Context, i int, s *Step, last bool) {
	in := &incoming{run: r, ctx: ctx, index: i, step: s, last: last, sum: s.Remote.Sum}
	if err := in.begin(); err != nil {
		r.ended(ctx, i, s, Entry{}, err)
		return
	}
	most := r.cfg.Range
	if r.streams {
		most = 0
	}
	j := &job{width: width(r.streams), pieces: in.part.sums.missing(), most: most, move: in.move, finish: in.finish}
	j.ctx, j.cancel = context.WithCancelCause(ctx)
	r.queue.start(j)
}

func (in *incoming) begin() (err error) {
	now, err := in.dir.find(in.step.Key)
	if err != nil {
		return err
	}
	if err := in.unchanged(in.step, now); err != nil {
		return err
	}
	if err := in.ask(); err != nil {
		return err
	}
	if in.part, err = in.openPart(in.ctx, in.step.Remote); err != nil {
		return err
	}
	in.moved(in.step, in.part.sums.bytesHere())
	return nil
}

// ask asks what the remote says of the whole file: some say it only of whole files,
// and not of ranges.
func (in *incoming) ask() error {
	sum, err := in.askSum(in.ctx, in.cfg.Store, in.step.Remote)
	in.sum = sum
	return err
}

// askSum returns the strongest sum of an object. A CRC needs no better one: its
// blocks may come in any order.
func (s *Sync) askSum(ctx context.Context, store storage.Store, o *storage.Object) (string, error) {
	if strings.HasPrefix(o.Sum, kindCRC) {
		return o.Sum, nil
	}
	body, err := store.Open(ctx, *o, 0, 0)
	if err != nil {
		return "", err
	}
	return strongest(body, o), body.Close()
}

// move brings one piece here, some blocks at a time.
func (in *incoming) move(ctx context.Context, p piece) error {
	body, err := in.cfg.Store.Open(ctx, *in.step.Remote, p.off, p.n)
	if err != nil {
		return err
	}
	err = in.learn(body)
	if err == nil {
		err = in.read(ctx, body, p)
	}
	return errors.Join(err, body.Close())
}

// learn asks the first reader what the remote says of the whole file.
func (in *incoming) learn(body io.Reader) error {
	in.mu.Lock()
	in.sum = strongest(body, &storage.Object{Sum: in.sum})
	sum := in.sum
	in.mu.Unlock()
	return in.part.sums.begin(sum)
}

func (in *incoming) read(ctx context.Context, body io.Reader, p piece) error {
	buf := in.wide.Get().(*[]byte)
	defer in.wide.Put(buf)
	for end := p.off + p.n; p.off < end; {
		if err := ctx.Err(); err != nil {
			return err
		}
		data := (*buf)[:min(int64(len(*buf)), end-p.off)]
		n, err := io.ReadFull(body, data)
		if err == io.ErrUnexpectedEOF || err == io.EOF { // of the body, not within an error about the connection
			return &VerifyError{in.step.Key, "size", decimal(end), decimal(p.off + int64(n))}
		}
		if err != nil {
			return err
		}
		if err := in.part.write(int(p.off/blockSize), data); err != nil {
			return err
		}
		p.off += int64(n)
		in.moved(in.step, int64(n))
	}
	return nil
}

// finish verifies the file and gives it its name. What was fetched of a file that
// failed stays for the next pull, unless it is good for nothing.
func (in *incoming) finish(err error) {
	var e Entry
	if err == nil {
		e, err = in.verify()
	}
	if err == nil {
		err = in.settle(in.step, in.part.name, e)
	}
	if err == nil || useless(err) {
		err = errors.Join(err, in.part.drop())
	} else {
		err = errors.Join(err, in.part.close())
	}
	if errors.Is(err, ErrCorrupt) && !in.last {
		in.moved(in.step, -in.part.sums.bytesHere())
		in.receive(in.ctx, in.index, in.step, true)
		return
	}
	in.ended(in.ctx, in.index, in.step, e, err)
}

// useless reports whether an error means that what has arrived will not be
// wanted any more.
func useless(err error) bool {
	return errors.Is(err, ErrCorrupt) || errors.Is(err, storage.ErrChanged) || errors.Is(err, fs.ErrNotExist)
}

// verify checks the whole file and makes it durable.
func (in *incoming) verify() (e Entry, err error) {
	in.mu.Lock()
	want := *in.step.Remote
	want.Sum = in.sum
	in.mu.Unlock()
	d, err := in.part.sums.finish(want.Sum)
	if errors.Is(err, errUnlike) { // the disk does not keep what it was given
		err = fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if err != nil {
		return e, err
	}
	if err := d.check(&want); err != nil {
		return e, err
	}
	return arrived(in.step, in.part.data, d)
}
