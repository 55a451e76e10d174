package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// Put implements [storage.Store]. The bytes go to a temporary file at the top of
// the folder (which therefore must be one file system), are synced, and the
// file is renamed; then the folders are synced. What Put has acknowledged survives
// a power cut.
func (s *Store) Put(ctx context.Context, key string, r io.Reader, size int64, cond storage.Cond) (storage.Object, error) {
	if err := storage.CheckPut(key, size, cond); err != nil {
		return storage.Object{}, err
	}
	name, err := storage.LocalPath(key)
	if err != nil {
		return storage.Object{}, err
	}
	root, err := s.root(ctx)
	if err != nil {
		return storage.Object{}, err
	}
	defer root.Close()
	temp := tempName()
	info, err := write(root, temp, storage.Exactly(ctx, r, size))
	if err == nil {
		info, err = s.publish(ctx, root, temp, name, info, cond)
	}
	if err != nil {
		return storage.Object{}, fmt.Errorf("put %s: %w", key, errors.Join(err, ignoreMissing(root.Remove(temp))))
	}
	return object(key, info), nil
}

// write makes a durable file called name of the bytes of r.
func write(root *os.Root, name string, r io.Reader) (info fs.FileInfo, err error) {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(f, r)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		info, err = f.Stat()
	}
	return info, errors.Join(err, f.Close())
}

// publish gives the file called temp its name.
func (s *Store) publish(ctx context.Context, root *os.Root, temp, name string, info fs.FileInfo, cond storage.Cond) (fs.FileInfo, error) {
	s.names.Lock()
	defer s.names.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	old, err := lstat(root, name)
	if ignoreMissing(err) != nil {
		return nil, err
	}
	if cond.Absent && err == nil || cond.Tag != "" && (err != nil || tag(old) != cond.Tag) {
		return nil, storage.ErrChanged
	}
	if err == nil && tag(old) == tag(info) {
		if info, err = later(root, temp, info); err != nil {
			return nil, err
		}
	}
	folders, err := makeFolders(root, filepath.Dir(name))
	if err != nil {
		return nil, err
	}
	if err := root.Rename(temp, name); err != nil {
		return nil, err
	}
	return info, syncFolders(root, folders)
}

// later moves the time of a file that has the tag of the one it is to replace:
// two writes can fall into one tick of the file system's clock.
func later(root *os.Root, temp string, info fs.FileInfo) (fs.FileInfo, error) {
	t := info.ModTime().Add(time.Microsecond)
	if err := root.Chtimes(temp, t, t); err != nil {
		return nil, err
	}
	return root.Lstat(temp)
}

// makeFolders makes folder and those above it, and returns the ones whose names
// changed: those in which it made one, and folder itself. It does not walk through
// symbolic links.
func makeFolders(root *os.Root, folder string) (changed []string, err error) {
	if folder == "." {
		return []string{"."}, nil
	}
	info, err := root.Lstat(folder)
	switch {
	case err == nil && info.IsDir():
		return []string{folder}, checkFolders(root, folder)
	case err == nil:
		return nil, &fs.PathError{Op: "mkdir", Path: folder, Err: errors.New("there is a file or a link of this name")}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	changed, err = makeFolders(root, filepath.Dir(folder))
	if err != nil {
		return nil, err
	}
	if err := root.Mkdir(folder, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return append(changed, folder), nil
}

func syncFolders(root *os.Root, folders []string) error {
	for _, folder := range folders {
		if err := syncFolder(root, folder); err != nil {
			return err
		}
	}
	return nil
}

// syncFolder makes the names in a folder durable. Windows cannot do it and does
// not need it.
func syncFolder(root *os.Root, folder string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := root.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
