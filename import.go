package d6tpipe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
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
	// KeepEdits refuses to replace files that were edited or added here and not
	// pushed, unless a source has the same content: that is [ErrRefused], names them,
	// and nothing is copied. Otherwise they are replaced, as in Python.
	KeepEdits bool
	// Progress is told what happens, one call after the other: the kinds of events
	// are those of a pull, their Action is [ActionImport]. It must be quick.
	Progress func(Event)
}

// ImportFiles copies files into the pipe's folder, each under its base name,
// replacing what is there. A copy appears whole or not at all. Two files of the
// same base name are refused before anything is copied.
func (p *LocalPipe) ImportFiles(ctx context.Context, files []string, o ImportOptions) error {
	in := p.newImports(o)
	for _, file := range files {
		if err := in.addFile(file); err != nil {
			return err
		}
	}
	_, err := in.copy(ctx)
	return err
}

// ImportDir copies the regular files below dir into the pipe's folder, under
// their paths relative to dir. Symbolic links and d6tpipe's own files are left
// out. It is [ErrInvalid] when dir and the pipe's folder overlap: a copy could
// take the place of a source that is still to come.
func (p *LocalPipe) ImportDir(ctx context.Context, dir string, o ImportOptions) error {
	in := p.newImports(o)
	if err := in.addDir(ctx, dir); err != nil {
		return err
	}
	_, err := in.copy(ctx)
	return err
}

// Import is [LocalPipe.ImportFiles] for the files among paths and
// [LocalPipe.ImportDir] for the folders, all checked before anything is copied: two
// sources of one key are [ErrExists]. It returns the keys that were imported, sorted,
// beside an error too.
func (p *LocalPipe) Import(ctx context.Context, paths []string, o ImportOptions) (keys []string, err error) {
	in := p.newImports(o)
	for _, path := range paths {
		info, err := os.Stat(path)
		switch {
		case err != nil:
			err = &Error{Op: "import", Name: path, Err: withKind(err)}
		case info.IsDir():
			err = in.addDir(ctx, path)
		default:
			err = in.addFile(path)
		}
		if err != nil {
			return nil, err
		}
	}
	return in.copy(ctx)
}

// imports are the files that are to come into a pipe's folder.
type imports struct {
	pipe    *LocalPipe
	o       ImportOptions
	sources map[string]string // key -> path
}

func (p *LocalPipe) newImports(o ImportOptions) *imports {
	return &imports{pipe: p, o: o, sources: map[string]string{}}
}

func (in *imports) addFile(file string) error { return in.add(filepath.Base(file), file) }

func (in *imports) add(name, file string) error {
	key := path.Join(in.o.Dir, name)
	if other, twice := in.sources[key]; twice {
		return &Error{Op: "import", Name: file, Err: fmt.Errorf("%w: %s has the same name", ErrExists, other)}
	}
	in.sources[key] = file
	return nil
}

func (in *imports) addDir(ctx context.Context, dir string) error {
	if err := in.pipe.checkImport(dir); err != nil {
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
		return errors.Join(in.add(filepath.ToSlash(rel), name), ctx.Err())
	})
	if err != nil {
		return &Error{Op: "import", Name: dir, Err: withKind(err)}
	}
	return nil
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

// copy checks all names, then copies file by file, and returns what was copied.
func (in *imports) copy(ctx context.Context) (done []string, err error) {
	keys := slices.Sorted(maps.Keys(in.sources))
	for _, key := range keys {
		if err := storage.CheckKey(key); err != nil {
			return nil, &Error{Op: "import", Name: in.sources[key], Err: withKind(err)}
		}
	}
	err = in.pipe.local("import into pipe", func(s *transfer.Sync) error {
		return s.Alone(ctx, func() error {
			if in.o.KeepEdits {
				if err := in.keepEdits(ctx, s, keys); err != nil {
					return err
				}
			}
			done, err = in.copyAll(ctx, keys)
			return err
		})
	})
	return done, err
}

// tell tells who listens.
func (in *imports) tell(e Event) {
	if in.o.Progress != nil {
		e.Action = ActionImport
		in.o.Progress(e)
	}
}

// tellPlan tells how much is to be copied. What cannot be looked at is found out when
// it is its turn.
func (in *imports) tellPlan(keys []string) {
	if in.o.Progress == nil {
		return
	}
	e := Event{Kind: EventPlanned, Files: len(keys)}
	for _, key := range keys {
		if info, err := os.Stat(in.sources[key]); err == nil {
			e.Bytes += info.Size()
		}
	}
	in.tell(e)
}

// copyAll copies the sources to their keys. No pull or push is at work meanwhile.
func (in *imports) copyAll(ctx context.Context, keys []string) (done []string, err error) {
	dir := in.pipe.dir
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if err := sweepImports(dir); err != nil {
		return nil, err
	}
	in.tellPlan(keys)
	total := int64(0)
	for i, key := range keys {
		size, err := in.importFile(ctx, root, key)
		if err != nil {
			in.tell(Event{Kind: EventFailed, Key: key, Err: withKind(err)})
			return keys[:i], fmt.Errorf("%q: %w", in.sources[key], err)
		}
		total += size
		in.tell(Event{Kind: EventDone, Key: key})
	}
	in.tell(Event{Kind: EventFinished, Files: len(keys), Bytes: total})
	return keys, nil
}

// importFile copies one file to key below root, and removes the source when it
// is to move and the copy is durable under its name. It returns the size.
func (in *imports) importFile(ctx context.Context, root *os.Root, key string) (int64, error) {
	source := in.sources[key]
	local, err := storage.LocalPath(key)
	if err != nil {
		return 0, err
	}
	before, err := os.Stat(source)
	if err != nil {
		return 0, err
	}
	if !before.Mode().IsRegular() { // opening a named pipe would wait for a writer
		return 0, fmt.Errorf("%w: it is not a regular file", ErrInvalid)
	}
	from, err := os.Open(source)
	if err != nil {
		return 0, err
	}
	defer from.Close()
	if err := refuseSame(root, local, from); err != nil {
		return 0, err
	}
	folder := filepath.Dir(local)
	if err := root.MkdirAll(folder, 0o777); err != nil {
		return 0, err
	}
	in.tell(Event{Kind: EventStarted, Key: key, Bytes: before.Size()})
	told := reader{ctx, from, func(n int) { in.tell(Event{Kind: EventMoved, Key: key, Bytes: int64(n)}) }}
	size, err := copyInto(root, local, told)
	if err != nil || !in.o.Move {
		return size, err
	}
	if err := atomicfile.SyncDir(filepath.Join(root.Name(), folder)); err != nil {
		return 0, err
	}
	return size, removeSource(source, before)
}

// removeSource removes a file that was copied, unless it was changed meanwhile.
func removeSource(source string, before fs.FileInfo) error {
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
func copyInto(root *os.Root, local string, in io.Reader) (size int64, err error) {
	temp := fmt.Sprintf("%s%d-%016x", atomicfile.TempPrefix, os.Getpid(), rand.Uint64())
	out, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, root.Remove(temp))
		}
	}()
	size, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return 0, err
	}
	return size, root.Rename(temp, local)
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

// reader is r until ctx ends. What was read is told, unless moved is nil.
type reader struct {
	ctx   context.Context
	r     io.Reader
	moved func(n int)
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.r.Read(p)
	if n > 0 && r.moved != nil {
		r.moved(n)
	}
	return n, err
}
