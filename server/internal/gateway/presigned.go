package gateway

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Presigned is a bucket whose server makes no temporary keys: users get a URL per
// key, and listings from the server.
type Presigned struct{ *bucket }

var (
	_ Storage = (*Presigned)(nil)
	_ Signer  = (*Presigned)(nil)
)

// NewPresigned opens a bucket.
func NewPresigned(cfg BucketConfig) (*Presigned, error) {
	b, err := newBucket(cfg)
	if err != nil {
		return nil, err
	}
	return &Presigned{b}, nil
}

// Credentials returns [ErrNoCredentials].
func (p *Presigned) Credentials(context.Context, Grant) (Credentials, error) {
	return Credentials{}, ErrNoCredentials
}

// Inside returns the server's own keys.
func (p *Presigned) Inside(ctx context.Context, _ Grant) (map[string]any, error) {
	own, err := p.keys.GetWithContext(&credentials.CredContext{Client: &http.Client{Transport: p.cfg.Transport, Timeout: time.Minute}, Context: ctx})
	if err != nil {
		return nil, fmt.Errorf("find the keys of the bucket: %w", err)
	}
	return p.inside(own.AccessKeyID, own.SecretAccessKey, own.SessionToken), nil
}

// Sign returns a URL for one key.
func (p *Presigned) Sign(ctx context.Context, g Grant, method, key string) (string, error) {
	now := time.Now()
	end, err := g.until(now, p.cfg.TTL)
	if err != nil {
		return "", err
	}
	a, err := newAccess(g)
	if err != nil {
		return "", err
	}
	switch method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPut, http.MethodDelete:
		if !a.write {
			return "", fmt.Errorf("%w: the role is read", ErrDenied)
		}
	default:
		return "", fmt.Errorf("%w: the method %q", ErrDenied, method)
	}
	full := g.Prefix + key
	if reason := badKey(full); reason != "" {
		return "", fmt.Errorf("%w: the key %q %s", ErrDenied, key, reason)
	}
	if key == "" || !a.sees(full) {
		return "", fmt.Errorf("%w: the key %q", ErrDenied, key)
	}
	u, err := p.client.Presign(ctx, method, p.cfg.Bucket, full, max(end.Sub(now), time.Second), nil)
	if err != nil {
		return "", fmt.Errorf("sign a URL for %q: %w", key, err)
	}
	return u.String(), nil
}
