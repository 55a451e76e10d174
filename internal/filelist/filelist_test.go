package filelist_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/filelist"
	"github.com/d6t/d6tpipe-go/internal/storage"
)

var at = time.Date(2026, 11, 1, 12, 0, 0, 123456000, time.UTC)

func listing(t testing.TB, objects ...storage.Object) storage.Listing {
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

func sample(t testing.TB) filelist.Document {
	return filelist.Document{ScannedAt: at, Listing: listing(t,
		storage.Object{Key: "2026/ü \"1\".csv", Size: 1 << 40, ModTime: at.Add(-time.Hour), Tag: "5d41402abc4b2a76b9719d911017c592", Sum: "md5:5d41402abc4b2a76b9719d911017c592"},
		storage.Object{Key: "a<b>&.csv", Size: 0, Tag: `"strong"`},
		storage.Object{Key: "bare.csv", Size: 3, ModTime: time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC)},
		storage.Object{Key: "../up", Size: 1}, storage.Object{Key: "X", Size: 1}, storage.Object{Key: "x", Size: 1}, storage.Object{Key: "bad\xff", Size: 1},
	)}
}

func written(t testing.TB, d filelist.Document) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, filelist.Write(&b, d))
	return b.Bytes()
}

// TestDocument: the form is the contract, so it is written out.
func TestDocument(t *testing.T) {
	text := written(t, sample(t))
	require.Equal(t, `{"scanned_at":"2026-11-01T12:00:00.123456Z","files":[
{"key":"2026/ü \"1\".csv","size":1099511627776,"modified":"2026-11-01T11:00:00.123456Z","tag":"5d41402abc4b2a76b9719d911017c592","sum":"md5:5d41402abc4b2a76b9719d911017c592"},
{"key":"a<b>&.csv","size":0,"tag":"\"strong\""},
{"key":"bare.csv","size":3}],"refused":[
`, string(text[:bytes.Index(text, []byte(`{"key":"../up"`))]))
	require.True(t, json.Valid(text))
	doc, err := filelist.Read(bytes.NewReader(text), filelist.Limits{})
	require.NoError(t, err)
	require.Equal(t, at, doc.ScannedAt)
	require.False(t, doc.Listing.Complete())
	want := sample(t).Listing.Objects()
	want[2].ModTime = time.Time{} // RFC 3339 has no year of five digits
	require.Equal(t, want, doc.Listing.Objects())
	require.Len(t, doc.Listing.Refused, 4)
	require.Equal(t, text, written(t, sample(t)), "equal listings are equal bytes")
}

// TestNotWhole: a document that lacks its end, or says nothing of it, is none.
func TestNotWhole(t *testing.T) {
	text := written(t, sample(t))
	for i := range len(text) - 2 { // the last is a line break, before it the bracket
		_, err := filelist.Read(bytes.NewReader(text[:i]), filelist.Limits{})
		require.ErrorIs(t, err, filelist.ErrMalformed, "cut off at %d", i)
	}
	for _, bad := range []string{
		``, `null`, `[]`, `1`, `{}`, `{"complete":true}`, `{"files":[],"complete":true}`, `{"scanned_at":"2026-11-01T12:00:00Z","complete":true}`,
		`{"scanned_at":"2026-11-01T12:00:00Z","files":[]}`, `{"scanned_at":"2026-11-01T12:00:00Z","files":[],"complete":false}`,
		`{"scanned_at":"2026-11-01T12:00:00Z","files":null,"complete":true}`, `{"scanned_at":"x","files":[],"complete":true}`,
		`{"scanned_at":"2026-11-01T12:00:00Z","files":[],"files":[],"complete":true}`,
		`{"scanned_at":"2026-11-01T12:00:00Z","files":[],"complete":true,"complete":true}`,
		`{"scanned_at":"2026-11-01T12:00:00Z","files":[],"complete":true}{}`,
		`{"scanned_at":"2026-11-01T12:00:00Z","files":[{"key":"a"}],"complete":true}`,
		`{"scanned_at":"2026-11-01T12:00:00Z","files":[{"size":1}],"complete":true}`,
		`{"scanned_at":"2026-11-01T12:00:00Z","files":[{"key":"a","size":-1}],"complete":true}`,
		`{"scanned_at":"2026-11-01T12:00:00Z","files":[{"key":"a","size":1.5}],"complete":true}`,
		`{"scanned_at":"2026-11-01T12:00:00Z","files":[{"key":"a","size":1e99}],"complete":true}`,
		`{"scanned_at":"2026-11-01T12:00:00Z","files":["a"],"complete":true}`, `{"scanned_at":"2026-11-01T12:00:00Z","files":{},"complete":true}`,
	} {
		_, err := filelist.Read(strings.NewReader(bad), filelist.Limits{})
		require.ErrorIs(t, err, filelist.ErrMalformed, bad)
	}
	gone := errors.New("the network is gone")
	_, err := filelist.Read(io.MultiReader(bytes.NewReader(text[:40]), iotest.ErrReader(gone)), filelist.Limits{})
	require.ErrorIs(t, err, gone)
	require.NotErrorIs(t, err, filelist.ErrMalformed, "a connection that broke is no malformed document")
}

