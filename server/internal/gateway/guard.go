package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/s3err"
	"github.com/versity/versitygw/s3response"
)

// A guard stands between the S3 server and the files. It checks every operation
// on objects again, with the key as it will be used: the server above it decides
// by names that it has tidied up, does not look at upload ids, and cannot tell a
// look at the bucket from a listing of all of it. What the guard does not name
// here, nobody can do.
type guard struct {
	backend.BackendUnsupported // refuses

	files  *posix.Posix
	iam    iam
	bucket string
	ahead  ahead
}

// isUploadID tells the ids that the S3 server gives from paths: it joins what it
// gets to the name of a folder, and removes that folder when it is told to abort.
var isUploadID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString

// caller is who made the request.
func (g *guard) caller(ctx context.Context) (access, error) {
	account, ok := ctx.Value("account").(auth.Account)
	if !ok || account.SessionToken == "" {
		return access{}, s3err.GetAPIError(s3err.ErrAccessDenied)
	}
	_, a, err := g.iam.caller(account.Access, account.SessionToken)
	return a, err
}

// allow checks one operation on one key.
func (g *guard) allow(ctx context.Context, action auth.Action, bucket, key *string) error {
	a, err := g.caller(ctx)
	if err != nil {
		return err
	}
	return g.allowTo(a, action, deref(bucket), deref(key))
}

func (g *guard) allowTo(a access, action auth.Action, bucket, key string) error {
	if bucket != g.bucket || !a.sees(key) || !a.may(action, key) {
		return s3err.GetAPIError(s3err.ErrAccessDenied)
	}
	if reason := badKey(key); reason != "" {
		return apiError(http.StatusBadRequest, "InvalidArgument", fmt.Sprintf("The key %q %s.", key, reason))
	}
	return nil
}

// allowUpload checks an operation on a multipart upload.
func (g *guard) allowUpload(ctx context.Context, action auth.Action, bucket, key, id *string) error {
	if err := g.allow(ctx, action, bucket, key); err != nil {
		return err
	}
	if !isUploadID(deref(id)) {
		return s3err.GetNoSuchUploadErr(deref(id))
	}
	return nil
}

// allowCopy checks both ends of a copy.
func (g *guard) allowCopy(ctx context.Context, source, bucket, key *string) error {
	if err := g.allow(ctx, auth.PutObjectAction, bucket, key); err != nil {
		return err
	}
	fromBucket, fromKey, version, err := backend.ParseCopySource(deref(source))
	if err != nil {
		return err
	}
	if version != "" {
		return apiError(http.StatusNotImplemented, "NotImplemented", "There are no versions of objects.")
	}
	return g.allow(ctx, auth.GetObjectAction, &fromBucket, &fromKey)
}

// allowNew checks, before bytes arrive, that a key can be stored: in a folder of
// files, a name is that of a file or that of a folder.
func (g *guard) allowNew(ctx context.Context, bucket, key *string) error {
	if err := g.allow(ctx, auth.PutObjectAction, bucket, key); err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(*bucket, *key))
	switch {
	case err == nil && info.IsDir() && !isFolder(*key):
		return apiError(http.StatusConflict, "ExistingObjectIsDirectory", fmt.Sprintf("There are keys below %q already: this server keeps files in folders, where a name is that of a file or that of a folder.", *key+"/"))
	case errors.Is(err, syscall.ENOTDIR), err == nil && !info.IsDir() && isFolder(*key):
		return apiError(http.StatusConflict, "ObjectParentIsFile", fmt.Sprintf("A part of the path %q is the key of a file already: this server keeps files in folders, where a name is that of a file or that of a folder.", *key))
	}
	return nil
}

func isFolder(key string) bool { return key[len(key)-1] == '/' }

// String is the name of the storage.
func (g *guard) String() string { return "d6tpipe" }

// Shutdown closes the files.
func (g *guard) Shutdown() { g.files.Shutdown() }

// NormalizeObjectKey is the key as the S3 server compares it.
func (g *guard) NormalizeObjectKey(bucket, key string) string {
	return g.files.NormalizeObjectKey(bucket, key)
}

// HeadBucket is open to all who have keys: it tells that the bucket exists.
func (g *guard) HeadBucket(ctx context.Context, in *s3.HeadBucketInput) (*s3.HeadBucketOutput, error) {
	return g.files.HeadBucket(ctx, in)
}

// GetBucketAcl is asked by the S3 server itself.
func (g *guard) GetBucketAcl(ctx context.Context, in *s3.GetBucketAclInput) ([]byte, error) { //nolint:staticcheck // the S3 server calls it so
	return g.files.GetBucketAcl(ctx, in)
}

