package sftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// Put implements [storage.Store]. The bytes go to a temporary file in the folder of
// the target, which is synced where the server can (OpenSSH and most others), and
// then renamed. Whether the new name survives a power cut is the server's affair.
//
// A server without posix-rename@openssh.com may refuse to rename over a file that
// exists. Then the old file is first moved aside, to a name that begins with
// ".d6tpipe-old-", and moved back if the new one cannot take its place: for that
// moment there is no file of the name, and if this program dies in it, the old one
// stays where it is, listed and refused by its name.
func (s *Store) Put(ctx context.Context, key string, r io.Reader, size int64, cond storage.Cond) (storage.Object, error) {
	if err := storage.CheckPut(key, size, cond); err != nil {
		return storage.Object{}, err
	}
	c, err := s.pool.get(ctx)
	if err != nil {
		return storage.Object{}, fail(ctx, "put", key, err)
	}
	defer s.pool.put(c)
	t := target{store: s, conn: c, key: key, temp: temporary(key, randomID())}
	a, err := t.upload(ctx, storage.Exactly(ctx, r, size), size)
	if err == nil {
		a, err = t.publish(ctx, a, cond)
	}
	if err != nil {
		s.discard(ctx, c, t.temp)
		return storage.Object{}, fail(ctx, "put", key, err)
	}
	s.sweep(ctx, c, a)
	return object(key, a), nil
}

// target is an object in the making.
type target struct {
	store *Store
	conn  *conn
	key   string
	temp  string // the key of its temporary file
}

// upload writes the temporary file and returns what the server says of it.
func (t *target) upload(ctx context.Context, r io.Reader, size int64) (attrs, error) {
	handle, err := t.create(ctx, t.temp)
	if err != nil {
		return attrs{}, err
	}
	w := writer{ctx: ctx, conn: t.conn, handle: handle}
	a, err := w.write(r, 0, size)
	if err == nil && a.size != size {
		err = fmt.Errorf("%w: %d bytes were sent, and the server has %d", storage.ErrTemporary, size, a.size)
	}
	return a, err
}

// create opens a new file, and makes the folders that lead to it.
func (t *target) create(ctx context.Context, key string) (string, error) {
	var err error
	for range 8 { // somebody else may remove folders as they become empty
		if err = t.makeFolders(ctx, key); err != nil {
			return "", err
		}
		b := t.conn.newBatch()
		r := b.open(t.store.path(key), flagWrite|flagCreate|flagExcl)
		b.send()
		var handle string
		handle, err = r.handle(ctx)
		if !errors.Is(err, fs.ErrNotExist) || path.Dir(key) == "." {
			return handle, err
		}
	}
	return "", fmt.Errorf("%w: its folder vanishes as soon as it is made", storage.ErrTemporary)
}

// makeFolders makes sure that real folders lead to key.
func (t *target) makeFolders(ctx context.Context, key string) error {
	way := folders(key)
	missing, err := t.firstMissing(ctx, way)
	if err != nil || missing == len(way) {
		return err
	}
	b := t.conn.newBatch()
	root := b.add(typeStat, t.store.root)
	b.send()
	if err := isFolder(root.attrs(ctx)); err != nil {
		return err
	}
	b = t.conn.newBatch()
	var made []*request
	for _, folder := range way[missing:] {
		made = append(made, b.mkdir(t.store.path(folder)))
	}
	b.send()
	for _, r := range made {
		err = errors.Join(err, r.status(ctx))
	}
	now, lost := t.firstMissing(ctx, way)
	var no *failure
	switch {
	case lost != nil:
		return lost
	case now == len(way), errors.As(err, &no): // all are there, or another is at them
		return nil
	}
	return err
}

