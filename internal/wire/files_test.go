package wire_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/wire"
	"github.com/d6t/d6tpipe-go/internal/wire/wiretest"
)

// keeper keeps one listing, and counts who asks.
type keeper struct {
	listing          wire.Listing
	err, bodyErr     error
	asked, refreshed int
	bodies, changed  int
	done             int
}

const document = `{"scanned_at":"2026-11-01T12:00:00Z","files":[],"refused":[],"complete":true}`

func newKeeper() *keeper {
	k := &keeper{listing: wire.Listing{Tag: "abc-1", Seen: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), Scanned: time.Now().Add(-90 * time.Second), MaxAge: 2 * time.Minute}}
	k.listing.Body = func(context.Context) ([]byte, func(), error) {
		k.bodies++
		var b bytes.Buffer
		zip := gzip.NewWriter(&b)
		_, err := io.WriteString(zip, document)
		err = errors.Join(err, zip.Close(), k.bodyErr)
		if err != nil {
			return nil, nil, err
		}
		return b.Bytes(), func() { k.done++ }, nil
	}
	return k
}

func (k *keeper) Files(_ context.Context, _ string, refresh bool) (wire.Listing, error) {
	k.asked++
	if refresh {
		k.refreshed++
	}
	return k.listing, k.err
}

func (k *keeper) FilesChanged(context.Context, string) (time.Time, error) {
	k.changed++
	return time.Date(2026, 11, 1, 13, 0, 0, 0, time.UTC), k.err
}

// listed is a service with pipe p of me, read by reader.
func listed(t *testing.T, k wire.Files) http.Handler {
	t.Helper()
	service := wiretest.New(local(t))
	service.KeepListings(k)
	h := wire.New(service, wire.Options{})
	for _, name := range []string{"me", "reader", "other"} {
		require.Equal(t, 201, say(t, h, "POST", "/v1/api/accounts/", `{"username":"`+name+`","email":"`+name+`@example.com","password":"x"}`).Code)
	}
	require.Equal(t, 201, say(t, h, "POST", "/v1/api/pipes/", `{"name":"p","protocol":"s3","location":"b"}`, "Authorization", "Token token-of-me").Code)
	require.Equal(t, 201, say(t, h, "POST", "/v1/api/pipes/p/permissions/", `{"username":"reader","role":"read"}`, "Authorization", "Token token-of-me").Code)
	return h
}

const files = "/v1/api/pipes/p/files/"

