package storagetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

var readCases = map[string]func(*testing.T, storage.Store){
	"Open/ranges": func(t *testing.T, s storage.Store) {
		data := Bytes(1, 1000)
		obj := Put(t, s, "a", data)
		for _, r := range [][2]int64{
			{0, -1}, {0, 0}, {0, 1}, {0, 1000}, {0, 1001}, {1, -1}, {1, 1}, {500, 250}, {999, 1}, {999, -1}, {999, 100},
			{1000, -1}, {1000, 0}, {1000, 5}, {1001, -1}, {5000, 10}, {500, 0},
		} {
			got, err := read(t.Context(), s, obj, r[0], r[1])
			require.NoError(t, err, r)
			from := min(r[0], 1000)
			to := int64(1000)
			if r[1] >= 0 {
				to = min(from+r[1], 1000)
			}
			require.Equal(t, data[from:to], got, r)
		}
	},
	"Open/an empty object": func(t *testing.T, s storage.Store) {
		obj := Put(t, s, "a", nil)
		require.Zero(t, obj.Size)
		for _, r := range [][2]int64{{0, -1}, {0, 0}, {0, 1}, {1, -1}, {7, 7}} {
			got, err := read(t.Context(), s, obj, r[0], r[1])
			require.NoError(t, err, r)
			require.Empty(t, got)
		}
	},
	"Open/negative offset": func(t *testing.T, s storage.Store) {
		obj := Put(t, s, "a", []byte("hello"))
		_, err := s.Open(t.Context(), obj, -1, -1)
		require.ErrorIs(t, err, fs.ErrInvalid)
	},
	"Open/missing": func(t *testing.T, s storage.Store) {
		for _, n := range []int64{-1, 0, 5} {
			_, err := read(t.Context(), s, storage.Object{Key: "a"}, 0, n)
			require.ErrorIs(t, err, fs.ErrNotExist)
			_, err = read(t.Context(), s, storage.Object{Key: "a/b/c"}, 3, n)
			require.ErrorIs(t, err, fs.ErrNotExist)
		}
		_, err := s.Stat(t.Context(), "a")
		require.ErrorIs(t, err, fs.ErrNotExist)
	},
	"Open/a folder is no object": func(t *testing.T, s storage.Store) {
		Put(t, s, "a/b/c", nil)
		for _, key := range []string{"a", "a/b", "a/b/c/d"} {
			_, err := read(t.Context(), s, storage.Object{Key: key}, 0, -1)
			require.ErrorIs(t, err, fs.ErrNotExist, key)
			_, err = s.Stat(t.Context(), key)
			require.ErrorIs(t, err, fs.ErrNotExist, key)
		}
	},
	"Open/a version that is gone": func(t *testing.T, s storage.Store) {
		old := Put(t, s, "a", Bytes(1, 1000))
		now := Put(t, s, "a", Bytes(2, 1000))
		for _, r := range [][2]int64{{0, -1}, {0, 0}, {10, 10}, {10, -1}, {2000, -1}} {
			_, err := read(t.Context(), s, old, r[0], r[1])
			require.ErrorIs(t, err, storage.ErrChanged, r)
		}
		require.Equal(t, Bytes(2, 1000), Get(t, s, now))
		require.Equal(t, Bytes(2, 1000), Get(t, s, storage.Object{Key: "a"}), "without a tag")
	},
	"Open/removed since": func(t *testing.T, s storage.Store) {
		obj := Put(t, s, "a", []byte("hello"))
		require.NoError(t, s.Remove(t.Context(), "a"))
		_, err := read(t.Context(), s, obj, 0, -1)
		require.ErrorIs(t, err, fs.ErrNotExist)
	},
	"Open/many at once": func(t *testing.T, s storage.Store) {
		data := Bytes(3, 256<<10)
		obj := Put(t, s, "a", data)
		var group sync.WaitGroup
		for i := range 16 {
			group.Go(func() {
				off := int64(i) * 16 << 10
				got, err := read(t.Context(), s, obj, off, 16<<10)
				if err != nil || !bytes.Equal(got, data[off:off+16<<10]) {
					t.Errorf("range at %d: %d bytes, %v", off, len(got), err)
				}
			})
		}
		group.Wait()
	},
	"Open/while it is replaced": func(t *testing.T, s storage.Store) {
		versions := [][]byte{Bytes(1, 300_000), Bytes(2, 300_000)}
		Put(t, s, "a", versions[0])
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range 20 {
				_, err := s.Put(t.Context(), "a", bytes.NewReader(versions[i%2]), 300_000, storage.Cond{})
				if err != nil {
					t.Error(err)
				}
			}
		}()
		for range 20 {
			obj, err := s.Stat(t.Context(), "a")
			require.NoError(t, err)
			got, err := read(t.Context(), s, obj, 0, -1)
			if errors.Is(err, storage.ErrChanged) {
				continue
			}
			require.NoError(t, err)
			require.True(t, bytes.Equal(got, versions[0]) || bytes.Equal(got, versions[1]), "torn")
		}
		<-done
	},
	"Open/canceled": func(t *testing.T, s storage.Store) {
		obj := Put(t, s, "a", Bytes(1, 9<<20))
		ctx, cancel := context.WithCancel(t.Context())
		r, err := s.Open(ctx, obj, 0, -1)
		require.NoError(t, err)
		_, err = io.ReadFull(r, make([]byte, 10))
		require.NoError(t, err)
		cancel()
		_, err = io.Copy(io.Discard, r)
		require.ErrorIs(t, err, context.Canceled)
		require.NoError(t, r.Close())
		_, err = s.Open(ctx, obj, 0, -1)
		require.ErrorIs(t, err, context.Canceled)
		_, err = s.Stat(ctx, "a")
		require.ErrorIs(t, err, context.Canceled)
	},
	"Open/closed halfway": func(t *testing.T, s storage.Store) {
		obj := Put(t, s, "a", Bytes(1, 1<<20))
		for range 3 {
			r, err := s.Open(t.Context(), obj, 0, -1)
			require.NoError(t, err)
			_, err = io.ReadFull(r, make([]byte, 10))
			require.NoError(t, err)
			require.NoError(t, r.Close())
		}
		require.Len(t, Get(t, s, obj), 1<<20)
	},
}
