package storage_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/mem"
	"github.com/d6t/d6tpipe-go/internal/storage/storagetest"
)

// scripted lists what it is told to, and then err.
type scripted struct {
	storage.Store
	objects []storage.Object
	err     error
}

func (s scripted) List(context.Context, string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		for _, obj := range s.objects {
			if !yield(obj, nil) {
				return
			}
		}
		if s.err != nil {
			yield(storage.Object{}, s.err)
		}
	}
}

func objects(keys ...string) (list []storage.Object) {
	for _, key := range keys {
		list = append(list, storage.Object{Key: key, Size: int64(len(key))})
	}
	return list
}

func refusedKeys(l storage.Listing) (keys []string) {
	for _, e := range l.Refused {
		keys = append(keys, e.Key)
	}
	return keys
}

func TestCollect(t *testing.T) {
	l, err := storage.Collect(t.Context(), scripted{objects: objects("b", "../up", "a", "X", "x", "c", "c/d", "dup", "dup", "../up", "CON")}, "")
	require.NoError(t, err)
	require.True(t, l.Complete())
	require.Equal(t, objects("a", "b"), l.Objects())
	require.Equal(t, []string{"../up", "CON", "X", "c", "c/d", "dup", "x"}, refusedKeys(l))

	got, ok := l.Find("b")
	require.True(t, ok)
	require.Equal(t, "b", got.Key)
	for _, key := range []string{"", "aa", "x", "z"} {
		_, ok = l.Find(key)
		require.False(t, ok)
	}
}

func TestCollectFails(t *testing.T) {
	broken := errors.New("broken")
	for name, store := range map[string]scripted{
		"at once":         {err: broken},
		"after some":      {objects: objects("a", "b", "../c"), err: broken},
		"outside prefix":  {objects: objects("p/a", "q/a")},
		"negative length": {objects: []storage.Object{{Key: "p/a", Size: -1}}},
	} {
		t.Run(name, func(t *testing.T) {
			prefix := ""
			if store.err == nil {
				prefix = "p/"
			}
			l, err := storage.Collect(t.Context(), store, prefix)
			require.Error(t, err)
			require.False(t, l.Complete())
			if store.err != nil {
				require.ErrorIs(t, err, broken)
			}
		})
	}
	require.False(t, storage.Listing{}.Complete(), "nobody can make one up")
}

// TestCollectSilentEnd: a driver that just stops when its context ends has not
// come to the end of the listing.
func TestCollectSilentEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l, err := storage.Collect(ctx, scripted{objects: objects("a")}, "")
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, l.Complete())
	require.Len(t, l.Objects(), 1, "what was seen")
}

func TestPrefix(t *testing.T) {
	store := mem.New()
	same, err := storage.Prefix(store, "")
	require.NoError(t, err)
	require.Same(t, store, same)
	for _, dir := range []string{"/", "../up", "a//", "/abs", "a/../b", `a\b`, ".", "CON"} {
		_, err := storage.Prefix(store, dir)
		require.ErrorIs(t, err, storage.ErrKey, dir)
	}
	sales, err := storage.Prefix(store, "data/sales")
	require.NoError(t, err)
	require.Empty(t, storagetest.List(t, sales, "").Objects(), "a missing folder is empty")
	storagetest.Put(t, sales, "a/b", []byte("x"))
	require.Equal(t, []string{"data/sales/a/b"}, storagetest.Keys(storagetest.List(t, store, "")))
	require.Equal(t, []string{"a/b"}, storagetest.Keys(storagetest.List(t, sales, "a")))
	require.True(t, sales.(storage.Conditional).ConditionalPut())

	_, err = sales.Stat(t.Context(), "a/../../secret")
	require.ErrorIs(t, err, storage.ErrKey)
	long := make([]byte, 0, 1024)
	for len(long) < 1020 {
		long = append(long, "xyz/"...)
	}
	_, err = sales.Stat(t.Context(), string(long)+"z")
	var refused *storage.KeyError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, string(long)+"z", refused.Key, "the caller's name, not the remote's")

	outside, err := storage.Prefix(scripted{objects: objects("data/sales2/x")}, "data/sales")
	require.NoError(t, err)
	_, err = storage.Collect(t.Context(), outside, "")
	require.Error(t, err)
}

func many(n int) []storage.Object {
	list := make([]storage.Object, n)
	for i := range list {
		list[i] = storage.Object{Key: fmt.Sprintf("year=%d/month=%02d/part-%07d.parquet", 2000+i%26, i%12+1, i*7919%n), Size: 1, Tag: "d41d8cd98f00b204e9800998ecf8427e"}
	}
	return list
}

func BenchmarkCheckKey(b *testing.B) {
	list := many(1_000_000)
	b.ReportAllocs()
	for b.Loop() {
		for _, obj := range list {
			if err := storage.CheckKey(obj.Key); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1e6, "ns/key")
}

func BenchmarkCollect(b *testing.B) {
	store := scripted{objects: many(1_000_000)}
	b.ReportAllocs()
	for b.Loop() {
		l, err := storage.Collect(b.Context(), store, "")
		if err != nil || l.Len() != 1_000_000 {
			b.Fatal(l.Len(), err)
		}
	}
}
