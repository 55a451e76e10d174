package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/dial"
	"github.com/d6t/d6tpipe-go/server/internal/gateway"
	"github.com/d6t/d6tpipe-go/server/internal/listing"
	"github.com/d6t/d6tpipe-go/server/internal/repo"
)

// openStorage opens managed storage: a folder of this machine, or a bucket.
func (s *Server) openStorage(ctx context.Context) (gateway.Storage, error) {
	scheme, _ := schemeOf(s.config.Storage)
	if scheme == "s3" {
		return openBucket(s.config.Storage)
	}
	secret, err := s.repo.Master(ctx)
	if err != nil {
		return nil, err
	}
	return gateway.NewEmbedded(gateway.EmbeddedConfig{
		Dir: s.config.storageFolder(), Master: secret, PublicURL: s.publicURL, Check: s.stillGranted, Log: s.config.Log,
	})
}

// storageFolder is where the files of managed pipes lie, when it is a folder.
func (c Config) storageFolder() string {
	if c.Storage == "" {
		return filepath.Join(c.Data, "storage")
	}
	return strings.TrimPrefix(c.Storage, "file://")
}

// openBucket opens a bucket whose server makes temporary keys, or one for which the
// server makes URLs only.
func openBucket(text string) (gateway.Storage, error) {
	c, err := parseBucket(text)
	if err != nil {
		return nil, err
	}
	if c.urls {
		return gateway.NewPresigned(c.BucketConfig)
	}
	return gateway.NewSTS(c.STSConfig)
}

// bucketConfig is a bucket as the URL says it.
type bucketConfig struct {
	gateway.STSConfig
	urls bool // no temporary keys
}

// parseBucket reads s3://BUCKET?endpoint_url=...&region_name=...&role_arn=....
func parseBucket(text string) (c bucketConfig, err error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" {
		return c, errors.New("a bucket is written s3://BUCKET?region_name=REGION, without a folder; its keys come from the environment")
	}
	q := u.Query()
	take := func(name string) string { defer q.Del(name); return q.Get(name) }
	c.Bucket, c.Endpoint, c.PublicEndpoint, c.Region = u.Host, take("endpoint_url"), take("public_endpoint_url"), take("region_name")
	c.STSEndpoint, c.RoleARN, c.ExternalID, c.Partition = take("sts_endpoint_url"), take("role_arn"), take("external_id"), take("partition")
	mode := take("keys")
	if len(q) > 0 { // their names are not told: what was not escaped may be a part of a secret
		return c, errors.New("the options of a bucket are region_name, endpoint_url, public_endpoint_url, keys, sts_endpoint_url, role_arn, external_id and partition, and there is another one")
	}
	if c.Region == "" {
		c.Region = "us-east-1"
	}
	switch mode {
	case "urls":
		c.urls = true
	case "", "temporary":
		if c.Endpoint == "" && c.RoleARN == "" {
			return c, errors.New("without a role Amazon's STS makes no keys: add role_arn=arn:aws:iam::ACCOUNT:role/NAME, or keys=urls to do without keys")
		}
	default:
		return c, errors.New("keys is temporary or urls")
	}
	return c, nil
}

// openPipe opens the storage of a pipe for a scan: users' remotes with what they have
// stored, under the rules of where the server may connect to, and managed storage with
// keys of its own.
func (s *Server) openPipe(ctx context.Context, id string) (listing.Source, error) {
	w, err := s.repo.Where(ctx, id)
	if err != nil {
		return listing.Source{}, err
	}
	where, connect, err := s.reach(ctx, w)
	if err != nil {
		return listing.Source{}, err
	}
	store, err := where.Open(d6tpipe.OpenOptions{Dial: connect})
	return listing.Source{Store: store, Where: w.Storage}, err
}

// reach is a storage as the server opens it.
func (s *Server) reach(ctx context.Context, w repo.Whereabouts) (where d6tpipe.Storage, connect dialFunc, err error) {
	if w.Managed {
		return s.inside(ctx, w)
	}
	return w.Storage, dial.Policy{Allow: s.config.AllowDial}.DialContext, nil
}

// dialFunc makes a connection.
type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// inside is managed storage as the server itself reaches it.
func (s *Server) inside(ctx context.Context, w repo.Whereabouts) (where d6tpipe.Storage, connect dialFunc, err error) {
	where = w.Storage
	if where.Credentials, err = s.storage.Inside(ctx, grantOf(w.Grant)); err != nil {
		return where, nil, explained(err)
	}
	if e, ok := s.storage.(*gateway.Embedded); ok {
		return where, e.DialContext, nil
	}
	return where, (&net.Dialer{}).DialContext, nil // to where the administrator says
}

// stillGranted is asked for each request with temporary keys: they end when the
// permission does.
func (s *Server) stillGranted(ctx context.Context, g gateway.Grant) error {
	ok, err := s.repo.StillMay(ctx, g.Subject, g.Role)
	if err != nil {
		return err
	}
	if !ok {
		return gateway.ErrDenied
	}
	return nil
}

// managed is a storage as the repo wants it.
type managed struct{ gateway.Storage }

func (m managed) Credentials(ctx context.Context, g repo.Grant) (map[string]any, time.Time, error) {
	set, err := m.Storage.Credentials(ctx, grantOf(g))
	return set.Values, set.Expires, explained(err)
}

// URLsOnly says where the bucket is, if all that the storage gives out is URLs.
func (m managed) URLsOnly() (place map[string]any, ok bool) {
	p, ok := m.Storage.(*gateway.Presigned)
	if !ok {
		return nil, false
	}
	return p.Place(), true
}

// Sign makes a URL, where the storage can.
func (m managed) Sign(ctx context.Context, g repo.Grant, r repo.Signing) (string, error) {
	signer, ok := m.Storage.(gateway.Signer)
	if !ok {
		return "", fmt.Errorf("%w: this server hands out keys, at credentials/, and no URLs", repo.ErrGrant)
	}
	signed, err := signer.Sign(ctx, grantOf(g), gateway.Request{Method: r.Method, Key: r.Key, Query: r.Query, Header: r.Header})
	return signed, explained(err)
}

func grantOf(g repo.Grant) gateway.Grant {
	return gateway.Grant{Prefix: g.Prefix, Role: g.Role, Filters: g.Filters, Subject: g.Subject}
}

// explained gives errors of the storage the names that the repo has for them.
func explained(err error) error {
	switch {
	case errors.Is(err, gateway.ErrNoCredentials):
		return repo.ErrURLsOnly
	case errors.Is(err, gateway.ErrGrant), errors.Is(err, gateway.ErrDenied):
		return fmt.Errorf("%w: %w", repo.ErrGrant, err)
	}
	return err
}
