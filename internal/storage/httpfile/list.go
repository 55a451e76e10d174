package httpfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/http"
	"strings"
	"sync"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// lookers is how many files the server is asked for at a time.
const lookers = 16

// List implements [storage.Store].
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		if err := s.list(ctx, prefix, yield); err != nil && !errors.Is(err, errStopped) {
			yield(storage.Object{}, s.fail("list", prefix, err))
		}
	}
}

var errStopped = errors.New("the caller has enough")

func (s *Store) list(ctx context.Context, prefix string, yield func(storage.Object, error) bool) error {
	if s.closed.Load() {
		return errClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := s.entries(ctx)
	if err != nil {
		return err
	}
	var unknown []entry
	for _, e := range entries {
		switch {
		case !strings.HasPrefix(e.key, prefix):
		case !e.complete() && storage.CheckKey(e.key) == nil:
			unknown = append(unknown, e)
		case ctx.Err() != nil:
			return ctx.Err()
		case !yield(e.object(max(e.size, 0)), nil):
			return errStopped
		}
	}
	if s.single && len(unknown) == 0 { // nothing is asked for, but it must be there
		_, err := s.look(ctx, entries[0])
		return err
	}
	return s.lookAll(ctx, unknown, len(unknown) == len(entries), yield)
}

// object is the file of which the size is known.
func (e entry) object(size int64) storage.Object {
	return storage.Object{Key: e.key, Size: size, ModTime: e.modified, Tag: e.sum, Sum: e.sum}
}

// lookAll asks the server for files and yields them in their order. When they are
// all that there should be, not all of them can be missing.
func (s *Store) lookAll(ctx context.Context, entries []entry, all bool, yield func(storage.Object, error) bool) error {
	type answer struct {
		obj storage.Object
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	answers := make([]chan answer, len(entries))
	ask := func(i int) {
		if i < len(entries) {
			answers[i] = make(chan answer, 1)
			group.Go(func() {
				obj, err := s.look(ctx, entries[i])
				answers[i] <- answer{obj, err}
			})
		}
	}
	for i := range min(lookers, len(entries)) {
		ask(i)
	}
	missing := 0
	for i, e := range entries {
		a := <-answers[i]
		if errors.Is(a.err, fs.ErrNotExist) {
			missing++
			a.obj, a.err = e.missing(), nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if a.err != nil {
			return fmt.Errorf("%q: %w", e.key, withoutURL(a.err))
		}
		if all && missing == len(entries) {
			return fmt.Errorf("the remote has none of the files that it was asked for: %w", fs.ErrNotExist)
		}
		ask(i + lookers)
		if !yield(a.obj, nil) {
			return errStopped
		}
	}
	return nil
}

// missing is a file that is said to be there and is not. Its tag is that of no
// answer, so that one that arrives meanwhile is not taken for it.
func (e entry) missing() storage.Object {
	obj := e.object(max(e.size, 0))
	if obj.Tag == "" {
		obj.Tag = "missing"
	}
	return obj
}

// look asks the server for a file.
func (s *Store) look(ctx context.Context, e entry) (storage.Object, error) {
	v, err := s.head(ctx, e.key)
	if err != nil {
		return storage.Object{}, err
	}
	obj := e.object(v.size)
	if obj.Tag == "" {
		obj.Tag = v.tag()
	}
	if !v.modified.IsZero() {
		obj.ModTime = v.modified
	}
	return obj, nil
}

// Stat implements [storage.Store].
func (s *Store) Stat(ctx context.Context, key string) (storage.Object, error) {
	if err := storage.CheckKey(key); err != nil {
		return storage.Object{}, err
	}
	obj, err := s.stat(ctx, key)
	return obj, s.fail("stat", key, err)
}

func (s *Store) stat(ctx context.Context, key string) (storage.Object, error) {
	if s.closed.Load() {
		return storage.Object{}, errClosed
	}
	entries, err := s.entries(ctx)
	if err != nil {
		return storage.Object{}, err
	}
	for _, e := range entries {
		if e.key != key {
			continue
		}
		obj, err := s.look(ctx, e)
		if e.complete() && (err == nil || errors.Is(err, errNoLength)) {
			return e.object(e.size), nil
		}
		return obj, err
	}
	return storage.Object{}, fs.ErrNotExist
}

// head asks for the version of a file.
func (s *Store) head(ctx context.Context, key string) (version, error) {
	resp, err := s.send(ctx, http.MethodHead, key, nil)
	if err != nil {
		return version{}, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusOK && resp.ContentLength >= 0:
		return versionOf(resp.Header, resp.ContentLength), encoded(resp, key)
	case resp.StatusCode == http.StatusOK, refusesHead(resp.StatusCode):
		return s.firstByte(ctx, key)
	}
	return version{}, refused(resp)
}

// refusesHead tells the answers of servers that know no HEAD, and of those where
// the address is signed for a GET.
func refusesHead(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return true
	}
	return false
}

// firstByte is head by a GET.
func (s *Store) firstByte(ctx context.Context, key string) (version, error) {
	resp, err := s.send(ctx, http.MethodGet, key, http.Header{"Range": {"bytes=0-0"}})
	if err != nil {
		return version{}, err
	}
	defer resp.Body.Close() // what comes of a server that ignores ranges is not read
	size := int64(-1)
	switch resp.StatusCode {
	case http.StatusOK:
		size = resp.ContentLength
	case http.StatusPartialContent:
		if _, _, total, ok := contentRange(resp.Header.Get("Content-Range")); ok {
			size = total
		}
	case http.StatusRequestedRangeNotSatisfiable:
		if resp.Header.Get("Content-Range") == "bytes */0" {
			size = 0
		}
	default:
		return version{}, refused(resp)
	}
	if size < 0 {
		return version{}, errNoLength
	}
	return versionOf(resp.Header, size), encoded(resp, key)
}

// send asks for a file.
func (s *Store) send(ctx context.Context, method, key string, header http.Header) (*http.Response, error) {
	if !s.knows(key) {
		return nil, fs.ErrNotExist
	}
	req, err := http.NewRequestWithContext(ctx, method, s.url(key).String(), nil)
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	return s.http.Do(req)
}

// encoded refuses what is not the file itself. Many servers call a file that was
// compressed before it was published an encoding.
func encoded(resp *http.Response, key string) error {
	switch resp.Header.Get("Content-Encoding") {
	case "", "identity":
		return nil
	case "gzip", "x-gzip":
		if strings.HasSuffix(key, ".gz") || strings.HasSuffix(key, ".tgz") {
			return nil
		}
	}
	return errEncoded
}
