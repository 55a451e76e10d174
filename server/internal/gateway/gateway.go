// Package gateway is the server's managed storage: where the files of pipes lie
// that name no storage of their own, and how their users get at them.
//
// There are three kinds, behind [Storage]:
//
//   - [Embedded] keeps files in a local folder and answers the S3 protocol itself,
//     with an S3 server (versitygw) that runs as a child process of the same
//     program. Nothing has to be configured.
//   - [STS] hands out temporary keys of a bucket elsewhere, with a session policy.
//   - [Presigned] hands out a URL per key, for buckets that have no temporary keys.
//
// Whoever asks gets a [Grant]: one folder of the bucket, one role, a time, and
// filters. The package enforces grants; who may have one is decided above it.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// Limits of the time for which a grant is good.
const (
	DefaultTTL = time.Hour
	MaxTTL     = 12 * time.Hour // what the old cloud's keys had
)

// Errors that callers tell apart.
var (
	// ErrGrant means that the grant makes no sense, or that this storage cannot
	// enforce it. The text is for the user.
	ErrGrant = errors.New("the storage cannot grant this")
	// ErrDenied means that a key or an operation is outside of the grant.
	ErrDenied = errors.New("not within the grant")
	// ErrNoCredentials means that the storage hands out URLs only; see [Signer].
	ErrNoCredentials = errors.New("the storage hands out no credentials, only URLs per key")
	// ErrDown means that the storage does not answer.
	ErrDown = errors.New("the storage does not answer")
)

// A Storage holds the files of managed pipes, each pipe in a folder of one bucket.
// It is safe for concurrent use.
type Storage interface {
	// Bucket is the bucket that all grants are for.
	Bucket() string
	// Credentials returns keys that can do what the grant says and nothing else.
	// Every call returns another access key. The error is [ErrGrant] when the
	// storage cannot enforce the grant.
	Credentials(ctx context.Context, g Grant) (Credentials, error)
	// Inside returns what the server itself opens the grant's folder with: keys and
	// settings as those of a remote. They can do more than the grant says, and
	// nobody else may see them.
	Inside(ctx context.Context, g Grant) (map[string]any, error)
	// List yields the objects that the grant shows, sorted by key, with keys
	// relative to its prefix. The listing is complete unless it ends in an error.
	List(ctx context.Context, g Grant) iter.Seq2[Object, error]
	// Remove deletes all that lies below prefix, which ends in a slash. It can be
	// repeated when it failed.
	Remove(ctx context.Context, prefix string) error
	// Healthy reports whether the storage answers.
	Healthy(ctx context.Context) error
	// Handler answers S3 requests whose paths begin with "/" + Bucket(). It is nil
	// when clients talk to another server. It must see the request as it came:
	// clients sign the path, so no mux may clean it before.
	Handler() http.Handler
	// Close ends what the storage started.
	Close() error
}

// A Signer is a [Storage] that hands out URLs.
type Signer interface {
	// Sign returns a URL with which a request can be made until the grant expires,
	// without any other credentials. The error is [ErrDenied] when the grant does
	// not allow it.
	Sign(ctx context.Context, g Grant, r Request) (string, error)
}

// A Request is one that is signed: GET, HEAD, PUT or DELETE of an object, or a step of
// an upload in parts, which its query says (S3 API, CreateMultipartUpload and so on).
type Request struct {
	Method string
	Key    string            // relative to the grant's prefix
	Query  map[string]string // uploads, uploadId, partNumber, ...
	// Header must come with the request exactly so. Names are lower case; those about
	// checksums can be signed, and no others.
	Header map[string]string
}

// A Grant says what somebody may do with the managed storage.
type Grant struct {
	// Prefix is the folder, relative to the bucket, with a slash at its end.
	Prefix string
	// Role is read or write. Who may write may read too.
	Role d6tpipe.Role
	// Expires is when it ends; the zero time stands for the storage's default.
	Expires time.Time
	// Filters select keys, relative to Prefix. A key must pass all of them, for
	// every operation.
	Filters []d6tpipe.Filter
	// Subject is the caller's note, such as the user and the pipe. It comes back
	// in [EmbeddedConfig.Check] and means nothing here.
	Subject string
}

// Credentials are keys for a client of S3.
type Credentials struct {
	// Values are keyword arguments of boto3, and nothing else: the Python client
	// passes all of them on.
	Values map[string]any
	// Expires is when they end.
	Expires time.Time
}

// An Object is a file in the storage.
type Object struct {
	Key      string
	Size     int64
	ETag     string // without quotes
	Modified time.Time
}

// String shows no secret.
func (c Credentials) String() string {
	return fmt.Sprintf("credentials %v until %s", c.Values["aws_access_key_id"], c.Expires.Format(time.RFC3339))
}

// GoString shows no secret.
func (c Credentials) GoString() string { return c.String() }

// values are boto3's keyword arguments.
func values(access, secret, token, endpoint, region string) map[string]any {
	all := map[string]any{
		"aws_access_key_id":     access,
		"aws_secret_access_key": secret,
		"aws_session_token":     token,
		"region_name":           region,
	}
	if endpoint != "" {
		all["endpoint_url"] = endpoint
	}
	return all
}

// until is when a grant ends that is given now.
func (g Grant) until(now time.Time, ttl time.Duration) (time.Time, error) {
	if ttl <= 0 {
		ttl = DefaultTTL
	}
	end := g.Expires
	if end.IsZero() {
		end = now.Add(ttl)
	}
	if longest := now.Add(MaxTTL); end.After(longest) {
		end = longest
	}
	if !end.After(now) {
		return end, fmt.Errorf("%w: it has expired", ErrGrant)
	}
	return end.Truncate(time.Second), nil
}
