package dir

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// errStopped says that the caller wants no more objects.
var errStopped = errors.New("stopped")

// batch is how many names of a folder are held in memory at once.
const batch = 1024

type walk struct {
	ctx    context.Context
	prefix string
	yield  func(storage.Object, error) bool
}

// folder yields what lies in the folder whose keys begin with base. It opens each
// folder as a root of its own, so that a file's metadata are one call away and
// cannot come from elsewhere.
func (w walk) folder(root *os.Root, base string) error {
	f, err := root.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		entries, err := f.ReadDir(batch)
		for _, e := range entries {
			if err := w.entry(root, base, e); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (w walk) entry(root *os.Root, base string, e fs.DirEntry) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	key := base + e.Name()
	switch {
	case isTemp(e.Name()):
		return nil
	case e.IsDir():
		return w.descend(root, e.Name(), key+"/")
	case !e.Type().IsRegular() || !strings.HasPrefix(key, w.prefix):
		return nil
	}
	info, err := root.Lstat(e.Name())
	if err != nil {
		return ignoreMissing(err)
	}
	if info.Mode().IsRegular() && !w.yield(object(key, info), nil) {
		return errStopped
	}
	return nil
}

func (w walk) descend(root *os.Root, name, base string) error {
	if !strings.HasPrefix(base, w.prefix) && !strings.HasPrefix(w.prefix, base) {
		return nil
	}
	sub, err := root.OpenRoot(name)
	if err != nil {
		return ignoreMissing(err)
	}
	defer sub.Close()
	return w.folder(sub, base)
}
