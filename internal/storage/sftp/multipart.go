package sftp

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// parts takes objects in parts. An upload is two files in the folder of the
// target: the temporary file, into which the parts are written at their places in
// any order, and its marks, a byte for each part. The mark of a part is 1 when the
// server has said that all of the part is written and synced; it is set to 0
// before a part is written again. So a client that dies at any instant leaves no
// mark on a part that has a hole, which the size of the file could not tell.
type parts struct{ *Store }

// Multipart implements [storage.Multiparter].
func (s *Store) Multipart() storage.Multipart { return parts{s} }

// markSuffix ends the name of the file of marks.
const markSuffix = "-parts"

const (
	markMissing = 0
	markArrived = 1
)

// checkUpload makes sure of an upload that comes from a file: nothing but a
// number of ours becomes a name on the server.
func checkUpload(u storage.Upload) error {
	if err := storage.CheckKey(u.Key); err != nil {
		return err
	}
	id, err := hex.DecodeString(u.ID)
	if err != nil || len(id) != 16 || hex.EncodeToString(id) != u.ID || u.Size <= 0 || u.PartSize <= 0 {
		return fs.ErrInvalid
	}
	return nil
}

// do calls f with a connection, after a look at the upload.
func (p parts) do(ctx context.Context, op string, u storage.Upload, f func(*target) error) error {
	if err := checkUpload(u); err != nil {
		return fail(ctx, op, u.Key, err)
	}
	c, err := p.pool.get(ctx)
	if err == nil {
		defer p.pool.put(c)
		err = f(&target{store: p.Store, conn: c, key: u.Key, temp: temporary(u.Key, u.ID)})
	}
	return fail(ctx, op, u.Key, err)
}

func (p parts) Begin(ctx context.Context, key string, size, unit int64) (storage.Upload, error) {
	if err := storage.CheckPut(key, size, storage.Cond{}); err != nil {
		return storage.Upload{}, err
	}
	u := storage.Upload{Key: key, ID: randomID(), Size: size, PartSize: max(unit, p.partSize/max(unit, 1)*unit)}
	err := p.do(ctx, "begin", u, func(t *target) error {
		for _, name := range []string{t.temp, t.temp + markSuffix} {
			handle, err := t.create(ctx, name)
			if err != nil {
				return err
			}
			b := t.conn.newBatch()
			r := b.add(typeClose, handle)
			b.send()
			if err := r.status(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	return u, err
}

func (p parts) Arrived(ctx context.Context, u storage.Upload) (arrived []storage.Part, err error) {
	err = p.do(ctx, "arrived", u, func(t *target) error {
		arrived, err = t.arrived(ctx, u)
		return err
	})
	return arrived, err
}

func (t *target) arrived(ctx context.Context, u storage.Upload) (all []storage.Part, err error) {
	b := t.conn.newBatch()
	w := t.store.look(b, t.temp)
	b.send()
	a, err := w.attrs(ctx)
	if err != nil {
		return nil, err
	}
	marks, err := t.marks(ctx)
	if err != nil {
		return nil, err
	}
	for n := range min(u.Parts(), len(marks)) {
		off, size := u.Part(n)
		if marks[n] == markArrived && off+size <= a.size {
			all = append(all, storage.Part{Number: n, Size: size})
		}
	}
	return all, nil
}

func (t *target) marks(ctx context.Context) ([]byte, error) {
	r := &reader{ctx: ctx, conn: t.conn, key: t.temp + markSuffix}
	defer r.release()
	if err := r.open(t.store, 0, -1); err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func (p parts) Send(ctx context.Context, u storage.Upload, n int, r io.Reader, size int64) (storage.Part, error) {
	err := p.do(ctx, "send", u, func(t *target) error {
		if n < 0 || n >= u.Parts() {
			return fs.ErrInvalid
		}
		off, want := u.Part(n)
		if want != size {
			return fs.ErrInvalid
		}
		if err := t.mark(ctx, n, markMissing); err != nil {
			return err
		}
		handle, err := t.open(ctx, t.temp)
		if err != nil {
			return err
		}
		w := writer{ctx: ctx, conn: t.conn, handle: handle}
		a, err := w.write(storage.Exactly(ctx, r, size), off, size)
		if err != nil {
			return err
		}
		if a.size < off+size {
			return fmt.Errorf("%w: the server has only %d bytes after %d were sent", storage.ErrTemporary, a.size, off+size)
		}
		return t.mark(ctx, n, markArrived)
	})
	if err != nil {
		return storage.Part{}, err
	}
	return storage.Part{Number: n, Size: size}, nil
}

// open opens a file of the upload for writing.
func (t *target) open(ctx context.Context, key string) (string, error) {
	b := t.conn.newBatch()
	w := t.store.look(b, key)
	b.send()
	if _, err := w.attrs(ctx); err != nil {
		return "", err
	}
	b = t.conn.newBatch()
	r := b.open(t.store.path(key), flagWrite)
	b.send()
	return r.handle(ctx)
}

// mark says of part n whether it is there.
func (t *target) mark(ctx context.Context, n int, value byte) error {
	handle, err := t.open(ctx, t.temp+markSuffix)
	if err != nil {
		return err
	}
	w := writer{ctx: ctx, conn: t.conn, handle: handle}
	_, err = w.write(bytes.NewReader([]byte{value}), int64(n), 1)
	return err
}

func (p parts) Finish(ctx context.Context, u storage.Upload, sent []storage.Part, cond storage.Cond) (obj storage.Object, err error) {
	if err := storage.CheckPut(u.Key, u.Size, cond); err != nil {
		return obj, err
	}
	err = p.do(ctx, "finish", u, func(t *target) error {
		arrived, err := t.arrived(ctx, u)
		if err != nil {
			return err
		}
		if len(arrived) != u.Parts() || !slices.Equal(arrived, sent) {
			return fmt.Errorf("%w: of %d parts %d were named and %d are there", fs.ErrInvalid, u.Parts(), len(sent), len(arrived))
		}
		a, err := t.settle(ctx, u.Size)
		if err != nil {
			return err
		}
		if a, err = t.publish(ctx, a, cond); err != nil {
			return err
		}
		p.discard(ctx, t.conn, t.temp+markSuffix)
		p.sweep(ctx, t.conn, a)
		obj = object(u.Key, a)
		return nil
	})
	return obj, err
}

// settle makes sure that the temporary file is whole and durable.
func (t *target) settle(ctx context.Context, size int64) (attrs, error) {
	handle, err := t.open(ctx, t.temp)
	if err != nil {
		return attrs{}, err
	}
	w := writer{ctx: ctx, conn: t.conn, handle: handle}
	a, err := w.write(bytes.NewReader(nil), 0, 0)
	if err == nil && a.size != size {
		err = fmt.Errorf("%w: the parts are %d bytes together and not %d", fs.ErrInvalid, a.size, size)
	}
	return a, err
}

func (p parts) Abort(ctx context.Context, u storage.Upload) error {
	return p.do(ctx, "abort", u, func(t *target) error {
		way := folders(u.Key)
		if there, err := t.firstMissing(ctx, way); err != nil || there < len(way) {
			return err
		}
		b := t.conn.newBatch()
		data := b.add(typeRemove, p.path(t.temp))
		marks := b.add(typeRemove, p.path(t.temp+markSuffix))
		b.send()
		return errors.Join(ignoreMissing(data.status(ctx)), ignoreMissing(marks.status(ctx)))
	})
}
