package urls_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/leaktest"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/s3"
	"github.com/d6t/d6tpipe-go/internal/storage/storagetest"
	"github.com/d6t/d6tpipe-go/internal/storage/urls"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const canary = "CANARYsignature"

// How long a test waits for what must happen, and how often it looks.
const (
	waitLong  = 20 * time.Second
	waitShort = time.Millisecond
)

// A world is a bucket that answers as it is told, and a server that signs for it. The
// real ones are in the tests of the server.
type world struct {
	t   *testing.T
	url string

	mu      sync.Mutex
	listing storage.Listing
	listErr error
	batches [][]urls.Request
	sign    func(urls.Request) urls.Signed // instead of the usual answer
	failing error                          // of Sign
	wait    chan struct{}                  // Sign waits for it; nil is not at all
	signed  int
	dead    map[string]bool // signatures that are of no use any more
	answer  http.HandlerFunc
	asked   []*http.Request
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, dead: map[string]bool{}}
	w.answer = func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("ETag", `"tag"`)
		http.ServeContent(rw, r, "", time.Unix(1e9, 0), strings.NewReader("0123456789"))
	}
	s := httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(s.Close)
	w.url = s.URL
	return w
}

func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	w.asked = append(w.asked, r)
	dead, answer := w.dead[r.URL.Query().Get("X-Amz-Signature")], w.answer
	w.mu.Unlock()
	if dead {
		http.Error(rw, "<Error><Code>AccessDenied</Code><Message>Request has expired "+canary+"</Message></Error>", http.StatusForbidden)
		return
	}
	answer(rw, r)
}

func (w *world) List(context.Context) (storage.Listing, error) { return w.listing, w.listErr }

func (w *world) Sign(ctx context.Context, requests []urls.Request) ([]urls.Signed, error) {
	w.mu.Lock()
	w.batches = append(w.batches, requests)
	wait, failing := w.wait, w.failing
	w.mu.Unlock()
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if failing != nil {
		return nil, failing
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []urls.Signed
	for _, r := range requests {
		w.signed++
		s := urls.Signed{URL: w.url + "/real/bucket/p/" + escaped(r.Key) + fmt.Sprintf("?X-Amz-Expires=3600&X-Amz-Signature=%s%d", canary, w.signed)}
		if w.sign != nil {
			s = w.sign(r)
		}
		all = append(all, s)
	}
	return all, nil
}

func (w *world) questions() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.batches)
}

func escaped(key string) string { return (&url.URL{Path: key}).EscapedPath() }

func (w *world) open() *urls.Store {
	w.t.Helper()
	store, err := urls.New(urls.Options{API: w, Path: "/bucket/p/", Open: func(rt http.RoundTripper) (storage.Store, error) {
		below, err := s3.New(s3.Options{Bucket: "bucket", Endpoint: "https://signed.invalid", Addressing: s3.Path, Transport: rt})
		if err != nil {
			return nil, err
		}
		return storage.Prefix(below, "p")
	}})
	require.NoError(w.t, err)
	w.t.Cleanup(func() { require.NoError(w.t, store.Close()) })
	return store
}

func read(store storage.Store, key string, off, n int64) (string, error) {
	r, err := store.Open(context.Background(), storage.Object{Key: key}, off, n)
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(r)
	return string(data), errors.Join(err, r.Close())
}

// TestKept: a URL is asked for once, and again when the bucket does not take it any
// more, whatever was said of its time.
func TestKept(t *testing.T) {
	w := newWorld(t)
	store := w.open()
	for range 3 {
		got, err := read(store, "a b/é.csv", 2, 3)
		require.NoError(t, err)
		require.Equal(t, "234", got)
	}
	require.Equal(t, 1, w.signed)
	w.dead[canary+"1"] = true
	got, err := read(store, "a b/é.csv", 2, 3)
	require.NoError(t, err)
	require.Equal(t, "234", got)
	require.Equal(t, 2, w.signed)
	for _, r := range w.asked {
		require.Equal(t, "/real/bucket/p/a b/é.csv", r.URL.Path)
		require.Equal(t, "bytes=2-4", r.Header.Get("Range"))
		require.Equal(t, "ENABLED", r.Header.Get("X-Amz-Checksum-Mode"))
		require.Empty(t, r.Header.Get("X-Amz-Content-Sha256"), "it is not signed")
	}
	require.Equal(t, map[string]string{"x-amz-checksum-mode": "ENABLED"}, w.batches[0][0].Header)

	// One that was never good for anything is not tried for ever.
	w.dead[canary+"2"], w.dead[canary+"3"] = true, true
	before := len(w.asked)
	_, err = read(store, "a b/é.csv", 2, 3)
	require.ErrorIs(t, err, fs.ErrPermission)
	require.NotContains(t, err.Error(), canary)
	require.Len(t, w.asked, before+2)
}

