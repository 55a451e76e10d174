package httpfile_test

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/leaktest"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/httpfile"
	"github.com/d6t/d6tpipe-go/internal/storage/storagetest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// A site is a folder behind Go's file server.
type site struct {
	dir   string
	url   string // with a slash at its end
	ca    []byte // of a server with TLS
	etags bool
	heads atomic.Int32
	gets  atomic.Int32

	mu  sync.Mutex
	odd func(http.ResponseWriter, *http.Request) bool // answers in its place when it returns true
}

// act sets what answers in the server's place.
func (s *site) act(odd func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.odd = odd
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead {
		s.heads.Add(1)
	} else {
		s.gets.Add(1)
	}
	s.mu.Lock()
	odd := s.odd
	s.mu.Unlock()
	if odd != nil && odd(w, r) {
		return
	}
	if data, err := os.ReadFile(filepath.Join(s.dir, filepath.FromSlash(r.URL.Path))); s.etags && err == nil {
		w.Header().Set("ETag", `"`+hexSum(data)[:16]+`"`)
	}
	http.FileServer(http.Dir(s.dir)).ServeHTTP(w, r)
}

func serve(t *testing.T, s *site, start func(http.Handler) *httptest.Server) *site {
	t.Helper()
	s.dir = t.TempDir()
	server := start(s)
	t.Cleanup(server.Close)
	s.url = server.URL + "/"
	if cert := server.Certificate(); cert != nil {
		s.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	}
	return s
}

func withoutTLS(h http.Handler) *httptest.Server { return httptest.NewServer(h) }

// withTLS starts a server that is quiet about connections that nobody needed.
func withTLS(h http.Handler) *httptest.Server {
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.EnableHTTP2 = true
	server.StartTLS()
	return server
}

func plainSite(t *testing.T) *site { return serve(t, &site{}, withoutTLS) }

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func (s *site) write(t *testing.T, key string, data []byte) {
	t.Helper()
	path := filepath.Join(s.dir, filepath.FromSlash(key))
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, data, 0o644))
}