// TestUnknown: what a later version adds is passed over.
func TestUnknown(t *testing.T) {
	doc, err := filelist.Read(strings.NewReader(`{"next":{"a":[1,2]},"complete":true,"files":[{"key":"a","size":1,"owner":"me"}],"scanned_at":"2026-11-01T12:00:00Z","more":null}`), filelist.Limits{})
	require.NoError(t, err)
	require.Equal(t, []storage.Object{{Key: "a", Size: 1}}, doc.Listing.Objects())
}

func TestLimits(t *testing.T) {
	text := written(t, sample(t))
	_, err := filelist.Read(bytes.NewReader(text), filelist.Limits{Bytes: int64(len(text)) - 3})
	require.ErrorIs(t, err, filelist.ErrTooLarge)
	_, err = filelist.Read(bytes.NewReader(text), filelist.Limits{Files: 6})
	require.ErrorIs(t, err, filelist.ErrTooLarge)
	_, err = filelist.Read(bytes.NewReader(text), filelist.Limits{Files: 7})
	require.NoError(t, err)
}

// TestBoundedMemory: neither a name that does not end nor a field that nobody knows
// gets into memory, and neither does what a gigabyte of nothing says.
func TestBoundedMemory(t *testing.T) {
	head := `{"scanned_at":"2026-11-01T12:00:00Z","files":[`
	for name, r := range map[string]io.Reader{
		"a name":    io.MultiReader(strings.NewReader(head+`{"key":"`), endless('a')),
		"a number":  io.MultiReader(strings.NewReader(head+`{"size":`), endless('1')),
		"brackets":  io.MultiReader(strings.NewReader(head), endless('[')),
		"a field":   io.MultiReader(strings.NewReader(`{"`), endless('f')),
		"unknown":   io.MultiReader(strings.NewReader(`{"more":"`), endless('u')),
		"space":     io.MultiReader(strings.NewReader(head), endless(' ')),
		"no object": endless(' '),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := filelist.Read(r, filelist.Limits{})
			require.Error(t, err)
			runtime.ReadMemStats(&after)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4<<20))
		})
	}
}

// endless is a reader of one byte for ever.
func endless(c byte) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		for i := range p {
			p[i] = c
		}
		return len(p), nil
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// FuzzListingDecode: what can be read can be written and read again, and is the same.
func FuzzListingDecode(f *testing.F) {
	f.Add(written(f, sample(f)))
	f.Add([]byte(`{"scanned_at":"2026-11-01T12:00:00Z","files":[{"key":"a","size":1}],"refused":[{"key":"b","reason":"c"}],"complete":true}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := filelist.Read(bytes.NewReader(data), filelist.Limits{Bytes: 1 << 20, Files: 1000})
		if err != nil {
			return
		}
		require.False(t, doc.Listing.Complete())
		for obj := range doc.Listing.All() {
			require.NoError(t, storage.CheckKey(obj.Key))
		}
		text := written(t, doc)
		again, err := filelist.Read(bytes.NewReader(text), filelist.Limits{})
		require.NoError(t, err)
		require.Equal(t, text, written(t, again))
	})
}

func BenchmarkRead(b *testing.B) {
	var objects []storage.Object
	for i := range 100_000 {
		tag := fmt.Sprintf("%032x", i)
		objects = append(objects, storage.Object{Key: fmt.Sprintf("2026/%03d/part-%05d.parquet", i/1000, i), Size: int64(i), ModTime: at, Tag: tag, Sum: "md5:" + tag})
	}
	l := listing(b, objects...)
	text, saved := written(b, filelist.Document{ScannedAt: at, Listing: l}), l.Append(nil)
	b.Run("document", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			_, err := filelist.Read(bytes.NewReader(text), filelist.Limits{})
			require.NoError(b, err)
		}
	})
	b.Run("saved", func(b *testing.B) {
		b.SetBytes(int64(len(saved)))
		for b.Loop() {
			_, err := storage.Restore(saved)
			require.NoError(b, err)
		}
	})
}
