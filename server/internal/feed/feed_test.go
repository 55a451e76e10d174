package feed_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/server/internal/feed"
)

var at = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// list is a listing of objects, as a scan sorts them out.
func list(t testing.TB, objects ...storage.Object) storage.Listing {
	t.Helper()
	l, err := storage.Recall(func(yield func(storage.Object, error) bool) {
		for _, o := range objects {
			if !yield(o, nil) {
				return
			}
		}
	})
	require.NoError(t, err)
	return l
}

func obj(key, tag string) storage.Object {
	return storage.Object{Key: key, Size: int64(len(tag)), ModTime: at, Tag: tag}
}

func told(changes []d6tpipe.Change) (all []string) {
	for _, c := range changes {
		text := string(c.Kind) + " " + c.Key
		if c.Before != nil {
			text += " from " + c.Before.Tag
		}
		if c.File.Tag != "" {
			text += " to " + c.File.Tag
		}
		all = append(all, text)
	}
	return all
}

func diff(old, now storage.Listing) (all []d6tpipe.Change) {
	for c := range feed.Diff(old, now) {
		all = append(all, c)
	}
	return all
}

func TestDiff(t *testing.T) {
	old := list(t, obj("a", "1"), obj("b", "1"), obj("c", "1"), obj("e", "1"))
	now := list(t, obj("b", "2"), obj("c", "1"), obj("d", "1"), obj("e", "1"))
	require.Equal(t, []string{"gone a from 1", "modified b from 1 to 2", "new d to 1"}, told(diff(old, now)))
	require.Empty(t, diff(now, now))
	require.Equal(t, []string{"new b to 2", "new c to 1", "new d to 1", "new e to 1"}, told(diff(storage.Listing{}, now)))

	later := func(o storage.Object) storage.Object { o.ModTime = at.Add(time.Second); return o }
	require.Empty(t, diff(list(t, obj("a", "1")), list(t, later(obj("a", "1")))), "the tag decides")
	require.Equal(t, []string{"modified a from "}, told(diff(list(t, storage.Object{Key: "a", Size: 1, ModTime: at}), list(t, later(storage.Object{Key: "a", Size: 1})))), "without one, the time does")
	far := storage.Object{Key: "a", ModTime: time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC), Tag: "x"}
	_, err := json.Marshal(diff(storage.Listing{}, list(t, far)))
	require.NoError(t, err, "a year that JSON cannot say")
}

// TestDiffOfRefused: a name that cannot be used for a while is not gone.
func TestDiffOfRefused(t *testing.T) {
	plain, clash := list(t, obj("x", "1")), list(t, obj("X", "1"), obj("x", "1"), obj("../up", "1"))
	require.Len(t, clash.Refused, 3)
	require.Empty(t, diff(plain, clash))
	require.Equal(t, []string{"gone X", "new x to 1"}, told(diff(clash, plain)), "and nobody was ever told of ../up")
	require.Equal(t, []string{"gone X", "gone x"}, told(diff(clash, storage.Listing{})))
	require.Empty(t, diff(clash, clash))
}

// TestRows: what was added is read, from any change on.
func TestRows(t *testing.T) {
	var want []d6tpipe.Change
	w := feed.NewWriter(1 << 20)
	for i := range 2500 {
		c := d6tpipe.Change{Key: fmt.Sprintf("%04d-ü\u2028", i), Kind: d6tpipe.ChangeNew, File: d6tpipe.File{Key: "k", Size: int64(i), ModTime: at, Tag: fmt.Sprint(i)}}
		want = append(want, c)
		require.NoError(t, w.Add(c))
	}
	rows, err := w.Rows()
	require.NoError(t, err)
	require.Len(t, rows, 3)
	for skip := range 1000 {
		if skip%97 > 1 && skip < 998 {
			continue
		}
		got, err := rows[1].Read(nil, skip, 3)
		require.NoError(t, err)
		require.Equal(t, want[1000+skip:min(2000, 1000+skip+3)], got)
	}
	got, err := rows[2].Read(nil, 0, 9999)
	require.NoError(t, err)
	require.Equal(t, want[2000:], got)

	long := d6tpipe.Change{Key: strings.Repeat("k", 1024), File: d6tpipe.File{Tag: strings.Repeat("\x01", 20_000)}}
	w = feed.NewWriter(1 << 20)
	for range 10 {
		require.NoError(t, w.Add(long))
	}
	rows, err = w.Rows()
	require.NoError(t, err)
	require.Greater(t, len(rows), 3, "a row is bounded in bytes, too")
	for _, r := range rows {
		got, err := r.Read(nil, r.N-1, 1)
		require.NoError(t, err)
		require.Equal(t, []d6tpipe.Change{long}, got)
	}
}

