package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/minio/crc64nvme"
	"github.com/minio/minio-go/v7"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// smallPut is the size in bytes up to which an object is held in memory, so that
// its sums are known before the first byte is sent.
const smallPut = 1 << 20

// Put implements [storage.Store]. The result's ModTime is zero: S3 does not say
// when a PUT took place, and asking would double the number of requests.
//
// An upload in parts holds no part in memory: each is streamed. When the answer
// to the last request is lost, nobody can know whether the object appeared.
func (s *Store) Put(ctx context.Context, key string, r io.Reader, size int64, cond storage.Cond) (storage.Object, error) {
	if err := storage.CheckPut(key, size, cond); err != nil {
		return storage.Object{}, err
	}
	if size > s.opts.PartSize {
		return s.putParts(ctx, key, r, size, cond)
	}
	ctx, call := s.begin(ctx, "put", key)
	if err := s.precheck(ctx, key, cond); err != nil {
		return storage.Object{}, call.fail(err)
	}
	src := &source{r: storage.Exactly(ctx, r, size)}
	var sum string
	put := s.putSmall // which computes its own
	if size > smallPut {
		put = s.putSigned
		if sum = s.sumOf(r); sum != "" {
			put = s.putStream
		}
	}
	obj, err := put(ctx, key, src, size, sum, cond)
	if srcErr := src.shut(); srcErr != nil {
		err = srcErr // the cause; what the connection says about it is not
	}
	if err != nil {
		return storage.Object{}, call.fail(s.unknownCondition(cond, err))
	}
	return obj, nil
}

// sumOf is the CRC64NVME that r knows of itself, if the remote will check what it
// receives by it. Without that, a body that a broken connection cuts short is taken
// for whole by some servers. To know it may mean to read all of r.
func (s *Store) sumOf(r io.Reader) string {
	if !s.learnt.sums.Load() {
		return ""
	}
	if sum := storage.SumOf(r); crcValue(sum) != "" {
		return sum
	}
	return ""
}

// precheck looks at the condition for remotes that cannot.
func (s *Store) precheck(ctx context.Context, key string, cond storage.Cond) error {
	if !s.learnt.unconditional.Load() || cond == (storage.Cond{}) {
		return nil
	}
	got, _, err := s.head(ctx, key)
	missing := minio.ToErrorResponse(err).StatusCode == http.StatusNotFound && minio.ToErrorResponse(err).Code != minio.NoSuchBucket
	switch {
	case err != nil && !missing:
		return err
	case cond.Absent != missing && (cond.Absent || cond.Tag != ""), cond.Tag != got.Tag && !cond.Absent:
		return storage.ErrChanged
	}
	return nil
}

// unknownCondition learns from the answer of a remote that does not know conditions:
// the next attempt looks beforehand.
func (s *Store) unknownCondition(cond storage.Cond, err error) error {
	if cond == (storage.Cond{}) || minio.ToErrorResponse(err).StatusCode != http.StatusNotImplemented {
		return err
	}
	if s.learnt.unconditional.Swap(true) {
		return err
	}
	return fmt.Errorf("%w: the remote does not know conditions on a PUT", storage.ErrTemporary)
}

// condition sets the headers of a condition.
func (s *Store) condition(h http.Header, cond storage.Cond) {
	switch {
	case s.learnt.unconditional.Load():
	case cond.Absent:
		h.Set("If-None-Match", "*")
	case cond.Tag != "":
		h.Set("If-Match", `"`+cond.Tag+`"`)
	}
}

// putSmall sends an object from memory. The remote checks what it receives: by the
// CRC64NVME, if it has shown that it knows those, else by the signed SHA-256. One
// that was never asked gets both.
func (s *Store) putSmall(ctx context.Context, key string, src io.Reader, size int64, _ string, cond storage.Cond) (obj storage.Object, err error) {
	data := make([]byte, size)
	if _, err := io.ReadFull(src, data); err != nil {
		return storage.Object{}, err
	}
	if _, err := src.Read(make([]byte, 1)); err != io.EOF { // a reader that is longer, or fails at its end
		return storage.Object{}, err
	}
	payload := unsigned
	if !s.learnt.sums.Load() {
		hash := sha256.Sum256(data)
		payload = hex.EncodeToString(hash[:])
	}
	err = s.withSums(func(sums bool) error {
		b := newBody(bytes.NewReader(data), size) // of each request its own: net/http may still be at the last one's
		if sums && (s.learnt.sums.Load() || !s.learnt.probed.Load()) {
			b.want = crcSum(crc64nvme.Checksum(data))
		}
		obj, err = s.put(ctx, key, b, payload, cond)
		return err
	})
	return obj, err
}

// putStream sends an object as it is read to a remote that checks it.
func (s *Store) putStream(ctx context.Context, key string, src io.Reader, size int64, sum string, cond storage.Cond) (storage.Object, error) {
	b := newBody(src, size)
	b.want = sum
	return s.put(ctx, key, b, unsigned, cond)
}

func (s *Store) put(ctx context.Context, key string, b *body, payload string, cond storage.Cond) (storage.Object, error) {
	req := s.request(ctx, http.MethodPut, key, nil)
	s.condition(req.Header, cond)
	h, err := s.upload(req, b, payload)
	var sum *storage.SumError
	if errors.As(err, &sum) {
		sum.Tag = trimETag(h.Get("ETag")) // it is there all the same
	}
	if err != nil {
		return storage.Object{}, err
	}
	return s.object(key, b.size, time.Time{}, h.Get("ETag")), nil
}