// TestShortLived: what is about to run out is not kept.
func TestShortLived(t *testing.T) {
	w := newWorld(t)
	w.sign = func(r urls.Request) urls.Signed {
		return urls.Signed{URL: w.url + "/" + r.Key + "?X-Amz-Expires=0&X-Amz-Signature=x"}
	}
	store := w.open()
	for range 3 {
		_, err := read(store, "a", 0, -1)
		require.NoError(t, err)
	}
	require.Equal(t, 3, w.signed)
}

// TestBatches: what is asked for while an answer is on its way is one question, and
// not more than is allowed.
func TestBatches(t *testing.T) {
	w := newWorld(t)
	w.wait = make(chan struct{})
	answer := sync.OnceFunc(func() { close(w.wait) })
	store := w.open()
	const n = urls.MaxBatch + 30
	var group sync.WaitGroup
	defer group.Wait()
	defer answer() // whatever fails, nobody is left waiting
	stat := func(i int) {
		group.Go(func() {
			_, err := store.Stat(t.Context(), fmt.Sprint("f", i))
			assert.NoError(t, err)
		})
	}
	stat(0)
	require.Eventually(t, func() bool { return w.questions() == 1 }, waitLong, waitShort)
	for i := range n - 1 {
		stat(1 + i)
	}
	require.Eventually(t, func() bool { return store.Waiting() == n-1 }, waitLong, waitShort)
	answer()
	group.Wait()
	var sizes []int
	for _, b := range w.batches {
		sizes = append(sizes, len(b))
	}
	require.Equal(t, []int{1, urls.MaxBatch, 29}, sizes)
	for _, r := range w.asked {
		require.Equal(t, http.MethodHead, r.Method)
	}
}

// TestPut: what is sent about sums is signed, and nothing else of Amazon's goes along.
func TestPut(t *testing.T) {
	w := newWorld(t)
	var got string
	w.answer = func(rw http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		got = string(data)
		rw.Header().Set("ETag", `"tag"`)
	}
	store := w.open()
	obj, err := store.Put(t.Context(), "a.csv", strings.NewReader("hello"), 5, storage.Cond{Absent: true})
	require.NoError(t, err)
	require.Equal(t, "tag", obj.Tag)
	require.Equal(t, "hello", got)
	require.Equal(t, http.MethodPut, w.batches[0][0].Method)
	require.Len(t, w.batches[0][0].Header, 1)
	for name := range w.asked[0].Header {
		if strings.HasPrefix(name, "X-Amz-") {
			require.Contains(t, w.batches[0][0].Header, strings.ToLower(name))
		}
	}
	require.Equal(t, "*", w.asked[0].Header.Get("If-None-Match"))
	_, err = store.Put(t.Context(), "a.csv", strings.NewReader("hello"), 5, storage.Cond{})
	require.NoError(t, err)
	require.Equal(t, 2, w.signed, "for each upload its own")
}

// TestHostileAnswers: URLs that are none, or for something else, are not used, and no
// error shows one.
func TestHostileAnswers(t *testing.T) {
	w := newWorld(t)
	store := w.open()
	query := "?X-Amz-Expires=60&X-Amz-Signature=" + canary
	for name, c := range map[string]struct {
		signed urls.Signed
		kind   error
	}{
		"another file":  {urls.Signed{URL: w.url + "/real/bucket/p/b" + query}, fs.ErrInvalid},
		"a longer name": {urls.Signed{URL: w.url + "/real/bucket/p/xa" + query}, fs.ErrInvalid},
		"in the clear":  {urls.Signed{URL: "http://192.0.2.1/a" + query}, fs.ErrInvalid},
		"no URL":        {urls.Signed{URL: "%" + canary}, fs.ErrInvalid},
		"nothing":       {urls.Signed{}, fs.ErrInvalid},
		"a file":        {urls.Signed{URL: "file:///a" + query}, fs.ErrInvalid},
		"a user":        {urls.Signed{URL: strings.Replace(w.url, "//", "//u:"+canary+"@", 1) + "/a" + query}, fs.ErrInvalid},
		"refused":       {urls.Signed{Refused: "outside of the filter"}, fs.ErrPermission},
	} {
		w.sign = func(urls.Request) urls.Signed { return c.signed }
		_, err := read(store, "a", 0, -1)
		require.ErrorIs(t, err, c.kind, name)
		require.NotErrorIs(t, err, storage.ErrTemporary, name)
		require.NotContains(t, err.Error(), canary, name)
		require.NotContains(t, fmt.Sprintf("%v %+v %#v", c.signed, c.signed, &c.signed), canary, name)
	}
	require.Empty(t, w.asked)
	w.sign = nil
	for name, c := range map[string]struct{ failing, kind, not error }{
		"passes":        {fmt.Errorf("%w: busy", storage.ErrTemporary), storage.ErrTemporary, fs.ErrPermission},
		"does not pass": {errors.New("404"), fs.ErrPermission, storage.ErrTemporary},
	} {
		w.failing = c.failing
		_, err := read(store, "a", 0, -1)
		require.ErrorIs(t, err, c.kind, name)
		require.NotErrorIs(t, err, c.not, name)
		require.NotErrorIs(t, err, fs.ErrNotExist, name)
	}
}

