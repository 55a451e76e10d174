package conform

import (
	"context"
	"fmt"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/checksum"
)

var listCases = []Case{
	{Name: "List/empty", run: func(t *T, s storage.Store) {
		t.holds(s, "")
		t.holds(s, "folder/")
	}},
	{Name: "List/what Put returned", run: func(t *T, s storage.Store) {
		obj := t.put(s, "folder/a.csv", []byte("hello"))
		l := t.list(s, "")
		equal(t, 1, len(l.Objects()), "objects in the listing")
		t.same(obj, l.Objects()[0])
		equal(t, 5, obj.Size, "size")
		t.that(obj.Tag != "", "wanted a tag, got none")
		changed := l.Objects()[0].ModTime
		t.that(time.Since(changed).Abs() < time.Minute, "wanted the time of now, got %v", changed)
		t.that(changed.Location() == time.UTC, "wanted the time in UTC, got %v", changed)
	}},
	{Name: "List/what Stat says", run: func(t *T, s storage.Store) {
		t.put(s, "a", []byte("hello"))
		obj, err := s.Stat(t.ctx, "a")
		t.noError(err, "stat")
		l := t.list(s, "")
		equal(t, 1, len(l.Objects()), "objects in the listing")
		t.same(l.Objects()[0], obj)
	}},
	{Name: "List/a sum is the content's", run: func(t *T, s storage.Store) {
		data := []byte("hello")
		obj := t.put(s, "a", data)
		_, learned, err := readSum(t.ctx, s, obj, 0, -1)
		t.noError(err, "read")
		l := t.list(s, "")
		equal(t, 1, len(l.Objects()), "objects in the listing")
		listed := l.Objects()[0].Sum
		for _, sum := range []string{obj.Sum, listed, learned} {
			if sum != "" {
				equal(t, checksum.Of(algorithm(sum), data), sum, "sum")
			}
		}
		t.found.Sums, t.found.ReadSums = algorithm(listed), algorithm(learned)
	}},
	{Name: "List/sibling prefix", run: func(t *T, s storage.Store) {
		for _, key := range []string{"data/a", "data2/b", "data-private/c", "dat", "x/data/d"} {
			t.put(s, key, nil)
		}
		t.holds(s, "data/", "data/a")
		t.holds(s, "data", "data-private/c", "data/a", "data2/b")
		t.holds(s, "data2", "data2/b")
		t.holds(s, "data/a/")
	}},
	{Name: "List/part of a name", run: func(t *T, s storage.Store) {
		for _, key := range []string{"a/2026-10.csv", "a/2026-11.csv", "a/2025-11.csv"} {
			t.put(s, key, nil)
		}
		t.holds(s, "a/2026", "a/2026-10.csv", "a/2026-11.csv")
		t.holds(s, "a/2026-11.csv", "a/2026-11.csv")
	}},
	{Name: "List/no match", run: func(t *T, s storage.Store) {
		t.put(s, "a/b", nil)
		for _, prefix := range []string{"b", "a/c", "a/b/", "A", "nothing/here/"} {
			t.holds(s, prefix)
		}
	}},
	{Name: "List/nested", run: func(t *T, s storage.Store) {
		keys := []string{"a/b/c/d/e/f/g", "a/b/c/h", "a/i", "j"}
		for _, key := range keys {
			t.put(s, key, []byte(key))
		}
		t.holds(s, "", keys...)
		t.holds(s, "a/b/c/", keys[:2]...)
	}},
	{Name: "List/many keys", run: func(t *T, s storage.Store) {
		n := t.many(1105, 25) // more than a page of S3
		var keys []string
		for i := range n {
			keys = append(keys, fmt.Sprintf("f/%04d", i))
		}
		t.each(n, 5, func(i int) { t.put(s, keys[i], nil) })
		t.holds(s, "", keys...)
		t.holds(s, keys[n-1][:5], keys[n-5:]...)
	}},
	{Name: "List/break", run: func(t *T, s storage.Store) {
		for _, key := range []string{"a", "b", "c/d"} {
			t.put(s, key, nil)
		}
		seen := 0
		for _, err := range s.List(t.ctx, "") {
			t.noError(err, "list")
			seen++
			break
		}
		equal(t, 1, seen, "objects before the break")
		t.holds(s, "", "a", "b", "c/d")
	}},
	{Name: "List/twice", run: func(t *T, s storage.Store) {
		t.put(s, "a", nil)
		listing := s.List(t.ctx, "")
		for range 2 {
			seen := 0
			for _, err := range listing {
				t.noError(err, "list")
				seen++
			}
			equal(t, 1, seen, "objects in the listing")
		}
	}},
	{Name: "List/canceled before", run: func(t *T, s storage.Store) {
		t.put(s, "a", nil)
		ctx, cancel := context.WithCancel(t.ctx)
		cancel()
		l, err := storage.Collect(ctx, s, "")
		t.errorIs(err, context.Canceled, "list")
		t.that(!l.Complete(), "a listing that was cancelled counts as complete")
	}},
	{Name: "List/canceled meanwhile", run: func(t *T, s storage.Store) {
		for _, key := range []string{"a", "b", "c"} {
			t.put(s, key, nil)
		}
		ctx, cancel := context.WithCancel(t.ctx)
		defer cancel()
		objects := 0
		var last error
		for _, err := range s.List(ctx, "") {
			t.noError(last, "what comes before the last of a listing")
			if last = err; err == nil {
				objects++
			}
			cancel()
		}
		t.errorIs(last, context.Canceled, "list")
		t.that(objects < 3, "wanted the listing to end when it is cancelled, got all of it")
	}},
}
