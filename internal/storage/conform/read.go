package conform

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

var readCases = []Case{
	{Name: "Open/ranges", run: func(t *T, s storage.Store) {
		data := Bytes(1, 1000)
		t.ranges(s, t.put(s, "a", data), data, [][2]int64{
			{0, -1}, {0, 0}, {0, 1}, {0, 1000}, {0, 1001}, {1, -1}, {1, 1}, {500, 250}, {999, 1}, {999, -1}, {999, 100},
			{1000, -1}, {1000, 0}, {1000, 5}, {1001, -1}, {5000, 10}, {500, 0},
		})
	}},
	{Name: "Open/an empty object", run: func(t *T, s storage.Store) {
		obj := t.put(s, "a", nil)
		equal(t, 0, obj.Size, "size")
		t.ranges(s, obj, nil, [][2]int64{{0, -1}, {0, 0}, {0, 1}, {1, -1}, {7, 7}})
	}},
	{Name: "Open/negative offset", run: func(t *T, s storage.Store) {
		obj := t.put(s, "a", []byte("hello"))
		_, err := s.Open(t.ctx, obj, -1, -1)
		t.errorIs(err, fs.ErrInvalid, "open")
	}},
	{Name: "Open/missing", run: func(t *T, s storage.Store) {
		for _, n := range []int64{-1, 0, 5} {
			_, err := read(t.ctx, s, storage.Object{Key: "a"}, 0, n)
			t.errorIs(err, fs.ErrNotExist, "read %d bytes", n)
			_, err = read(t.ctx, s, storage.Object{Key: "a/b/c"}, 3, n)
			t.errorIs(err, fs.ErrNotExist, "read %d bytes", n)
		}
		t.gone(s, "a")
	}},
	{Name: "Open/a folder is no object", run: func(t *T, s storage.Store) {
		t.put(s, "a/b/c", nil)
		for _, key := range []string{"a", "a/b", "a/b/c/d"} {
			_, err := read(t.ctx, s, storage.Object{Key: key}, 0, -1)
			t.errorIs(err, fs.ErrNotExist, "read %q", key)
			t.gone(s, key)
		}
	}},
	{Name: "Open/a version that is gone", run: func(t *T, s storage.Store) {
		old := t.put(s, "a", Bytes(1, 1000))
		now := t.put(s, "a", Bytes(2, 1000))
		for _, r := range [][2]int64{{0, -1}, {0, 0}, {10, 10}, {10, -1}, {2000, -1}} {
			_, err := read(t.ctx, s, old, r[0], r[1])
			t.errorIs(err, storage.ErrChanged, "offset %d, %d bytes of a version that is gone", r[0], r[1])
		}
		t.bytes(Bytes(2, 1000), t.get(s, now))
		t.bytes(Bytes(2, 1000), t.get(s, storage.Object{Key: "a"}), "without a tag")
	}},
	{Name: "Open/removed since", run: func(t *T, s storage.Store) {
		obj := t.put(s, "a", []byte("hello"))
		t.noError(s.Remove(t.ctx, "a"), "remove")
		_, err := read(t.ctx, s, obj, 0, -1)
		t.errorIs(err, fs.ErrNotExist, "read")
	}},
	{Name: "Open/many at once", run: func(t *T, s storage.Store) {
		data := Bytes(3, 256<<10)
		obj := t.put(s, "a", data)
		t.each(16, 16, func(i int) {
			off := int64(i) * 16 << 10
			got, err := read(t.ctx, s, obj, off, 16<<10)
			t.noError(err, "range at %d", off)
			t.bytes(data[off:off+16<<10], got, "range at %d", off)
		})
	}},
	{Name: "Open/while it is replaced", run: func(t *T, s storage.Store) {
		size, rounds := t.many(300_000, 60_000), t.many(20, 5)
		versions := [][]byte{Bytes(1, size), Bytes(2, size)}
		t.put(s, "a", versions[0])
		done := make(chan struct{})
		t.spawn(func() {
			defer close(done)
			for i := range rounds {
				t.put(s, "a", versions[i%2])
			}
		})
		for range rounds {
			obj, err := s.Stat(t.ctx, "a")
			t.noError(err, "stat")
			got, err := read(t.ctx, s, obj, 0, -1)
			if errors.Is(err, storage.ErrChanged) {
				continue
			}
			t.noError(err, "read")
			t.that(bytes.Equal(got, versions[0]) || bytes.Equal(got, versions[1]),
				"wanted one version of the object or the other, got %d bytes that are neither", len(got))
		}
		<-done
	}},
	{Name: "Open/canceled", run: func(t *T, s storage.Store) {
		obj := t.put(s, "a", Bytes(1, t.large()))
		ctx, cancel := context.WithCancel(t.ctx)
		defer cancel()
		r, err := s.Open(ctx, obj, 0, -1)
		t.noError(err, "open")
		_, err = io.ReadFull(r, make([]byte, 10))
		t.noError(err, "read")
		cancel()
		_, err = io.Copy(io.Discard, r)
		t.noError(r.Close(), "close")
		t.errorIs(err, context.Canceled, "read")
		_, err = s.Open(ctx, obj, 0, -1)
		t.errorIs(err, context.Canceled, "open")
		_, err = s.Stat(ctx, "a")
		t.errorIs(err, context.Canceled, "stat")
	}},
	{Name: "Open/closed halfway", run: func(t *T, s storage.Store) {
		data := Bytes(1, t.many(1<<20, 192<<10))
		obj := t.put(s, "a", data)
		for range 3 {
			r, err := s.Open(t.ctx, obj, 0, -1)
			t.noError(err, "open")
			_, err = io.ReadFull(r, make([]byte, 10))
			t.noError(err, "read")
			t.noError(r.Close(), "close")
		}
		t.bytes(data, t.get(s, obj))
	}},
}

// ranges reads each range {offset, number of bytes or -1} of an object.
func (t *T) ranges(s storage.Store, obj storage.Object, data []byte, ranges [][2]int64) {
	size := int64(len(data))
	for _, r := range ranges {
		got, err := read(t.ctx, s, obj, r[0], r[1])
		t.noError(err, "offset %d, %d bytes of %d", r[0], r[1], size)
		from, to := min(r[0], size), size
		if r[1] >= 0 {
			to = min(from+r[1], size)
		}
		t.bytes(data[from:to], got, "offset %d, %d bytes of %d", r[0], r[1], size)
	}
}
