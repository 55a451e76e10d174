// Package sftp is a remote that is a folder of an SFTP server.
//
// The objects are the folder's regular files and nothing else. A symbolic link is
// no object: it is not listed and not opened, not followed on the way to a file
// below Root, and a Put takes its place. SFTP has no call that refuses links, so
// each path is looked at right before it is used: that keeps honest links out, not
// a user of the server who swaps folders at that very moment.
//
// An object's Tag is its size and modification time, which SFTP gives in whole
// seconds; a Put moves the time on when it replaces a file of the same second. The
// server vouches for no checksum, so Sum is empty. Conditions are checked right
// before a file appears, and exactly among the callers of one Store, but not
// atomically against other programs: Store is no [storage.Conditional].
//
// The host key is checked before anything is sent; see [Options] and
// [HostKeyError]. A few connections are kept, each of which carries many requests
// at once.
//
// The protocol itself is in this package, in wire.go, conn.go and request.go. The client of
// github.com/pkg/sftp takes a session that ends in the middle of a folder for the
// end of the folder, shortens the names that a server lists to what follows their
// last slash, cannot send several requests as one, and cannot be cancelled.
package sftp

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// A Store is a [storage.Store] in a folder of an SFTP server. Use [New].
type Store struct {
	root, keep string
	partSize   int64
	pool       *pool
	names      locks
	strays     strays
}

var (
	_ storage.Store       = (*Store)(nil)
	_ storage.Multiparter = (*Store)(nil)
)

// New returns a store and connects to nothing yet. The error says which of opts
// cannot be.
func New(opts Options) (*Store, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	signer, err := opts.signer()
	if err != nil {
		return nil, err
	}
	d := &dialer{opts, signer}
	return &Store{root: opts.Root, keep: opts.Keep, partSize: opts.PartSize, pool: &pool{most: opts.Connections, dial: d.dial}}, nil
}

// Close implements [storage.Store].
func (s *Store) Close() error {
	s.pool.close()
	return nil
}

// path returns where key lies on the server; "" is the root itself.
func (s *Store) path(key string) string {
	if key == "" {
		return s.root
	}
	return strings.TrimSuffix(s.root, "/") + "/" + key
}

// folders are the folders on the way to key, the root left out: for "a/b/c" these
// are "a" and "a/b".
func folders(key string) (all []string) {
	for i := range len(key) {
		if key[i] == '/' {
			all = append(all, key[:i])
		}
	}
	return all
}

// way is the look at all that leads to a file, and at the file.
type way struct {
	key     string
	folders []*request
	file    *request
}

func (s *Store) look(b *batch, key string) way {
	w := way{key: key}
	for _, folder := range folders(key) {
		w.folders = append(w.folders, b.add(typeLstat, s.path(folder)))
	}
	w.file = b.add(typeLstat, s.path(key))
	return w
}

// attrs returns those of the file, or fs.ErrNotExist when it is no regular one or
// something else than a folder leads to it.
func (w way) attrs(ctx context.Context) (attrs, error) {
	a, err := w.any(ctx)
	if err == nil && !a.regular() {
		err = fs.ErrNotExist
	}
	return a, err
}

// any is attrs for a file of whatever kind.
func (w way) any(ctx context.Context) (attrs, error) {
	for i, r := range w.folders {
		a, err := r.attrs(ctx)
		if err == nil && !a.folder() {
			err = fs.ErrNotExist
		}
		if err != nil {
			drop(append(w.folders[i+1:], w.file)...)
			return attrs{}, err
		}
	}
	return w.file.attrs(ctx)
}

func drop(requests ...*request) {
	for _, r := range requests {
		r.drop()
	}
}

// Stat implements [storage.Store].
func (s *Store) Stat(ctx context.Context, key string) (storage.Object, error) {
	if err := storage.CheckKey(key); err != nil {
		return storage.Object{}, err
	}
	c, err := s.pool.get(ctx)
	if err != nil {
		return storage.Object{}, fail(ctx, "stat", key, err)
	}
	defer s.pool.put(c)
	a, err := s.stat(ctx, c, key)
	if s.moving(ctx, c, key, err) {
		a, err = s.stat(ctx, c, key)
	}
	if err != nil {
		return storage.Object{}, fail(ctx, "stat", key, err)
	}
	return object(key, a), nil
}

func (s *Store) stat(ctx context.Context, c *conn, key string) (attrs, error) {
	b := c.newBatch()
	w := s.look(b, key)
	b.send()
	return w.attrs(ctx)
}

// moving reports whether a file that was not there may be there now: on a server
// that cannot rename over a file, a Put of this Store takes it away for a moment.
func (s *Store) moving(ctx context.Context, c *conn, key string, err error) bool {
	if c.has(extRename) || !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	unlock, err := s.names.lock(ctx, key)
	if err != nil {
		return false
	}
	unlock()
	return true
}

// Remove implements [storage.Store]. Folders that become empty go too, up to
// Options.Keep.
func (s *Store) Remove(ctx context.Context, key string) error {
	if err := storage.CheckKey(key); err != nil {
		return err
	}
	c, err := s.pool.get(ctx)
	if err != nil {
		return fail(ctx, "remove", key, err)
	}
	defer s.pool.put(c)
	return fail(ctx, "remove", key, s.remove(ctx, c, key))
}

func (s *Store) remove(ctx context.Context, c *conn, key string) error {
	unlock, err := s.names.lock(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	b := c.newBatch()
	root := b.add(typeStat, s.root)
	w := s.look(b, key)
	b.send()
	_, err = root.attrs(ctx)
	if err != nil {
		drop(append(w.folders, w.file)...)
		return err
	}
	if _, err := w.attrs(ctx); err != nil {
		return ignoreMissing(err)
	}
	return s.unlink(ctx, c, key)
}

// unlink removes the file, and then the folders that are empty: the server
// refuses the others.
func (s *Store) unlink(ctx context.Context, c *conn, key string) error {
	b := c.newBatch()
	file := b.add(typeRemove, s.path(key))
	var empty []*request
	for folder := path.Dir(key); folder != "." && !s.kept(folder); folder = path.Dir(folder) {
		empty = append(empty, b.add(typeRmdir, s.path(folder)))
	}
	b.send()
	err := ignoreMissing(file.status(ctx))
	for _, r := range empty {
		if err == nil {
			err = stopped(r.status(ctx))
			continue
		}
		r.drop()
	}
	return err
}

// stopped leaves of an error only what is not an answer.
func stopped(err error) error {
	var no *failure
	if errors.As(err, &no) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

// kept reports whether a folder is, or leads to, the one that stays.
func (s *Store) kept(folder string) bool {
	return s.keep != "" && (s.keep == folder || strings.HasPrefix(s.keep, folder+"/"))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
