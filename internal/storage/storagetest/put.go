package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

var errReader = errors.New("the source failed")

var putCases = map[string]func(*testing.T, storage.Store){
	"Put/round trip": func(t *testing.T, s storage.Store) {
		for i, size := range []int{0, 1, 4095, 4096, 70_000} {
			key := fmt.Sprint("f", i)
			obj := Put(t, s, key, Bytes(7, size))
			require.Equal(t, Bytes(7, size), Get(t, s, obj))
		}
	},
	"Put/9 MiB": func(t *testing.T, s storage.Store) {
		data := Bytes(9, 9<<20)
		obj := Put(t, s, "folder/big", data)
		require.True(t, bytes.Equal(data, Get(t, s, obj)))
		requireSame(t, obj, List(t, s, "").Objects[0])
		got, err := read(t.Context(), s, obj, 5<<20-5, 10)
		require.NoError(t, err)
		require.Equal(t, data[5<<20-5:5<<20+5], got)
	},
	"Put/odd readers": func(t *testing.T, s storage.Store) {
		data := Bytes(5, 1000)
		for name, r := range map[string]io.Reader{
			"byte":  iotest.OneByteReader(bytes.NewReader(data)),
			"half":  iotest.HalfReader(bytes.NewReader(data)),
			"eof":   iotest.DataErrReader(bytes.NewReader(data)),
			"multi": io.MultiReader(bytes.NewReader(data[:10]), bytes.NewReader(data[10:])),
		} {
			obj, err := s.Put(t.Context(), name, r, 1000, storage.Cond{})
			require.NoError(t, err, name)
			require.Equal(t, data, Get(t, s, obj), name)
		}
	},
	"Put/replaces": func(t *testing.T, s storage.Store) {
		first := Put(t, s, "a", []byte("one"))
		second := Put(t, s, "a", []byte("two"))
		require.NotEqual(t, first.Tag, second.Tag, "same size, other content")
		require.Equal(t, "two", string(Get(t, s, second)))
		shorter := Put(t, s, "a", []byte("3"))
		require.Equal(t, "3", string(Get(t, s, shorter)))
		require.Len(t, List(t, s, "").Objects, 1)
	},
	"Put/a reader that is wrong": func(t *testing.T, s storage.Store) {
		for _, size := range []int64{3, 0, 100, 70_000, 9 << 20} {
			for name, r := range map[string]io.Reader{
				"short":  io.LimitReader(zeros{}, max(size-1, 0)),
				"long":   io.LimitReader(zeros{}, size+1),
				"fails":  io.MultiReader(io.LimitReader(zeros{}, size/2), iotest.ErrReader(errReader)),
				"fails2": io.MultiReader(io.LimitReader(zeros{}, size), iotest.ErrReader(errReader)),
			} {
				if name == "short" && size == 0 {
					continue
				}
				_, err := s.Put(t.Context(), "folder/a", r, size, storage.Cond{})
				require.Error(t, err, "%s %d", name, size)
				require.Equal(t, name == "short", errors.Is(err, io.ErrUnexpectedEOF), "%s %d: %v", name, size, err)
				require.Equal(t, strings.HasPrefix(name, "fails"), errors.Is(err, errReader), "%s %d: %v", name, size, err)
				require.NotErrorIs(t, err, storage.ErrTemporary, "%s %d", name, size)
			}
		}
		require.Empty(t, List(t, s, "").Objects)
	},
	"Put/a failed one keeps the old": func(t *testing.T, s storage.Store) {
		old := Put(t, s, "a", []byte("old"))
		for _, size := range []int64{100, 9 << 20} {
			_, err := s.Put(t.Context(), "a", io.LimitReader(zeros{}, size-1), size, storage.Cond{})
			require.Error(t, err)
		}
		require.Equal(t, "old", string(Get(t, s, old)))
	},
	"Put/wrong arguments": func(t *testing.T, s storage.Store) {
		_, err := s.Put(t.Context(), "a", strings.NewReader(""), -1, storage.Cond{})
		require.ErrorIs(t, err, fs.ErrInvalid)
		_, err = s.Put(t.Context(), "a", strings.NewReader(""), 0, storage.Cond{Tag: "x", Absent: true})
		require.ErrorIs(t, err, fs.ErrInvalid)
		require.Empty(t, List(t, s, "").Objects)
	},
	"Put/nobody sees half of it": func(t *testing.T, s storage.Store) {
		for _, size := range []int64{100_000, 9 << 20} {
			r, w := io.Pipe()
			result := make(chan error)
			go func() {
				_, err := s.Put(t.Context(), "a", r, size, storage.Cond{})
				result <- errors.Join(err, r.Close())
			}()
			_, err := io.CopyN(w, zeros{}, size-10)
			require.NoError(t, err)
			require.Empty(t, List(t, s, "").Objects)
			_, err = s.Stat(t.Context(), "a")
			require.ErrorIs(t, err, fs.ErrNotExist)
			_, err = io.CopyN(w, zeros{}, 10)
			require.NoError(t, errors.Join(err, w.Close()))
			require.NoError(t, <-result)
			require.Len(t, List(t, s, "").Objects, 1)
			require.NoError(t, s.Remove(t.Context(), "a"))
		}
	},
	"Put/canceled": func(t *testing.T, s storage.Store) {
		for _, size := range []int64{100_000, 9 << 20} {
			ctx, cancel := context.WithCancel(t.Context())
			_, err := s.Put(ctx, "a", &cancelReader{left: size / 2, cancel: cancel}, size, storage.Cond{})
			require.ErrorIs(t, err, context.Canceled)
			_, err = s.Put(ctx, "a", strings.NewReader("a"), 1, storage.Cond{})
			require.ErrorIs(t, err, context.Canceled)
		}
		require.Empty(t, List(t, s, "").Objects)
	},
	"Put/many at once": func(t *testing.T, s storage.Store) {
		var group sync.WaitGroup
		for i := range 32 {
			group.Go(func() {
				data := Bytes(uint64(i), 1000+i)
				_, err := s.Put(t.Context(), fmt.Sprintf("same/folder%d/%d", i%3, i), bytes.NewReader(data), int64(len(data)), storage.Cond{})
				if err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		l := List(t, s, "")
		require.Len(t, l.Objects, 32)
		for _, obj := range l.Objects {
			require.Equal(t, Bytes(uint64(obj.Size-1000), int(obj.Size)), Get(t, s, obj))
		}
	},
	"Put/one name by many at once": func(t *testing.T, s storage.Store) {
		var group sync.WaitGroup
		for i := range 16 {
			group.Go(func() {
				data := Bytes(uint64(i), 50_000+i)
				_, err := s.Put(t.Context(), "a", bytes.NewReader(data), int64(len(data)), storage.Cond{})
				if err != nil && !errors.Is(err, storage.ErrTemporary) {
					t.Error(err)
				}
			})
		}
		group.Wait()
		l := List(t, s, "")
		require.Len(t, l.Objects, 1)
		obj := l.Objects[0]
		require.Equal(t, Bytes(uint64(obj.Size-50_000), int(obj.Size)), Get(t, s, obj))
	},
	"Put/a file and a folder of one name": func(t *testing.T, s storage.Store) {
		for _, keys := range [][2]string{{"a/b", "a"}, {"c", "c/d"}, {"e", "e/f/g"}} {
			first := Put(t, s, keys[0], []byte("first"))
			second, err := s.Put(t.Context(), keys[1], strings.NewReader("second"), 6, storage.Cond{})
			require.Equal(t, "first", string(Get(t, s, first)))
			if err == nil { // S3 itself can hold both
				require.Equal(t, "second", string(Get(t, s, second)))
				continue
			}
			_, err = s.Stat(t.Context(), keys[1])
			require.ErrorIs(t, err, fs.ErrNotExist)
		}
	},
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// cancelReader cancels when left bytes have been read, and goes on.
type cancelReader struct {
	left   int64
	cancel func()
}

func (r *cancelReader) Read(p []byte) (int, error) {
	clear(p)
	if r.left -= int64(len(p)); r.left < 0 {
		r.cancel()
	}
	return len(p), nil
}
