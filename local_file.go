package d6tpipe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/d6t/d6tpipe-go/internal/atomicfile"
)

// racy is how long after a change another one may leave size and time of a file
// as they are: the clocks of file systems are coarse. It is git's rule.
const racy = 2 * time.Second

// localFile is the file of a local catalogue with a cache of what it holds.
type localFile struct {
	path string
	turn chan struct{} // holds a token while somebody of this process changes the file

	mu     sync.Mutex
	cached *localVersion
}

// localVersion is what the file held at one instant.
type localVersion struct {
	info    fs.FileInfo // nil for a missing file
	data    []byte      // nil for a missing file
	state   *localState // never changed
	settled bool        // whether size and time alone can tell that it is still so
}

func newLocalFile(path string) *localFile {
	return &localFile{path: path, turn: make(chan struct{}, 1)}
}

// read returns the catalogue as the file has it now.
func (f *localFile) read(ctx context.Context) (*localState, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	v, err := f.load()
	if err != nil {
		return nil, f.fail("read", err)
	}
	return v.state, nil
}

// change gives edit a copy of the catalogue and saves what it has made of it.
func (f *localFile) change(ctx context.Context, edit func(*localState) error) error {
	unlock, err := f.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	old, err := f.load()
	if err != nil {
		return f.fail("read", err)
	}
	next := old.state.clone()
	if err := edit(next); err != nil || !next.dirty {
		return err
	}
	return f.save(ctx, old, next)
}

// lock keeps everybody else from changing the file, in this process first.
func (f *localFile) lock(ctx context.Context) (unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case f.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err = atomicfile.MakeDir(filepath.Dir(f.path)); err == nil {
		var release func() error
		if release, err = atomicfile.Lock(ctx, f.path); err == nil {
			return func() { _ = release(); <-f.turn }, nil
		}
	}
	<-f.turn
	return nil, f.fail("lock", err)
}

// save puts next in the place of old. The caller holds the lock, which may be
// worth nothing on a network file system; Swap sees to it that this is noticed.
func (f *localFile) save(ctx context.Context, old *localVersion, next *localState) error {
	data, err := next.encode()
	if err != nil {
		return f.fail("write", err)
	}
	err = atomicfile.Swap(ctx, f.path, old.data, data, 0o600)
	if errors.Is(err, atomicfile.ErrChanged) {
		err = fmt.Errorf("%w: %w", ErrConflict, err)
	}
	if err != nil {
		return f.fail("write", err)
	}
	next.dirty = false
	v := &localVersion{data: data, state: next}
	if v.info, err = os.Stat(f.path); err == nil {
		f.mu.Lock()
		f.cached = v
		f.mu.Unlock()
	}
	return nil
}

// load returns what the file holds. It is decoded only when it has changed, and
// not even read when size and time tell for sure that it has not.
func (f *localFile) load() (*localVersion, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if v := f.cached; v != nil && v.settled {
		if info, err := os.Stat(f.path); err == nil && sameFile(info, v.info) {
			return v, nil
		}
	}
	v, err := f.slurp()
	if err != nil {
		return nil, err
	}
	if c := f.cached; c != nil && (c.data == nil) == (v.data == nil) && bytes.Equal(c.data, v.data) {
		v.data, v.state = c.data, c.state
	} else if v.state, err = decodeLocal(v.data); err != nil {
		return nil, err
	}
	f.cached = v
	return v, nil
}

// slurp reads the file.
func (f *localFile) slurp() (*localVersion, error) {
	file, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return &localVersion{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	buf := bytes.NewBuffer(make([]byte, 0, max(info.Size(), 0)+bytes.MinRead))
	if _, err := io.Copy(buf, file); err != nil {
		return nil, err
	}
	return &localVersion{info: info, data: buf.Bytes(), settled: start.Sub(info.ModTime()) > racy}, nil
}

func sameFile(a, b fs.FileInfo) bool {
	return b != nil && os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// fail says what could not be done with the file.
func (f *localFile) fail(op string, err error) error {
	return &Error{Op: op + " catalogue", Name: f.path, Err: err}
}
