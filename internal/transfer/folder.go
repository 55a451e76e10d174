package transfer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/d6t/d6tpipe-go/internal/atomicfile"
	"github.com/d6t/d6tpipe-go/internal/storage"
)

// errNotFolder says that a link or a file is where a folder must be.
var errNotFolder = errors.New("is not a folder (symbolic links are not followed)")

// A folder is the pipe's folder while something is written to it. It reaches
// files through handles of their folders only, and no symbolic link on the way is
// followed, not even one that stays inside.
type folder struct {
	root *os.Root

	mu      sync.Mutex
	dirty   map[string]bool    // folders, by key, whose names are not durable yet
	handles map[string]*handle // of folders, by local path, for the files that follow
}

// A handle is an open folder that is used for several files.
type handle struct {
	*os.Root
	names *os.File // the same folder, for what an os.Root cannot do

	folder *folder
	users  int
	stale  bool // closed once nobody uses it
}

// mostHandles is how many folders are kept open.
const mostHandles = 64

// Close gives the handle back.
func (h *handle) Close() {
	h.folder.mu.Lock()
	defer h.folder.mu.Unlock()
	h.users--
	h.end()
}

// end closes a handle that nobody wants; the caller holds the lock. Nothing is
// written through it.
func (h *handle) end() {
	if h.stale && h.users == 0 {
		_ = h.names.Close()
		_ = h.Root.Close()
	}
}

// handle returns the open folder at a local path, if it is at hand.
func (f *folder) handle(dir string) *handle {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.handles[dir]
	if h != nil {
		h.users++
	}
	return h
}

// keep makes an open folder the handle of a local path.
func (f *folder) keep(dir string, at *os.Root) (*handle, error) {
	names, err := at.Open(".")
	if err != nil {
		return nil, errors.Join(err, at.Close())
	}
	h := &handle{Root: at, names: names, folder: f, users: 1}
	f.mu.Lock()
	defer f.mu.Unlock()
	for other, o := range f.handles {
		if other == dir || len(f.handles) >= mostHandles && o.users == 0 {
			f.forgetLocked(other)
		}
	}
	f.handles[dir] = h
	return h, nil
}

// forget drops the handle of a local path: the folder is another one now, or gone.
func (f *folder) forget(dir string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgetLocked(dir)
}

func (f *folder) forgetLocked(dir string) {
	if h := f.handles[dir]; h != nil {
		delete(f.handles, dir)
		h.stale = true
		h.end()
	}
}

// openFolder opens the folder at path, which is made if make says so.
func openFolder(path string, make bool) (*folder, error) {
	if make {
		if err := mkdirAll(path); err != nil {
			return nil, err
		}
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return &folder{root: root, dirty: map[string]bool{}, handles: map[string]*handle{}}, nil
}

// mkdirAll makes path and its parents, durably.
func mkdirAll(path string) error {
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(path)
	if err := mkdirAll(parent); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return atomicfile.SyncDir(parent)
}

// close lets go of the folder; nothing is written through its handle.
func (f *folder) close() {
	for dir := range f.handles {
		f.forget(dir)
	}
	_ = f.root.Close()
}

// parent opens the folder in which key lies and returns the file's name in it.
// The caller closes it. Missing folders are made if make says so.
func (f *folder) parent(key string, make bool) (*handle, string, error) {
	dir, name, err := split(key)
	if err != nil {
		return nil, "", err
	}
	if h := f.handle(dir); h != nil {
		return h, name, nil
	}
	at, err := f.open(dir, make)
	if err != nil {
		return nil, "", err
	}
	h, err := f.keep(dir, at)
	return h, name, err
}

// split returns the local path of the folder in which key lies, and its name there.
func split(key string) (dir, name string, err error) {
	local, err := storage.LocalPath(key)
	if err != nil {
		return "", "", err
	}
	dir, name = filepath.Split(local)
	return filepath.Clean(dir), name, nil
}

// open opens the folder at a local path below the root, step by step.
func (f *folder) open(dir string, make bool) (*os.Root, error) {
	at, err := f.root.OpenRoot(".")
	if err != nil || dir == "." {
		return at, err
	}
	done := ""
	for segment := range strings.SplitSeq(filepath.ToSlash(dir), "/") {
		next, err := f.enter(at, done, segment, make)
		at.Close()
		if err != nil {
			return nil, err
		}
		at, done = next, path.Join(done, segment)
	}
	return at, nil
}

func (f *folder) enter(at *os.Root, done, segment string, make bool) (*os.Root, error) {
	next, err := openDir(at, segment)
	if !make || !errors.Is(err, fs.ErrNotExist) {
		return next, err
	}
	if err := at.Mkdir(segment, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	f.touch(done)
	return openDir(at, segment)
}

// openDir opens a subfolder that is one, and no link to one.
func openDir(at *os.Root, name string) (*os.Root, error) {
	before, err := at.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !before.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errNotFolder}
	}
	next, err := at.OpenRoot(name)
	if err != nil {
		return nil, whyNot(at, name, before, err)
	}
	after, err := next.Stat(".")
	if err == nil && !os.SameFile(before, after) {
		err = &fs.PathError{Op: "open", Path: name, Err: errNotFolder}
	}
	if err != nil {
		next.Close()
		return nil, err
	}
	return next, nil
}

