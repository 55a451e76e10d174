package transfer_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/mem"
	"github.com/d6t/d6tpipe-go/internal/storage/s3"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// A garbler is a remote that gets other bytes than were sent to it, so many times.
type garbler struct {
	*mem.Store
	how string // it shows: by refusing them, or by the sum that it answers with

	mu    sync.Mutex
	times int
	calls int // that could be garbled
}

func (g *garbler) garbles() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls++
	g.times--
	return g.times >= 0
}

const garbledCRC = "0123456789abcdef"

// garbled stores other bytes, or refuses them.
func (g *garbler) garbled(ctx context.Context, key string, r io.Reader, size int64, cond storage.Cond) (storage.Object, error) {
	data, err := io.ReadAll(storage.Exactly(ctx, r, size))
	if err != nil {
		return storage.Object{}, err
	}
	sent := transfer.CRCHex(data)
	if g.how == "refuses" {
		return storage.Object{}, fmt.Errorf("BadDigest: %w", storage.ErrCorrupt)
	}
	data[0] ^= 1
	o, err := g.Store.Put(ctx, key, bytes.NewReader(data), size, cond)
	if g.how == "error" && err == nil {
		err = &storage.SumError{Kind: "crc64nvme", Want: sent, Got: garbledCRC, Tag: o.Tag}
	}
	o.Sum = "crc64nvme:" + garbledCRC
	return o, err
}

func (g *garbler) Put(ctx context.Context, key string, r io.Reader, size int64, cond storage.Cond) (storage.Object, error) {
	if g.garbles() {
		return g.garbled(ctx, key, r, size, cond)
	}
	return g.Store.Put(ctx, key, r, size, cond)
}

func (g *garbler) Multipart() storage.Multipart {
	return &garblerParts{g.Store.Multipart(), g}
}

type garblerParts struct {
	storage.Multipart
	g *garbler
}

func (m *garblerParts) Send(ctx context.Context, u storage.Upload, n int, r io.Reader, size int64) (storage.Part, error) {
	if !strings.HasPrefix(m.g.how, "part") || n != 3 || !m.g.garbles() {
		return m.Multipart.Send(ctx, u, n, r, size)
	}
	data, err := io.ReadAll(storage.Exactly(ctx, r, size))
	switch {
	case err == nil && m.g.how == "part, refuses":
		err = storage.ErrCorrupt
	case err == nil:
		err = &storage.SumError{Kind: "crc64nvme", Want: transfer.CRCHex(data), Got: garbledCRC}
	}
	return storage.Part{}, err
}

func (m *garblerParts) Finish(ctx context.Context, u storage.Upload, parts []storage.Part, cond storage.Cond) (storage.Object, error) {
	o, err := m.Multipart.Finish(ctx, u, parts, cond)
	if strings.HasPrefix(m.g.how, "part") || err != nil || !m.g.garbles() {
		return o, err
	}
	if m.g.how == "refuses" {
		return storage.Object{}, fmt.Errorf("BadDigest: %w", errOf(m.g.Store.Remove(ctx, u.Key), storage.ErrCorrupt))
	}
	r, err := m.g.Open(ctx, o, 0, -1)
	if err != nil {
		return o, err
	}
	return m.g.garbled(ctx, u.Key, r, u.Size, storage.Cond{Tag: o.Tag})
}

func errOf(failed, err error) error {
	if failed != nil {
		return failed
	}
	return err
}

// What a remote has received damaged is sent once more, in the place of what it has
// now; then it is an error that names both sums, as far as the remote tells.
func TestDamagedUploads(t *testing.T) {
	for _, size := range []int{1000, 5*block + 17} {
		for _, how := range []string{"refuses", "error", "answer", "part, refuses", "part, error"} {
			for times := range 3 {
				if size == 1000 && strings.HasPrefix(how, "part") {
					continue
				}
				data := string(bigFile(1)[:size])
				g := func() *garbler { return &garbler{Store: mem.New(), how: how, times: times} }
				check := func(t *testing.T, g *garbler, again func() error, err error) {
					t.Helper()
					require.Equal(t, min(times+1, 2), g.calls)
					if times == 2 {
						var verify *transfer.VerifyError
						require.ErrorAs(t, err, &verify)
						require.ErrorIs(t, err, transfer.ErrCorrupt)
						require.Contains(t, err.Error(), verify.Want)
						require.Len(t, verify.Want, 16)
						if !strings.HasSuffix(how, "refuses") {
							require.Contains(t, err.Error(), garbledCRC)
						}
						require.Zero(t, g.Uploads())
						return
					}
					require.NoError(t, err)
					require.Equal(t, hash([]byte(data)), hash([]byte(stored(t, g, "f.bin"))))
					require.Zero(t, g.Uploads())
					require.NoError(t, again())
				}
				name := fmt.Sprintf("%d/%s/%d", size, how, times)
				t.Run("push/"+name, func(t *testing.T) {
					g := g()
					p := newPipe(t, g, inPieces, func(c *transfer.Config) { c.Retry = storage.RetryPolicy{First: time.Millisecond} })
					p.write("f.bin", data)
					_, err := p.sync(push)
					check(t, g, func() error { p.must(push, 0); return nil }, err)
				})
				if times == 2 && strings.HasPrefix(how, "part") {
					continue // then the whole is copied once more
				}
				t.Run("mirror/"+name, func(t *testing.T) {
					g := g()
					m := newMirror(t, nil, func(storage.Store) storage.Store { return g })
					m.from.Plant("f.bin", []byte(data))
					_, _, _, err := m.Mirror(t.Context(), transfer.MirrorOptions{})
					check(t, g, func() error { m.run(transfer.MirrorOptions{}, 0); return nil }, err)
				})
			}
		}
	}
}

// An S3 server that says BadDigest is asked twice, whatever the patience with others.
func TestBadDigestIsTriedTwice(t *testing.T) {
	var puts atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			puts.Add(1)
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, "<Error><Code>BadDigest</Code></Error>")
			return
		}
		fmt.Fprint(w, "<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>0</KeyCount></ListBucketResult>")
	}))
	defer server.Close()
	store, err := s3.New(s3.Options{Endpoint: server.URL, Bucket: "bucket", AccessKey: "key", SecretKey: "secret"})
	require.NoError(t, err)
	defer store.Close()
	p := newPipe(t, store, func(c *transfer.Config) { c.Retry = storage.RetryPolicy{First: time.Millisecond} })
	p.write("a.csv", "content")
	_, err = p.sync(push)
	require.ErrorIs(t, err, transfer.ErrCorrupt)
	require.ErrorContains(t, err, transfer.CRCHex([]byte("content")))
	require.EqualValues(t, 2, puts.Load())
}
