package ftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// small is the size in bytes up to which Open reads everything itself, so that one
// check of the version is enough and the connection is free at once. It is also
// what is rather read to its end than broken off.
const small = 64 << 10

// Open implements [storage.Store]. What is small is read by Open and its version
// checked afterwards, by one command: the size is proven by the bytes, and a time
// that has not moved by the end has not moved before. A longer stream is checked
// before its first byte too, and the last bytes are handed out only after the check
// at the end.
func (s *Store) Open(ctx context.Context, obj storage.Object, off, n int64) (io.ReadCloser, error) {
	if err := storage.CheckOpen(obj.Key, off); err != nil {
		return nil, err
	}
	for fresh := false; ; fresh = true {
		c, err := s.lend(ctx, fresh)
		if err != nil {
			return nil, fail(ctx, "open", obj.Key, err)
		}
		r := &reader{c: c, ctx: ctx, path: s.path(obj.Key), key: obj.Key, tag: obj.Tag, size: obj.Size, off: off}
		body, err := r.open(n)
		if err == nil {
			return body, nil
		}
		again := !fresh && r.c != nil && c.stale() && ctx.Err() == nil
		r.release()
		if !again {
			return nil, fail(ctx, "open", obj.Key, err)
		}
	}
}

// open begins the stream and returns it, or its bytes when they are few.
func (r *reader) open(n int64) (io.ReadCloser, error) {
	known := r.tag != ""
	if checkFirst := n >= 0 && !known || r.off > 0 && !known || known && (r.wants(n) == 0 || r.wants(n) > small); checkFirst {
		e, err := r.c.file(r.path)
		if err != nil {
			return nil, err
		}
		if known && e.tag() != r.tag {
			return nil, storage.ErrChanged
		}
		r.size, known = e.size, true
	}
	if !known {
		r.size = -1
	}
	r.left = r.wants(n)
	if r.left == 0 {
		r.release()
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	if err := r.begin(); err != nil {
		return nil, err
	}
	if r.left < 0 || r.left > small {
		return r, nil
	}
	data := make([]byte, r.left)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, r.cause(err)
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// A reader is a stream of an object.
type reader struct {
	c    *conn // nil when it was given back
	ctx  context.Context
	t    *transfer // nil when it is over
	path string
	key  string
	tag  string // "" when any version will do
	size int64  // of the whole; -1 when it is not known
	off  int64  // of the next byte
	left int64  // that are still to come; -1 when it is not known
	err  error  // from now on
}

// wants is how many bytes are to be read; -1 means all, however many.
func (r *reader) wants(n int64) int64 {
	if r.size < 0 {
		return -1
	}
	rest := max(r.size-r.off, 0)
	if n < 0 {
		return rest
	}
	return min(n, rest)
}

// begin starts the stream at off, if need be by reading what lies before.
func (r *reader) begin() error {
	skip := int64(0)
	t, err := r.c.begin(r.off, "RETR "+r.path)
	var rest *restError
	if errors.As(err, &rest) && refused(err) {
		skip = r.off
		t, err = r.c.begin(0, "RETR "+r.path)
	}
	if refused(err) {
		return r.c.noFile(r.path, err)
	}
	if err != nil {
		return err
	}
	r.t = t
	if _, err := io.CopyN(io.Discard, t, skip); err != nil {
		t.abandon()
		return brokenError(err)
	}
	return nil
}

func (r *reader) Read(p []byte) (int, error) {
	if r.err != nil || len(p) == 0 {
		return 0, r.err
	}
	n, err := r.some(p)
	switch {
	case r.ctx.Err() != nil:
		err = r.ctx.Err() // the connection is killed a moment later
	case err == io.EOF && r.left <= 0, r.left == 0:
		err = r.finish()
	case err == io.EOF:
		err = r.short()
	case err != nil:
		err = brokenError(err)
	default:
		return n, nil
	}
	r.release()
	if err == nil {
		r.err = io.EOF
		return n, nil
	}
	r.err = r.explain(err)
	return 0, r.err
}

// some reads what there is, and counts it.
func (r *reader) some(p []byte) (int, error) {
	if r.left >= 0 {
		p = p[:min(int64(len(p)), r.left)]
	}
	n, err := r.t.Read(p)
	r.off += int64(n)
	if r.left >= 0 {
		r.left -= int64(n)
	}
	return n, err
}

// finish makes sure, before the last bytes are handed out, that they are the last
// and of the right version.
func (r *reader) finish() error {
	whole := r.left < 0 || r.off == r.size
	if whole {
		if err := r.end(); err != nil {
			return err
		}
	} else {
		r.leaveEarly()
	}
	return r.check(whole)
}

// end reads the end of the data, and the server's word that it is the end.
func (r *reader) end() error {
	var more [1]byte
	n, err := r.t.Read(more[:])
	switch {
	case n > 0:
		return storage.ErrChanged
	case err != io.EOF:
		return brokenError(err)
	case r.left < 0 && r.t.cut():
		return errNoEnd // and nothing else tells how many there are
	}
	return r.lastWord()
}

// lastWord reads the server's answer to the end of the data.
func (r *reader) lastWord() error {
	_, err := r.t.end()
	r.t = nil
	if refused(err) { // some open a folder, and fail to read it
		return r.c.noFile(r.path, err)
	}
	return err
}

// short is called when the data end too early: the file has become shorter, or the
// connection was cut.
func (r *reader) short() error {
	if err := r.lastWord(); err != nil {
		return err
	}
	if err := r.check(false); err != nil {
		return err
	}
	return errCut
}

// leaveEarly ends a stream whose rest nobody wants.
func (r *reader) leaveEarly() {
	if rest := r.size - r.off; rest > small {
		r.abandon()
	} else if err := r.drain(rest); err != nil {
		r.abandon()
	}
}

func (r *reader) drain(n int64) error {
	if err := r.c.limitAll(patience); err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, r.t, n); err != nil {
		return err
	}
	if err := r.end(); err != nil {
		return err
	}
	return r.c.limitAll(0)
}

func (r *reader) abandon() {
	if r.t != nil && r.ctx.Err() != nil {
		r.c.kill()
		r.t.close()
		r.t = nil
	}
	if r.t != nil {
		r.t.abandon()
		r.t = nil
	}
}

// check compares the version with the one that was asked for. The bytes that were
// read are proof enough of the size when they were read to the end.
func (r *reader) check(whole bool) error {
	if r.tag == "" {
		return nil
	}
	if r.c.broken { // given up when the stream was left early
		if err := r.swap(); err != nil {
			return err
		}
	}
	c := r.c
	if !whole || c.store.has("MLST") || !c.store.has("MDTM") {
		e, err := c.file(r.path)
		return r.same(e, err)
	}
	command := "MDTM " + r.path
	answer, err := c.command(command)
	if err != nil {
		return err
	}
	e := entry{size: r.off}
	e.time, err = mdtm(command, answer, c.store)
	if unsupported(err) {
		c.store.miss("MDTM")
		e, err = c.file(r.path)
	}
	return r.same(e, err)
}

// swap takes another connection in the place of one that was given up.
func (r *reader) swap() (err error) {
	s := r.c.store
	s.giveBack(r.c)
	r.c, err = s.lend(r.ctx, false)
	return err
}

func (r *reader) same(e entry, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), refused(err), err == nil && e.tag() != r.tag:
		return storage.ErrChanged // while it was being read
	}
	return err
}

// cause is the error that lies behind one of io.ReadFull's.
func (r *reader) cause(err error) error {
	if r.err != nil && r.err != io.EOF {
		err = r.err
	}
	var wrapped *fs.PathError
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

func (r *reader) explain(err error) error { return fail(r.ctx, "read", r.key, err) }

// release gives the connection back.
func (r *reader) release() {
	r.abandon()
	if r.c != nil {
		r.c.store.giveBack(r.c)
		r.c = nil
	}
}

// Close implements [io.Closer].
func (r *reader) Close() error {
	if r.err != nil {
		return nil
	}
	r.err = fmt.Errorf("read %s: %w", r.key, fs.ErrClosed)
	if r.ctx.Err() == nil && r.left > 0 {
		r.left = 0
		r.leaveEarly()
	}
	r.release()
	return nil
}

// limitAll sets a time for the control and the data connection.
func (c *conn) limitAll(d time.Duration) error {
	err := c.limit(d)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.data != nil && d > 0 {
		err = errors.Join(err, c.data.SetDeadline(time.Now().Add(d)))
	}
	return err
}
