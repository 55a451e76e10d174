package s3

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/minio/crc64nvme"
	"github.com/minio/minio-go/v7"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

const maxParts = 10_000 // S3's limit

// Multipart implements [storage.Multiparter].
func (s *Store) Multipart() storage.Multipart { return s }

// Begin implements [storage.Multipart].
func (s *Store) Begin(ctx context.Context, key string, size, unit int64) (storage.Upload, error) {
	if err := s.forget(ctx, key); err != nil {
		return storage.Upload{}, err
	}
	u, err := s.beginParts(ctx, key, size, unit)
	if err == nil {
		s.probe(ctx, u)
	}
	return u, err
}

// forgotten is when nobody will go on with an upload.
const forgotten = 7 * 24 * time.Hour

// forget aborts the uploads to key that were begun long ago: a process that dies
// right after it began one leaves it without having noted its ID. A remote that does
// not list uploads, or not to us, keeps them.
func (s *Store) forget(ctx context.Context, key string) error {
	if err := storage.CheckKey(key); err != nil {
		return err
	}
	ctx, call := s.begin(ctx, "begin", key)
	page, err := s.core().ListMultipartUploads(ctx, s.opts.Bucket, key, "", "", "", 100)
	if err != nil {
		return call.fail(ctx.Err())
	}
	for _, u := range page.Uploads {
		if u.Key == key && !u.Initiated.IsZero() && time.Since(u.Initiated) > forgotten {
			if err := s.Abort(ctx, storage.Upload{Key: key, ID: u.UploadID}); err != nil && ctx.Err() != nil {
				return err
			}
		}
	}
	return nil
}

// probe finds out whether the remote knows CRC64NVME sums, once: by a part of one
// byte, which the first part replaces. What goes wrong with it shows again later.
func (s *Store) probe(ctx context.Context, u storage.Upload) {
	if s.learnt.sums.Load() || s.learnt.plain.Load() || s.learnt.probed.Swap(true) {
		return
	}
	one := []byte{0}
	hash := sha256.Sum256(one)
	req := s.request(ctx, http.MethodPut, u.Key, url.Values{"partNumber": {"1"}, "uploadId": {u.ID}})
	b := newBody(bytes.NewReader(one), 1)
	b.want = crcSum(crc64nvme.Checksum(one))
	_, _ = s.upload(req, b, hex.EncodeToString(hash[:]))
}

func (s *Store) beginParts(ctx context.Context, key string, size, unit int64) (storage.Upload, error) {
	if err := storage.CheckPut(key, size, storage.Cond{}); err != nil {
		return storage.Upload{}, err
	}
	ctx, call := s.begin(ctx, "begin", key)
	id, err := s.core().NewMultipartUpload(ctx, s.opts.Bucket, key, s.uploadOptions())
	if err != nil {
		return storage.Upload{}, call.fail(err)
	}
	partSize := max(s.opts.PartSize, (size-1)/maxParts+1)
	return storage.Upload{Key: key, ID: id, Size: size, PartSize: (partSize + unit - 1) / unit * unit}, nil
}

// Arrived implements [storage.Multipart].
func (s *Store) Arrived(ctx context.Context, u storage.Upload) (parts []storage.Part, err error) {
	if err := storage.CheckKey(u.Key); err != nil {
		return nil, err
	}
	ctx, call := s.begin(ctx, "look at the parts of", u.Key)
	for after := 0; ; {
		page, err := s.core().ListObjectParts(ctx, s.opts.Bucket, u.Key, u.ID, after, 1000)
		if err != nil {
			return nil, call.fail(err)
		}
		for _, p := range page.ObjectParts {
			if n := p.PartNumber - 1; n >= 0 && n < u.Parts() {
				if _, size := u.Part(n); size == p.Size {
					parts = append(parts, storage.Part{Number: n, Size: p.Size, Tag: trimETag(p.ETag), Sum: s.sumOfTag(trimETag(p.ETag))})
				}
			}
		}
		if !page.IsTruncated {
			return parts, nil
		}
		if page.NextPartNumberMarker <= after {
			return nil, call.fail(errOldToken)
		}
		after = page.NextPartNumberMarker
	}
}

func (s *Store) sumOfTag(tag string) string { return s.object("", 0, time.Time{}, tag).Sum }

// Send implements [storage.Multipart]. A reader that knows its CRC64NVME lets the
// remote check what it receives.
func (s *Store) Send(ctx context.Context, u storage.Upload, n int, r io.Reader, size int64) (storage.Part, error) {
	if err := storage.CheckPut(u.Key, size, storage.Cond{}); err != nil {
		return storage.Part{}, err
	}
	ctx, call := s.begin(ctx, "send", u.Key)
	src := &source{r: storage.Exactly(ctx, r, size)}
	part, send := storage.Part{Number: n, Size: size, Sum: s.sumOf(r)}, s.sendStream
	if part.Sum == "" {
		send = s.sendSigned
	}
	part, err := send(ctx, u, part, src)
	if srcErr := src.shut(); srcErr != nil {
		err = srcErr // the cause; what the connection says about it is not
	}
	return part, call.fail(err)
}

// sendStream sends a part as it is read to a remote that checks it.
func (s *Store) sendStream(ctx context.Context, u storage.Upload, part storage.Part, src io.Reader) (storage.Part, error) {
	req := s.request(ctx, http.MethodPut, u.Key, url.Values{"partNumber": {strconv.Itoa(part.Number + 1)}, "uploadId": {u.ID}})
	b := newBody(src, part.Size)
	b.want = part.Sum
	h, err := s.upload(req, b, unsigned)
	if err != nil {
		return storage.Part{}, err
	}
	part.Tag = trimETag(h.Get("ETag"))
	return part, nil
}