// putSigned sends an object in chunks that are signed each, or with its sum at the
// end.
func (s *Store) putSigned(ctx context.Context, key string, src io.Reader, size int64, _ string, cond storage.Cond) (storage.Object, error) {
	opts := minio.PutObjectOptions{}
	if s.opts.Checksums {
		opts.Checksum = checksum
		opts.DisableContentSha256 = true // one checksum is enough, and the two exclude each other over plain HTTP
	}
	switch {
	case s.learnt.unconditional.Load():
	case cond.Absent:
		opts.SetMatchETagExcept("*")
	case cond.Tag != "":
		opts.SetMatchETag(cond.Tag)
	}
	b := newBody(src, size)
	info, err := s.core().PutObject(ctx, s.opts.Bucket, key, b, size, "", "", opts)
	if err != nil {
		return storage.Object{}, err
	}
	if info.ChecksumCRC64NVME != "" {
		s.learnt.sums.Store(true)
		if err := compare(b, http.Header{crcHeader: {info.ChecksumCRC64NVME}, typeHeader: {info.ChecksumMode}}); err != nil {
			err.Tag = trimETag(info.ETag)
			return storage.Object{}, err
		}
	}
	return s.object(key, size, time.Time{}, info.ETag), nil
}

// A body is what is sent of an object, with its sums. A server may answer before it
// has read all of it, and then net/http reads on beside the caller: hence the lock.
type body struct {
	r    io.Reader
	size int64
	want string // the CRC64NVME that it is said to have, "" when nobody says

	mu  sync.Mutex
	crc uint64
}

func newBody(r io.Reader, size int64) *body { return &body{r: r, size: size} }

func (b *body) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.crc = crc64nvme.Update(b.crc, p[:n])
	return n, err
}

// sum is the CRC64NVME of what was read so far.
func (b *body) sum() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return crcSum(b.crc)
}

// upload sends a body, and compares the sum that comes back: a remote that answers
// with a CRC64NVME has computed it.
func (s *Store) upload(req *http.Request, b *body, payload string) (http.Header, error) {
	if value := crcValue(b.want); value != "" {
		req.Header.Set(crcHeader, value)
	}
	req.ContentLength = b.size
	req.Body = http.NoBody
	if b.size > 0 {
		req.Body = io.NopCloser(b)
	}
	resp, err := s.do(req, payload)
	if err != nil {
		return nil, err
	}
	if err := drained(resp); err != nil {
		return nil, networkError(req.Context(), err)
	}
	if err := compare(b, resp.Header); err != nil {
		return resp.Header, err
	}
	return resp.Header, nil
}

// compare returns an error when an answer has another CRC64NVME than what was sent.
func compare(b *body, h http.Header) *storage.SumError {
	kind, got, _ := strings.Cut(sumIn(h), ":")
	_, want, _ := strings.Cut(b.sum(), ":")
	if kind != "crc64nvme" || got == want {
		return nil
	}
	return &storage.SumError{Kind: kind, Want: want, Got: got}
}

// putParts sends a big object in parts, one after the other.
func (s *Store) putParts(ctx context.Context, key string, r io.Reader, size int64, cond storage.Cond) (storage.Object, error) {
	u, err := s.beginParts(ctx, key, size, 1)
	if err != nil {
		return storage.Object{}, err
	}
	whole := storage.Exactly(ctx, r, size)
	obj, err := s.sendAll(ctx, u, whole, cond)
	if err != nil {
		err = s.abandon(ctx, u, err)
	}
	return obj, err
}

func (s *Store) sendAll(ctx context.Context, u storage.Upload, whole io.Reader, cond storage.Cond) (storage.Object, error) {
	if err := s.checkNow(ctx, u.Key, cond); err != nil {
		return storage.Object{}, err
	}
	var parts []storage.Part
	for n := range u.Parts() {
		_, size := u.Part(n)
		part, err := s.Send(ctx, u, n, io.LimitReader(whole, size), size)
		if err != nil {
			return storage.Object{}, err
		}
		parts = append(parts, part)
	}
	return s.Finish(ctx, u, parts, cond)
}

// checkNow is precheck for a caller that has not begun a call.
func (s *Store) checkNow(ctx context.Context, key string, cond storage.Cond) error {
	ctx, call := s.begin(ctx, "put", key)
	return call.fail(s.precheck(ctx, key, cond))
}

// abortTimeout is for cleaning up. Who has cancelled waits for no more than cancelTimeout:
// what is left then, Begin aborts after a week.
const (
	abortTimeout  = 30 * time.Second
	cancelTimeout = 500 * time.Millisecond
)

// abandon takes the parts away even when ctx has ended.
func (s *Store) abandon(outer context.Context, u storage.Upload, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(outer), abortTimeout)
	defer cancel()
	defer context.AfterFunc(outer, func() { time.AfterFunc(cancelTimeout, cancel) })()
	if err := s.Abort(ctx, u); err != nil {
		return fmt.Errorf("%w (and its parts are left behind)", cause)
	}
	return cause
}

// source keeps the error of the caller's reader apart from what a broken request
// is reported as. After shut nobody reads from it any more: net/http may go on
// reading a body for a while after it has returned the answer.
type source struct {
	mu   sync.Mutex
	r    io.Reader
	err  error
	done bool
}

func (s *source) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return 0, fs.ErrClosed
	}
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

func (s *source) shut() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = true
	return s.err
}
