package sftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strings"
	"sync"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// listers is how many folders are read at once.
const listers = 8

// List implements [storage.Store]. It reads several folders at once and only
// those that prefix needs. What vanishes meanwhile is left out; a folder that may
// not be read is an error.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		inner, cancel := context.WithCancel(ctx)
		w := &walk{store: s, ctx: inner, prefix: prefix, found: make(chan []storage.Object)}
		w.changed.L = &w.mu
		err := w.start()
		defer w.wg.Wait()
		defer cancel()
		for objects := range w.found {
			for _, obj := range objects {
				if ctx.Err() != nil {
					break
				}
				if !yield(obj, nil) {
					return
				}
			}
		}
		if err == nil {
			err = w.end()
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			yield(storage.Object{}, fail(ctx, "list", prefix, err))
		}
	}
}

// walk is one listing.
type walk struct {
	store  *Store
	ctx    context.Context
	prefix string
	found  chan []storage.Object // closed when no lister is left
	wg     sync.WaitGroup

	mu       sync.Mutex
	changed  sync.Cond // of what follows
	todo     []string  // folders that wait: keys, "" is the root
	open     int       // folders that are being read
	err      error
	vanished bool // a folder that was listed was not there any more
}

// start looks for the folder to begin with, and sends out the listers.
func (w *walk) start() error {
	folder, err := w.store.first(w.ctx, w.prefix)
	if err == nil {
		w.todo = append(w.todo, folder)
	} else {
		err = missingFolder(err)
	}
	stop := context.AfterFunc(w.ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.changed.Broadcast()
	})
	var group sync.WaitGroup
	for range listers {
		group.Go(w.work)
	}
	w.wg.Go(func() {
		group.Wait()
		stop()
		close(w.found)
	})
	return err
}

// errNoFolder says that there is nothing below a prefix.
var errNoFolder = errors.New("no such folder")

func missingFolder(err error) error {
	if errors.Is(err, errNoFolder) {
		return nil
	}
	return err
}

// first returns the folder that holds all keys with this prefix. Links do not lead
// to it. The root must be there even when the folder is not.
func (s *Store) first(ctx context.Context, prefix string) (string, error) {
	folder := ""
	for i := range len(prefix) {
		if prefix[i] == '/' {
			folder = prefix[:i]
		}
	}
	if folder != "" && storage.CheckKey(folder) != nil {
		folder = "" // nothing else would be safe to ask for
	}
	c, err := s.pool.get(ctx)
	if err != nil {
		return "", err
	}
	defer s.pool.put(c)
	b := c.newBatch()
	root := b.add(typeStat, s.root)
	if folder == "" {
		b.send()
		return "", isFolder(root.attrs(ctx))
	}
	w := s.look(b, folder)
	b.send()
	if err := isFolder(root.attrs(ctx)); err != nil {
		drop(append(w.folders, w.file)...)
		return "", err
	}
	err = isFolder(w.any(ctx))
	if errors.Is(err, fs.ErrNotExist) {
		err = errNoFolder
	}
	return folder, err
}

func isFolder(a attrs, err error) error {
	if err == nil && !a.folder() {
		err = fs.ErrNotExist
	}
	return err
}

// end is the error of the whole. Where folders have vanished, the root may have
// gone with them.
func (w *walk) end() error {
	if w.err != nil || !w.vanished {
		return w.err
	}
	_, err := w.store.first(w.ctx, "")
	return err
}

// work reads folders until there are none.
func (w *walk) work() {
	for {
		folder, ok := w.next()
		if !ok {
			return
		}
		err := w.read(folder)
		w.mu.Lock()
		w.open--
		if errors.Is(err, fs.ErrNotExist) && folder != "" {
			w.vanished, err = true, nil
		}
		if w.err == nil {
			w.err = err
		}
		w.changed.Broadcast()
		w.mu.Unlock()
	}
}

func (w *walk) next() (folder string, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.todo) == 0 && w.open > 0 && w.err == nil && w.ctx.Err() == nil {
		w.changed.Wait()
	}
	if len(w.todo) == 0 || w.err != nil || w.ctx.Err() != nil {
		return "", false
	}
	last := len(w.todo) - 1 // the deepest first keeps the list short
	folder = w.todo[last]
	w.todo = w.todo[:last]
	w.open++
	return folder, true
}

// read lists one folder.
func (w *walk) read(folder string) error {
	c, err := w.store.pool.get(w.ctx)
	if err != nil {
		return err
	}
	defer w.store.pool.put(c)
	b := c.newBatch()
	opened := b.add(typeOpendir, w.store.path(folder))
	b.send()
	handle, err := opened.handle(w.ctx)
	if err != nil {
		return err
	}
	defer func() {
		b := c.newBatch()
		b.add(typeClose, handle).drop()
		b.send()
	}()
	err = w.entries(c, handle, folder)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: it lost the folder %q while it listed it", storage.ErrTemporary, folder)
	}
	return err
}

// entries asks for the names of a folder until the server says that these were
// all: with two requests on their way at first, more when it is a large folder.
func (w *walk) entries(c *conn, handle, folder string) error {
	const most = 16
	var asked []*request
	defer func() { drop(asked...) }()
	for wanted := 2; ; wanted = min(wanted+1, most) {
		b := c.newBatch()
		for len(asked) < wanted {
			asked = append(asked, b.add(typeReaddir, handle))
		}
		b.send()
		list, err := asked[0].entries(w.ctx)
		asked = asked[1:]
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = w.sort(c, folder, list)
		}
		if err != nil {
			return err
		}
	}
}

// sort passes on the files of a folder and puts its folders on the list.
func (w *walk) sort(c *conn, folder string, list []entry) error {
	var objects []storage.Object
	var below []string
	for _, e := range list {
		if e.name == "." || e.name == ".." {
			continue
		}
		if e.name == "" || strings.ContainsAny(e.name, "/\x00") {
			return fmt.Errorf("%w: it says that a file in %q is called %q", errMalformed, folder, e.name)
		}
		key := strings.TrimPrefix(folder+"/"+e.name, "/")
		e, err := w.complete(c, key, e)
		switch {
		case errors.Is(err, fs.ErrNotExist): // it is gone
		case err != nil:
			return err
		case isTemp(e.name) && e.regular():
			w.store.strays.note(key, e.mtime)
		case e.folder() && len(key) >= storage.MaxKey && strings.HasPrefix(key, w.prefix): // refused by its name, and not lost
			objects = append(objects, storage.Object{Key: key + "/"})
		case e.folder() && w.wanted(key+"/"):
			below = append(below, key)
		case e.regular() && strings.HasPrefix(key, w.prefix):
			objects = append(objects, object(key, e.attrs))
		}
	}
	w.mu.Lock()
	w.todo = append(w.todo, below...)
	w.changed.Broadcast()
	w.mu.Unlock()
	if len(objects) == 0 {
		return nil
	}
	select {
	case w.found <- objects:
		return nil
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
}

// complete asks for what the listing of a folder does not say of a file: some
// servers give names only.
func (w *walk) complete(c *conn, key string, e entry) (entry, error) {
	if e.enough() {
		return e, nil
	}
	b := c.newBatch()
	r := b.add(typeLstat, w.store.path(key))
	b.send()
	var err error
	e.attrs, err = r.attrs(w.ctx)
	return e, err
}

func (w *walk) wanted(base string) bool {
	return strings.HasPrefix(base, w.prefix) || strings.HasPrefix(w.prefix, base)
}