func ask(t *testing.T, h http.Handler, user, url string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest("GET", url, nil).WithContext(t.Context())
	r.Header.Set("Authorization", "Token token-of-"+user)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestFiles(t *testing.T) {
	k := newKeeper()
	h := listed(t, k)
	w := ask(t, h, "reader", files)
	require.Equal(t, 200, w.Code)
	require.Equal(t, document, w.Body.String())
	require.Empty(t, w.Header().Get("Content-Encoding"))
	require.Equal(t, `"abc-1"`, w.Header().Get("ETag"))
	require.Equal(t, "Sun, 01 Nov 2026 12:00:00 GMT", w.Header().Get("Last-Modified"))
	require.Equal(t, "private, max-age=120", w.Header().Get("Cache-Control"))
	age, err := strconv.Atoi(w.Header().Get("Age"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, age, 90)
	require.LessOrEqual(t, age, 1+int(time.Since(k.listing.Scanned).Seconds()))
	require.Equal(t, "Authorization, Accept-Encoding", w.Header().Get("Vary"))
	require.Equal(t, k.listing.Scanned.UTC().Format(time.RFC3339Nano), w.Header().Get("D6tpipe-Scanned"))
	require.NotContains(t, w.Header(), "D6tpipe-Stale")
	require.NotContains(t, w.Header(), "Retry-After")
	require.Equal(t, []int{1, 1}, []int{k.bodies, k.done})

	w = ask(t, h, "reader", files, "Accept-Encoding", "br;q=1.0, GZIP;q=0.5")
	require.Equal(t, `"abc-1-gzip"`, w.Header().Get("ETag"), "what is compressed is another representation")
	require.Equal(t, "gzip", w.Header().Get("Content-Encoding"))
	zip, err := gzip.NewReader(w.Body)
	require.NoError(t, err)
	text, err := io.ReadAll(zip)
	require.NoError(t, err)
	require.Equal(t, document, string(text))
	for _, no := range []string{"gzip;q=0", "br", "identity", "gzip; q=0.0", "gzip;q=x"} {
		require.Empty(t, ask(t, h, "reader", files, "Accept-Encoding", no).Header().Get("Content-Encoding"), no)
	}

	k.listing.Stale, k.listing.MaxAge, k.listing.Again = "over\nhere \u00fc", -time.Second, 2100*time.Millisecond
	w = ask(t, h, "reader", files+"?refresh=True")
	require.Equal(t, "over?here ?", w.Header().Get("D6tpipe-Stale"))
	require.Equal(t, "private, max-age=0", w.Header().Get("Cache-Control"))
	require.Equal(t, "3", w.Header().Get("Retry-After"), "not too early")
	require.Equal(t, 1, k.refreshed)
	ask(t, h, "reader", files+"?refresh=no")
	require.Equal(t, 1, k.refreshed)
}

// TestNotModified: who has the listing gets no body, and nobody makes one.
func TestNotModified(t *testing.T) {
	k := newKeeper()
	h := listed(t, k)
	for header, code := range map[string]int{
		`"abc-1"`: 304, `W/"abc-1"`: 304, `"x", "abc-1"`: 304, `"abc-1-gzip"`: 304, `"x",W/"abc-1-gzip"`: 304,
		`"abc-2"`: 200, `abc-1`: 200, `"abc-1`: 200, `""`: 200, `"abc"`: 200, `"abc-1-gzip-gzip"`: 200, `*`: 200,
	} {
		before := k.bodies
		w := ask(t, h, "reader", files, "If-None-Match", header)
		require.Equal(t, code, w.Code, header)
		if code == 304 {
			require.Zero(t, w.Body.Len(), header)
			require.Equal(t, before, k.bodies)
			require.Equal(t, `"abc-1"`, w.Header().Get("ETag"))
			require.Equal(t, "private, max-age=120", w.Header().Get("Cache-Control"))
			require.NotEmpty(t, w.Header().Get("Age"))
			require.NotEmpty(t, w.Header().Get("D6tpipe-Scanned"))
			require.NotContains(t, w.Header(), "Content-Length")
			require.NotContains(t, w.Header(), "Content-Type")
		}
	}
	server := httptest.NewServer(h) // and by a real server, nothing follows the head
	defer server.Close()
	r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+files, nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Token token-of-reader")
	r.Header.Set("If-None-Match", `"abc-1"`)
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Empty(t, body)
	require.Equal(t, 304, resp.StatusCode)
	http.DefaultClient.CloseIdleConnections()
}

// TestFilesAreGuarded: who may not read learns nothing, and who may not write
// changes nothing; nobody is asked for the listing before that is clear.
func TestFilesAreGuarded(t *testing.T) {
	k := newKeeper()
	h := listed(t, k)
	require.Equal(t, 403, ask(t, h, "other", files).Code)
	require.Equal(t, 401, ask(t, h, "nobody", files).Code)
	require.Equal(t, 401, say(t, h, "GET", files, "").Code)
	require.Equal(t, 404, ask(t, h, "me", "/v1/api/pipes/q/files/").Code)
	require.Equal(t, 403, say(t, h, "POST", files, "", "Authorization", "Token token-of-reader").Code)
	require.Equal(t, 403, say(t, h, "POST", files, "", "Authorization", "Token token-of-other").Code)
	require.Zero(t, k.asked+k.changed)
	for _, path := range []string{"/v1/api/remotes/p/files/", "/v1/api/pipes/p/files/a.csv/", "/v1/api/pipes/a%2Fb/files/"} {
		require.Equal(t, 404, say(t, h, "GET", path, "", "Authorization", "Token token-of-me").Code, path)
	}
	for _, method := range []string{"PUT", "PATCH", "DELETE"} {
		require.Equal(t, 405, say(t, h, method, files, "", "Authorization", "Token token-of-me").Code, method)
	}

	w := say(t, h, "POST", files, "", "Authorization", "Token token-of-me")
	require.Equal(t, 200, w.Code)
	require.JSONEq(t, `{"changed_at":"2026-11-01T13:00:00Z"}`, w.Body.String())
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	require.Equal(t, 1, k.changed)
	require.Equal(t, 200, ask(t, h, "me", files).Code)
}

// TestFilesFail: an error of the keeper's is told as any other.
func TestFilesFail(t *testing.T) {
	k := newKeeper()
	h := listed(t, k)
	k.err = &d6tpipe.StatusError{Status: 502, Message: "The pipe's files could not be listed: it took too long."}
	w := ask(t, h, "me", files)
	require.Equal(t, 502, w.Code)
	require.Contains(t, w.Body.String(), "took too long")
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	require.NotContains(t, w.Header(), "Etag")
	k.err = nil
	k.bodyErr = errors.New("db: secret")
	w = ask(t, h, "me", files)
	require.Equal(t, 500, w.Code)
	require.True(t, json.Valid(w.Body.Bytes()))
	require.NotContains(t, w.Body.String(), "secret")
	k.bodyErr = nil
	k.listing.Body = func(context.Context) ([]byte, func(), error) { return []byte("no gzip"), func() { k.done++ }, nil }
	k.done = 0
	require.Equal(t, 500, ask(t, h, "me", files).Code)
	require.Equal(t, 1, k.done)
	k.listing.Body = func(context.Context) ([]byte, func(), error) { // what breaks half-way is broken off
		var b bytes.Buffer
		zip := gzip.NewWriter(&b)
		_, err := io.WriteString(zip, strings.Repeat(document, 1000))
		err = errors.Join(err, zip.Close())
		return b.Bytes()[:20], func() { k.done++ }, err
	}
	server := httptest.NewServer(h)
	defer server.Close()
	r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+files, nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Token token-of-me")
	r.Header.Set("Accept-Encoding", "identity")
	resp, err := http.DefaultClient.Do(r)
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	require.Error(t, err)
	http.DefaultClient.CloseIdleConnections()
	server.Close()
	require.Equal(t, 2, k.done, "who cannot be sent it keeps nothing")
}

// TestWithoutListings: a service that keeps none says so as ever.
func TestWithoutListings(t *testing.T) {
	h := wire.Handler(local(t))
	require.Equal(t, 201, say(t, h, "POST", "/v1/api/pipes/", `{"name":"p","protocol":"s3","location":"b"}`).Code)
	for _, method := range []string{"GET", "POST", "HEAD"} {
		require.Equal(t, 404, say(t, h, method, files, "").Code)
	}
}

// TestSlowReaders: a listing is held until it was written, however slowly that is read,
// and not longer when the reader goes away.
func TestSlowReaders(t *testing.T) {
	var held atomic.Int64
	k := newKeeper()
	random := make([]byte, 16<<20) // more than connections hold
	_, _ = rand.Read(random)
	k.listing.Body = func(context.Context) ([]byte, func(), error) {
		held.Add(1)
		return random, func() { held.Add(-1) }, nil
	}
	server := httptest.NewServer(listed(t, k))
	defer server.Close()
	begin := func() io.ReadCloser {
		r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+files, nil)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Token token-of-me")
		r.Header.Set("Accept-Encoding", "gzip")
		resp, err := server.Client().Do(r)
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode)
		return resp.Body
	}
	first, second := begin(), begin()
	defer first.Close()
	defer second.Close()
	require.Equal(t, int64(2), held.Load())
	require.NoError(t, second.Close())
	require.Eventually(t, func() bool { return held.Load() == 1 }, time.Minute, time.Millisecond)
	got, err := io.ReadAll(first)
	require.NoError(t, err)
	require.True(t, bytes.Equal(random, got))
	require.Eventually(t, func() bool { return held.Load() == 0 }, time.Minute, time.Millisecond)
}
