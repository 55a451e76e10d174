// Package dir is a remote that is a folder of this machine: a disk, a mount, a
// share.
//
// Every access goes through an [os.Root], so that no name and no symbolic link
// leads out of the folder. The objects are its regular files and nothing else. A
// symbolic link is no object, wherever it points: it is not listed, not opened,
// not followed on the way to a file, and a Put takes its place instead of writing
// through it. Two names for the same bytes would make every rule about versions
// false.
//
// An object's Tag is its size and modification time. A folder vouches for no
// checksum, so Sum is empty. Conditions are checked atomically among the callers
// of one Store, but not against other programs: Store is not a
// [storage.Conditional].
package dir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// A Store is a [storage.Store] in a folder. Use [New].
type Store struct {
	path   string
	closed atomic.Bool
	names  sync.Mutex // held while a name appears or goes, together with its folders
}

var _ storage.Store = (*Store)(nil)

// New returns the store in the folder at path and removes what writers that died
// left there. The folder need not be there yet: until it is, every call fails with
// [fs.ErrNotExist]. It is never created, because an empty folder in the place of
// an unmounted disk would look like a remote whose files are all gone.
func New(path string) (*Store, error) {
	if path == "" {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrInvalid}
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	s := &Store{path: abs}
	return s, s.sweep()
}

// Close implements [storage.Store].
func (s *Store) Close() error {
	s.closed.Store(true)
	return nil
}

// root opens the folder anew for each call: it may be unmounted and mounted
// again during the life of a Store.
func (s *Store) root(ctx context.Context) (*os.Root, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.closed.Load() {
		return nil, &fs.PathError{Op: "open", Path: s.path, Err: fs.ErrClosed}
	}
	return os.OpenRoot(s.path)
}

// List implements [storage.Store]. A file that vanishes meanwhile is left out.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		root, err := s.root(ctx)
		if err == nil {
			w := walk{ctx, prefix, yield}
			err = w.folder(root, "")
			err = errors.Join(err, root.Close())
		}
		if err != nil && !errors.Is(err, errStopped) {
			yield(storage.Object{}, fmt.Errorf("list: %w", err))
		}
	}
}

// Stat implements [storage.Store].
func (s *Store) Stat(ctx context.Context, key string) (storage.Object, error) {
	name, err := storage.LocalPath(key)
	if err != nil {
		return storage.Object{}, err
	}
	root, err := s.root(ctx)
	if err != nil {
		return storage.Object{}, err
	}
	defer root.Close()
	info, err := lstat(root, name)
	if err != nil {
		return storage.Object{}, err
	}
	return object(key, info), nil
}

// Remove implements [storage.Store]. Folders that become empty go too, so that
// "a" can be put where "a/b" was.
func (s *Store) Remove(ctx context.Context, key string) error {
	name, err := storage.LocalPath(key)
	if err != nil {
		return err
	}
	root, err := s.root(ctx)
	if err != nil {
		return err
	}
	defer root.Close()
	s.names.Lock()
	defer s.names.Unlock()
	if _, err := lstat(root, name); err != nil {
		return ignoreMissing(err)
	}
	if err := ignoreMissing(root.Remove(name)); err != nil {
		return err
	}
	folder := filepath.Dir(name)
	for folder != "." && root.Remove(folder) == nil {
		folder = filepath.Dir(folder)
	}
	return syncFolder(root, folder)
}

// lstat returns the regular file called name, to which no symbolic link leads.
func lstat(root *os.Root, name string) (fs.FileInfo, error) {
	if err := checkFolders(root, name); err != nil {
		return nil, err
	}
	info, err := root.Lstat(name)
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return info, err
}

// checkFolders fails with fs.ErrNotExist unless all that leads to name are real
// folders.
func checkFolders(root *os.Root, name string) error {
	for i := range len(name) {
		if name[i] != filepath.Separator {
			continue
		}
		info, err := root.Lstat(name[:i])
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
	}
	return nil
}

func object(key string, info fs.FileInfo) storage.Object {
	return storage.Object{Key: key, Size: info.Size(), ModTime: info.ModTime().UTC(), Tag: tag(info)}
}

func tag(info fs.FileInfo) string {
	return fmt.Sprintf("%d-%d", info.Size(), info.ModTime().UnixNano())
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	return err
}

func isTemp(name string) bool {
	return strings.HasPrefix(name, tempPrefix) || strings.HasPrefix(name, uploadPrefix)
}
