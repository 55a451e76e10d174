package d6tpipe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/d6t/d6tpipe-go/internal/atomicfile"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// ImportOptions say how files come into a pipe's folder.
type ImportOptions struct {
	// Dir is the folder of the pipe to import into, slash-separated.
	Dir string
	// Move removes each source after its copy is whole and durable.
	Move bool
}

// ImportFiles copies files into the pipe's folder, each under its base name,
// replacing what is there. A copy appears whole or not at all. Two files of the
// same base name are refused before anything is copied.
func (p *LocalPipe) ImportFiles(ctx context.Context, files []string, o ImportOptions) error {
	sources := make(map[string]string, len(files)) // key -> path
	keys := make([]string, 0, len(files))
	for _, file := range files {
		key := path.Join(o.Dir, filepath.Base(file))
		if other, twice := sources[key]; twice {
			return &Error{Op: "import", Name: file, Err: fmt.Errorf("%w: %s has the same name", ErrExists, other)}
		}
		sources[key] = file
		keys = append(keys, key)
	}
	return p.importAll(ctx, keys, sources, o.Move)
}

// ImportDir copies the regular files below dir into the pipe's folder, under
// their paths relative to dir. Symbolic links and d6tpipe's own files are left
// out. It is [ErrInvalid] when dir and the pipe's folder overlap: a copy could
// take the place of a source that is still to come.
func (p *LocalPipe) ImportDir(ctx context.Context, dir string, o ImportOptions) error {
	sources := map[string]string{}
	var keys []string
	if err := p.checkImport(dir); err != nil {
		return &Error{Op: "import", Name: dir, Err: withKind(err)}
	}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		switch own := strings.HasPrefix(strings.ToLower(filepath.Base(name)), stateFolder); {
		case err != nil:
			return err
		case own && d.IsDir() && name != dir:
			return filepath.SkipDir
		case own || !d.Type().IsRegular():
			return ctx.Err()
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		key := path.Join(o.Dir, filepath.ToSlash(rel))
		sources[key] = name
		keys = append(keys, key)
		return ctx.Err()
	})
	if err != nil {
		return &Error{Op: "import", Name: dir, Err: withKind(err)}
	}
	return p.importAll(ctx, keys, sources, o.Move)
}

func (p *LocalPipe) checkImport(dir string) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	from, err := realPath(abs)
	if err != nil {
		return err
	}
	to, err := realPath(p.dir)
	if err != nil {
		return err
	}
	_, within := inside(to, from)
	_, around := inside(from, to)
	if within || around {
		return fmt.Errorf("%w: the folder and the pipe's own, %s, overlap", ErrInvalid, p.dir)
	}
	return nil
}

// importAll checks all names, then copies file by file.
func (p *LocalPipe) importAll(ctx context.Context, keys []string, sources map[string]string, move bool) error {
	for _, key := range keys {
		if err := storage.CheckKey(key); err != nil {
			return &Error{Op: "import", Name: sources[key], Err: withKind(err)}
		}
	}
	return p.local("import into pipe", func(s *transfer.Sync) error {
		return s.Alone(ctx, func() error { return p.copyAll(ctx, keys, sources, move) })
	})
}

// copyAll copies the sources to their keys. No pull or push is at work meanwhile.
func (p *LocalPipe) copyAll(ctx context.Context, keys []string, sources map[string]string, move bool) error {
	if err := os.MkdirAll(p.dir, 0o777); err != nil {
		return err
	}
	root, err := os.OpenRoot(p.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := sweepImports(p.dir); err != nil {
		return err
	}
	for _, key := range keys {
		if err := importFile(ctx, root, key, sources[key], move); err != nil {
			return fmt.Errorf("%q: %w", sources[key], err)
		}
	}
	return nil
}

// importFile copies one file to key below root, and removes the source when it
// is to move and the copy is durable under its name.
func importFile(ctx context.Context, root *os.Root, key, source string, move bool) error {
	local, err := storage.LocalPath(key)
	if err != nil {
		return err
	}
	before, err := os.Stat(source)
	if err != nil {
		return err
	}
	if !before.Mode().IsRegular() { // opening a named pipe would wait for a writer
		return fmt.Errorf("%w: it is not a regular file", ErrInvalid)
	}
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := refuseSame(root, local, in); err != nil {
		return err
	}
	folder := filepath.Dir(local)
	if err := root.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	if err := copyInto(ctx, root, local, in); err != nil || !move {
		return err
	}
	if err := atomicfile.SyncDir(filepath.Join(root.Name(), folder)); err != nil {
		return err
	}
	now, err := os.Stat(source)
	if err != nil {
		return err
	}
	if !os.SameFile(before, now) || now.Size() != before.Size() || !now.ModTime().Equal(before.ModTime()) {
		return fmt.Errorf("%w: it was changed while it was copied, and stays", ErrConflict)
	}
	return os.Remove(source)
}

// refuseSame refuses to import a file onto itself: moving it would lose it.
func refuseSame(root *os.Root, local string, source *os.File) error {
	there, err := root.Stat(local)
	if err != nil {
		return nil // nothing there that could be the same
	}
	here, err := source.Stat()
	if err == nil && os.SameFile(here, there) {
		err = fmt.Errorf("%w: it is in the pipe's folder already", ErrInvalid)
	}
	return err
}

// copyInto writes in to a temporary file below root and renames it to local.
func copyInto(ctx context.Context, root *os.Root, local string, in io.Reader) (err error) {
	temp := fmt.Sprintf("%s%d-%016x", atomicfile.TempPrefix, os.Getpid(), rand.Uint64())
	out, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, root.Remove(temp))
		}
	}()
	_, err = io.Copy(out, reader{ctx, in})
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	return root.Rename(temp, local)
}

// sweepImports removes what imports that were killed have left behind. Scans do
// not see such files. A day is longer than any import takes for one file.
func sweepImports(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), atomicfile.TempPrefix) {
			continue
		}
		info, gone := e.Info()
		if gone == nil && time.Since(info.ModTime()) > 24*time.Hour {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// reader is r until ctx ends.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