// firstMissing returns how many of the folders are there.
func (t *target) firstMissing(ctx context.Context, way []string) (int, error) {
	b := t.conn.newBatch()
	var asked []*request
	for _, folder := range way {
		asked = append(asked, b.add(typeLstat, t.store.path(folder)))
	}
	b.send()
	for i, r := range asked {
		a, err := r.attrs(ctx)
		if err == nil && !a.folder() {
			err = fmt.Errorf("%q is in the way: it is no folder", way[i])
		}
		if err != nil {
			drop(asked[i+1:]...)
			return i, ignoreMissing(err)
		}
	}
	return len(way), nil
}

// publish gives the temporary file its name. What it returns is what the server
// says of the file then.
func (t *target) publish(ctx context.Context, a attrs, cond storage.Cond) (attrs, error) {
	unlock, err := t.store.names.lock(ctx, t.key)
	if err != nil {
		return a, err
	}
	defer unlock()
	for range 3 {
		if a, err = t.tryPublish(ctx, a, cond); !errors.Is(err, errTaken) {
			return a, err
		}
	}
	return a, fmt.Errorf("%w: others write the same file all the time", storage.ErrTemporary)
}

// errTaken says that another program made the file just now.
var errTaken = errors.New("the name is taken")

func (t *target) tryPublish(ctx context.Context, a attrs, cond storage.Cond) (attrs, error) {
	b := t.conn.newBatch()
	w := t.store.look(b, t.key)
	b.send()
	old, err := w.any(ctx)
	if ignoreMissing(err) != nil {
		return a, err
	}
	exists := err == nil
	switch {
	case old.folder():
		return a, errors.New("there is a folder of this name")
	case cond.Absent && old.regular(), cond.Tag != "" && (!old.regular() || tag(old) != cond.Tag):
		return a, storage.ErrChanged
	case old.regular() && a.mtime <= old.mtime:
		if a, err = t.later(ctx, a, old.mtime+1); err != nil {
			return a, err
		}
	}
	if err := ctx.Err(); err != nil {
		return a, err
	}
	if exists {
		return a, t.replace(ctx)
	}
	return a, t.appear(ctx)
}

// later moves the time of the temporary file past that of the file it is to
// replace. Times are whole seconds, so that without it two writes could have the
// same tag; and it must be a later one, not just another, because the same holds
// for the versions before.
func (t *target) later(ctx context.Context, a attrs, mtime uint32) (attrs, error) {
	b := t.conn.newBatch()
	set := b.touch(t.store.path(t.temp), mtime)
	look := b.add(typeLstat, t.store.path(t.temp))
	b.send()
	if err := set.status(ctx); err != nil {
		look.drop()
		return a, cannotTouch(err)
	}
	now, err := look.attrs(ctx)
	if err == nil && (now.mtime != mtime || now.size != a.size) {
		err = cannotTouch(errors.New("it ignores it"))
	}
	return now, err
}

// cannotTouch is temporary: a second later the new file has another time anyway.
func cannotTouch(err error) error {
	return fmt.Errorf("%w: the server does not let its time be set, and it would be that of the version before: %v", storage.ErrTemporary, err)
}

// appear renames to a name that is free, with the call that fails when it is not.
func (t *target) appear(ctx context.Context) error {
	err := t.rename(ctx, t.temp, t.key)
	var no *failure
	if !errors.As(err, &no) {
		return err
	}
	b := t.conn.newBatch()
	look := b.add(typeLstat, t.store.path(t.key))
	b.send()
	if _, lost := look.attrs(ctx); lost == nil {
		return errTaken
	}
	return err
}

// replace renames over a file.
func (t *target) replace(ctx context.Context) error {
	if t.conn.has(extRename) {
		b := t.conn.newBatch()
		r := b.add(typeExtended, extRename, t.store.path(t.temp), t.store.path(t.key))
		b.send()
		return r.status(ctx)
	}
	err := t.rename(ctx, t.temp, t.key)
	var no *failure
	if !errors.As(err, &no) {
		return err
	}
	aside := path.Join(path.Dir(t.key), oldPrefix+randomID())
	if err := t.rename(ctx, t.key, aside); err != nil {
		return err
	}
	if err := t.rename(ctx, t.temp, t.key); err != nil {
		back, cancel := lastWords(ctx)
		defer cancel()
		return errors.Join(err, t.rename(back, aside, t.key))
	}
	b := t.conn.newBatch()
	r := b.add(typeRemove, t.store.path(aside))
	b.send()
	return r.status(ctx)
}