func open(t *testing.T, s *site, o httpfile.Options) *httpfile.Store {
	t.Helper()
	o.Location, o.CA = s.url+o.Location, s.ca
	store, err := httpfile.New(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

// spell writes a manifest of files in one of the formats that are known.
var spell = map[string]func(files map[string][]byte) string{
	"JSON list with all": func(files map[string][]byte) string {
		var list []map[string]any
		for key, data := range files {
			list = append(list, map[string]any{"key": key, "size": len(data), "sha256": hexSum(data), "mtime": "2026-11-01T12:00:00Z"})
		}
		return encode(list)
	},
	"JSON object with names and sizes": func(files map[string][]byte) string {
		list := []map[string]any{}
		for key, data := range files {
			list = append(list, map[string]any{"name": "./" + key, "size": len(data), "modified": 1793534400})
		}
		return "\ufeff" + encode(map[string]any{"files": list, "version": 1})
	},
	"JSON names": func(files map[string][]byte) string {
		list := []string{}
		for key := range files {
			list = append(list, key)
		}
		return encode(list)
	},
	"sha256sum": func(files map[string][]byte) string {
		text := ""
		for key, data := range files {
			text += hexSum(data) + "  ./" + key + "\n"
		}
		return text
	},
	"md5sum": func(files map[string][]byte) string {
		text := ""
		for key, data := range files {
			text += fmt.Sprintf("%x *%s\r\n", md5.Sum(data), key)
		}
		return text
	},
}

func encode(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// Each server with each manifest does what every store does for those who read.
func TestStore(t *testing.T) {
	files := map[string][]byte{
		"a": storagetest.Bytes(1, 1000), "empty": nil, "big": storagetest.Bytes(2, 2<<20), "data/b.csv": []byte("b"),
		"data2/c.csv": []byte("c"), "é ü/100%.csv": []byte("odd"), "q?x=1/#.csv": []byte("query"),
	}
	servers := map[string]func(*testing.T) *site{
		"with times":         plainSite,
		"with ETags":         func(t *testing.T) *site { return serve(t, &site{etags: true}, withoutTLS) },
		"TLS":                func(t *testing.T) *site { return serve(t, &site{etags: true}, withTLS) },
		"without ranges":     func(t *testing.T) *site { return serve(t, &site{odd: whole}, withoutTLS) },
		"without HEAD":       func(t *testing.T) *site { return serve(t, &site{odd: noHead}, withoutTLS) },
		"without any header": func(t *testing.T) *site { return serve(t, &site{odd: bare}, withoutTLS) },
	}
	for name, start := range servers {
		for format, manifest := range spell {
			t.Run(name+"/"+format, func(t *testing.T) {
				s := start(t)
				for key, data := range files {
					s.write(t, key, data)
				}
				s.write(t, "manifest", []byte(manifest(files)))
				checkRead(t, open(t, s, httpfile.Options{Manifest: "manifest"}), files, name == "without any header")
			})
		}
		t.Run(name+"/list of names", func(t *testing.T) {
			s := start(t)
			for key, data := range files {
				s.write(t, "below/"+key, data)
			}
			names := []string{}
			for key := range files {
				names = append(names, key)
			}
			checkRead(t, open(t, s, httpfile.Options{Location: "below", Files: names}), files, name == "without any header")
		})
	}
}

// whole answers every GET with the whole file.
func whole(_ http.ResponseWriter, r *http.Request) bool {
	r.Header.Del("Range")
	return false
}

func noHead(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return true
	}
	return false
}

// bare tells nothing of versions.
func bare(w http.ResponseWriter, r *http.Request) bool {
	http.FileServer(http.Dir(r.Context().Value(http.ServerContextKey).(*http.Server).Handler.(*site).dir)).ServeHTTP(&bareWriter{w}, r)
	return true
}

type bareWriter struct{ http.ResponseWriter }

func (w *bareWriter) WriteHeader(status int) {
	w.Header().Del("Last-Modified")
	w.ResponseWriter.WriteHeader(status)
}

func checkRead(t *testing.T, store *httpfile.Store, files map[string][]byte, bare bool) {
	t.Helper()
	ctx := t.Context()
	keys := []string{}
	for key := range files {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	l := storagetest.List(t, store, "")
	require.Equal(t, keys, storagetest.Keys(l))
	require.Equal(t, []string{"data/b.csv"}, storagetest.Keys(storagetest.List(t, store, "data/")))
	require.Equal(t, []string{"data/b.csv", "data2/c.csv"}, storagetest.Keys(storagetest.List(t, store, "data")))
	require.Empty(t, storagetest.List(t, store, "none").Objects())
	for _, obj := range l.Objects() {
		data := files[obj.Key]
		require.EqualValues(t, len(data), obj.Size)
		require.Equal(t, bare && obj.Sum == "", obj.Tag == "", "a size alone is no version")
		require.Equal(t, time.UTC, obj.ModTime.Location())
		stat, err := store.Stat(ctx, obj.Key)
		require.NoError(t, err)
		require.Equal(t, obj, stat)
		switch name, sum, _ := strings.Cut(obj.Sum, ":"); name {
		case "sha256":
			require.Equal(t, hexSum(data), sum)
		case "md5":
			require.Equal(t, fmt.Sprintf("%x", md5.Sum(data)), sum)
		default:
			require.Empty(t, obj.Sum)
		}
		size := obj.Size
		for _, r := range [][2]int64{
			{0, -1}, {0, 0}, {0, 1}, {0, size}, {0, size + 1}, {1, -1}, {1, 1}, {size / 2, size / 4}, {size - 1, 1}, {size - 1, -1},
			{size, -1}, {size, 5}, {size + 1, -1}, {size + 5000, 10}, {size / 2, 0},
		} {
			if r[0] < 0 {
				continue
			}
			got, err := read(ctx, store, obj, r[0], r[1])
			require.NoError(t, err, "%q %v", obj.Key, r)
			from, to := min(r[0], size), size
			if r[1] >= 0 {
				to = min(from+r[1], size)
			}
			require.Equal(t, string(data[from:to]), string(got), "%q %v", obj.Key, r)
		}
		other := obj
		other.Tag = "0-no-such-tag"
		for _, r := range [][2]int64{{0, -1}, {0, 0}, {0, 1}, {1, -1}, {size + 5, 3}} {
			_, err = read(ctx, store, other, r[0], r[1])
			require.ErrorIs(t, err, storage.ErrChanged, r)
		}
		other = obj
		other.Size++
		if obj.Tag != "" {
			_, err = read(ctx, store, other, 0, -1)
			require.ErrorIs(t, err, storage.ErrChanged)
		}
		_, err = read(ctx, store, obj, -1, -1)
		require.ErrorIs(t, err, fs.ErrInvalid)
	}
	for _, key := range []string{"none", "data", "a/b/c"} {
		_, err := store.Stat(ctx, key)
		require.ErrorIs(t, err, fs.ErrNotExist, key)
		for _, n := range []int64{-1, 0, 5} {
			_, err := read(ctx, store, storage.Object{Key: key + "/x"}, 0, n)
			require.ErrorIs(t, err, fs.ErrNotExist)
		}
	}
	for _, key := range storagetest.HostileKeys() {
		_, err := store.Stat(ctx, key)
		require.ErrorIs(t, err, storage.ErrKey)
		_, err = read(ctx, store, storage.Object{Key: key}, 0, -1)
		require.ErrorIs(t, err, storage.ErrKey)
		_, err = store.Put(ctx, key, strings.NewReader(""), 0, storage.Cond{})
		require.ErrorIs(t, err, storage.ErrKey)
		require.ErrorIs(t, store.Remove(ctx, key), storage.ErrKey)
	}
	_, err := store.Put(ctx, "a", strings.NewReader("x"), 1, storage.Cond{})
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.ErrorContains(t, err, "read-only")
	require.ErrorIs(t, store.Remove(ctx, "a"), errors.ErrUnsupported)
	require.Nil(t, storage.MultipartOf(store))
	checkCancelled(t, store)
	require.NoError(t, store.Close())
	_, err = storage.Collect(ctx, store, "")
	require.ErrorIs(t, err, fs.ErrClosed)
	_, err = store.Stat(ctx, "a")
	require.ErrorIs(t, err, fs.ErrClosed)
	_, err = read(ctx, store, storage.Object{Key: "a"}, 0, -1)
	require.ErrorIs(t, err, fs.ErrClosed)
	require.NoError(t, store.Close())
}

func checkCancelled(t *testing.T, store *httpfile.Store) {
	t.Helper()
	obj, err := store.Stat(t.Context(), "big")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := store.Open(ctx, obj, 0, -1)
	require.NoError(t, err)
	_, err = io.ReadFull(r, make([]byte, 10))
	require.NoError(t, err)
	seen := 0
	for _, err = range store.List(ctx, "") {
		if err == nil {
			seen++
		}
		cancel()
	}
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 1, seen)
	_, err = io.Copy(io.Discard, r)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, r.Close())
	_, err = store.Open(ctx, obj, 0, -1)
	require.ErrorIs(t, err, context.Canceled)
	_, err = store.Stat(ctx, "big")
	require.ErrorIs(t, err, context.Canceled)
	_, err = storage.Collect(ctx, store, "")
	require.ErrorIs(t, err, context.Canceled)
	seen = 0
	for range store.List(t.Context(), "") {
		seen++
		break
	}
	require.Equal(t, 1, seen)
}

func read(ctx context.Context, store storage.Store, obj storage.Object, off, n int64) ([]byte, error) {
	r, err := store.Open(ctx, obj, off, n)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}

// A manifest that says all costs one request.
func TestCompleteManifestAsksNothing(t *testing.T) {
	s := plainSite(t)
	files := map[string][]byte{}
	for i := range 100 {
		files[fmt.Sprint(i)] = []byte("x")
	}
	s.write(t, "m", []byte(spell["JSON list with all"](files)))
	store := open(t, s, httpfile.Options{Manifest: "m"})
	require.Len(t, storagetest.List(t, store, "").Objects(), 100)
	require.EqualValues(t, 1, s.gets.Load()+s.heads.Load())
	require.Equal(t, time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), storagetest.List(t, store, "").Objects()[0].ModTime)
}

