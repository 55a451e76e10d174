package conform

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

var conditionCases = []Case{
	{Name: "Cond/absent", run: func(t *T, s storage.Store) {
		obj, err := put(t.ctx, s, "a", "one", storage.Cond{Absent: true})
		t.noError(err, "put to a new name")
		_, err = put(t.ctx, s, "a", "two", storage.Cond{Absent: true})
		t.errorIs(err, storage.ErrChanged, "put to a name that is taken")
		equal(t, "one", string(t.get(s, obj)), "content")
		t.noError(s.Remove(t.ctx, "a"), "remove")
		_, err = put(t.ctx, s, "a", "three", storage.Cond{Absent: true})
		t.noError(err, "put to a name that is free again")
	}},
	{Name: "Cond/tag", run: func(t *T, s storage.Store) {
		one := t.put(s, "a", []byte("one"))
		two, err := put(t.ctx, s, "a", "two", storage.Cond{Tag: one.Tag})
		t.noError(err, "put over the version that is there")
		_, err = put(t.ctx, s, "a", "three", storage.Cond{Tag: one.Tag})
		t.errorIs(err, storage.ErrChanged, "put over a version that is gone")
		equal(t, "two", string(t.get(s, two)), "content")
	}},
	{Name: "Cond/tag of a missing object", run: func(t *T, s storage.Store) {
		obj := t.put(s, "a", []byte("one"))
		t.noError(s.Remove(t.ctx, "a"), "remove")
		_, err := put(t.ctx, s, "a", "two", storage.Cond{Tag: obj.Tag})
		if !errors.Is(err, fs.ErrNotExist) {
			t.errorIs(err, storage.ErrChanged, "put over a version that is gone")
		}
		t.holds(s, "")
	}},
	{Name: "Cond/large", run: func(t *T, s storage.Store) {
		data := Bytes(1, t.large())
		obj, err := put(t.ctx, s, "a", string(data), storage.Cond{Absent: true})
		t.noError(err, "put to a new name")
		_, err = put(t.ctx, s, "a", string(data), storage.Cond{Absent: true})
		t.errorIs(err, storage.ErrChanged, "put to a name that is taken")
		_, err = put(t.ctx, s, "a", string(data), storage.Cond{Tag: "no-such-tag"})
		t.errorIs(err, storage.ErrChanged, "put over a version that never was")
		t.bytes(data, t.get(s, obj))
		_, err = put(t.ctx, s, "a", string(data), storage.Cond{Tag: obj.Tag})
		t.noError(err, "put over the version that is there")
	}},
	{Name: "Cond/race for a new name", run: func(t *T, s storage.Store) {
		for round := range t.many(5, 2) {
			t.race(s, fmt.Sprint("a", round), storage.Cond{Absent: true})
		}
	}},
	{Name: "Cond/race for a version", run: func(t *T, s storage.Store) {
		for round := range t.many(5, 2) {
			key := fmt.Sprint("a", round)
			t.race(s, key, storage.Cond{Tag: t.put(s, key, []byte("first")).Tag})
		}
	}},
}

// race lets eight writers go for one condition: exactly one wins, when the remote
// checks it.
func (t *T) race(s storage.Store, key string, cond storage.Cond) {
	var mu sync.Mutex
	var winners []string
	t.each(8, 8, func(i int) {
		data := fmt.Sprint("writer ", i)
		_, err := put(t.ctx, s, key, data, cond)
		switch {
		case err == nil:
			mu.Lock()
			defer mu.Unlock()
			winners = append(winners, data)
		case !errors.Is(err, storage.ErrTemporary):
			t.errorIs(err, storage.ErrChanged, "put by one of eight")
		}
	})
	t.that(len(winners) > 0, "wanted one of eight writers to win, got none")
	if !atomic(s) {
		return
	}
	equal(t, 1, len(winners), "of eight writers, those who were told that they won")
	equal(t, winners[0], string(t.get(s, storage.Object{Key: key})), "content")
}

func atomic(s storage.Store) bool {
	c, ok := s.(storage.Conditional)
	return ok && c.ConditionalPut()
}
