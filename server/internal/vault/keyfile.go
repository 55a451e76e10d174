package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/d6t/d6tpipe-go/internal/atomicfile"
)

// maxFile is more than a key file ever holds, in bytes.
const maxFile = 1 << 20

// reading is what was once read: the keys and, if they were in a file, which.
type reading struct {
	*ring
	text []byte
	info fs.FileInfo
}

// read reads a key file.
func read(path string) (*reading, error) {
	text, info, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	r, err := parseRing(text)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return &reading{r, text, info}, nil
}

func readFile(path string) ([]byte, fs.FileInfo, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() { // opening a pipe would wait
		return nil, nil, fmt.Errorf("%s: %w: it is not a file", path, ErrKeyFormat)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if reason := exposed(info); reason != "" {
		return nil, nil, fmt.Errorf("%s: %w: %s", path, ErrKeyUnsafe, reason)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s: %w: it is too large", path, ErrKeyFormat)
	}
	return text, info, err
}

// same tells whether a file is the one that was read. A file that replaced
// another is never the same, because a change is always a new file.
func (r *reading) same(info fs.FileInfo) bool {
	return os.SameFile(r.info, info) && r.info.ModTime().Equal(info.ModTime()) && r.info.Size() == info.Size()
}

// Reload reads the key file again. Seal does it when the file has changed and Open
// when it meets an unknown key, so this is for processes that do neither for a
// long time: one that has slept through two rotations knows none of the keys and
// takes the file for a wrong one, error [ErrKeyWrong].
func (k *Keys) Reload() error {
	_, err := k.reload()
	return err
}

func (k *Keys) reload() (*ring, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	old := k.current.Load()
	if k.path == "" {
		return old.ring, nil
	}
	now, err := read(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrKeyLost, err)
	}
	if err != nil {
		return nil, err
	}
	if !old.related(now.ring) {
		return nil, fmt.Errorf("%s: %w", k.name(), ErrKeyWrong)
	}
	k.current.Store(now)
	return now.ring, nil
}

// fresh returns the keys as they are in the file. It costs a look at the file's
// date: a process that went on to seal with an old key would make values that the
// next Prune takes the key away from.
func (k *Keys) fresh() (*ring, error) {
	now := k.current.Load()
	if k.path == "" {
		return now.ring, nil
	}
	if info, err := os.Stat(k.path); err == nil && now.same(info) {
		return now.ring, nil
	}
	return k.reload()
}

// make makes a key file, unless another process is faster.
func (k *Keys) make(ctx context.Context) error {
	if err := atomicfile.MakeDir(filepath.Dir(k.path)); err != nil {
		return fmt.Errorf("new key file: %w", err)
	}
	err := locked(ctx, k.path, func() error {
		r, err := newRing()
		if err != nil {
			return err
		}
		text, err := r.text()
		if err != nil {
			return err
		}
		return atomicfile.Swap(ctx, k.path, nil, text, 0o600)
	})
	if err != nil && !errors.Is(err, atomicfile.ErrChanged) {
		return fmt.Errorf("new key file: %w", err)
	}
	k.made = err == nil
	now, err := read(k.path)
	if err != nil {
		return err
	}
	k.current.Store(now)
	return nil
}

// locked runs change while no other process changes the file, after it has
// removed what those left that died: keys are in it.
func locked(ctx context.Context, path string, change func() error) (err error) {
	unlock, err := atomicfile.Lock(ctx, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := atomicfile.Sweep(path); err != nil {
		return err
	}
	return change()
}

// tidy removes what dead processes left.
func tidy(ctx context.Context, path string) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("key file: %w", err)
	}
	strays, err := atomicfile.Strays(path)
	if err == nil && len(strays) > 0 {
		err = locked(ctx, path, func() error { return nil })
	}
	if err != nil {
		return fmt.Errorf("key file: %w", err)
	}
	return nil
}