// GetBucketPolicy is asked by the S3 server itself: a bucket has none.
func (g *guard) GetBucketPolicy(context.Context, string) ([]byte, error) {
	return nil, s3err.GetAPIError(s3err.ErrNoSuchBucketPolicy)
}

// GetBucketCors is asked by the S3 server itself: a bucket has none.
func (g *guard) GetBucketCors(context.Context, string) ([]byte, error) {
	return nil, s3err.GetAPIError(s3err.ErrNoSuchCORSConfiguration)
}

// GetObjectLockConfiguration is asked by the S3 server itself: a bucket has none.
func (g *guard) GetObjectLockConfiguration(context.Context, string) ([]byte, error) {
	return nil, s3err.GetAPIError(s3err.ErrObjectLockConfigurationNotFound)
}

// GetObject reads an object.
func (g *guard) GetObject(ctx context.Context, in *s3.GetObjectInput) (*s3.GetObjectOutput, error) {
	if err := g.allow(ctx, auth.GetObjectAction, in.Bucket, in.Key); err != nil {
		return nil, err
	}
	return g.files.GetObject(ctx, in)
}

// HeadObject reads what is known of an object.
func (g *guard) HeadObject(ctx context.Context, in *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
	if err := g.allow(ctx, auth.GetObjectAction, in.Bucket, in.Key); err != nil {
		return nil, err
	}
	return g.files.HeadObject(ctx, in)
}

// GetObjectAttributes reads more of it.
func (g *guard) GetObjectAttributes(ctx context.Context, in *s3.GetObjectAttributesInput) (s3response.GetObjectAttributesResponse, error) {
	if err := g.allow(ctx, auth.GetObjectAttributesAction, in.Bucket, in.Key); err != nil {
		return s3response.GetObjectAttributesResponse{}, err
	}
	return g.files.GetObjectAttributes(ctx, in)
}

// GetObjectTagging reads the tags of an object, which programs ask for when they copy.
func (g *guard) GetObjectTagging(ctx context.Context, bucket, key, version string) (map[string]string, error) {
	if err := g.allow(ctx, auth.GetObjectTaggingAction, &bucket, &key); err != nil {
		return nil, err
	}
	return g.files.GetObjectTagging(ctx, bucket, key, version)
}

// DeleteObject deletes an object.
func (g *guard) DeleteObject(ctx context.Context, in *s3.DeleteObjectInput) (*s3.DeleteObjectOutput, error) {
	if err := g.allow(ctx, auth.DeleteObjectAction, in.Bucket, in.Key); err != nil {
		return nil, err
	}
	return g.files.DeleteObject(ctx, in)
}

// DeleteObjects deletes those that it may, and says which it may not.
func (g *guard) DeleteObjects(ctx context.Context, in *s3.DeleteObjectsInput) (s3response.DeleteResult, error) {
	a, err := g.caller(ctx)
	if err != nil {
		return s3response.DeleteResult{}, err
	}
	var good []types.ObjectIdentifier
	var bad []types.Error
	for _, object := range in.Delete.Objects {
		err := g.allowTo(a, auth.DeleteObjectAction, deref(in.Bucket), deref(object.Key))
		var why s3err.APIError
		switch {
		case err == nil:
			good = append(good, object)
		case errors.As(err, &why):
			bad = append(bad, types.Error{Key: object.Key, Code: &why.Code, Message: &why.Description})
		default:
			return s3response.DeleteResult{}, err
		}
	}
	var out s3response.DeleteResult
	if len(good) > 0 {
		out, err = g.files.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: in.Bucket, Delete: &types.Delete{Objects: good, Quiet: in.Delete.Quiet}})
	}
	out.Error = append(out.Error, bad...)
	return out, err
}

// AbortMultipartUpload gives an upload up.
func (g *guard) AbortMultipartUpload(ctx context.Context, in *s3.AbortMultipartUploadInput) error {
	if err := g.allowUpload(ctx, auth.AbortMultipartUploadAction, in.Bucket, in.Key, in.UploadId); err != nil {
		return err
	}
	return g.files.AbortMultipartUpload(ctx, in)
}

// ListParts lists what has arrived of an upload.
func (g *guard) ListParts(ctx context.Context, in *s3.ListPartsInput) (s3response.ListPartsResult, error) {
	if err := g.allowUpload(ctx, auth.ListMultipartUploadPartsAction, in.Bucket, in.Key, in.UploadId); err != nil {
		return s3response.ListPartsResult{}, err
	}
	return g.files.ListParts(ctx, in)
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
