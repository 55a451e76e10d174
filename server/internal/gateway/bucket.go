package gateway

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// BucketConfig says which bucket elsewhere holds the files. Bucket and Region are
// needed.
type BucketConfig struct {
	// Endpoint is the URL of the S3 server; Amazon's, of the region, by default.
	Endpoint string
	// PublicEndpoint is the URL that users are told, if it is another one.
	PublicEndpoint string
	Region         string
	Bucket         string
	// AccessKey and SecretKey are the server's own. Without them it looks where
	// Amazon's tools do: the environment, the shared file, the machine's role.
	AccessKey string
	SecretKey d6tpipe.Secret
	// TTL is for how long keys and URLs are good; [DefaultTTL] by default.
	TTL time.Duration
	// Transport makes the connections; http.DefaultTransport by default.
	Transport http.RoundTripper
}

// A bucket is reached with the server's own keys.
type bucket struct {
	cfg    BucketConfig
	keys   *credentials.Credentials
	client *minio.Client
}

func newBucket(cfg BucketConfig) (*bucket, error) {
	if cfg.Bucket == "" || cfg.Region == "" {
		return nil, errors.New("the storage needs the names of its bucket and its region")
	}
	if cfg.Transport == nil {
		cfg.Transport = http.DefaultTransport
	}
	endpoint := cfg.Endpoint
	if endpoint == "" {
		endpoint = "https://s3." + cfg.Region + ".amazonaws.com"
	} else if cfg.PublicEndpoint == "" {
		cfg.PublicEndpoint = endpoint
	}
	b := &bucket{cfg: cfg, keys: credentials.NewStaticV4(cfg.AccessKey, string(cfg.SecretKey), "")}
	if cfg.AccessKey == "" {
		b.keys = credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{}})
	}
	var err error
	if b.client, err = b.open(endpoint); err != nil {
		return nil, err
	}
	return b, nil
}

// open returns a client of the bucket's server at an endpoint.
func (b *bucket) open(endpoint string) (*minio.Client, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.Trim(u.Path, "/") != "" || u.User != nil {
		return nil, errors.New("the endpoint of the storage is not a URL like https://s3.example.com")
	}
	client, err := minio.New(u.Host, &minio.Options{Creds: b.keys, Secure: u.Scheme == "https", Region: b.cfg.Region, Transport: b.cfg.Transport})
	if err != nil {
		return nil, fmt.Errorf("open the storage: %w", err)
	}
	return client, nil
}

// Bucket is the bucket that all grants are for.
func (b *bucket) Bucket() string { return b.cfg.Bucket }

// inside is how the server reaches the bucket with some keys: where the administrator
// says, and not where users are sent.
func (b *bucket) inside(access, secret, token string) map[string]any {
	all := values(access, secret, token, b.cfg.Endpoint, b.cfg.Region)
	if strings.HasPrefix(b.cfg.Endpoint, "http://") {
		all["insecure"] = true
	}
	return all
}

// List yields what g shows, with the server's own keys.
func (b *bucket) List(ctx context.Context, g Grant) iter.Seq2[Object, error] {
	g.Role = d6tpipe.RoleRead
	return list(ctx, b.client, b.cfg.Bucket, g)
}

// Remove deletes a folder, with the server's own keys.
func (b *bucket) Remove(ctx context.Context, prefix string) error {
	return remove(ctx, b.client, b.cfg.Bucket, prefix)
}

// Healthy reports whether the bucket can be reached.
func (b *bucket) Healthy(ctx context.Context) error {
	found, err := b.client.BucketExists(ctx, b.cfg.Bucket)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDown, err)
	}
	if !found {
		return fmt.Errorf("%w: there is no bucket %q", ErrDown, b.cfg.Bucket)
	}
	return nil
}

// Handler is nil: clients talk to the bucket's server.
func (b *bucket) Handler() http.Handler { return nil }

// Close has nothing to end.
func (b *bucket) Close() error { return nil }
