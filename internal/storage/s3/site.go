package s3

import (
	"cmp"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/minio/minio-go/v7"
)

// A site is where requests go and how they are signed: what depends on the region.
type site struct {
	core   *minio.Core
	base   *url.URL // of the bucket, with a slash at its end
	signer signer
	moved  bool // an answer has named the region
}

func (s *Store) newSite(opts Options) (*site, error) {
	u, err := opts.endpoint()
	if err != nil {
		return nil, err
	}
	at := &site{base: bucketURL(u, opts)}
	at.signer.region = opts.Region
	at.core, err = minio.NewCore(u.Host, &minio.Options{
		Creds:           s.creds,
		Secure:          u.Scheme == "https",
		Transport:       s.transport,
		Region:          opts.Region, // saves a request for the bucket's location
		BucketLookup:    lookup(opts.Addressing),
		TrailingHeaders: opts.Checksums,
		MaxRetries:      1, // retrying is for a decorator
	})
	if err != nil {
		return nil, fmt.Errorf("s3: %w: the endpoint is not one that can be used", fs.ErrInvalid)
	}
	at.core.SetS3EnableDualstack(false) // one host for all requests
	return at, nil
}

func bucketURL(endpoint *url.URL, opts Options) *url.URL {
	u := *endpoint
	u.Path = "/" + opts.Bucket + "/"
	if opts.Addressing == Host {
		u.Host, u.Path = opts.Bucket+"."+u.Host, "/"
	}
	return &u
}

func lookup(a Addressing) minio.BucketLookupType {
	if a == Host {
		return minio.BucketLookupDNS
	}
	return minio.BucketLookupPath
}

// core is the general client, for what is not worth requests of our own.
func (s *Store) core() *minio.Core { return s.site.Load().core }

// amazon is Amazon's endpoint for a region.
func amazon(region string) string {
	endpoint := "https://s3." + region + ".amazonaws.com"
	if strings.HasPrefix(region, "cn-") {
		endpoint += ".cn"
	}
	return endpoint
}

// environmentRegion is the region that Amazon's tools would use, "" when none is set.
func environmentRegion() string {
	if region := cmp.Or(os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION")); region != "" {
		return region
	}
	profile, err := sharedProfile()
	if err != nil {
		return "" // the error shows when keys are needed
	}
	return profile.value("region")
}

const (
	regionHeader = "X-Amz-Bucket-Region"
	otherRegion  = "AuthorizationHeaderMalformed"
)

// elsewhere gives a reason to a 400 that has none, as that of a HEAD, when its
// headers name another region than the request was signed for.
func elsewhere(no minio.ErrorResponse, h http.Header, signedFor string) minio.ErrorResponse {
	if region := h.Get(regionHeader); no.Code == badRequest && region != "" && region != signedFor {
		no.Code, no.Region = otherRegion, region
	}
	return no
}

var amazonsRegion = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]+$`)

// move goes to the region that an answer of Amazon's names, once, and reports whether
// it is worth another attempt there. An answer names a region and never a host: that
// follows from the region.
func (s *Store) move(region string) bool {
	at := s.site.Load()
	switch {
	case !s.amazon || !amazonsRegion.MatchString(region):
		return false
	case at.moved || at.signer.region == region:
		return at.moved && at.signer.region == region // by another call
	}
	opts := s.opts
	opts.Region, opts.Endpoint = region, amazon(region)
	next, err := s.newSite(opts)
	if err != nil {
		return false
	}
	next.moved = true
	s.site.CompareAndSwap(at, next) // unless another call was faster
	return true
}
