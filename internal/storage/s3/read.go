package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

var errRange = errors.New("the remote did not send the range that was asked for")

// Open implements [storage.Store].
func (s *Store) Open(ctx context.Context, obj storage.Object, off, n int64) (io.ReadCloser, error) {
	if err := storage.CheckOpen(obj.Key, off); err != nil {
		return nil, err
	}
	if n == 0 { // no range has no bytes
		return s.nothing(ctx, obj)
	}
	ctx, call := s.begin(ctx, "open", obj.Key)
	resp, err := s.get(ctx, obj, off, n)
	if minio.ToErrorResponse(err).StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return s.nothing(ctx, obj)
	}
	if err != nil {
		return nil, call.fail(err)
	}
	length, err := check(obj, resp.Header, off, n)
	if err != nil {
		return nil, call.fail(errors.Join(err, resp.Body.Close()))
	}
	return &reader{call: call, body: resp.Body, left: length, sum: sumIn(resp.Header)}, nil
}

func (s *Store) get(ctx context.Context, obj storage.Object, off, n int64) (resp *http.Response, err error) {
	err = s.withSums(func(sums bool) error {
		req := s.request(ctx, http.MethodGet, obj.Key, nil)
		askForSum(req.Header, sums)
		askForRange(req.Header, obj, off, n)
		resp, err = s.do(req, emptyHash) //nolint:bodyclose // whoever gets it closes it
		return err
	})
	return resp, err
}

func askForRange(h http.Header, obj storage.Object, off, n int64) {
	switch {
	case n > 0:
		h.Set("Range", fmt.Sprintf("bytes=%d-%d", off, off+n-1))
	case off > 0:
		h.Set("Range", fmt.Sprintf("bytes=%d-", off))
	}
	if obj.Tag != "" {
		h.Set("If-Match", `"`+obj.Tag+`"`)
	}
}

// nothing is the answer when there are no bytes in the range: but the object must
// be there, and be the one that was meant.
func (s *Store) nothing(ctx context.Context, obj storage.Object) (io.ReadCloser, error) {
	ctx, call := s.begin(ctx, "open", obj.Key)
	got, sum, err := s.head(ctx, obj.Key)
	if err == nil && obj.Tag != "" && obj.Tag != got.Tag {
		err = storage.ErrChanged
	}
	if err != nil {
		return nil, call.fail(err)
	}
	return &reader{call: call, body: http.NoBody, sum: sum}, nil
}

// check makes sure that an answer is the range and the version that was asked
// for, and returns its length. A proxy that ignores Range answers 200 with the
// whole object; one that serves a stale copy shows another ETag.
func check(obj storage.Object, header http.Header, off, n int64) (int64, error) {
	if obj.Tag != "" && trimETag(header.Get("ETag")) != obj.Tag {
		return 0, storage.ErrChanged
	}
	length, err := strconv.ParseInt(header.Get("Content-Length"), 10, 64)
	if err != nil || length < 0 {
		return 0, errNoLength
	}
	if off == 0 && n < 0 {
		if header.Get("Content-Range") != "" || obj.Tag != "" && obj.Size != length {
			return 0, errRange
		}
		return length, nil
	}
	first, last, total, ok := contentRange(header.Get("Content-Range"))
	if !ok || first != off || last-first+1 != length || last >= total {
		return 0, errRange
	}
	if want := total - 1; last != want && (n < 0 || last != off+n-1) {
		return 0, errRange
	}
	return length, nil
}

// contentRange reads "bytes 0-99/1234".
func contentRange(s string) (first, last, total int64, ok bool) {
	s, isBytes := strings.CutPrefix(s, "bytes ")
	span, size, hasSize := strings.Cut(s, "/")
	from, to, hasTo := strings.Cut(span, "-")
	first, err1 := strconv.ParseInt(from, 10, 64)
	last, err2 := strconv.ParseInt(to, 10, 64)
	total, err3 := strconv.ParseInt(size, 10, 64)
	ok = isBytes && hasSize && hasTo && errors.Join(err1, err2, err3) == nil && 0 <= first && first <= last
	return first, last, total, ok
}

// reader ends with an error unless all of left came.
type reader struct {
	call *call
	body io.ReadCloser
	left int64
	sum  string // of the whole object
}

// Sum implements [storage.Summer].
func (r *reader) Sum() string { return r.sum }

func (r *reader) Read(p []byte) (int, error) {
	if err := r.call.ctx.Err(); err != nil {
		return 0, r.call.fail(err)
	}
	n, err := r.body.Read(p)
	r.left -= int64(n)
	switch {
	case err == nil:
		return n, nil
	case err == io.EOF && r.left == 0:
		return n, io.EOF
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return n, r.call.fail(networkError(r.call.ctx, err))
}

func (r *reader) Close() error {
	_ = r.body.Close() // it was only read
	return nil
}
