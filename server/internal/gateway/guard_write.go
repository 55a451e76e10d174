package gateway

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/s3response"
)

// What has been acknowledged must be there after a loss of power. The S3 server
// leaves that to the system, so the guard syncs: bytes before a file gets its name,
// then the file once more, for its attributes, and its folder.

// PutObject stores an object.
func (g *guard) PutObject(ctx context.Context, in s3response.PutObjectInput) (out s3response.PutObjectOutput, err error) {
	if err := g.allowNew(ctx, in.Bucket, in.Key); err != nil {
		return out, err
	}
	if out, err = g.files.PutObjectWithPostFunc(ctx, in, (*os.File).Sync); err != nil {
		return out, err
	}
	return out, syncPath(*in.Bucket, *in.Key)
}

// CopyObject copies an object.
func (g *guard) CopyObject(ctx context.Context, in s3response.CopyObjectInput) (out s3response.CopyObjectOutput, err error) {
	if err := g.allowCopy(ctx, in.CopySource, in.Bucket, in.Key); err != nil {
		return out, err
	}
	if err := g.allowNew(ctx, in.Bucket, in.Key); err != nil {
		return out, err
	}
	if out, err = g.files.CopyObject(ctx, in); err != nil {
		return out, err
	}
	return out, syncPath(*in.Bucket, *in.Key)
}

// PutObjectTagging sets the tags of an object.
func (g *guard) PutObjectTagging(ctx context.Context, bucket, key, version string, tags map[string]string) error {
	if err := g.allow(ctx, auth.PutObjectTaggingAction, &bucket, &key); err != nil {
		return err
	}
	return g.files.PutObjectTagging(ctx, bucket, key, version, tags)
}

// CreateMultipartUpload begins an upload.
func (g *guard) CreateMultipartUpload(ctx context.Context, in s3response.CreateMultipartUploadInput) (s3response.InitiateMultipartUploadResult, error) {
	if err := g.allowNew(ctx, in.Bucket, in.Key); err != nil {
		return s3response.InitiateMultipartUploadResult{}, err
	}
	return g.files.CreateMultipartUpload(ctx, in)
}

// UploadPart stores a part of an upload.
func (g *guard) UploadPart(ctx context.Context, in *s3.UploadPartInput) (*s3.UploadPartOutput, error) {
	if err := g.allowUpload(ctx, auth.PutObjectAction, in.Bucket, in.Key, in.UploadId); err != nil {
		return nil, err
	}
	out, err := g.files.UploadPartWithPostFunc(ctx, in, (*os.File).Sync)
	if err != nil {
		return nil, err
	}
	return out, syncPath(*in.Bucket, partPath(in.Key, in.UploadId, in.PartNumber))
}

// UploadPartCopy copies a part of an object.
func (g *guard) UploadPartCopy(ctx context.Context, in *s3.UploadPartCopyInput) (s3response.CopyPartResult, error) {
	if err := g.allowUpload(ctx, auth.PutObjectAction, in.Bucket, in.Key, in.UploadId); err != nil {
		return s3response.CopyPartResult{}, err
	}
	if err := g.allowCopy(ctx, in.CopySource, in.Bucket, in.Key); err != nil {
		return s3response.CopyPartResult{}, err
	}
	out, err := g.files.UploadPartCopy(ctx, in)
	if err != nil {
		return out, err
	}
	return out, syncPath(*in.Bucket, partPath(in.Key, in.UploadId, in.PartNumber))
}

// CompleteMultipartUpload makes an object of the parts.
func (g *guard) CompleteMultipartUpload(ctx context.Context, in *s3.CompleteMultipartUploadInput) (s3response.CompleteMultipartUploadResult, string, error) {
	var none s3response.CompleteMultipartUploadResult
	if err := g.allowUpload(ctx, auth.PutObjectAction, in.Bucket, in.Key, in.UploadId); err != nil {
		return none, "", err
	}
	if err := g.allowNew(ctx, in.Bucket, in.Key); err != nil {
		return none, "", err
	}
	out, version, err := g.files.CompleteMultipartUploadWithCopy(ctx, in, appendSynced)
	if err != nil {
		return none, "", err
	}
	return out, version, syncPath(*in.Bucket, *in.Key)
}

// appendSynced appends a part to what becomes the object, and syncs it. When that
// fails, the S3 server tries to copy in its own way from where both files are; so
// they are taken back to where they were, or closed, which makes it give up.
func appendSynced(from, to *os.File) (again bool, err error) {
	start, err := to.Seek(0, io.SeekCurrent)
	if err != nil {
		return true, errors.Join(err, to.Close())
	}
	if _, err := io.Copy(to, from); err != nil {
		if _, back := from.Seek(0, io.SeekStart); back != nil || to.Truncate(start) != nil {
			return true, errors.Join(err, to.Close())
		}
		return true, err
	}
	if err := to.Sync(); err != nil {
		return true, errors.Join(err, to.Close())
	}
	return true, nil
}

// partPath is where the S3 server keeps a part, within the bucket.
func partPath(key, upload *string, number *int32) string {
	sum := sha256.Sum256([]byte(deref(key)))
	return filepath.Join(tmpDir, "multipart", fmt.Sprintf("%x", sum), deref(upload), strconv.Itoa(int(deref(number))))
}

// syncPath syncs a file and its folder, or only the folder when another caller has
// deleted the file meanwhile.
func syncPath(bucket, key string) error {
	path := filepath.Join(bucket, strings.TrimSuffix(key, "/"))
	for _, name := range []string{path, filepath.Dir(path)} {
		if err := syncFile(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("sync: %w", err)
		}
	}
	return nil
}

func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