func TestTooManyChanges(t *testing.T) {
	w := feed.NewWriter(2000)
	var err error
	for n := 0; err == nil && n < 10_000; n++ {
		err = w.Add(d6tpipe.Change{Key: fmt.Sprint(rand.Uint64()), File: d6tpipe.File{Tag: fmt.Sprint(rand.Uint64())}})
	}
	require.ErrorIs(t, err, feed.ErrTooLarge)
}

func TestDamagedRow(t *testing.T) {
	w := feed.NewWriter(1 << 20)
	require.NoError(t, w.Add(d6tpipe.Change{Key: "a"}))
	rows, err := w.Rows()
	require.NoError(t, err)
	for _, bad := range []feed.Row{{N: 1}, {N: 1, Body: "!"}, {N: 1, Body: rows[0].Body[:8]}, {N: 2, Body: rows[0].Body}} {
		_, err := bad.Read(nil, 0, 9)
		require.ErrorIs(t, err, feed.ErrDamaged)
	}
}

// TestReplay: who applies what changed has the new listing, whatever the two are.
func TestReplay(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	names := []string{"a", "A", "b", "b/c", "b/C", "c", "d", "é", "e\u0301", "../x", "con"}
	draw := func() storage.Listing {
		var objects []storage.Object
		for _, name := range names {
			if n := random.IntN(4); n > 0 {
				objects = append(objects, obj(name, fmt.Sprint(n)))
			}
		}
		return list(t, objects...)
	}
	have, old := map[string]string{}, storage.Listing{}
	for range 3000 {
		now := draw()
		for c := range feed.Diff(old, now) {
			if c.Kind == d6tpipe.ChangeGone {
				delete(have, c.Key)
				continue
			}
			have[c.Key] = c.File.Tag
		}
		want := map[string]string{}
		for o := range now.All() {
			want[o.Key] = o.Tag
		}
		for _, e := range now.Refused { // what cannot be used stays what it was
			if tag, ok := have[e.Key]; ok {
				want[e.Key] = tag
			}
		}
		require.Equal(t, want, have)
		old = now
	}
}

func TestCursor(t *testing.T) {
	c := feed.Cursor{Epoch: "abc234", Seq: 12, Done: 3, At: 1_790_000_000_000_000}
	require.Equal(t, "1-abc234-12-3-1790000000000000", c.String())
	got, err := feed.Parse(c.String())
	require.NoError(t, err)
	require.Equal(t, c, got)
}

// FuzzCursor: what is no cursor of ours is refused, whoever made it up.
func FuzzCursor(f *testing.F) {
	for _, text := range []string{
		"1-abc234-12-3-1790000000000000", "", "1-a-0-0-0", "1-a-00-0-0", "2-a-0-0-0", "1-A-0-0-0", "1-a-9223372036854775807-0-0", "1-a-9999999999999999999-0-0", "1-a-1-1-1-", "1-a- 1-1-1", "1-a-1-1\n-1", "1--1-1-1", "1-a--1-1-1",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := feed.Parse(text)
		if err != nil {
			require.ErrorIs(t, err, feed.ErrCursor)
			return
		}
		require.Equal(t, text, c.String())
		require.True(t, c.Seq >= 0 && c.Done >= 0 && c.At >= 0 && c.Seq+1 > 0)
	})
}