func (t *target) rename(ctx context.Context, from, to string) error {
	b := t.conn.newBatch()
	r := b.add(typeRename, t.store.path(from), t.store.path(to))
	b.send()
	return r.status(ctx)
}

// lastWords is a context for what must be tidied up after the end of another.
func lastWords(ctx context.Context) (context.Context, context.CancelFunc) {
	patience := 10 * time.Second
	if ctx.Err() != nil {
		patience = 500 * time.Millisecond // the caller wants to go
	}
	return context.WithTimeout(context.WithoutCancel(ctx), patience)
}

// discard removes a temporary file. If the connection is gone, a later Put does
// it.
func (s *Store) discard(ctx context.Context, c *conn, temp string) {
	ctx, cancel := lastWords(ctx)
	defer cancel()
	b := c.newBatch()
	r := b.add(typeRemove, s.path(temp))
	b.send()
	if ignoreMissing(r.status(ctx)) != nil {
		s.strays.note(temp, ours)
	}
}

// writer sends bytes to an open file, several requests ahead of the answers.
type writer struct {
	ctx    context.Context
	conn   *conn
	handle string
	asked  []*request
}

// write writes size bytes of r from off on, makes them durable where the server
// can, closes the file, and returns what the server says of it.
func (w *writer) write(r io.Reader, off, size int64) (attrs, error) {
	err := w.copy(r, off, size)
	for err == nil && !w.conn.ordered && len(w.asked) > 0 {
		err = w.acknowledged()
	}
	if err != nil {
		drop(w.asked...)
		b := w.conn.newBatch()
		b.add(typeClose, w.handle).drop()
		b.send()
		return attrs{}, err
	}
	b := w.conn.newBatch()
	if w.conn.has(extFsync) {
		w.asked = append(w.asked, b.add(typeExtended, extFsync, w.handle))
	}
	look := b.add(typeFstat, w.handle)
	w.asked = append(w.asked, b.add(typeClose, w.handle))
	b.send()
	for len(w.asked) > 0 {
		if err := w.acknowledged(); err != nil {
			drop(append(w.asked, look)...)
			return attrs{}, err
		}
	}
	return look.attrs(w.ctx)
}

func (w *writer) copy(r io.Reader, off, size int64) error {
	for sent := int64(0); sent < size; {
		if len(w.asked) >= max(window/w.conn.maxWrite, 1) {
			if err := w.acknowledged(); err != nil {
				return err
			}
		}
		n := int(min(int64(w.conn.maxWrite), size-sent))
		if err := w.chunk(r, off+sent, n); err != nil {
			return err
		}
		sent += int64(n)
	}
	if size == 0 { // but it may have more than that
		if _, err := r.Read(make([]byte, 1)); err != io.EOF {
			return err
		}
	}
	return nil
}

// chunk reads n bytes into the packet that carries them.
func (w *writer) chunk(r io.Reader, off int64, n int) error {
	header := 25 + len(w.handle)
	packet := buffers.get(header + n)
	if _, err := io.ReadFull(r, packet[header:]); err != nil {
		buffers.put(packet)
		return err
	}
	b := &batch{builder{buf: packet[:0]}, w.conn}
	w.asked = append(w.asked, b.write(w.handle, off, n))
	b.buf = packet
	b.send()
	return nil
}

// acknowledged waits for the oldest answer.
func (w *writer) acknowledged() error {
	r := w.asked[0]
	w.asked = w.asked[1:]
	return r.status(w.ctx)
}
