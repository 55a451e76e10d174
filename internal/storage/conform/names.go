package conform

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

var nameCases = []Case{
	{Name: "Names/strange", run: func(t *T, s storage.Store) {
		keys := StrangeKeys()
		t.each(len(keys), 4, func(i int) { t.put(s, keys[i], []byte(keys[i])) })
		l := t.list(s, "")
		t.sameKeys(keys, Keys(l))
		t.each(len(l.Objects()), 4, func(i int) {
			obj := l.Objects()[i]
			equal(t, obj.Key, string(t.get(s, obj)), "content")
			stat, err := s.Stat(t.ctx, obj.Key)
			t.noError(err, "stat %.100q", obj.Key)
			t.same(obj, stat)
			t.noError(s.Remove(t.ctx, obj.Key), "remove %.100q", obj.Key)
		})
		t.holds(s, "")
	}},
	{Name: "Names/strange prefixes", run: func(t *T, s storage.Store) {
		for _, key := range []string{"a b/1", "a+b/2", "a%20b/3", "é/4", "&?#/5"} {
			t.put(s, key, nil)
			t.holds(s, key[:len(key)-1], key)
		}
	}},
	{Name: "Names/long", run: func(t *T, s storage.Store) {
		key := strings.Repeat(strings.Repeat("x", 200)+"/", 4) + "end"
		if room := storage.MaxKey - t.outside; len(key) > room {
			if room < 210 {
				panic(notApplicable("the folder's own name leaves no room for a long one"))
			}
			key = key[len(key)-room:]
			key = strings.TrimPrefix(key, "/")
		}
		equal(t, key, string(t.get(s, t.put(s, key, []byte(key)))), "content")
		t.holds(s, "", key)
		t.found.LongestKey = t.outside + len(key)
	}},
	{Name: "Names/hostile", run: func(t *T, s storage.Store) {
		keep := t.put(s, "evil/keep", []byte("keep"))
		for _, key := range HostileKeys() {
			t.refuses(s, key, true)
		}
		t.holds(s, "", "evil/keep")
		equal(t, "keep", string(t.get(s, keep)), "content of another")
	}},
	{Name: "Names/hostile prefixes", run: func(t *T, s storage.Store) {
		t.put(s, "a/b", nil)
		t.hostilePrefixes(s)
	}},
}

func (t *T) hostilePrefixes(s storage.Store) {
	for _, prefix := range []string{"../", "/", "/etc/", "a/../", "./", "a//", `a\`, "..", "a/./"} {
		l, err := storage.Collect(t.ctx, s, prefix)
		t.that(err != nil || len(l.Objects()) == 0, "list %q: wanted an error or nothing, got %s", prefix, few(Keys(l)))
	}
}

// refuses checks that nothing can be done with a key, and that the error says so.
func (t *T) refuses(s storage.Store, key string, writable bool) {
	_, err := s.Stat(t.ctx, key)
	t.refusal(err, "stat", key)
	_, err = s.Open(t.ctx, storage.Object{Key: key}, 0, -1)
	t.refusal(err, "open", key)
	if writable {
		_, err = put(t.ctx, s, key, "evil", storage.Cond{})
		t.refusal(err, "put", key)
		t.refusal(s.Remove(t.ctx, key), "remove", key)
	}
}

func (t *T) refusal(err error, op, key string) {
	var refused *storage.KeyError
	if !errors.As(err, &refused) {
		t.fail(err, nil, "%s %.100q: wanted the name to be refused, got: %v", op, key, err)
	}
	equal(t, key, refused.Key, "%s %.100q: the name in the error", op, key)
	t.errorIs(err, storage.ErrKey, "%s %.100q", op, key)
	t.errorIs(err, fs.ErrInvalid, "%s %.100q", op, key)
}
