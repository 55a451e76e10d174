package s3

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

const (
	maxParts     = 10_000           // S3's limit
	abortTimeout = 30 * time.Second // for cleaning up after the context has ended
)

// Put implements [storage.Store]. The result's ModTime is zero: S3 does not say
// when a PUT took place, and asking would double the number of requests.
//
// An upload in parts holds no part in memory: each is streamed. When the answer
// to the last request is lost, nobody can know whether the object appeared.
func (s *Store) Put(ctx context.Context, key string, r io.Reader, size int64, cond storage.Cond) (storage.Object, error) {
	if err := storage.CheckPut(key, size, cond); err != nil {
		return storage.Object{}, err
	}
	ctx, call := s.begin(ctx, "put", key)
	if err := s.precheck(ctx, key, cond); err != nil {
		return storage.Object{}, call.fail(err)
	}
	src := &source{r: storage.Exactly(ctx, r, size)}
	put := s.putWhole
	if size > s.opts.PartSize {
		put = s.putParts
	}
	info, err := put(ctx, key, src, size, s.putOptions(cond))
	if srcErr := src.shut(); srcErr != nil {
		err = srcErr // the cause; what the connection says about it is not
	}
	if err != nil {
		return storage.Object{}, call.fail(err)
	}
	return s.object(key, size, time.Time{}, info.ETag), nil
}

// precheck looks at the condition for remotes that cannot.
func (s *Store) precheck(ctx context.Context, key string, cond storage.Cond) error {
	if !s.opts.Unconditional || cond == (storage.Cond{}) {
		return nil
	}
	got, err := s.Stat(ctx, key)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !missing:
		return err
	case cond.Absent != missing, cond.Tag != got.Tag && !cond.Absent:
		return storage.ErrChanged
	}
	return nil
}

func (s *Store) putOptions(cond storage.Cond) (opts minio.PutObjectOptions) {
	if s.opts.Checksums {
		opts.Checksum = checksum
		opts.DisableContentSha256 = true // one checksum is enough, and the two exclude each other over plain HTTP
	}
	if s.opts.Unconditional {
		return opts
	}
	if cond.Tag != "" {
		opts.SetMatchETag(cond.Tag)
	}
	if cond.Absent {
		opts.SetMatchETagExcept("*")
	}
	return opts
}

func (s *Store) putWhole(ctx context.Context, key string, src *source, size int64, opts minio.PutObjectOptions) (minio.UploadInfo, error) {
	if size == 0 { // nobody would read it; and minio-go's signed chunks would add bytes to the empty body
		opts.DisableContentSha256 = true
		if _, err := src.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			return minio.UploadInfo{}, err
		}
	}
	return s.core.PutObject(ctx, s.opts.Bucket, key, src, size, "", "", opts)
}

func (s *Store) putParts(ctx context.Context, key string, src *source, size int64, opts minio.PutObjectOptions) (info minio.UploadInfo, err error) {
	upload, err := s.core.NewMultipartUpload(ctx, s.opts.Bucket, key, s.uploadOptions())
	if err != nil {
		return info, err
	}
	defer func() {
		if err != nil {
			err = s.abort(ctx, key, upload, err)
		}
	}()
	parts, err := s.sendParts(ctx, key, upload, src, size)
	if err != nil {
		return info, err
	}
	return s.core.CompleteMultipartUpload(ctx, s.opts.Bucket, key, upload, parts, opts)
}

// uploadOptions announces the parts' checksums.
func (s *Store) uploadOptions() (opts minio.PutObjectOptions) {
	if s.opts.Checksums {
		opts.UserMetadata = map[string]string{
			"X-Amz-Checksum-Algorithm": checksum.String(),
			"X-Amz-Checksum-Type":      "FULL_OBJECT",
		}
	}
	return opts
}

func (s *Store) sendParts(ctx context.Context, key, upload string, src *source, size int64) ([]minio.CompletePart, error) {
	partSize := max(s.opts.PartSize, (size+maxParts-1)/maxParts)
	var parts []minio.CompletePart
	for off := int64(0); off < size; off += partSize {
		n := min(partSize, size-off)
		r, opts := s.part(io.LimitReader(src, n))
		part, err := s.core.PutObjectPart(ctx, s.opts.Bucket, key, upload, len(parts)+1, r, n, opts)
		if err != nil {
			return nil, err
		}
		parts = append(parts, minio.CompletePart{PartNumber: len(parts) + 1, ETag: part.ETag, ChecksumCRC64NVME: part.ChecksumCRC64NVME})
	}
	return parts, nil
}

// part makes the reader of a part write its checksum into the trailer when it
// ends. The trailer's name is announced beforehand.
func (s *Store) part(r io.Reader) (io.Reader, minio.PutObjectPartOptions) {
	if !s.opts.Checksums {
		return r, minio.PutObjectPartOptions{}
	}
	trailer := http.Header{}
	trailer.Set(checksum.Key(), base64.StdEncoding.EncodeToString(make([]byte, 8)))
	return &summed{r, checksum.Hasher(), trailer}, minio.PutObjectPartOptions{Trailer: trailer, DisableContentSha256: true}
}

// checksum is the one that S3 can put together from those of the parts.
const checksum = minio.ChecksumCRC64NVME

type summed struct {
	r       io.Reader
	hash    hash.Hash
	trailer http.Header
}

func (s *summed) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.hash.Write(p[:n])
	if err == io.EOF {
		s.trailer.Set(checksum.Key(), base64.StdEncoding.EncodeToString(s.hash.Sum(nil)))
	}
	return n, err
}

// abort takes the parts away even when ctx has ended.
func (s *Store) abort(ctx context.Context, key, upload string, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	err := s.core.AbortMultipartUpload(ctx, s.opts.Bucket, key, upload)
	if err == nil || minio.ToErrorResponse(err).Code == minio.NoSuchUpload {
		return cause
	}
	return fmt.Errorf("%w (and its parts are left behind)", cause)
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
