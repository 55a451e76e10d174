// Package atomicfile replaces small files whole: after a crash at any instant
// there is the old content or the new, never less, and what [Write] and [Swap]
// have acknowledged stays. It also holds the lock that keeps several processes
// from overwriting each other's changes.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// TempPrefix begins the names of files that are being written. Nobody but this
// project uses it, and no scan of a data folder reports such a file.
const TempPrefix = ".d6tpipe-tmp-"

// Write puts data in the place of the file at path, with permissions perm
// whatever the umask is. When it returns nil the new content survives a power
// cut. An error means that the old content is untouched, with one exception:
// when the folder cannot be synced, the new content is there and may not last.
// The folder must exist.
func Write(path string, data []byte, perm fs.FileMode) (err error) {
	temp, _, err := writeTemp(path, data, perm)
	if err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return errors.Join(err, remove(temp))
	}
	return SyncDir(filepath.Dir(path))
}

// writeTemp writes data, durably, to a new file beside path. It leaves nothing
// behind when it fails.
func writeTemp(path string, data []byte, perm fs.FileMode) (temp string, info fs.FileInfo, err error) {
	temp = fmt.Sprintf("%s%d-%08x", tempOf(path), os.Getpid(), rand.Uint32())
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return "", nil, err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(perm)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		info, err = f.Stat()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", nil, errors.Join(err, remove(temp))
	}
	return temp, info, nil
}

// SyncDir makes the names in a folder durable: a rename survives a power cut
// only after it. Windows cannot do it and does not need it.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// MakeDir creates a folder, durably, and those above it that are missing, for
// this user alone. It leaves a folder that exists as it is.
func MakeDir(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent == dir {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: fs.ErrNotExist}
	}
	if err := MakeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		if info, statErr := os.Stat(dir); statErr == nil && info.IsDir() {
			return nil // another process was faster
		}
		return err
	}
	return errors.Join(os.Chmod(dir, 0o700), SyncDir(parent))
}

// Strays returns the files that writers of path have left behind when they died,
// and those that living writers are just writing.
func Strays(path string) ([]string, error) {
	prefix := filepath.Base(tempOf(path))
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, ignoreMissing(err)
	}
	var strays []string
	for _, e := range entries {
		if rest, ok := strings.CutPrefix(e.Name(), prefix); ok && isTail(rest) {
			strays = append(strays, filepath.Join(filepath.Dir(path), e.Name()))
		}
	}
	return strays, nil
}

// Sweep removes the [Strays] of path. Call it while holding the lock, so that no
// living writer's file is taken away.
func Sweep(path string) error {
	strays, err := Strays(path)
	for _, stray := range strays {
		err = errors.Join(err, remove(stray))
	}
	return err
}

// tempOf is the beginning of the names of path's temporary files; a process id
// and a random number follow, or [nextTail].
func tempOf(path string) string {
	return filepath.Join(filepath.Dir(path), TempPrefix+filepath.Base(path)+"-")
}

// isTail tells the end of a temporary file's name from the rest of another
// file's: cfg.json has temporary files, and so has cfg.json-old.
func isTail(rest string) bool {
	pid, random, _ := strings.Cut(rest, "-")
	return rest == nextTail ||
		pid != "" && strings.Trim(pid, "0123456789") == "" &&
			len(random) == 8 && strings.Trim(random, "0123456789abcdef") == ""
}

// remove removes a file that may be gone.
func remove(name string) error { return ignoreMissing(os.Remove(name)) }

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