// A single file has the last segment of its address for a name.
func TestSingleFile(t *testing.T) {
	s := serve(t, &site{etags: true}, withoutTLS)
	s.write(t, "2026/sales report.csv", []byte("hello"))
	var query atomic.Value
	s.act(func(_ http.ResponseWriter, r *http.Request) bool {
		query.Store(r.URL.RawQuery)
		return false
	})
	store := open(t, s, httpfile.Options{Location: "2026/sales%20report.csv?X-Signature=CANARY"})
	l := storagetest.List(t, store, "")
	require.Equal(t, []string{"sales report.csv"}, storagetest.Keys(l))
	require.Equal(t, "hello", string(storagetest.Get(t, store, l.Objects()[0])))
	require.Equal(t, "X-Signature=CANARY", query.Load())
	_, err := store.Stat(t.Context(), "other")
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = store.Open(t.Context(), storage.Object{Key: "other"}, 0, -1)
	require.ErrorIs(t, err, fs.ErrNotExist)

	require.NoError(t, os.RemoveAll(filepath.Join(s.dir, "2026")))
	storagetest.Missing(t, readOnly{store})
	_, err = storage.Collect(t.Context(), store, "")
	require.NotContains(t, err.Error(), "CANARY")
}

// readOnly fails in Put and Remove as [storagetest.Missing] wants it.
type readOnly struct{ storage.Store }

func (readOnly) Put(context.Context, string, io.Reader, int64, storage.Cond) (storage.Object, error) {
	return storage.Object{}, fs.ErrNotExist
}
func (readOnly) Remove(context.Context, string) error { return fs.ErrNotExist }

// A folder's query goes to its files and to its manifest, and in no error.
func TestQueryOfAFolder(t *testing.T) {
	s := plainSite(t)
	s.write(t, "in/m.json", []byte(`["a b.csv"]`))
	s.write(t, "in/a b.csv", []byte("hello"))
	var without atomic.Int32
	s.act(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.RawQuery != "sig=CANARY" {
			without.Add(1)
		}
		return false
	})
	store := open(t, s, httpfile.Options{Location: "in?sig=CANARY", Manifest: "m.json"})
	obj := storagetest.List(t, store, "").Objects()[0]
	require.Equal(t, "hello", string(storagetest.Get(t, store, obj)))
	require.Zero(t, without.Load())
	s.act(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	checkQuiet := func(err error, want error) {
		t.Helper()
		require.ErrorIs(t, err, want)
		require.NotContains(t, fmt.Sprintf("%v %+v", err, err), "CANARY")
	}
	all := func(want error) {
		t.Helper()
		_, err := storage.Collect(t.Context(), store, "")
		checkQuiet(err, want)
		_, err = store.Stat(t.Context(), "a b.csv")
		checkQuiet(err, want)
		_, err = store.Open(t.Context(), obj, 0, -1)
		checkQuiet(err, want)
		_, err = store.Open(t.Context(), obj, 0, 0)
		checkQuiet(err, want)
	}
	all(fs.ErrPermission)
	s.act(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) })
	all(storage.ErrTemporary)
	s.act(func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, r.URL.String(), http.StatusFound)
		return true
	})
	all(endless(t, store))
	require.NotContains(t, fmt.Sprintf("%v %#v %s", httpfile.Options{Location: s.url + "?CANARY", Token: "CANARY"}, httpfile.Options{Token: "CANARY"},
		httpfile.Options{Location: ":CANARY"}), "CANARY")
}

