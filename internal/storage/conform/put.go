package conform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

var putCases = []Case{
	{Name: "Put/round trip", run: func(t *T, s storage.Store) {
		for i, size := range []int{0, 1, 4095, 4096, 70_000} {
			obj := t.put(s, fmt.Sprint("f", i), Bytes(7, size))
			t.bytes(Bytes(7, size), t.get(s, obj), "%d bytes", size)
		}
	}},
	{Name: "Put/large", run: func(t *T, s storage.Store) {
		data := Bytes(9, t.large())
		obj := t.put(s, "folder/big", data)
		t.bytes(data, t.get(s, obj))
		l := t.list(s, "")
		equal(t, 1, len(l.Objects()), "objects in the listing")
		t.same(obj, l.Objects()[0])
		middle := int64(len(data) * 5 / 9)
		t.ranges(s, obj, data, [][2]int64{{middle - 5, 10}})
	}},
	{Name: "Put/odd readers", run: func(t *T, s storage.Store) {
		data := Bytes(5, 1000)
		for name, r := range map[string]io.Reader{
			"byte":  pieces{bytes.NewReader(data), 1},
			"half":  pieces{bytes.NewReader(data), 300},
			"eof":   &together{data},
			"multi": io.MultiReader(bytes.NewReader(data[:10]), bytes.NewReader(data[10:])),
		} {
			obj, err := s.Put(t.ctx, name, r, 1000, storage.Cond{})
			t.noError(err, "put from the reader %q", name)
			t.bytes(data, t.get(s, obj), "put from the reader %q", name)
		}
	}},
	{Name: "Put/replaces", run: func(t *T, s storage.Store) {
		first := t.put(s, "a", []byte("one"))
		second := t.put(s, "a", []byte("two"))
		t.that(first.Tag != second.Tag, "wanted another tag for other content of the same size, got %q again", first.Tag)
		equal(t, "two", string(t.get(s, second)), "content")
		shorter := t.put(s, "a", []byte("3"))
		equal(t, "3", string(t.get(s, shorter)), "content")
		t.holds(s, "", "a")
	}},
	{Name: "Put/a reader that is wrong", run: func(t *T, s storage.Store) {
		for _, size := range []int64{3, 0, 100, 70_000, int64(t.large())} {
			for name, r := range map[string]io.Reader{
				"short":  io.LimitReader(zeros{}, max(size-1, 0)),
				"long":   io.LimitReader(zeros{}, size+1),
				"fails":  io.MultiReader(io.LimitReader(zeros{}, size/2), broken{}),
				"fails2": io.MultiReader(io.LimitReader(zeros{}, size), broken{}),
			} {
				if name == "short" && size == 0 {
					continue
				}
				_, err := s.Put(t.ctx, "folder/a", r, size, storage.Cond{})
				t.isError(err, "put %d bytes from the reader %q", size, name)
				equal(t, name == "short", errors.Is(err, io.ErrUnexpectedEOF), "%d bytes from the reader %q: that it ended early, in %v", size, name, err)
				equal(t, strings.HasPrefix(name, "fails"), errors.Is(err, errReader), "%d bytes from the reader %q: the reader's own error in %v", size, name, err)
				t.that(!errors.Is(err, storage.ErrTemporary), "%d bytes from the reader %q: wanted an error that is not worth a retry, got %v", size, name, err)
			}
		}
		t.holds(s, "")
	}},
	{Name: "Put/a failed one keeps the old", run: func(t *T, s storage.Store) {
		old := t.put(s, "a", []byte("old"))
		for _, size := range []int64{100, int64(t.large())} {
			_, err := s.Put(t.ctx, "a", io.LimitReader(zeros{}, size-1), size, storage.Cond{})
			t.isError(err, "put of a reader that ends early")
		}
		equal(t, "old", string(t.get(s, old)), "content")
	}},
	{Name: "Put/wrong arguments", run: func(t *T, s storage.Store) {
		_, err := s.Put(t.ctx, "a", strings.NewReader(""), -1, storage.Cond{})
		t.errorIs(err, fs.ErrInvalid, "a negative size")
		_, err = s.Put(t.ctx, "a", strings.NewReader(""), 0, storage.Cond{Tag: "x", Absent: true})
		t.errorIs(err, fs.ErrInvalid, "two conditions")
		t.holds(s, "")
	}},
	{Name: "Put/nobody sees half of it", run: func(t *T, s storage.Store) {
		for _, size := range []int64{100_000, int64(t.large())} {
			t.putInTwo(s, "a", size, func() {
				t.holds(s, "")
				t.gone(s, "a")
			})
			t.holds(s, "", "a")
			t.noError(s.Remove(t.ctx, "a"), "remove")
		}
	}},
	{Name: "Put/canceled", run: func(t *T, s storage.Store) {
		for _, size := range []int64{100_000, int64(t.large())} {
			ctx, cancel := context.WithCancel(t.ctx)
			defer cancel()
			_, err := s.Put(ctx, "a", &cancelReader{left: size / 2, cancel: cancel}, size, storage.Cond{})
			t.errorIs(err, context.Canceled, "put %d bytes", size)
			_, err = s.Put(ctx, "a", strings.NewReader("a"), 1, storage.Cond{})
			t.errorIs(err, context.Canceled, "put")
		}
		t.holds(s, "")
	}},
	{Name: "Put/many at once", run: func(t *T, s storage.Store) {
		t.each(32, 32, func(i int) { t.put(s, fmt.Sprintf("same/folder%d/%d", i%3, i), Bytes(uint64(i), 1000+i)) })
		l := t.list(s, "")
		equal(t, 32, len(l.Objects()), "objects in the listing")
		t.each(32, 8, func(i int) {
			obj := l.Objects()[i]
			t.bytes(Bytes(uint64(obj.Size-1000), int(obj.Size)), t.get(s, obj), "%q", obj.Key)
		})
	}},
	{Name: "Put/one name by many at once", run: func(t *T, s storage.Store) {
		size := t.many(50_000, 10_000)
		t.each(16, 16, func(i int) {
			data := Bytes(uint64(i), size+i)
			_, err := s.Put(t.ctx, "a", bytes.NewReader(data), int64(len(data)), storage.Cond{})
			if !errors.Is(err, storage.ErrTemporary) {
				t.noError(err, "put")
			}
		})
		l := t.list(s, "")
		equal(t, 1, len(l.Objects()), "objects in the listing")
		obj := l.Objects()[0]
		t.bytes(Bytes(uint64(obj.Size-int64(size)), int(obj.Size)), t.get(s, obj))
	}},
	{Name: "Put/a file and a folder of one name", run: func(t *T, s storage.Store) {
		both := true
		for _, keys := range [][2]string{{"a/b", "a"}, {"c", "c/d"}, {"e", "e/f/g"}} {
			first := t.put(s, keys[0], []byte("first"))
			second, err := put(t.ctx, s, keys[1], "second", storage.Cond{})
			equal(t, "first", string(t.get(s, first)), "content of %q after a put to %q", keys[0], keys[1])
			if err == nil { // S3 itself can hold both
				equal(t, "second", string(t.get(s, second)), "content of %q", keys[1])
				continue
			}
			both = false
			t.gone(s, keys[1])
		}
		t.found.FileAndFolder = both
	}},
}

// putInTwo puts size bytes and calls meanwhile when all but ten have been taken.
func (t *T) putInTwo(s storage.Store, key string, size int64, meanwhile func()) {
	r, w := io.Pipe()
	result := make(chan error, 1)
	t.spawn(func() {
		_, err := s.Put(t.ctx, key, r, size, storage.Cond{})
		result <- errors.Join(err, r.Close())
	})
	defer w.CloseWithError(errReader) // for a check that fails: Put must not wait for ever
	_, err := io.CopyN(w, zeros{}, size-10)
	t.noError(err, "put of %d bytes, after most of them", size)
	meanwhile()
	_, err = io.CopyN(w, zeros{}, 10)
	t.noError(errors.Join(err, w.Close()), "put of %d bytes, the last of them", size)
	t.noError(<-result, "put of %d bytes", size)
}
