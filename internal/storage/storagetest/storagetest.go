// Package storagetest runs the cases of package conform, which are what every
// [storage.Store] must do, as tests. A driver's test calls [Run] with a function
// that opens an empty store, [Missing] with one whose root is not there, and
// [Hostile] with a way to place names that Put would refuse. Only _test files may
// import it.
package storagetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/conform"
)

// Run runs every case of package conform on a store of its own, which open returns
// empty.
func Run(t *testing.T, open func(*testing.T) storage.Store) {
	for _, c := range conform.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			store := open(t)
			t.Cleanup(func() { require.NoError(t, store.Close()) })
			switch result := c.Run(t.Context(), store, conform.Options{Full: true}); result.Outcome {
			case conform.Failed:
				t.Fatalf("%s: %s", result.Where, result.Reason)
			case conform.NotApplicable:
				t.Skip(result.Reason)
			}
		})
	}
}

// Missing checks a store whose bucket or folder does not exist: every call says
// so, and none makes it.
func Missing(t *testing.T, store storage.Store) {
	ctx := t.Context()
	for range 2 {
		l, err := storage.Collect(ctx, store, "")
		require.ErrorIs(t, err, fs.ErrNotExist, "list")
		require.False(t, l.Complete())
		_, err = storage.Collect(ctx, store, "folder/")
		require.ErrorIs(t, err, fs.ErrNotExist, "list a folder")
		_, err = store.Stat(ctx, "a")
		require.ErrorIs(t, err, fs.ErrNotExist, "stat")
		_, err = store.Open(ctx, storage.Object{Key: "a"}, 0, -1)
		require.ErrorIs(t, err, fs.ErrNotExist, "open")
		_, err = store.Put(ctx, "a", bytes.NewReader(nil), 0, storage.Cond{})
		require.ErrorIs(t, err, fs.ErrNotExist, "put")
		require.ErrorIs(t, store.Remove(ctx, "a"), fs.ErrNotExist, "remove")
	}
}

// Hostile places as many of [HostileKeys] as plant can (it returns an error for
// the others) among good files, and checks that a listing refuses each by name, or
// with the folder that it lies in, and holds the good ones. It returns how many it
// planted.
func Hostile(t *testing.T, store storage.Store, plant func(key string) error) (planted int) {
	good := []string{"good.csv", "folder/good.csv", "zzz"}
	for _, key := range good {
		Put(t, store, key, []byte(key))
	}
	refused := map[string]bool{}
	for _, key := range HostileKeys() {
		if plant(key) == nil {
			refused[key] = true
		}
	}
	l, err := storage.Collect(t.Context(), store, "")
	require.NoError(t, err)
	require.True(t, l.Complete())
	require.ElementsMatch(t, good, Keys(l))
	for _, e := range l.Refused {
		before, itself := len(refused), refused[e.Key]
		maps.DeleteFunc(refused, func(key string, _ bool) bool { // a folder is refused with all that is in it
			return key == e.Key || !itself && strings.HasSuffix(e.Key, "/") && strings.HasPrefix(key, e.Key)
		})
		require.Less(t, len(refused), before, "%q was not planted", e.Key)
		require.NotEmpty(t, e.Reason)
		planted += before - len(refused)
	}
	require.Empty(t, refused, "planted, but not refused")
	return planted
}

// Put stores data under key.
func Put(t testing.TB, store storage.Store, key string, data []byte) storage.Object {
	t.Helper()
	obj, err := store.Put(t.Context(), key, bytes.NewReader(data), int64(len(data)), storage.Cond{})
	require.NoError(t, err)
	return obj
}

// Get reads an object whole.
func Get(t testing.TB, store storage.Store, obj storage.Object) []byte {
	t.Helper()
	data, err := read(t.Context(), store, obj, 0, -1)
	require.NoError(t, err)
	return data
}

// List returns the complete listing of a store that holds no name to refuse.
func List(t testing.TB, store storage.Store, prefix string) storage.Listing {
	t.Helper()
	l, err := storage.Collect(t.Context(), store, prefix)
	require.NoError(t, err)
	require.True(t, l.Complete())
	require.Empty(t, l.Refused)
	return l
}

// Keys returns the names in a listing, sorted.
func Keys(l storage.Listing) []string { return conform.Keys(l) }

// Bytes returns n bytes that look random and are the same for the same seed.
func Bytes(seed uint64, n int) []byte { return conform.Bytes(seed, n) }

// HostileKeys returns names that a remote may hold and nobody may use.
func HostileKeys() []string { return conform.HostileKeys() }

// StrangeKeys returns names that look odd and are good: every driver must carry
// them unchanged.
func StrangeKeys() []string { return conform.StrangeKeys() }

func read(ctx context.Context, store storage.Store, obj storage.Object, off, n int64) ([]byte, error) {
	r, err := store.Open(ctx, obj, off, n)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}
