package httpfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// Open implements [storage.Store].
func (s *Store) Open(ctx context.Context, obj storage.Object, off, n int64) (io.ReadCloser, error) {
	if err := storage.CheckOpen(obj.Key, off); err != nil {
		return nil, err
	}
	r, err := s.open(ctx, obj, off, n)
	if err != nil {
		return nil, s.fail("open", obj.Key, err)
	}
	return r, nil
}

func (s *Store) open(ctx context.Context, obj storage.Object, off, n int64) (io.ReadCloser, error) {
	if n == 0 { // no range has no bytes
		return s.nothing(ctx, obj, math.MaxInt64)
	}
	resp, err := s.send(ctx, http.MethodGet, obj.Key, request(obj, off, n))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		_ = resp.Body.Close() // nobody wants it
		return s.nothing(ctx, obj, off)
	}
	r, err := s.answer(ctx, obj, resp, off, n)
	if err != nil {
		return nil, errors.Join(err, resp.Body.Close())
	}
	return r, nil
}

// nothing is the answer when there are no bytes from off on: but the object must be
// there, be the one that was meant, and end before that.
func (s *Store) nothing(ctx context.Context, obj storage.Object, off int64) (io.ReadCloser, error) {
	v, err := s.head(ctx, obj.Key)
	switch {
	case err != nil:
		return nil, err
	case off < v.size:
		return nil, errRange
	}
	if err := s.check(obj, v); err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(nil)), nil
}

func request(obj storage.Object, off, n int64) http.Header {
	header := http.Header{}
	switch {
	case n > 0:
		header.Set("Range", fmt.Sprintf("bytes=%d-%d", off, off+n-1))
	case off > 0:
		header.Set("Range", fmt.Sprintf("bytes=%d-", off))
	}
	if strings.HasPrefix(obj.Tag, `"`) {
		header.Set("If-Match", obj.Tag)
	}
	return header
}

// answer makes sure that an answer is the range and the version that was asked
// for. A server that does not know ranges sends the whole, of which the part before
// off is left out.
func (s *Store) answer(ctx context.Context, obj storage.Object, resp *http.Response, off, n int64) (*reader, error) {
	ranged := off > 0 || n > 0
	r := &reader{ctx: ctx, s: s, key: obj.Key, body: resp.Body}
	var size int64
	switch {
	case resp.StatusCode == http.StatusOK:
		if resp.Header.Get("Content-Range") != "" {
			return nil, errRange
		}
		size = resp.ContentLength
		if size < 0 && ofSum(obj.Tag) {
			size = obj.Size // the sum will show whether that is so
		}
		if size < 0 {
			return nil, errNoLength
		}
		r.skip = min(off, size)
		r.left = size - r.skip
		if n > 0 {
			r.left = min(r.left, n)
		}
		if ranged {
			s.streams.Store(true)
		}
	case resp.StatusCode == http.StatusPartialContent && ranged:
		first, last, total, ok := contentRange(resp.Header.Get("Content-Range"))
		want := total - 1
		if n > 0 {
			want = min(want, off+n-1)
		}
		if !ok || first != off || last != want || resp.ContentLength >= 0 && resp.ContentLength != last-first+1 {
			return nil, errRange
		}
		size, r.left = total, last-first+1
	case resp.StatusCode == http.StatusPartialContent:
		return nil, errRange
	default:
		return nil, refused(resp)
	}
	if err := encoded(resp, obj.Key); err != nil {
		return nil, err
	}
	return r, s.check(obj, versionOf(resp.Header, size))
}

// contentRange reads "bytes 0-99/1234".
func contentRange(s string) (first, last, total int64, ok bool) {
	s, isBytes := strings.CutPrefix(s, "bytes ")
	span, size, hasSize := strings.Cut(s, "/")
	from, to, hasTo := strings.Cut(span, "-")
	first, err1 := strconv.ParseInt(from, 10, 64)
	last, err2 := strconv.ParseInt(to, 10, 64)
	total, err3 := strconv.ParseInt(size, 10, 64)
	ok = isBytes && hasSize && hasTo && errors.Join(err1, err2, err3) == nil && 0 <= first && first <= last && last < total
	return first, last, total, ok
}

// maxSkip is how much one Read leaves out, so that who waits for bytes sees that
// something moves.
const maxSkip = 64 << 20

// reader ends with an error unless all of left came.
type reader struct {
	ctx        context.Context
	s          *Store
	key        string
	body       io.ReadCloser
	skip, left int64
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, r.fail(err)
	}
	if r.skip > 0 {
		n, err := io.CopyN(io.Discard, r.body, min(r.skip, maxSkip))
		r.skip -= n
		if err != nil {
			return 0, r.broken(err)
		}
		return 0, nil
	}
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.body.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	switch {
	case r.left == 0:
		return n, io.EOF
	case err != nil:
		return n, r.broken(err)
	}
	return n, nil
}

func (r *reader) broken(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return r.fail(networkError(r.ctx, err))
}

func (r *reader) fail(err error) error { return r.s.fail("read", r.key, err) }

func (r *reader) Close() error {
	_ = r.body.Close() // it was only read
	return nil
}
