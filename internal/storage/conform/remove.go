package conform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

var removeCases = []Case{
	{Name: "Remove/missing", run: func(t *T, s storage.Store) {
		t.noError(s.Remove(t.ctx, "a"), "remove what is not there")
		t.noError(s.Remove(t.ctx, "a/b/c"), "remove what is not there")
		t.put(s, "a", nil)
		t.noError(s.Remove(t.ctx, "a/b"), "remove what is not there, below a file")
		t.holds(s, "", "a")
	}},
	{Name: "Remove/then it is gone", run: func(t *T, s storage.Store) {
		obj := t.put(s, "folder/a", []byte("hello"))
		keep := t.put(s, "folder/a2", []byte("keep"))
		t.noError(s.Remove(t.ctx, "folder/a"), "remove")
		t.noError(s.Remove(t.ctx, "folder/a"), "remove again")
		t.holds(s, "", "folder/a2")
		t.gone(s, "folder/a")
		_, err := s.Open(t.ctx, obj, 0, -1)
		t.errorIs(err, fs.ErrNotExist, "open")
		equal(t, "keep", string(t.get(s, keep)), "content of another")
	}},
	{Name: "Remove/a folder stays", run: func(t *T, s storage.Store) {
		t.put(s, "a/b/c", nil)
		t.noError(s.Remove(t.ctx, "a"), "remove the name of a folder")
		t.noError(s.Remove(t.ctx, "a/b"), "remove the name of a folder")
		t.holds(s, "", "a/b/c")
	}},
	{Name: "Remove/a file may take a folder's place", run: func(t *T, s storage.Store) {
		t.put(s, "a/b/c", nil)
		t.noError(s.Remove(t.ctx, "a/b/c"), "remove")
		t.put(s, "a", []byte("file"))
		t.holds(s, "", "a")
		t.noError(s.Remove(t.ctx, "a"), "remove")
		t.put(s, "a/b/c", nil)
		t.holds(s, "", "a/b/c")
	}},
	{Name: "Remove/canceled", run: func(t *T, s storage.Store) {
		t.put(s, "a", nil)
		ctx, cancel := context.WithCancel(t.ctx)
		cancel()
		t.errorIs(s.Remove(ctx, "a"), context.Canceled, "remove")
		t.holds(s, "", "a")
	}},
	{Name: "Remove/beside puts", run: func(t *T, s storage.Store) {
		t.put(s, "shared/folder/keep", nil) // gateways over a file system stumble over folders that come and go
		t.each(4, 4, func(i int) {
			for range t.many(10, 3) {
				key := fmt.Sprintf("shared/folder/%d", i)
				_, err := put(t.ctx, s, key, "x", storage.Cond{})
				t.noError(errors.Join(err, s.Remove(t.ctx, key)), "put and remove")
			}
		})
		t.holds(s, "", "shared/folder/keep")
	}},
}

var lifeCases = []Case{
	{Name: "Close/then everything fails", closes: true, run: func(t *T, s storage.Store) {
		obj := t.put(s, "a", []byte("hello"))
		t.noError(s.Close(), "close")
		_, err := storage.Collect(t.ctx, s, "")
		t.errorIs(err, fs.ErrClosed, "list")
		_, err = s.Stat(t.ctx, "a")
		t.errorIs(err, fs.ErrClosed, "stat")
		_, err = s.Open(t.ctx, obj, 0, -1)
		t.errorIs(err, fs.ErrClosed, "open")
		_, err = put(t.ctx, s, "b", "x", storage.Cond{})
		t.errorIs(err, fs.ErrClosed, "put")
		t.errorIs(s.Remove(t.ctx, "a"), fs.ErrClosed, "remove")
	}},
	{Name: "Close/twice", closes: true, run: func(t *T, s storage.Store) {
		t.noError(s.Close(), "close")
		t.noError(s.Close(), "close again")
	}},
}