// TestNoURLInErrors: whatever goes wrong with a request, its URL is in no error.
func TestNoURLInErrors(t *testing.T) {
	w := newWorld(t)
	store := w.open()
	for name, answer := range map[string]http.HandlerFunc{
		"500":      func(rw http.ResponseWriter, r *http.Request) { http.Error(rw, r.URL.String(), 500) },
		"404":      func(rw http.ResponseWriter, r *http.Request) { http.Error(rw, r.URL.String(), 404) },
		"redirect": func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, "/x"+r.URL.String(), 307) },
		"cut": func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		},
		"no length": func(rw http.ResponseWriter, _ *http.Request) { rw.(http.Flusher).Flush() },
	} {
		w.mu.Lock()
		w.answer = answer
		w.mu.Unlock()
		_, err := read(store, "a", 0, -1)
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), canary, name)
		_, err = store.Put(t.Context(), "a", strings.NewReader("x"), 2, storage.Cond{})
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), canary, name)
		_, err = storage.MultipartOf(store).Begin(t.Context(), "a", 100<<20, 1)
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), canary, name)
	}
	w.sign = func(r urls.Request) urls.Signed {
		return urls.Signed{URL: "https://127.0.0.1:1/" + r.Key + "?X-Amz-Signature=" + canary}
	}
	_, err := read(w.open(), "a", 0, -1)
	require.ErrorIs(t, err, storage.ErrTemporary)
	require.NotContains(t, err.Error(), canary)
}

// TestNobodyWaits: who has cancelled, or closed, hears so while the server thinks.
func TestNobodyWaits(t *testing.T) {
	w := newWorld(t)
	w.wait = make(chan struct{})
	store := w.open()
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 2)
	go func() { _, err := store.Stat(ctx, "a"); failed <- err }()
	require.Eventually(t, func() bool { return w.questions() == 1 }, waitLong, waitShort)
	cancel()
	require.ErrorIs(t, <-failed, context.Canceled)
	go func() { _, err := store.Stat(t.Context(), "b"); failed <- err }()
	require.Eventually(t, func() bool { return store.Waiting() == 1 }, waitLong, waitShort)
	require.NoError(t, store.Close())
	require.ErrorIs(t, <-failed, fs.ErrClosed)
	_, err := read(store, "a", 0, -1)
	require.ErrorIs(t, err, fs.ErrClosed)
	_, err = storage.Collect(t.Context(), store, "")
	require.ErrorIs(t, err, fs.ErrClosed)
}

// TestList: the listing is the server's, and what it refuses stays refused although
// here nothing is wrong with it.
func TestList(t *testing.T) {
	w := newWorld(t)
	seen, err := storage.Recall(func(yield func(storage.Object, error) bool) {
		for _, key := range []string{"a.csv", "b/c.csv", "b/d.csv"} {
			if !yield(storage.Object{Key: key, Size: 1}, nil) {
				return
			}
		}
	})
	require.NoError(t, err)
	w.listing = seen.Refuse([]*storage.KeyError{{Key: "alone.csv", Reason: "collides with another name"}, {Key: "..", Reason: "hostile"}})
	store := w.open()
	l, err := storage.Collect(t.Context(), store, "")
	require.NoError(t, err)
	require.True(t, l.Complete())
	require.Equal(t, []string{"a.csv", "b/c.csv", "b/d.csv"}, storagetest.Keys(l))
	require.Len(t, l.Refused, 2)
	l, err = storage.Collect(t.Context(), store, "b/")
	require.NoError(t, err)
	require.Equal(t, []string{"b/c.csv", "b/d.csv"}, storagetest.Keys(l))
	require.Empty(t, l.Refused)
	w.listErr = storage.ErrTemporary
	l, err = storage.Collect(t.Context(), store, "")
	require.ErrorIs(t, err, storage.ErrTemporary)
	require.False(t, l.Complete())
}
