package transfer_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/ftp"
	"github.com/d6t/d6tpipe-go/internal/storage/ftp/ftptest"
	"github.com/d6t/d6tpipe-go/internal/storage/httpfile"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// A timeless is a server of big.bin that tells nothing of it but its size.
type timeless struct {
	data   []byte
	broken bool // what lies behind the first MiB cannot be read
}

const timelessCut = 1 << 20

func (s *timeless) http(t *testing.T, now *atomic.Pointer[timeless]) storage.Store {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := now.Load()
		from, to := 0, len(s.data)-1
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); err == nil {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(s.data)))
		}
		body := s.data[from : to+1]
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		switch {
		case s.broken && from >= timelessCut:
			w.WriteHeader(http.StatusForbidden)
			return
		case r.Header.Get("Range") != "":
			w.WriteHeader(http.StatusPartialContent)
		}
		if s.broken {
			body = body[:min(len(body), timelessCut)]
		}
		_, _ = w.Write(body) // what is missing of it breaks the connection
	}))
	t.Cleanup(server.Close)
	store, err := httpfile.New(httpfile.Options{Location: server.URL, Files: []string{"big.bin"}})
	require.NoError(t, err)
	return store
}

func (s *timeless) ftp(t *testing.T, now *atomic.Pointer[timeless]) storage.Store {
	script := &ftptest.Script{Features: []string{"EPSV", "MLST type*;size*;", "REST STREAM"}}
	facts := func() string { return fmt.Sprintf("type=file;size=%d; big.bin", len(now.Load().data)) }
	script.On = func(verb, arg string) string {
		switch {
		case verb == "MLST" && arg == "/big.bin":
			return "250-here\r\n " + facts() + "\r\n250 end"
		case verb == "MLST":
			return "550 no"
		}
		return ""
	}
	script.Data = func(verb, _ string, off int64) string {
		s := now.Load()
		switch {
		case verb == "MLSD":
			return facts() + "\r\n"
		case s.broken:
			return string(s.data[min(off, timelessCut):timelessCut])
		}
		return string(s.data[off:])
	}
	script.End = func(verb, _ string) string {
		if verb == "RETR" && now.Load().broken {
			return "426 broken"
		}
		return ""
	}
	store, err := ftp.New(ftp.Options{Host: script.Start(t).Addr})
	require.NoError(t, err)
	return store
}

// Where nothing but the size tells versions apart, what has arrived of one is not
// completed from another.
func TestVersionsWithoutTagsNeverMeet(t *testing.T) {
	old, new := bytes.Repeat([]byte("A"), 3<<20), bytes.Repeat([]byte("B"), 3<<20)
	for name, serve := range map[string]func(*timeless, *testing.T, *atomic.Pointer[timeless]) storage.Store{"http": (*timeless).http, "ftp": (*timeless).ftp} {
		t.Run(name, func(t *testing.T) {
			var now atomic.Pointer[timeless]
			s := &timeless{data: old, broken: true}
			now.Store(s)
			store := serve(s, t, &now)
			t.Cleanup(func() { require.NoError(t, store.Close()) })
			p := newPipe(t, store, inPieces, func(c *transfer.Config) { c.Workers = 1 })
			_, err := p.sync(pull)
			require.ErrorIs(t, err, transfer.ErrPartial)
			require.NoFileExists(t, filepath.Join(p.dir, "big.bin"))
			now.Store(&timeless{data: new})
			p.must(pull, 1)
			require.Equal(t, len(new), strings.Count(p.read("big.bin"), "B"))
			p.must(pull, 0)
			now.Store(&timeless{data: new[1:]})
			p.must(pull, 1)
			requireNothingLeft(t, p)
		})
	}
}

// An untagged remote tells size and time, and the reads of it break so many times.
type untagged struct {
	storage.Store
	breaks int
}

func (u *untagged) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		for o, err := range u.Store.List(ctx, prefix) {
			if o.Tag, o.Sum = "", ""; !yield(o, err) {
				return
			}
		}
	}
}

func (u *untagged) Stat(ctx context.Context, key string) (storage.Object, error) {
	o, err := u.Store.Stat(ctx, key)
	o.Tag, o.Sum = "", ""
	return o, err
}

func (u *untagged) Open(ctx context.Context, o storage.Object, off, n int64) (io.ReadCloser, error) {
	r, err := u.Store.Open(ctx, o, off, n)
	if u.breaks--; err != nil || u.breaks < 0 {
		return r, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(r, 3), iotest.ErrReader(storage.ErrTemporary)), r}, nil
}

// What nobody can go on with is fetched from its beginning.
func TestBrokenDownloadWithoutTagStartsOver(t *testing.T) {
	p := newPipe(t, &untagged{remote(map[string]string{"a.csv": "content"}), 1})
	p.must(pull, 1)
	require.Equal(t, "content", p.read("a.csv"))
	p.must(pull, 0)
}

// Without a tag no condition holds a push back from another's version.
func TestPushWithoutTagKeepsOthersVersion(t *testing.T) {
	store := remote(map[string]string{"a.csv": "content"})
	p := newPipe(t, &untagged{Store: store})
	p.must(pull, 1)
	p.write("a.csv", "mine")
	plan := p.plan(push)
	store.Plant("a.csv", []byte("CONTENT"))
	_, err := p.Apply(t.Context(), plan)
	require.ErrorIs(t, err, transfer.ErrConflict)
	require.Equal(t, "CONTENT", stored(t, store, "a.csv"))
}
