package sftp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// patience is how long a server may be silent after somebody stopped waiting for
// its answer: SSH cannot cancel a request, and a connection that is stuck behind
// one is worth nothing to the others on it.
const patience = 3 * time.Second

// request is one that was sent, or soon will be.
type request struct {
	conn   *conn
	id     uint32
	answer chan answer // holds one

	orphan bool // nobody waits for it; conn.mu guards it
}

// answer is a packet, or why there will be none.
type answer struct {
	packet []byte // of buffers
	err    error
}

func (a answer) kind() byte   { return a.packet[0] }
func (a answer) body() []byte { return a.packet[5:] } // after the id
func (a answer) free()        { buffers.put(a.packet) }

// batch is a row of requests that are sent together.
type batch struct {
	builder
	conn *conn
}

func (c *conn) newBatch() *batch { return &batch{builder{buf: buffers.get(512)[:0]}, c} }

// add adds a request of strings: paths, a handle, the name of an extension.
func (b *batch) add(kind byte, fields ...string) *request {
	r := b.next(kind)
	for _, s := range fields {
		b.string(s)
	}
	b.end(0)
	return r
}

// next begins a request. What it returns is known to the connection when the
// batch is sent.
func (b *batch) next(kind byte) *request {
	r := &request{conn: b.conn, answer: make(chan answer, 1)}
	b.conn.register(r)
	b.begin(kind, r.id)
	return r
}

func (c *conn) register(r *request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastID++
	r.id = c.lastID
	if c.err != nil {
		r.answer <- answer{err: c.err}
		return
	}
	c.pending[r.id] = r
}

func (b *batch) open(path string, flags uint32) *request {
	r := b.next(typeOpen)
	b.string(path)
	b.uint32(flags)
	b.uint32(0) // the server's default mode
	b.end(0)
	return r
}

func (b *batch) mkdir(path string) *request {
	r := b.next(typeMkdir)
	b.string(path)
	b.uint32(0)
	b.end(0)
	return r
}

func (b *batch) read(handle string, off int64, n int) *request {
	r := b.next(typeRead)
	b.string(handle)
	b.uint64(uint64(off))
	b.uint32(uint32(n))
	b.end(0)
	return r
}

// write adds a request of which the n bytes of data follow: its header takes 25
// bytes and the handle.
func (b *batch) write(handle string, off int64, n int) *request {
	r := b.next(typeWrite)
	b.string(handle)
	b.uint64(uint64(off))
	b.uint32(uint32(n))
	b.end(n)
	return r
}

// touch adds a request that sets the times of a file.
func (b *batch) touch(path string, mtime uint32) *request {
	r := b.next(typeSetstat)
	b.string(path)
	b.uint32(attrTimes)
	b.uint32(mtime)
	b.uint32(mtime)
	b.end(0)
	return r
}

// send hands the batch to the connection, which owns it from now on.
func (b *batch) send() {
	b.conn.mu.Lock()
	defer b.conn.mu.Unlock()
	if b.conn.err == nil {
		b.conn.enqueue(b.buf)
	}
	b.buf = nil
}

// wait returns the answer, or gives the request up when ctx ends.
func (r *request) wait(ctx context.Context) (answer, error) {
	select {
	case a := <-r.answer:
		return a, a.err
	default:
	}
	select {
	case a := <-r.answer:
		storage.Moved(ctx)
		return a, a.err
	case <-ctx.Done():
		r.abandon()
		return answer{}, ctx.Err()
	}
}

// drop says that nobody will wait for the answer.
func (r *request) drop() {
	c := r.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case a := <-r.answer:
		if a.err == nil && c.err == nil {
			c.bury(a)
		}
	default:
		r.orphan = true
	}
}

// abandon is drop when the server seems to be stuck: if it stays silent, the
// connection is given up.
func (r *request) abandon() {
	r.drop()
	c := r.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := c.received
	if c.pending[r.id] != nil {
		time.AfterFunc(patience, func() { c.checkAlive(r.id, seen) })
	}
}

var errSilent = errors.New("the server does not answer")

func (c *conn) checkAlive(id uint32, seen uint64) {
	c.mu.Lock()
	silent := c.pending[id] != nil && c.received == seen
	c.mu.Unlock()
	if silent {
		c.fail(errSilent)
	}
}

// expect returns an answer of a kind; a status that says otherwise is its error.
func (r *request) expect(ctx context.Context, kind byte) (answer, error) {
	a, err := r.wait(ctx)
	switch {
	case err != nil:
		return answer{}, err
	case a.kind() == kind:
		return a, nil
	}
	defer a.free()
	if a.kind() == typeStatus {
		if err := statusError(a.body()); err != nil {
			return answer{}, err
		}
	}
	r.conn.fail(errMalformed)
	return answer{}, errMalformed
}

// parse reads an answer of a kind with f.
func parse[T any](ctx context.Context, r *request, kind byte, f func(*parser) T) (v T, err error) {
	a, err := r.expect(ctx, kind)
	if err != nil {
		return v, err
	}
	defer a.free()
	p := parser{buf: a.body()}
	if v = f(&p); p.bad {
		r.conn.fail(errMalformed)
		return v, errMalformed
	}
	return v, nil
}

func (r *request) handle(ctx context.Context) (string, error) {
	return parse(ctx, r, typeHandle, func(p *parser) string {
		h := p.string()
		p.bad = p.bad || len(h) == 0 || len(h) > 256 // the draft, section 6.2
		return h
	})
}

func (r *request) attrs(ctx context.Context) (attrs, error) {
	a, err := parse(ctx, r, typeAttrs, (*parser).attrs)
	if err == nil && !a.enough() {
		err = fmt.Errorf("%w: it does not tell size, kind and time of a file", errMalformed)
	}
	return a, err
}

func (r *request) entries(ctx context.Context) ([]entry, error) {
	return parse(ctx, r, typeName, (*parser).entries)
}

// status returns nil when the server has done it.
func (r *request) status(ctx context.Context) error {
	a, err := r.wait(ctx)
	if err != nil {
		return err
	}
	defer a.free()
	if a.kind() != typeStatus {
		r.conn.fail(errMalformed)
		return errMalformed
	}
	return statusError(a.body())
}
