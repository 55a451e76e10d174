package transfer

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// A scanFolder is an open folder that is looked at. What is in it is reached by its
// name in the open folder, and no symbolic link is followed. It is safe for concurrent
// use.
type scanFolder interface {
	names() ([]string, error)
	// stat returns what lies under a name, without its key, and whether it is a folder.
	stat(name string) (f LocalFile, folder bool, err error)
	// enter opens a folder. It fails with errNotFolder when it is none, any more.
	enter(name string) (scanFolder, error)
	close()
}

const (
	// scanners is how many folders, or parts of large ones, are looked at at a time: disks
	// and networks take their time. When they do not, the cores are the limit.
	scanners = 8
	// scanPart is how many names of a folder are one part.
	scanPart = 250
	// ownPrefix begins the names of our own files.
	ownPrefix = ".d6tpipe"
)

// A scanner looks at all that lies below a folder, at several folders at a time.
type scanner struct{ pool *errgroup.Group }

// scan looks at what lies in dir and below, and closes it.
func scan(ctx context.Context, dir scanFolder) (l LocalListing, err error) {
	pool, inner := errgroup.WithContext(ctx)
	pool.SetLimit(scanners)
	s, top := scanner{pool}, &branch{}
	pool.Go(func() error { return s.walk(inner, dir, top) })
	if err := pool.Wait(); err != nil {
		return l, err
	}
	l.Files = top.collect(make([]LocalFile, 0, top.count()), &l.Refused)
	slices.SortFunc(l.Refused, func(a, b *storage.KeyError) int { return strings.Compare(a.Key, b.Key) })
	return l, nil
}

// walk fills in a branch, and closes dir. What is below it is there once the pool is
// done.
func (s scanner) walk(ctx context.Context, dir scanFolder, b *branch) error {
	defer dir.close()
	names, err := dir.names()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // what vanished meanwhile is not there
	}
	if err != nil {
		return err
	}
	slices.Sort(names)
	if err := s.look(ctx, dir, b, names); err != nil {
		return err
	}
	for _, sub := range b.below {
		if err := s.enter(ctx, dir, sub); err != nil {
			return err
		}
	}
	return nil
}

// enter walks a folder in dir, at the same time when somebody is free for it.
func (s scanner) enter(ctx context.Context, dir scanFolder, b *branch) error {
	into, err := dir.enter(b.name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNotFolder) {
		return nil // also when a link or a file is there now: the folder is gone
	}
	if err != nil {
		return err
	}
	walk := func() error { return s.walk(ctx, into, b) }
	if s.pool.TryGo(walk) {
		return nil
	}
	return walk()
}

// look sorts out the names in dir.
func (s scanner) look(ctx context.Context, dir scanFolder, b *branch, names []string) error {
	parts := make([]branch, (len(names)+scanPart-1)/scanPart)
	var done sync.WaitGroup
	for i := range parts {
		part, names := &parts[i], names[i*scanPart:min((i+1)*scanPart, len(names))]
		part.prefix = b.prefix
		done.Add(1)
		look := func() error {
			defer done.Done()
			return part.look(ctx, dir, names)
		}
		if i+1 < len(parts) && s.pool.TryGo(look) {
			continue
		}
		if err := look(); err != nil {
			done.Wait()
			return err
		}
	}
	done.Wait() // an error of another one is the pool's
	b.join(parts)
	return nil
}

// A branch is what was found in one folder.
type branch struct {
	name    string
	prefix  string      // of keys: "", "a/", "a/b/"
	files   []LocalFile // sorted by key
	below   []*branch   // sorted by prefix
	refused []*storage.KeyError
}

// look adds what lies under names, which are sorted.
func (b *branch) look(ctx context.Context, dir scanFolder, names []string) error {
	b.files = make([]LocalFile, 0, len(names))
	keys := b.keys(names)
	for _, name := range names {
		key := keys[:len(b.prefix)+len(name)]
		keys = keys[len(key):]
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(name) >= len(ownPrefix) && strings.EqualFold(name[:len(ownPrefix)], ownPrefix) {
			continue
		}
		if err := b.visit(dir, key, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err // what vanished meanwhile is not there
		}
	}
	return nil
}

// keys returns the keys of names, one after the other, in one piece of memory.
func (b *branch) keys(names []string) string {
	size := len(names) * len(b.prefix)
	for _, name := range names {
		size += len(name)
	}
	var keys strings.Builder
	keys.Grow(size)
	for _, name := range names {
		keys.WriteString(b.prefix)
		keys.WriteString(name)
	}
	return keys.String()
}

func (b *branch) visit(dir scanFolder, key, name string) error {
	if err := storage.CheckKey(key); err != nil {
		var refused *storage.KeyError
		if errors.As(err, &refused) {
			b.refused = append(b.refused, refused)
			return nil // a folder's files would be refused for the same reason
		}
		return err
	}
	f, folder, err := dir.stat(name)
	switch {
	case err != nil:
		return err
	case folder:
		b.below = append(b.below, &branch{name: name, prefix: key + "/"})
	default:
		f.Key = key
		b.files = append(b.files, f)
	}
	return nil
}

// join makes one branch of the parts of a folder.
func (b *branch) join(parts []branch) {
	if len(parts) == 1 {
		b.files = parts[0].files
	} else {
		for i := range parts {
			b.files = append(b.files, parts[i].files...)
		}
	}
	for i := range parts {
		b.below = append(b.below, parts[i].below...)
		b.refused = append(b.refused, parts[i].refused...)
	}
	slices.SortFunc(b.below, func(a, b *branch) int { return strings.Compare(a.prefix, b.prefix) }) // "a!/" is before "a/"
}

// count is how many files there are.
func (b *branch) count() int {
	n := len(b.files)
	for _, sub := range b.below {
		n += sub.count()
	}
	return n
}

// collect adds the files in the order of their keys. The branch has none then.
func (b *branch) collect(to []LocalFile, refused *[]*storage.KeyError) []LocalFile {
	*refused = append(*refused, b.refused...)
	for _, sub := range b.below {
		n, _ := slices.BinarySearchFunc(b.files, sub.prefix, func(f LocalFile, prefix string) int { return strings.Compare(f.Key, prefix) })
		to = append(to, b.files[:n]...)
		b.files = b.files[n:]
		to = sub.collect(to, refused)
	}
	to = append(to, b.files...)
	b.files = nil
	return to
}

// A rootFolder is a scanFolder on any system.
type rootFolder struct{ root *os.Root }

func openRoot(path string) (scanFolder, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return rootFolder{root}, nil
}

func (d rootFolder) names() ([]string, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

func (d rootFolder) stat(name string) (f LocalFile, folder bool, err error) {
	info, err := d.root.Lstat(name)
	if err != nil {
		return f, false, err
	}
	return localFile("", info), info.IsDir(), nil
}

func (d rootFolder) enter(name string) (scanFolder, error) {
	root, err := openDir(d.root, name)
	if err != nil {
		return nil, err
	}
	return rootFolder{root}, nil
}

func (d rootFolder) close() { _ = d.root.Close() } // nothing was written
