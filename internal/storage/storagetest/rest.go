package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

var conditionCases = map[string]func(*testing.T, storage.Store){
	"Cond/absent": func(t *testing.T, s storage.Store) {
		obj, err := put(t.Context(), s, "a", "one", storage.Cond{Absent: true})
		require.NoError(t, err)
		_, err = put(t.Context(), s, "a", "two", storage.Cond{Absent: true})
		require.ErrorIs(t, err, storage.ErrChanged)
		require.Equal(t, "one", string(Get(t, s, obj)))
		require.NoError(t, s.Remove(t.Context(), "a"))
		_, err = put(t.Context(), s, "a", "three", storage.Cond{Absent: true})
		require.NoError(t, err)
	},
	"Cond/tag": func(t *testing.T, s storage.Store) {
		one := Put(t, s, "a", []byte("one"))
		two, err := put(t.Context(), s, "a", "two", storage.Cond{Tag: one.Tag})
		require.NoError(t, err)
		_, err = put(t.Context(), s, "a", "three", storage.Cond{Tag: one.Tag})
		require.ErrorIs(t, err, storage.ErrChanged)
		require.Equal(t, "two", string(Get(t, s, two)))
	},
	"Cond/tag of a missing object": func(t *testing.T, s storage.Store) {
		obj := Put(t, s, "a", []byte("one"))
		require.NoError(t, s.Remove(t.Context(), "a"))
		_, err := put(t.Context(), s, "a", "two", storage.Cond{Tag: obj.Tag})
		require.True(t, errors.Is(err, storage.ErrChanged) || errors.Is(err, fs.ErrNotExist), err)
		require.Empty(t, List(t, s, "").Objects)
	},
	"Cond/9 MiB": func(t *testing.T, s storage.Store) {
		data := string(Bytes(1, 9<<20))
		obj, err := put(t.Context(), s, "a", data, storage.Cond{Absent: true})
		require.NoError(t, err)
		_, err = put(t.Context(), s, "a", data, storage.Cond{Absent: true})
		require.ErrorIs(t, err, storage.ErrChanged)
		_, err = put(t.Context(), s, "a", data, storage.Cond{Tag: "no-such-tag"})
		require.ErrorIs(t, err, storage.ErrChanged)
		require.True(t, data == string(Get(t, s, obj)))
		_, err = put(t.Context(), s, "a", data, storage.Cond{Tag: obj.Tag})
		require.NoError(t, err)
	},
	"Cond/race for a new name": func(t *testing.T, s storage.Store) {
		for round := range 5 {
			race(t, s, fmt.Sprint("a", round), storage.Cond{Absent: true})
		}
	},
	"Cond/race for a version": func(t *testing.T, s storage.Store) {
		for round := range 5 {
			key := fmt.Sprint("a", round)
			race(t, s, key, storage.Cond{Tag: Put(t, s, key, []byte("first")).Tag})
		}
	},
}

// race lets eight writers go for one condition: exactly one wins, when the remote
// checks it.
func race(t *testing.T, s storage.Store, key string, cond storage.Cond) {
	t.Helper()
	var won atomic.Int32
	var winner atomic.Value
	var group sync.WaitGroup
	start := make(chan struct{})
	for i := range 8 {
		group.Go(func() {
			<-start
			data := fmt.Sprint("writer ", i)
			_, err := put(t.Context(), s, key, data, cond)
			switch {
			case err == nil:
				won.Add(1)
				winner.Store(data)
			case !errors.Is(err, storage.ErrChanged) && !errors.Is(err, storage.ErrTemporary):
				t.Error(err)
			}
		})
	}
	close(start)
	group.Wait()
	require.GreaterOrEqual(t, won.Load(), int32(1))
	if c, ok := s.(storage.Conditional); ok && c.ConditionalPut() {
		require.Equal(t, int32(1), won.Load())
		require.Equal(t, winner.Load(), string(Get(t, s, storage.Object{Key: key})))
	}
}

func put(ctx context.Context, s storage.Store, key, data string, cond storage.Cond) (storage.Object, error) {
	return s.Put(ctx, key, strings.NewReader(data), int64(len(data)), cond)
}

