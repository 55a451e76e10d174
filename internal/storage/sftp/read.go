package sftp

import (
	"context"
	"fmt"
	"io"
	"io/fs"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// window is how many bytes of a file are asked for ahead of the reader. Several
// readers at once share a connection, so that more would only cost memory.
const window = 1 << 20

// Open implements [storage.Store]. The version is checked when the file is opened
// and again after its last byte: a program that writes into the file meanwhile
// changes its time. With a Tag it takes two round trips to the first byte. Without
// one it takes three: nobody has looked yet whether it is a file, and to open a
// pipe would hang a whole connection.
func (s *Store) Open(ctx context.Context, obj storage.Object, off, n int64) (io.ReadCloser, error) {
	if err := storage.CheckOpen(obj.Key, off); err != nil {
		return nil, err
	}
	c, err := s.pool.get(ctx)
	if err != nil {
		return nil, fail(ctx, "open", obj.Key, err)
	}
	r := &reader{ctx: ctx, conn: c, key: obj.Key, tag: obj.Tag}
	err = r.open(s, off, n)
	if s.moving(ctx, c, obj.Key, err) {
		r.release()
		err = r.open(s, off, n)
	}
	if err != nil {
		r.release()
		s.pool.put(c)
		return nil, fail(ctx, "open", obj.Key, err)
	}
	r.done = func() { s.pool.put(c) }
	return r, nil
}

// reader reads a range of a file in order, and asks ahead.
type reader struct {
	ctx    context.Context
	conn   *conn
	key    string
	tag    string // "" when any version will do
	handle string
	done   func() // gives the connection back

	next, end int64    // what was not asked for yet
	asked     []*chunk // and not read, in order
	head      answer   // of which rest is left
	rest      []byte
	version   *request // at the end of the range
	err       error    // of the last Read, for all that follow
}

// chunk is a piece of the file that is on its way.
type chunk struct {
	*request
	off int64
	n   int
}

func (r *reader) open(s *Store, off, n int64) error {
	b := r.conn.newBatch()
	w := s.look(b, r.key)
	if r.tag == "" {
		b.send()
		a, err := w.attrs(r.ctx)
		if err != nil {
			return err
		}
		b = r.conn.newBatch()
		return r.begin(b, b.open(s.path(r.key), flagRead), off, rangeEnd(off, n, a.size))
	}
	size, ok := tagSize(r.tag)
	file := b.open(s.path(r.key), flagRead)
	b.send()
	if _, err := w.attrs(r.ctx); err != nil {
		file.drop()
		return err
	}
	if !ok {
		file.drop()
		return storage.ErrChanged
	}
	return r.begin(nil, file, off, rangeEnd(off, n, size))
}

// begin takes the opened file, asks what it is, and does not wait for the answer
// before it asks for its first bytes.
func (r *reader) begin(b *batch, file *request, off, end int64) (err error) {
	if b != nil {
		b.send()
	}
	if r.handle, err = file.handle(r.ctx); err != nil {
		return err
	}
	r.next, r.end = off, end
	b = r.conn.newBatch()
	version := b.add(typeFstat, r.handle)
	r.ask(b)
	a, err := version.attrs(r.ctx)
	if err == nil {
		err = r.check(a)
	}
	return err
}

func (r *reader) check(a attrs) error {
	if !a.regular() {
		return fs.ErrNotExist
	}
	if r.tag != "" && tag(a) != r.tag {
		return storage.ErrChanged
	}
	return nil
}

// ask fills the window. Where the server does one thing after the other, the
// question of which version the last byte was goes along with it.
func (r *reader) ask(b *batch) {
	before := r.next
	for r.next < r.end && len(r.asked) < max(window/r.conn.maxRead, 1) {
		n := int(min(int64(r.conn.maxRead), r.end-r.next))
		r.asked = append(r.asked, &chunk{b.read(r.handle, r.next, n), r.next, n})
		r.next += int64(n)
	}
	if r.next > before && r.next >= r.end && r.conn.ordered {
		r.askVersion(b)
	}
	b.send()
}

func (r *reader) askVersion(b *batch) {
	if r.tag != "" {
		r.version = b.add(typeFstat, r.handle)
	}
}

func (r *reader) Read(p []byte) (int, error) {
	if r.err == nil && r.ctx.Err() != nil {
		r.err = fail(r.ctx, "read", r.key, r.ctx.Err())
	}
	if r.err == nil && len(r.rest) == 0 && len(p) > 0 {
		r.err = r.advance()
	}
	if r.err != nil {
		return 0, r.err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// advance gets the next bytes, or ends with io.EOF.
func (r *reader) advance() error {
	r.head.free()
	r.head = answer{}
	for len(r.rest) == 0 {
		if len(r.asked) == 0 {
			if err := r.finish(); err != nil {
				return fail(r.ctx, "read", r.key, err)
			}
			return io.EOF
		}
		if err := r.receive(); err != nil {
			return fail(r.ctx, "read", r.key, err)
		}
		if r.next < r.end {
			r.ask(r.conn.newBatch())
		}
	}
	return nil
}

// receive waits for the next chunk.
func (r *reader) receive() error {
	c := r.asked[0]
	a, err := c.expect(r.ctx, typeData)
	if err == io.EOF {
		return r.short()
	}
	r.asked = r.asked[1:]
	if err != nil {
		return err
	}
	p := parser{buf: a.body()}
	data := p.bytes()
	if p.bad || len(data) == 0 || len(data) > c.n {
		a.free()
		r.conn.fail(errMalformed)
		return fmt.Errorf("%w: %d bytes where %d were asked for", errMalformed, len(data), c.n)
	}
	r.head, r.rest = a, data
	if missing := c.n - len(data); missing > 0 {
		r.again(c.off+int64(len(data)), missing)
	} else if len(r.asked) == 0 && r.next >= r.end && r.version == nil {
		b := r.conn.newBatch()
		r.askVersion(b)
		b.send()
	}
	return nil
}

// again asks for the part of a chunk that the server left out.
func (r *reader) again(off int64, n int) {
	b := r.conn.newBatch()
	r.asked = append([]*chunk{{b.read(r.handle, off, n), off, n}}, r.asked...)
	if r.version != nil { // that was before these bytes
		r.version.drop()
		r.version = nil
	}
	b.send()
}

// short is the end of a file before the end of the range.
func (r *reader) short() error {
	if r.tag != "" {
		return storage.ErrChanged
	}
	for _, c := range r.asked {
		c.drop()
	}
	r.asked, r.end = nil, r.next
	return nil
}

// finish checks once more which version it was.
func (r *reader) finish() error {
	if r.version == nil {
		return nil
	}
	a, err := r.version.attrs(r.ctx)
	if r.version = nil; err != nil {
		return err
	}
	return r.check(a)
}

// Close does not wait for the server.
func (r *reader) Close() error {
	if r.done == nil {
		return nil
	}
	r.release()
	r.done()
	r.done = nil
	if r.err == nil {
		r.err = fail(r.ctx, "read", r.key, fs.ErrClosed)
	}
	return nil
}

// release lets go of all that the server still has for the reader.
func (r *reader) release() {
	for _, c := range r.asked {
		c.drop()
	}
	r.asked = nil
	if r.version != nil {
		r.version.drop()
		r.version = nil
	}
	if r.handle != "" {
		b := r.conn.newBatch()
		b.add(typeClose, r.handle).drop()
		b.send()
		r.handle = ""
	}
	r.head.free()
	r.head, r.rest = answer{}, nil
}