// sendSigned sends a part in chunks that are signed each, or with its sum at the
// end.
func (s *Store) sendSigned(ctx context.Context, u storage.Upload, part storage.Part, src io.Reader) (storage.Part, error) {
	r, opts := s.trailing(io.LimitReader(src, part.Size))
	sent, err := s.core().PutObjectPart(ctx, s.opts.Bucket, u.Key, u.ID, part.Number+1, r, part.Size, opts)
	if err != nil {
		return storage.Part{}, err
	}
	part.Tag = trimETag(sent.ETag)
	part.Sum = s.sumOfTag(part.Tag)
	if raw, err := base64.StdEncoding.DecodeString(sent.ChecksumCRC64NVME); err == nil && len(raw) == 8 {
		part.Sum = "crc64nvme:" + hex.EncodeToString(raw)
	}
	return part, nil
}

// checksum is the one that S3 can put together from those of the parts.
const checksum = minio.ChecksumCRC64NVME

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

// trailing makes the reader of a part write its checksum into the trailer when it
// ends. The trailer's name is announced beforehand.
func (s *Store) trailing(r io.Reader) (io.Reader, minio.PutObjectPartOptions) {
	if !s.opts.Checksums {
		return r, minio.PutObjectPartOptions{}
	}
	trailer := http.Header{}
	trailer.Set(checksum.Key(), base64.StdEncoding.EncodeToString(make([]byte, 8)))
	return &summed{r, checksum.Hasher(), trailer}, minio.PutObjectPartOptions{Trailer: trailer, DisableContentSha256: true}
}

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

// Finish implements [storage.Multipart]. An upload that the remote does not know
// any more may have been finished by an attempt of which the answer got lost: then
// the object that is there tells.
func (s *Store) Finish(ctx context.Context, u storage.Upload, parts []storage.Part, cond storage.Cond) (storage.Object, error) {
	if err := storage.CheckPut(u.Key, u.Size, cond); err != nil {
		return storage.Object{}, err
	}
	ctx, call := s.begin(ctx, "put", u.Key)
	if err := s.precheck(ctx, u.Key, cond); err != nil {
		return storage.Object{}, call.fail(err)
	}
	opts := minio.PutObjectOptions{}
	switch {
	case s.learnt.unconditional.Load():
	case cond.Absent:
		opts.SetMatchETagExcept("*")
	case cond.Tag != "":
		opts.SetMatchETag(cond.Tag)
	}
	info, err := s.core().CompleteMultipartUpload(ctx, s.opts.Bucket, u.Key, u.ID, s.complete(parts), opts)
	if err != nil {
		obj, mine := s.finished(ctx, u, parts, err)
		if !mine {
			return storage.Object{}, call.fail(s.unknownCondition(cond, err))
		}
		return obj, nil
	}
	obj := s.object(u.Key, u.Size, time.Time{}, info.ETag)
	if sum := sumIn(http.Header{crcHeader: {info.ChecksumCRC64NVME}, typeHeader: {info.ChecksumMode}}); sum != "" {
		obj.Sum = sum
		return obj, nil
	}
	// Big objects are worth a question: it is the only proof of the whole.
	if there, sum, err := s.head(ctx, u.Key); err == nil && there.Tag == obj.Tag && sum != "" {
		obj.Sum = sum
	}
	return obj, nil
}

func (s *Store) complete(parts []storage.Part) []minio.CompletePart {
	all := make([]minio.CompletePart, len(parts))
	for i, p := range parts {
		all[i] = minio.CompletePart{PartNumber: p.Number + 1, ETag: p.Tag}
		if s.opts.Checksums { // as was announced
			all[i].ChecksumCRC64NVME = crcValue(p.Sum)
		}
	}
	return all
}

// finished reports whether the object that is there is the one of an upload that the
// remote says it does not know. Its tag proves it: the MD5 of the parts' MD5s.
func (s *Store) finished(ctx context.Context, u storage.Upload, parts []storage.Part, err error) (storage.Object, bool) {
	if minio.ToErrorResponse(err).Code != minio.NoSuchUpload {
		return storage.Object{}, false
	}
	obj, sum, err := s.head(ctx, u.Key)
	tag, ok := compositeTag(parts)
	if err != nil || !ok || obj.Size != u.Size || obj.Tag != tag {
		return storage.Object{}, false
	}
	if sum != "" {
		obj.Sum = sum
	}
	return obj, true
}

// compositeTag is the ETag that S3 gives to an object of these parts, where the
// parts' own are MD5s.
func compositeTag(parts []storage.Part) (string, bool) {
	whole := md5.New()
	for _, p := range parts {
		sum, err := hex.DecodeString(p.Tag)
		if err != nil || len(sum) != md5.Size {
			return "", false
		}
		whole.Write(sum)
	}
	return fmt.Sprintf("%x-%d", whole.Sum(nil), len(parts)), true
}

// Abort implements [storage.Multipart].
func (s *Store) Abort(ctx context.Context, u storage.Upload) error {
	if err := storage.CheckKey(u.Key); err != nil {
		return err
	}
	ctx, call := s.begin(ctx, "abort", u.Key)
	err := s.core().AbortMultipartUpload(ctx, s.opts.Bucket, u.Key, u.ID)
	if minio.ToErrorResponse(err).Code == minio.NoSuchUpload {
		return nil
	}
	return call.fail(err)
}