var removeCases = map[string]func(*testing.T, storage.Store){
	"Remove/missing": func(t *testing.T, s storage.Store) {
		require.NoError(t, s.Remove(t.Context(), "a"))
		require.NoError(t, s.Remove(t.Context(), "a/b/c"))
		Put(t, s, "a", nil)
		require.NoError(t, s.Remove(t.Context(), "a/b"))
		require.Len(t, List(t, s, "").Objects, 1)
	},
	"Remove/then it is gone": func(t *testing.T, s storage.Store) {
		obj := Put(t, s, "folder/a", []byte("hello"))
		keep := Put(t, s, "folder/a2", []byte("keep"))
		require.NoError(t, s.Remove(t.Context(), "folder/a"))
		require.NoError(t, s.Remove(t.Context(), "folder/a"))
		require.Equal(t, []string{"folder/a2"}, Keys(List(t, s, "")))
		_, err := s.Stat(t.Context(), "folder/a")
		require.ErrorIs(t, err, fs.ErrNotExist)
		_, err = s.Open(t.Context(), obj, 0, -1)
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.Equal(t, "keep", string(Get(t, s, keep)))
	},
	"Remove/a folder stays": func(t *testing.T, s storage.Store) {
		Put(t, s, "a/b/c", nil)
		require.NoError(t, s.Remove(t.Context(), "a"))
		require.NoError(t, s.Remove(t.Context(), "a/b"))
		require.Equal(t, []string{"a/b/c"}, Keys(List(t, s, "")))
	},
	"Remove/a file may take a folder's place": func(t *testing.T, s storage.Store) {
		Put(t, s, "a/b/c", nil)
		require.NoError(t, s.Remove(t.Context(), "a/b/c"))
		Put(t, s, "a", []byte("file"))
		require.Equal(t, []string{"a"}, Keys(List(t, s, "")))
		require.NoError(t, s.Remove(t.Context(), "a"))
		Put(t, s, "a/b/c", nil)
		require.Equal(t, []string{"a/b/c"}, Keys(List(t, s, "")))
	},
	"Remove/canceled": func(t *testing.T, s storage.Store) {
		Put(t, s, "a", nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, s.Remove(ctx, "a"), context.Canceled)
		require.Len(t, List(t, s, "").Objects, 1)
	},
	"Remove/beside puts": func(t *testing.T, s storage.Store) {
		Put(t, s, "shared/folder/keep", nil) // gateways over a file system stumble over folders that come and go
		var group sync.WaitGroup
		for i := range 4 {
			group.Go(func() {
				for range 10 {
					key := fmt.Sprintf("shared/folder/%d", i)
					_, err := put(t.Context(), s, key, "x", storage.Cond{})
					if err := errors.Join(err, s.Remove(t.Context(), key)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
		require.Equal(t, []string{"shared/folder/keep"}, Keys(List(t, s, "")))
	},
}

var nameCases = map[string]func(*testing.T, storage.Store){
	"Names/strange": func(t *testing.T, s storage.Store) {
		keys := StrangeKeys()
		for _, key := range keys {
			Put(t, s, key, []byte(key))
		}
		l := List(t, s, "")
		require.ElementsMatch(t, keys, Keys(l))
		for _, obj := range l.Objects {
			require.Equal(t, obj.Key, string(Get(t, s, obj)))
			stat, err := s.Stat(t.Context(), obj.Key)
			require.NoError(t, err)
			requireSame(t, obj, stat)
			require.NoError(t, s.Remove(t.Context(), obj.Key))
		}
		require.Empty(t, List(t, s, "").Objects)
	},
	"Names/strange prefixes": func(t *testing.T, s storage.Store) {
		for _, key := range []string{"a b/1", "a+b/2", "a%20b/3", "é/4", "&?#/5"} {
			Put(t, s, key, nil)
			require.Equal(t, []string{key}, Keys(List(t, s, key[:len(key)-1])))
		}
	},
	"Names/long": func(t *testing.T, s storage.Store) {
		key := strings.Repeat(strings.Repeat("x", 200)+"/", 4) + "end"
		require.Equal(t, key, string(Get(t, s, Put(t, s, key, []byte(key)))))
		require.Equal(t, []string{key}, Keys(List(t, s, "")))
	},
	"Names/hostile": func(t *testing.T, s storage.Store) {
		keep := Put(t, s, "evil/keep", []byte("keep"))
		for _, key := range HostileKeys() {
			refuses(t, s, key)
		}
		require.Equal(t, []string{"evil/keep"}, Keys(List(t, s, "")))
		require.Equal(t, "keep", string(Get(t, s, keep)))
	},
	"Names/hostile prefixes": func(t *testing.T, s storage.Store) {
		Put(t, s, "a/b", nil)
		for _, prefix := range []string{"../", "/", "/etc/", "a/../", "./", "a//", `a\`, "..", "a/./"} {
			l, err := storage.Collect(t.Context(), s, prefix)
			require.True(t, err != nil || len(l.Objects) == 0, prefix)
		}
	},
}

func refuses(t *testing.T, s storage.Store, key string) {
	t.Helper()
	var refused *storage.KeyError
	_, err := s.Stat(t.Context(), key)
	require.ErrorAs(t, err, &refused, "stat %q", key)
	require.Equal(t, key, refused.Key)
	_, err = s.Open(t.Context(), storage.Object{Key: key}, 0, -1)
	require.ErrorAs(t, err, &refused, "open %q", key)
	_, err = s.Put(t.Context(), key, bytes.NewReader([]byte("evil")), 4, storage.Cond{})
	require.ErrorAs(t, err, &refused, "put %q", key)
	require.ErrorAs(t, s.Remove(t.Context(), key), &refused, "remove %q", key)
	require.Equal(t, key, refused.Key)
	require.ErrorIs(t, err, storage.ErrKey)
	require.ErrorIs(t, err, fs.ErrInvalid)
}

var lifeCases = map[string]func(*testing.T, storage.Store){
	"Close/then everything fails": func(t *testing.T, s storage.Store) {
		obj := Put(t, s, "a", []byte("hello"))
		require.NoError(t, s.Close())
		_, err := storage.Collect(t.Context(), s, "")
		require.ErrorIs(t, err, fs.ErrClosed)
		_, err = s.Stat(t.Context(), "a")
		require.ErrorIs(t, err, fs.ErrClosed)
		_, err = s.Open(t.Context(), obj, 0, -1)
		require.ErrorIs(t, err, fs.ErrClosed)
		_, err = put(t.Context(), s, "b", "x", storage.Cond{})
		require.ErrorIs(t, err, fs.ErrClosed)
		require.ErrorIs(t, s.Remove(t.Context(), "a"), fs.ErrClosed)
	},
	"Close/twice": func(t *testing.T, s storage.Store) {
		require.NoError(t, s.Close())
		require.NoError(t, s.Close())
	},
}
