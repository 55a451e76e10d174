package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// STSConfig configures [NewSTS].
type STSConfig struct {
	BucketConfig
	// STSEndpoint is the URL of the service that makes keys: Amazon's, of the
	// region, or the bucket's server, as MinIO has it, by default.
	STSEndpoint string
	// RoleARN is the role that is assumed. Amazon needs it; MinIO does without.
	RoleARN string
	// ExternalID is what the role may ask for.
	ExternalID string
	// Partition is Amazon's: "aws" by default, "aws-cn" in China.
	Partition string
}

// STS is a bucket whose server makes temporary keys, which a session policy
// restricts to the grant.
//
// It knows less than [Embedded]: a listing shows the names of all files in the
// folder, also of those that a filter keeps from being read; and HeadBucket is
// refused, because policies cannot tell it from a listing of the whole bucket.
type STS struct {
	*bucket
	cfg    STSConfig
	client *http.Client
}

var _ Storage = (*STS)(nil)

// shortest is for how long Amazon makes keys, at least.
const shortest = 15 * time.Minute

// NewSTS opens a bucket.
func NewSTS(cfg STSConfig) (*STS, error) {
	b, err := newBucket(cfg.BucketConfig)
	if err != nil {
		return nil, err
	}
	cfg.BucketConfig = b.cfg
	switch {
	case cfg.STSEndpoint != "":
	case cfg.Endpoint != "":
		cfg.STSEndpoint = cfg.Endpoint
	default:
		cfg.STSEndpoint = "https://sts." + cfg.Region + ".amazonaws.com"
	}
	if cfg.Endpoint == "" && cfg.RoleARN == "" {
		return nil, errors.New("the storage needs the role that Amazon's STS assumes")
	}
	if cfg.Partition == "" {
		cfg.Partition = "aws"
	}
	return &STS{bucket: b, cfg: cfg, client: &http.Client{Transport: cfg.Transport, Timeout: time.Minute}}, nil
}

// Credentials asks for keys. The error is [ErrGrant] when no policy can say what g
// says: a filter with a set such as [0-9], or one that is too long.
func (s *STS) Credentials(ctx context.Context, g Grant) (Credentials, error) {
	keys, end, err := s.temporary(ctx, g)
	if err != nil {
		return Credentials{}, err
	}
	return Credentials{Values: values(keys.AccessKeyID, keys.SecretAccessKey, keys.SessionToken, s.cfg.PublicEndpoint, s.cfg.Region), Expires: end}, nil
}

// Inside returns temporary keys as well: they can do no more than a scan needs.
func (s *STS) Inside(ctx context.Context, g Grant) (map[string]any, error) {
	keys, _, err := s.temporary(ctx, g)
	if err != nil {
		return nil, err
	}
	return s.inside(keys.AccessKeyID, keys.SecretAccessKey, keys.SessionToken), nil
}

// temporary asks for keys and tells when they end.
func (s *STS) temporary(ctx context.Context, g Grant) (keys credentials.Value, end time.Time, err error) {
	now := time.Now()
	if end, err = g.until(now, s.cfg.TTL); err != nil {
		return keys, end, err
	}
	duration := end.Sub(now)
	var deadline time.Time
	if duration < shortest {
		duration, deadline = shortest, end
	}
	policy, err := sessionPolicy(s.cfg.Partition, s.cfg.Bucket, g, deadline)
	if err != nil {
		return keys, end, err
	}
	if keys, err = s.assume(ctx, policy, duration); err != nil {
		return keys, end, fmt.Errorf("ask for temporary keys: %w", err)
	}
	if expires := keys.Expiration; !expires.IsZero() && expires.Before(end) {
		end = expires
	}
	return keys, end, nil
}

func (s *STS) assume(ctx context.Context, policy string, duration time.Duration) (credentials.Value, error) {
	cc := &credentials.CredContext{Client: s.client, Context: ctx}
	own, err := s.keys.GetWithContext(cc)
	if err != nil {
		return own, err
	}
	role := &credentials.STSAssumeRole{STSEndpoint: s.cfg.STSEndpoint, Options: credentials.STSAssumeRoleOptions{
		AccessKey: own.AccessKeyID, SecretKey: own.SecretAccessKey, SessionToken: own.SessionToken,
		Policy: policy, Location: s.cfg.Region, DurationSeconds: int(duration.Seconds()),
		RoleARN: s.cfg.RoleARN, RoleSessionName: "d6tpipe-" + randomName(), ExternalID: s.cfg.ExternalID,
	}}
	keys, err := role.RetrieveWithCredContext(cc)
	if err == nil && keys.SessionToken == "" {
		err = errors.New("the answer holds no session token")
	}
	return keys, err
}
