// Package remotefs is a remote as a file system of package io/fs: files are read
// where they lie, in blocks that a small cache holds, and nothing is pulled.
//
// The listing is made once, when it is first needed, and every byte is of the
// version that it names: a file that changes on the remote fails to be read with
// [storage.ErrChanged], whatever of it is in the cache.
package remotefs

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"path"
	"sync"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// Sizes in bytes that a zero in [Config] means.
const (
	DefaultBlock = 1 << 20
	DefaultCache = 16 << 20
)

// minBlocks is how many blocks the cache holds at least: one that is read, those
// that are read ahead, and one more.
const minBlocks = 4

// Config is what a file system is made of.
type Config struct {
	// Open connects to the remote, rooted at the file system's, and says which keys
	// are a part of it; nil is all. It is called when something is first asked for,
	// and again after it has failed. The file system closes the store.
	Open func(ctx context.Context) (storage.Store, func(key string) bool, error)
	// Block is the size of the pieces in which files are read; Cache is how many
	// bytes of them are held in memory, never less than four blocks, beside at most
	// eight that are on their way.
	Block, Cache int64
	// Explain is called with each error before it gets its file's name; nil leaves
	// errors as they are.
	Explain func(error) error
	// Sys is what a file's FileInfo returns of that name; nil is the object.
	Sys func(storage.Object) any
}

func (c Config) withDefaults() Config {
	c.Block = cmp.Or(c.Block, DefaultBlock)
	c.Cache = max(cmp.Or(c.Cache, DefaultCache), minBlocks*c.Block)
	if c.Explain == nil {
		c.Explain = func(err error) error { return err }
	}
	if c.Sys == nil {
		c.Sys = func(obj storage.Object) any { return obj }
	}
	return c
}

// An FS is a file system, or a folder of one. It is safe for concurrent use.
type FS struct {
	*shared
	dir string // "." is the root
}

var (
	_ fs.ReadDirFS  = (*FS)(nil)
	_ fs.StatFS     = (*FS)(nil)
	_ fs.ReadFileFS = (*FS)(nil)
	_ fs.SubFS      = (*FS)(nil)
)

// shared is what a file system and its folders have in common.
type shared struct {
	cfg    Config
	parent context.Context // the caller's
	ctx    context.Context // ends with it, or by Close
	cancel context.CancelFunc
	blocks *cache

	mu    sync.Mutex // held while the remote is opened or listed
	store storage.Store
	match func(string) bool
	tree  *tree // nil until it is asked for
	shut  bool
}

// New returns the file system of a remote, which lives until ctx ends or Close is
// called. It does no I/O.
func New(ctx context.Context, cfg Config) *FS {
	cfg = cfg.withDefaults()
	s := &shared{cfg: cfg, parent: ctx}
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.blocks = newCache(s.ctx, cfg.Block, cfg.Cache)
	context.AfterFunc(s.ctx, func() { _ = s.close() }) // nothing was written
	return &FS{s, "."}
}

// Close ends what is under way and lets go of the connection and the cache. Open
// files and folders of the file system are of no use after it; every call fails
// with [fs.ErrClosed].
func (s *shared) Close() error {
	s.cancel()
	return s.close()
}

func (s *shared) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut {
		return nil
	}
	s.shut = true
	s.blocks.close()
	if s.store == nil {
		return nil
	}
	return s.store.Close()
}

// Refresh forgets the listing: what is asked for next makes a new one. Files that
// are open stay what they are.
func (s *shared) Refresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tree = nil
}

// ended is why nothing can be done any more.
func (s *shared) ended() error {
	if err := s.parent.Err(); err != nil {
		return err
	}
	if s.ctx.Err() != nil {
		return fs.ErrClosed
	}
	return nil
}

// list returns the files and folders, and makes the listing when there is none.
func (s *shared) list() (*tree, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ended(); err != nil {
		return nil, err
	}
	if s.tree != nil {
		return s.tree, nil
	}
	if s.store == nil {
		store, match, err := s.cfg.Open(s.ctx)
		if err != nil {
			return nil, s.explain(err)
		}
		s.store, s.match = store, match
	}
	l, err := storage.Collect(s.ctx, s.store, "")
	if err != nil {
		return nil, s.explain(err)
	}
	s.tree = newTree(l.Objects(), s.match)
	return s.tree, nil
}

// explain prefers the reason for which everything ended.
func (s *shared) explain(err error) error {
	if ended := s.ended(); ended != nil {
		return ended
	}
	return s.cfg.Explain(err)
}

// find returns the file or folder called name.
func (f *FS) find(op, name string) (*node, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	t, err := f.list()
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	n := t.nodes[path.Join(f.dir, name)]
	if n == nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: f.cfg.Explain(fs.ErrNotExist)}
	}
	return n, nil
}

// Open implements [fs.FS]. What it returns for a file is a [*File], for a folder an
// [fs.ReadDirFile].
func (f *FS) Open(name string) (fs.File, error) {
	n, err := f.find("open", name)
	if err != nil {
		return nil, err
	}
	if n.dir {
		return &folder{f: f, name: name, node: n}, nil
	}
	return f.file(name, n), nil
}

func (f *FS) file(name string, n *node) *File {
	return &File{fs: f.shared, name: name, info: f.info(n), obj: n.obj, streams: storage.Streams(f.store), last: -1}
}

// Stat implements [fs.StatFS]. It makes no request.
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	n, err := f.find("stat", name)
	if err != nil {
		return nil, err
	}
	return f.info(n), nil
}

// ReadDir implements [fs.ReadDirFS]. It makes no request.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := f.find("readdir", name)
	if err != nil {
		return nil, err
	}
	if !n.dir {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errNotDir}
	}
	return f.entries(n), nil
}

// ReadFile implements [fs.ReadFileFS].
func (f *FS) ReadFile(name string) ([]byte, error) {
	n, err := f.find("read", name)
	if err != nil {
		return nil, err
	}
	if n.dir {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errIsDir}
	}
	file := f.file(name, n)
	data, err := file.readAll()
	return data, errors.Join(err, file.Close())
}

// Sub implements [fs.SubFS]. The folder shares listing and cache with f, and
// closing one closes both.
func (f *FS) Sub(dir string) (fs.FS, error) {
	if !fs.ValidPath(dir) {
		return nil, &fs.PathError{Op: "sub", Path: dir, Err: fs.ErrInvalid}
	}
	return &FS{f.shared, path.Join(f.dir, dir)}, nil
}
