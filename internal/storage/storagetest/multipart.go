package storagetest

import (
	"bytes"
	"errors"
	"io/fs"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// unit is what sizes of parts are a multiple of.
const unit = 64 << 10

// begin begins an upload of three parts and a bit; a store without a Multipart
// skips the case.
func begin(t *testing.T, s storage.Store, key string) (storage.Multipart, storage.Upload, []byte) {
	m := storage.MultipartOf(s)
	if m == nil {
		t.Skip("this store takes objects in one piece only")
	}
	probe, err := m.Begin(t.Context(), key, 1, unit)
	require.NoError(t, err)
	require.NoError(t, m.Abort(t.Context(), probe))
	data := Bytes(3, int(3*probe.PartSize+5))
	u, err := m.Begin(t.Context(), key, int64(len(data)), unit)
	require.NoError(t, err)
	require.Equal(t, key, u.Key)
	require.Zero(t, u.PartSize%unit)
	require.GreaterOrEqual(t, u.Parts(), 2)
	return m, u, data
}

// sendAll sends the parts that are not in have.
func sendAll(t *testing.T, m storage.Multipart, u storage.Upload, data []byte, have ...storage.Part) []storage.Part {
	for n := len(have); n < u.Parts(); n++ {
		off, size := u.Part(n)
		part, err := m.Send(t.Context(), u, n, bytes.NewReader(data[off:off+size]), size)
		require.NoError(t, err)
		require.Equal(t, n, part.Number)
		require.Equal(t, size, part.Size)
		have = append(have, part)
	}
	return have
}

var multipartCases = map[string]func(*testing.T, storage.Store){
	"Multipart/round trip": func(t *testing.T, s storage.Store) {
		m, u, data := begin(t, s, "folder/a")
		parts := sendAll(t, m, u, data)
		require.Empty(t, List(t, s, "").Objects, "nobody sees it before it is finished")
		arrived, err := m.Arrived(t.Context(), u)
		require.NoError(t, err)
		require.Len(t, arrived, len(parts))
		obj, err := m.Finish(t.Context(), u, parts, storage.Cond{Absent: true})
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, Get(t, s, obj)))
		requireSame(t, obj, List(t, s, "").Objects[0])
		require.NoError(t, m.Abort(t.Context(), u), "there is nothing to abort any more")
		require.Len(t, List(t, s, "").Objects, 1)
		_, err = m.Arrived(t.Context(), u)
		require.ErrorIs(t, err, fs.ErrNotExist)
	},
	"Multipart/goes on": func(t *testing.T, s storage.Store) {
		m, u, data := begin(t, s, "a")
		_, size := u.Part(0)
		first, err := m.Send(t.Context(), u, 0, bytes.NewReader(data[:size]), size)
		require.NoError(t, err)
		_, err = m.Send(t.Context(), u, 1, iotest.TimeoutReader(iotest.HalfReader(bytes.NewReader(data[size:2*size]))), size)
		require.Error(t, err)
		m = storage.MultipartOf(s)
		arrived, err := m.Arrived(t.Context(), u)
		require.NoError(t, err)
		require.Equal(t, []int{0}, numbers(arrived))
		require.Equal(t, size, arrived[0].Size)
		parts := sendAll(t, m, u, data, first)
		obj, err := m.Finish(t.Context(), u, parts, storage.Cond{})
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, Get(t, s, obj)))
	},
	"Multipart/a part is replaced": func(t *testing.T, s storage.Store) {
		m, u, data := begin(t, s, "a")
		_, size := u.Part(0)
		_, err := m.Send(t.Context(), u, 0, bytes.NewReader(Bytes(8, int(size))), size)
		require.NoError(t, err)
		obj, err := m.Finish(t.Context(), u, sendAll(t, m, u, data), storage.Cond{})
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, Get(t, s, obj)))
	},
	"Multipart/a reader that is wrong": func(t *testing.T, s storage.Store) {
		m, u, data := begin(t, s, "a")
		_, size := u.Part(0)
		_, err := m.Send(t.Context(), u, 0, bytes.NewReader(data[:size-1]), size)
		require.Error(t, err)
		_, err = m.Send(t.Context(), u, 0, iotest.ErrReader(errReader), size)
		require.True(t, errors.Is(err, errReader), "%v", err)
		arrived, err := m.Arrived(t.Context(), u)
		require.NoError(t, err)
		require.Empty(t, arrived)
		require.NoError(t, m.Abort(t.Context(), u))
		require.Empty(t, List(t, s, "").Objects)
	},
	"Multipart/aborted": func(t *testing.T, s storage.Store) {
		m, u, data := begin(t, s, "folder/a")
		parts := sendAll(t, m, u, data)
		require.NoError(t, m.Abort(t.Context(), u))
		require.NoError(t, m.Abort(t.Context(), u))
		_, err := m.Arrived(t.Context(), u)
		require.ErrorIs(t, err, fs.ErrNotExist)
		_, err = m.Finish(t.Context(), u, parts, storage.Cond{})
		require.Error(t, err)
		require.Empty(t, List(t, s, "").Objects)
	},
	"Multipart/condition": func(t *testing.T, s storage.Store) {
		m, u, data := begin(t, s, "a")
		old := Put(t, s, "a", []byte("old"))
		parts := sendAll(t, m, u, data)
		_, err := m.Finish(t.Context(), u, parts, storage.Cond{Absent: true})
		require.ErrorIs(t, err, storage.ErrChanged)
		require.Equal(t, "old", string(Get(t, s, old)))
		obj, err := m.Finish(t.Context(), u, parts, storage.Cond{Tag: old.Tag})
		if errors.Is(err, fs.ErrNotExist) { // some remotes forget an upload that they refused
			require.Equal(t, "old", string(Get(t, s, old)))
			return
		}
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, Get(t, s, obj)))
	},
	"Multipart/two uploads": func(t *testing.T, s storage.Store) {
		m, u, data := begin(t, s, "a")
		m2, u2, data2 := begin(t, s, "a")
		data2 = append(data2[1:], 'x')
		parts, parts2 := sendAll(t, m, u, data), sendAll(t, m2, u2, data2)
		_, err := m.Finish(t.Context(), u, parts, storage.Cond{})
		require.NoError(t, err)
		obj, err := m2.Finish(t.Context(), u2, parts2, storage.Cond{})
		require.NoError(t, err)
		require.True(t, bytes.Equal(data2, Get(t, s, obj)))
		require.Len(t, List(t, s, "").Objects, 1)
	},
	"Multipart/unsafe name": func(t *testing.T, s storage.Store) {
		m, u, _ := begin(t, s, "a")
		require.NoError(t, m.Abort(t.Context(), u))
		_, err := m.Begin(t.Context(), "../a", 10, unit)
		require.ErrorIs(t, err, storage.ErrKey)
		u.Key = "../a"
		_, err = m.Finish(t.Context(), u, nil, storage.Cond{})
		require.Error(t, err)
		_, err = m.Send(t.Context(), u, 0, bytes.NewReader([]byte("x")), 1)
		require.Error(t, err)
	},
}

func numbers(parts []storage.Part) (all []int) {
	for _, p := range parts {
		all = append(all, p.Number)
	}
	return all
}