// whyNot returns why a folder could not be opened: something else may be there by now,
// of which a root says many things.
func whyNot(at *os.Root, name string, before fs.FileInfo, err error) error {
	after, gone := at.Lstat(name)
	switch {
	case gone != nil:
		return gone
	case !os.SameFile(before, after):
		return &fs.PathError{Op: "open", Path: name, Err: errNotFolder}
	}
	return err
}

func readDir(dir *os.Root) (entries []fs.DirEntry, err error) {
	f, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ReadDir(-1)
}

// look returns what lies under name in an open folder, nil when nothing does.
func look(at *os.Root, key, name string) (*LocalFile, error) {
	info, err := at.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f := localFile(key, info)
	return &f, nil
}

// find returns what lies under key, nil when nothing does.
func (f *folder) find(key string) (*LocalFile, error) {
	at, name, err := f.parent(key, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer at.Close()
	return look(at.Root, key, name)
}

// read opens the regular file under key. The caller closes it.
func (f *folder) read(key string) (*os.File, error) {
	at, name, err := f.parent(key, false)
	if err != nil {
		return nil, err
	}
	defer at.Close()
	before, err := at.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !before.Mode().IsRegular() { // opening a named pipe would wait for a writer
		return nil, &fs.PathError{Op: "open", Path: key, Err: fs.ErrInvalid}
	}
	file, err := at.Open(name)
	if err != nil {
		return nil, err
	}
	after, err := file.Stat()
	if err == nil && !os.SameFile(before, after) {
		err = fmt.Errorf("open %q: %w", key, ErrEdited)
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// touch marks a folder as changed.
func (f *folder) touch(dir string) {
	if dir == "." {
		dir = ""
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dirty[dir] = true
}

// sync makes durable what was renamed into folders until now. A folder that is
// not there (nil) has nothing to sync.
func (f *folder) sync() error {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	dirs := f.dirty
	f.dirty = map[string]bool{}
	f.mu.Unlock()
	for dir := range dirs {
		if err := f.syncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (f *folder) syncDir(dir string) error {
	at, err := f.open(filepath.Clean(filepath.FromSlash(dir)), false)
	if err != nil {
		return err
	}
	defer at.Close()
	return syncRoot(at)
}

// remove removes the file under key, and folders that are empty then.
func (f *folder) remove(key string) error {
	at, name, err := f.parent(key, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer at.Close()
	if err := at.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f.touch(path.Dir(key))
	f.prune(path.Dir(key))
	return nil
}

// prune removes empty folders, from the innermost outwards.
func (f *folder) prune(dir string) {
	for ; dir != "."; dir = path.Dir(dir) {
		at, name, err := f.parent(dir, false)
		if err != nil {
			return
		}
		err = at.Remove(name)
		at.Close()
		if err != nil {
			return // not empty
		}
		f.forget(filepath.FromSlash(dir))
		f.touch(path.Dir(dir))
	}
}