// endless is the error of a redirect without an end.
func endless(t *testing.T, store storage.Store) error {
	_, err := store.Open(t.Context(), storage.Object{Key: "x"}, 0, -1)
	require.ErrorContains(t, err, "more than 10 times")
	var path *fs.PathError
	require.ErrorAs(t, err, &path)
	return path.Err
}

func TestManifests(t *testing.T) {
	hash := strings.Repeat("0a", 32)
	for name, row := range map[string]struct {
		manifest string
		keys     []string
		err      string
	}{
		"empty list":        {manifest: "[]", keys: []string{}},
		"empty object":      {manifest: `{"files": []}`, keys: []string{}},
		"no list":           {manifest: `{}`, err: "no list called files"},
		"null":              {manifest: `{"files": null}`, err: "no list called files"},
		"nothing":           {manifest: " \n", err: "empty"},
		"a web page":        {manifest: "\n<!DOCTYPE html><html>", err: "web page"},
		"cut JSON":          {manifest: `[{"key":"a"`, err: "no JSON"},
		"more after it":     {manifest: `[] []`, err: "no JSON"},
		"other JSON":        {manifest: `[1]`, err: "not what it must be"},
		"no name":           {manifest: `[{"size":1}]`, err: "neither key nor name"},
		"null entry":        {manifest: `[null]`, err: "neither key nor name"},
		"negative size":     {manifest: `[{"key":"a","size":-1}]`, err: "size of -1"},
		"no whole size":     {manifest: `[{"key":"a","size":1.5}]`, err: "not what it must be"},
		"bad sum":           {manifest: `[{"key":"a","sha256":"abc"}]`, err: "64 hexadecimal digits"},
		"bad md5":           {manifest: `[{"key":"a","md5":"` + hash + `"}]`, err: "32 hexadecimal digits"},
		"cut sums":          {manifest: hash + "  a\n" + hash + "  b", err: "cut off"},
		"no sums":           {manifest: hash + "  a\nhello world\n", err: "line 2"},
		"short sum":         {manifest: hash[:60] + "  a\n", err: "line 1"},
		"plain text":        {manifest: "404 not found\n", err: "line 1"},
		"escaped":           {manifest: `\` + hash + `  a\\b` + "\n", keys: []string{}},
		"empty lines":       {manifest: "\n" + hash + "  a  b\n\n", keys: []string{"a  b"}},
		"doubled":           {manifest: `["a","a"]`, keys: []string{}},
		"a time that is no": {manifest: `[{"key":"a","size":1,"md5":"` + hash[:32] + `","mtime":"last week","modified":{}}]`, keys: []string{"a"}},
		"hostile": {manifest: `["a","../x","/etc/passwd","https://example.com/x","a\u0000","..\\x",".d6tpipe/x","b/",""]`,
			keys: []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := plainSite(t)
			s.write(t, "m", []byte(row.manifest))
			s.write(t, "a", []byte("x"))
			s.write(t, "a  b", []byte("x"))
			l, err := storage.Collect(t.Context(), open(t, s, httpfile.Options{Manifest: "m"}), "")
			if row.err != "" {
				require.ErrorContains(t, err, row.err)
				require.ErrorContains(t, err, "the manifest "+strings.TrimPrefix(s.url, "http://")+"m")
				require.False(t, l.Complete())
				require.Empty(t, l.Objects())
				return
			}
			require.NoError(t, err)
			require.Equal(t, row.keys, storagetest.Keys(l))
			if name == "hostile" {
				require.Len(t, l.Refused, 8)
			}
		})
	}
}

func TestManifestTransport(t *testing.T) {
	for name, row := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request)
		kind   error
		text   string
	}{
		"missing": {http.NotFound, fs.ErrNotExist, "404"},
		"busy":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, storage.ErrTemporary, "503"},
		"announced too long": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(64<<20+1))
			fmt.Fprint(w, "[]")
		}, nil, "64 MiB"},
		"too long": {func(w http.ResponseWriter, _ *http.Request) {
			blank := []byte(strings.Repeat(" ", 1<<20))
			for range 65 {
				_, _ = w.Write(blank)
			}
			fmt.Fprint(w, "[]")
		}, nil, "64 MiB"},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			fmt.Fprintf(w, "%064x  a\n", 1)
		}, storage.ErrTemporary, "closed early"},
		"without an end": {func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n%064x  a\n", 1)
				_ = conn.Close()
			}
		}, nil, "cut off"},
		"compressed": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			fmt.Fprint(w, "[]")
		}, nil, "compressed"},
	} {
		t.Run(name, func(t *testing.T) {
			s := plainSite(t)
			s.act(func(w http.ResponseWriter, r *http.Request) bool {
				row.answer(w, r)
				return true
			})
			l, err := storage.Collect(t.Context(), open(t, s, httpfile.Options{Manifest: "m"}), "")
			require.ErrorContains(t, err, row.text)
			if row.kind != nil {
				require.ErrorIs(t, err, row.kind)
			}
			require.False(t, l.Complete())
		})
	}
}

// A file that the manifest names and the server lacks is an error when it is read;
// when all are missing, the folder is.
func TestMissingFiles(t *testing.T) {
	s := plainSite(t)
	s.write(t, "m", []byte(`["a","b"]`))
	s.write(t, "a", []byte("x"))
	store := open(t, s, httpfile.Options{Manifest: "m"})
	l := storagetest.List(t, store, "")
	require.Equal(t, []string{"a", "b"}, storagetest.Keys(l))
	b, _ := l.Find("b")
	_, err := store.Open(t.Context(), b, 0, -1)
	require.ErrorIs(t, err, fs.ErrNotExist)
	s.write(t, "b", nil)
	_, err = store.Open(t.Context(), b, 0, -1)
	require.ErrorIs(t, err, storage.ErrChanged)
	require.NoError(t, os.Remove(filepath.Join(s.dir, "a")))
	require.NoError(t, os.Remove(filepath.Join(s.dir, "b")))
	_, err = storage.Collect(t.Context(), store, "")
	require.ErrorIs(t, err, fs.ErrNotExist)
	s.act(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/b" {
			w.WriteHeader(http.StatusInternalServerError)
			return true
		}
		return false
	})
	_, err = storage.Collect(t.Context(), store, "")
	require.ErrorIs(t, err, storage.ErrTemporary)
	require.ErrorContains(t, err, `"b"`)
	s.act(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/b" {
			panic(http.ErrAbortHandler)
		}
		return false
	})
	_, err = storage.Collect(t.Context(), store, "")
	require.ErrorIs(t, err, storage.ErrTemporary)
	require.ErrorContains(t, err, `"b"`)
	s.act(nil)
	s.write(t, "m", []byte(spell["JSON list with all"](map[string][]byte{"a": []byte("x")})))
	raw, err := os.ReadFile(filepath.Join(s.dir, "m"))
	require.NoError(t, err)
	s.write(t, "m", []byte(strings.TrimSuffix(string(raw), "]")+`,"b"]`))
	require.Equal(t, []string{"a", "b"}, storagetest.Keys(storagetest.List(t, store, "")), "the manifest knows another one")
}

// An address that is signed for a GET is good for no HEAD.
func TestSignedAddress(t *testing.T) {
	s := serve(t, &site{etags: true}, withoutTLS)
	s.write(t, "a", []byte("hello"))
	s.write(t, "empty", nil)
	s.act(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusForbidden)
		}
		return r.Method == http.MethodHead
	})
	store := open(t, s, httpfile.Options{Files: []string{"a", "empty"}})
	for _, obj := range storagetest.List(t, store, "").Objects() {
		require.Len(t, storagetest.Get(t, store, obj), int(obj.Size))
	}
}

// Files that change are told by whatever the server or the manifest says.
func TestChanged(t *testing.T) {
	for name, row := range map[string]struct {
		etags bool
		old   []byte
		touch time.Duration
	}{
		"ETag":          {true, []byte("old"), 0},
		"time":          {false, []byte("old"), 2 * time.Second},
		"a time before": {false, []byte("old"), -2 * time.Second},
		"size":          {false, []byte("older"), 0},
	} {
		for format, manifest := range map[string]string{"names": `["a"]`, "sums": fmt.Sprintf("%x  a\n", sha256.Sum256(row.old))} {
			t.Run(name+"/"+format, func(t *testing.T) {
				s := serve(t, &site{etags: row.etags}, withoutTLS)
				s.write(t, "m", []byte(manifest))
				s.write(t, "a", row.old)
				at := time.Now().Add(-time.Hour)
				require.NoError(t, os.Chtimes(filepath.Join(s.dir, "a"), at, at))
				store := open(t, s, httpfile.Options{Manifest: "m"})
				obj := storagetest.List(t, store, "").Objects()[0]
				_, err := read(t.Context(), store, obj, 0, 1)
				require.NoError(t, err)
				s.write(t, "a", []byte("new"))
				at = at.Add(row.touch)
				require.NoError(t, os.Chtimes(filepath.Join(s.dir, "a"), at, at))
				for _, r := range [][2]int64{{0, -1}, {0, 0}, {0, 1}, {1, 1}, {1, -1}, {100, -1}} {
					for range 2 {
						_, err := read(t.Context(), store, obj, r[0], r[1])
						require.ErrorIs(t, err, storage.ErrChanged, r)
					}
				}
			})
		}
	}
}

// What a server answers that is not the range or the file that was asked for.
func TestLyingRanges(t *testing.T) {
	data := storagetest.Bytes(1, 1000)
	answer := func(status int, contentRange string, body []byte, more ...string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodHead {
				return false
			}
			w.Header().Set("ETag", `"`+hexSum(data)[:16]+`"`)
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			if contentRange != "" {
				w.Header().Set("Content-Range", contentRange)
			}
			for i := 0; i < len(more); i += 2 {
				w.Header().Set(more[i], more[i+1])
			}
			w.WriteHeader(status)
			_, _ = w.Write(body)
			return true
		}
	}
	part := data[100:200]
	for name, row := range map[string]struct {
		odd    func(http.ResponseWriter, *http.Request) bool
		off, n int64
		want   string // of the error; "" for none
	}{
		"honest":                     {answer(206, "bytes 100-199/1000", part), 100, 100, ""},
		"no Content-Range":           {answer(206, "", part), 100, 100, "range"},
		"another range":              {answer(206, "bytes 0-99/1000", data[:100]), 100, 100, "range"},
		"a range from before":        {answer(206, "bytes 0-199/1000", data[:200]), 100, 100, "range"},
		"a shorter range":            {answer(206, "bytes 100-149/1000", data[100:150]), 100, 100, "range"},
		"a longer range":             {answer(206, "bytes 100-299/1000", data[100:300]), 100, 100, "range"},
		"not to the end":             {answer(206, "bytes 100-199/1000", part), 100, -1, "range"},
		"another total":              {answer(206, "bytes 100-199/1001", part), 100, 100, "changed"},
		"no total":                   {answer(206, "bytes 100-199/*", part), 100, 100, "range"},
		"beyond the total":           {answer(206, "bytes 100-199/150", part), 100, 100, "range"},
		"a length that lies":         {answer(206, "bytes 100-199/1000", part[:50]), 100, 100, "range"},
		"a part unasked":             {answer(206, "bytes 0-999/1000", data), 0, -1, "range"},
		"a range in the whole":       {answer(200, "bytes 0-999/1000", data), 0, -1, "range"},
		"the whole, shorter":         {answer(200, "", data[:900]), 0, -1, "changed"},
		"the whole for a range":      {answer(200, "", data), 100, 100, ""},
		"another whole for a range":  {answer(200, "", append(data, 1)), 100, 100, "changed"},
		"none of the file":           {answer(416, "bytes */1000", nil), 100, 100, "range"},
		"compressed":                 {answer(200, "", data, "Content-Encoding", "gzip"), 0, -1, "compressed"},
		"another ETag":               {answer(206, "bytes 100-199/1000", part, "ETag", `"other"`), 100, 100, "changed"},
		"a weak ETag":                {answer(206, "bytes 100-199/1000", part, "ETag", `W/"`+hexSum(data)[:16]+`"`), 100, 100, "changed"},
		"no content":                 {answer(204, "", nil), 0, -1, "204"},
		"precondition failed":        {answer(412, "", nil), 0, -1, "412"},
		"too many":                   {answer(429, "", nil, "Retry-After", "7"), 0, -1, "429"},
		"the connection breaks":      {answer(200, "", data[:500], "Content-Length", "1000"), 0, -1, "closed early"},
		"the connection breaks soon": {answer(200, "", data[:50], "Content-Length", "1000"), 100, 5, "closed early"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, &site{etags: true}, withoutTLS)
			s.write(t, "a.csv", data)
			store := open(t, s, httpfile.Options{Location: "a.csv"})
			obj := storagetest.List(t, store, "").Objects()[0]
			s.act(row.odd)
			got, err := read(t.Context(), store, obj, row.off, row.n)
			if row.want == "" {
				require.NoError(t, err)
				require.Equal(t, part, got)
				return
			}
			require.ErrorContains(t, err, row.want)
			var asked interface{ RetryAfter() time.Duration }
			if row.want == "429" {
				require.ErrorAs(t, err, &asked)
				require.Equal(t, 7*time.Second, asked.RetryAfter())
				require.ErrorIs(t, err, storage.ErrTemporary)
			}
		})
	}
}

// A part that ends early without having said how long it is.
func TestShortPart(t *testing.T) {
	data := storagetest.Bytes(1, 1000)
	s := plainSite(t)
	s.write(t, "a", data)
	store := open(t, s, httpfile.Options{Location: "a"})
	s.act(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Range", "bytes 100-199/1000")
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(data[100:150])
		_ = http.NewResponseController(w).Flush()
		return true
	})
	got, err := read(t.Context(), store, storage.Object{Key: "a"}, 100, 100)
	require.ErrorIs(t, err, storage.ErrTemporary)
	require.Equal(t, data[100:150], got)
}

// A file that comes without a length has none in a listing, and is refused, unless the
// manifest has what proves it.
func TestFilesWithoutLength(t *testing.T) {
	data := []byte("a,b\n1,2\n")
	s := plainSite(t)
	var sent atomic.Value
	sent.Store(data)
	s.act(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/m" {
			return false
		}
		_ = http.NewResponseController(w).Flush() // so that the body is chunked
		_, _ = w.Write(sent.Load().([]byte))
		return true
	})
	_, err := storage.Collect(t.Context(), open(t, s, httpfile.Options{Location: "export.csv"}), "")
	require.ErrorContains(t, err, "how long the file is")
	require.ErrorContains(t, err, "in a manifest", "what to do")

	s.write(t, "m", fmt.Appendf(nil, `[{"key": "export.csv", "size": %d, "sha256": "%s"}]`, len(data), hexSum(data)))
	store := open(t, s, httpfile.Options{Manifest: "m"})
	obj := storagetest.List(t, store, "").At(0)
	got, err := store.Stat(t.Context(), "export.csv")
	require.NoError(t, err)
	require.Equal(t, obj, got)
	require.Equal(t, data, storagetest.Get(t, store, obj))
	part, err := read(t.Context(), store, obj, 4, 3)
	require.NoError(t, err)
	require.Equal(t, data[4:7], part)
	sent.Store(data[:5])
	_, err = read(t.Context(), store, obj, 0, -1)
	require.ErrorIs(t, err, storage.ErrTemporary, "it is too short")
}

// A strong ETag is the version, and the server is asked to mind it; a weak one is
// none.
func TestETags(t *testing.T) {
	s := serve(t, &site{etags: true}, withoutTLS)
	s.write(t, "a", []byte("hello"))
	var match atomic.Value
	s.act(func(_ http.ResponseWriter, r *http.Request) bool {
		match.Store(r.Header.Get("If-Match"))
		return false
	})
	store := open(t, s, httpfile.Options{Location: "a"})
	obj := storagetest.List(t, store, "").Objects()[0]
	require.Equal(t, `"`+hexSum([]byte("hello"))[:16]+`"`, obj.Tag)
	storagetest.Get(t, store, obj)
	require.Equal(t, obj.Tag, match.Load())

	weak := plainSite(t)
	weak.write(t, "a", []byte("hello"))
	weak.act(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("ETag", `W/"x"`)
		return false
	})
	store = open(t, weak, httpfile.Options{Location: "a"})
	obj = storagetest.List(t, store, "").Objects()[0]
	require.Regexp(t, `^\d+-5$`, obj.Tag)
	require.Equal(t, "hello", string(storagetest.Get(t, store, obj)))
}

// A compressed file is often called an encoding.
func TestCompressedFile(t *testing.T) {
	s := plainSite(t)
	s.write(t, "a.csv.gz", []byte("\x1f\x8b compressed"))
	// Go's server sends no Content-Length beside a Content-Encoding, others do.
	s.act(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Accept-Encoding") != "identity" {
			t.Errorf("Accept-Encoding: %q", r.Header.Values("Accept-Encoding"))
		}
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Length", "13")
		if r.Method != http.MethodHead {
			_, _ = w.Write([]byte("\x1f\x8b compressed"))
		}
		return true
	})
	store := open(t, s, httpfile.Options{Location: "a.csv.gz"})
	obj := storagetest.List(t, store, "").Objects()[0]
	require.Equal(t, "\x1f\x8b compressed", string(storagetest.Get(t, store, obj)))
}

// A server without ranges is known as such when it was asked for one.
func TestStreams(t *testing.T) {
	s := serve(t, &site{odd: whole}, withoutTLS)
	s.write(t, "a", storagetest.Bytes(1, 1000))
	store := open(t, s, httpfile.Options{Location: "a"})
	obj := storagetest.List(t, store, "").Objects()[0]
	storagetest.Get(t, store, obj)
	require.False(t, storage.Streams(store))
	_, err := read(t.Context(), store, obj, 10, 10)
	require.NoError(t, err)
	require.True(t, storage.Streams(store))
}

// Credentials go to the origin of the location and to nobody else.
func TestCredentials(t *testing.T) {
	for name, row := range map[string]struct {
		opts httpfile.Options
		want string
	}{
		"token":    {httpfile.Options{Token: "CANARY"}, "Bearer CANARY"},
		"password": {httpfile.Options{Username: "me", Password: "CANARY"}, "Basic bWU6Q0FOQVJZ"},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			seen := map[string][]string{}
			note := func(who string) func(http.ResponseWriter, *http.Request) bool {
				return func(_ http.ResponseWriter, r *http.Request) bool {
					mu.Lock()
					defer mu.Unlock()
					seen[who] = append(seen[who], r.Header.Get("Authorization"), r.Header.Get("Referer"))
					return false
				}
			}
			other := plainSite(t)
			other.act(note("other"))
			other.write(t, "away", []byte("elsewhere"))
			other.write(t, "m", []byte(`["a","away"]`))
			s := plainSite(t)
			s.write(t, "a", []byte("here"))
			s.act(func(w http.ResponseWriter, r *http.Request) bool {
				note("own")(w, r)
				if r.URL.Path == "/away" {
					http.Redirect(w, r, other.url+"away", http.StatusFound)
					return true
				}
				return false
			})
			row.opts.Manifest = other.url + "m"
			row.opts.Location = "?sig=x"
			store := open(t, s, row.opts)
			l := storagetest.List(t, store, "")
			away, _ := l.Find("away")
			require.Equal(t, "elsewhere", string(storagetest.Get(t, store, away)))
			require.Equal(t, []string{row.want, ""}, seen["own"][:2])
			require.Len(t, seen["own"], 6)
			for _, header := range seen["other"] {
				require.Empty(t, header)
			}
		})
	}
}

func TestRedirects(t *testing.T) {
	data := storagetest.Bytes(1, 1000)
	secure := serve(t, &site{}, withTLS)
	secure.write(t, "a", data)
	clear := plainSite(t)
	clear.write(t, "a", data)
	hops := atomic.Int32{}
	for name, row := range map[string]struct {
		from *site
		to   string
		hops int32
		want string
	}{
		"http to http":       {clear, clear.url + "a", 10, ""},
		"one too many":       {clear, clear.url + "a", 11, "more than 10"},
		"https to https":     {secure, secure.url + "a", 1, ""},
		"https to http":      {secure, clear.url + "a", 1, "from https to http"},
		"with a user in it":  {clear, strings.Replace(clear.url, "//", "//me:CANARY@", 1) + "a", 1, "user in it"},
		"to another scheme":  {clear, "file:///etc/passwd", 1, "redirects from https to file"},
		"http to what is it": {clear, "%zz", 1, "Location"},
	} {
		t.Run(name, func(t *testing.T) {
			hops.Store(0)
			row.from.act(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasPrefix(r.URL.Path, "/start") {
					return false
				}
				to := "/start"
				if hops.Add(1)%row.hops == 0 {
					to = row.to
				}
				w.Header().Set("Location", to)
				w.WriteHeader(http.StatusFound)
				return true
			})
			store := open(t, row.from, httpfile.Options{Location: "start"})
			got, err := read(t.Context(), store, storage.Object{Key: "start"}, 10, 10)
			if row.want == "" {
				require.NoError(t, err)
				require.Equal(t, data[10:20], got)
				return
			}
			require.ErrorContains(t, err, row.want)
			require.NotContains(t, err.Error(), "CANARY")
			require.NotErrorIs(t, err, storage.ErrTemporary)
		})
	}
}

func TestAnswers(t *testing.T) {
	for _, row := range []struct {
		status       int
		authenticate string
		want         error
	}{
		{401, "Bearer", fs.ErrPermission}, {401, `Bearer error="invalid_token"`, storage.ErrExpired}, {403, "", fs.ErrPermission},
		{404, "", fs.ErrNotExist}, {410, "", fs.ErrNotExist}, {405, "", errors.ErrUnsupported}, {408, "", storage.ErrTemporary},
		{412, "", storage.ErrChanged}, {429, "", storage.ErrTemporary}, {500, "", storage.ErrTemporary}, {501, "", errors.ErrUnsupported},
		{503, "", storage.ErrTemporary},
	} {
		s := plainSite(t)
		s.act(func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("WWW-Authenticate", row.authenticate)
			w.WriteHeader(row.status)
			return true
		})
		store := open(t, s, httpfile.Options{Location: "a"})
		_, err := store.Open(t.Context(), storage.Object{Key: "a"}, 0, -1)
		require.ErrorIs(t, err, row.want, row.status)
		_, err = store.Stat(t.Context(), "a")
		require.ErrorIs(t, err, row.want, row.status)
	}
}

// A certificate that is not trusted will not be so at the next attempt.
func TestCertificates(t *testing.T) {
	s := serve(t, &site{}, withTLS)
	s.ca = nil
	_, err := open(t, s, httpfile.Options{Location: "a"}).Stat(t.Context(), "a")
	require.ErrorContains(t, err, "certificate")
	require.NotErrorIs(t, err, storage.ErrTemporary)
}

func TestOptions(t *testing.T) {
	for _, row := range []struct {
		opts httpfile.Options
		want string // "" is fine
	}{
		{httpfile.Options{Location: "https://h/a"}, ""},
		{httpfile.Options{Location: "http://h/a"}, ""},
		{httpfile.Options{Location: "https://h/a", Token: "x"}, ""},
		{httpfile.Options{Location: "http://127.0.0.1:1/a", Token: "x"}, ""},
		{httpfile.Options{Location: "http://h/a", Token: "x", Insecure: true}, ""},
		{httpfile.Options{Location: "https://h/", Manifest: "http://h/m", Insecure: true}, ""},
		{httpfile.Options{Location: "https://h/", Manifest: "https://other/m"}, ""},
		{httpfile.Options{Location: "https://h/", Files: []string{}}, ""},

		{httpfile.Options{Location: ""}, "not a URL"},
		{httpfile.Options{Location: "h/a"}, "not a URL"},
		{httpfile.Options{Location: "https:h"}, "not a URL"},
		{httpfile.Options{Location: "ftp://h/a"}, "neither http nor https"},
		{httpfile.Options{Location: "https://me:CANARY@h/a"}, "belongs to the credentials"},
		{httpfile.Options{Location: "https://h/a#b"}, "fragment"},
		{httpfile.Options{Location: "https://h/?CANARY"}, "name its manifest"},
		{httpfile.Options{Location: "https://h"}, "name its manifest"},
		{httpfile.Options{Location: "https://h/a%5cb"}, "backslash"},
		{httpfile.Options{Location: "https://h/", Manifest: "m", Files: []string{"a"}}, "at once"},
		{httpfile.Options{Location: "https://h/", Manifest: "http://h/m"}, "must be https"},
		{httpfile.Options{Location: "https://h/", Manifest: "file:///etc/passwd"}, "not a URL"},
		{httpfile.Options{Location: "https://h/", Manifest: "ftp://x/etc"}, "neither http nor https"},
		{httpfile.Options{Location: "https://h/", Manifest: "%zzCANARY"}, "not a URL or a path"},
		{httpfile.Options{Location: "http://h/a", Token: "CANARY"}, "need https"},
		{httpfile.Options{Location: "http://h/a", Username: "u", Password: "CANARY"}, "need https"},
		{httpfile.Options{Location: "https://h/a", Password: "CANARY"}, "needs a user name"},
		{httpfile.Options{Location: "https://h/a", Username: "a:b"}, "no colon"},
		{httpfile.Options{Location: "https://h/a", Username: "u", Token: "CANARY"}, "at once"},
		{httpfile.Options{Location: "https://h/a", CA: []byte("none")}, "no certificate"},
	} {
		store, err := httpfile.New(row.opts)
		if row.want == "" {
			require.NoError(t, err)
			require.NoError(t, store.Close())
			continue
		}
		require.ErrorIs(t, err, fs.ErrInvalid)
		require.ErrorContains(t, err, row.want)
		require.NotContains(t, err.Error(), "CANARY")
	}
}
