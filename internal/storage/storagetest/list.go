package storagetest

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

var listCases = map[string]func(*testing.T, storage.Store){
	"List/empty": func(t *testing.T, s storage.Store) {
		require.Empty(t, List(t, s, "").Objects)
		require.Empty(t, List(t, s, "folder/").Objects)
	},
	"List/what Put returned": func(t *testing.T, s storage.Store) {
		obj := Put(t, s, "folder/a.csv", []byte("hello"))
		l := List(t, s, "")
		require.Len(t, l.Objects, 1)
		requireSame(t, obj, l.Objects[0])
		require.EqualValues(t, 5, obj.Size)
		require.NotEmpty(t, obj.Tag)
		require.WithinDuration(t, time.Now(), l.Objects[0].ModTime, time.Minute)
		require.Equal(t, time.UTC, l.Objects[0].ModTime.Location())
	},
	"List/what Stat says": func(t *testing.T, s storage.Store) {
		Put(t, s, "a", []byte("hello"))
		obj, err := s.Stat(t.Context(), "a")
		require.NoError(t, err)
		requireSame(t, List(t, s, "").Objects[0], obj)
	},
	"List/a sum is the content's": func(t *testing.T, s storage.Store) {
		if obj := Put(t, s, "a", []byte("hello")); obj.Sum != "" {
			require.Equal(t, sum([]byte("hello")), obj.Sum)
		}
	},
	"List/sibling prefix": func(t *testing.T, s storage.Store) {
		for _, key := range []string{"data/a", "data2/b", "data-private/c", "dat", "x/data/d"} {
			Put(t, s, key, nil)
		}
		require.Equal(t, []string{"data/a"}, Keys(List(t, s, "data/")))
		require.Equal(t, []string{"data-private/c", "data/a", "data2/b"}, Keys(List(t, s, "data")))
		require.Equal(t, []string{"data2/b"}, Keys(List(t, s, "data2")))
		require.Empty(t, List(t, s, "data/a/").Objects)
	},
	"List/part of a name": func(t *testing.T, s storage.Store) {
		for _, key := range []string{"a/2026-10.csv", "a/2026-11.csv", "a/2025-11.csv"} {
			Put(t, s, key, nil)
		}
		require.Equal(t, []string{"a/2026-10.csv", "a/2026-11.csv"}, Keys(List(t, s, "a/2026")))
		require.Equal(t, []string{"a/2026-11.csv"}, Keys(List(t, s, "a/2026-11.csv")))
	},
	"List/no match": func(t *testing.T, s storage.Store) {
		Put(t, s, "a/b", nil)
		for _, prefix := range []string{"b", "a/c", "a/b/", "A", "nothing/here/"} {
			require.Empty(t, List(t, s, prefix).Objects, prefix)
		}
	},
	"List/nested": func(t *testing.T, s storage.Store) {
		keys := []string{"a/b/c/d/e/f/g", "a/b/c/h", "a/i", "j"}
		for _, key := range keys {
			Put(t, s, key, []byte(key))
		}
		require.Equal(t, keys, Keys(List(t, s, "")))
		require.Equal(t, keys[:2], Keys(List(t, s, "a/b/c/")))
	},
	"List/1105 keys": func(t *testing.T, s storage.Store) {
		const n = 1105
		var group sync.WaitGroup
		for worker := range 5 {
			group.Go(func() {
				for i := worker; i < n; i += 5 {
					_, err := s.Put(t.Context(), fmt.Sprintf("f/%04d", i), bytes.NewReader(nil), 0, storage.Cond{})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
		l := List(t, s, "")
		require.Len(t, l.Objects, n)
		require.Equal(t, "f/0000", l.Objects[0].Key)
		require.Equal(t, "f/1104", l.Objects[n-1].Key)
		require.Len(t, List(t, s, "f/110").Objects, 5)
	},
	"List/break": func(t *testing.T, s storage.Store) {
		for _, key := range []string{"a", "b", "c/d"} {
			Put(t, s, key, nil)
		}
		seen := 0
		for _, err := range s.List(t.Context(), "") {
			require.NoError(t, err)
			seen++
			break
		}
		require.Equal(t, 1, seen)
		require.Len(t, List(t, s, "").Objects, 3)
	},
	"List/twice": func(t *testing.T, s storage.Store) {
		Put(t, s, "a", nil)
		listing := s.List(t.Context(), "")
		for range 2 {
			seen := 0
			for _, err := range listing {
				require.NoError(t, err)
				seen++
			}
			require.Equal(t, 1, seen)
		}
	},
	"List/canceled before": func(t *testing.T, s storage.Store) {
		Put(t, s, "a", nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		l, err := storage.Collect(ctx, s, "")
		require.ErrorIs(t, err, context.Canceled)
		require.False(t, l.Complete())
	},
	"List/canceled meanwhile": func(t *testing.T, s storage.Store) {
		for _, key := range []string{"a", "b", "c"} {
			Put(t, s, key, nil)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		objects := 0
		var last error
		for _, err := range s.List(ctx, "") {
			require.NoError(t, last, "an error comes last")
			if last = err; err == nil {
				objects++
			}
			cancel()
		}
		require.ErrorIs(t, last, context.Canceled)
		require.Less(t, objects, 3)
	},
}
