package gateway

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Presigned is a bucket whose server makes no temporary keys: users get a URL per
// request, and listings from the server.
//
// That server must refuse headers of Amazon's (x-amz-...) that are not part of a
// signature, as Amazon and versitygw do: one of them makes a PUT copy any other object
// of the bucket.
type Presigned struct {
	*bucket
	signer *minio.Client // of URLs, which name the endpoint that users reach
}

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
	p := &Presigned{bucket: b, signer: b.client}
	if b.cfg.PublicEndpoint != "" && b.cfg.PublicEndpoint != b.cfg.Endpoint {
		if p.signer, err = b.open(b.cfg.PublicEndpoint); err != nil {
			return nil, fmt.Errorf("public endpoint: %w", err)
		}
	}
	return p, nil
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

// Place is where the bucket is, as keyword arguments of boto3 without any key.
func (p *Presigned) Place() map[string]any {
	place := map[string]any{"region_name": p.cfg.Region}
	if p.cfg.PublicEndpoint != "" {
		place["endpoint_url"] = p.cfg.PublicEndpoint
	}
	return place
}

// Sign returns a URL for one request.
func (p *Presigned) Sign(ctx context.Context, g Grant, r Request) (string, error) {
	now := time.Now()
	end, err := g.until(now, p.cfg.TTL)
	if err != nil {
		return "", err
	}
	a, err := newAccess(g)
	if err != nil {
		return "", err
	}
	if err := r.check(a); err != nil {
		return "", err
	}
	query, header := url.Values{}, http.Header{}
	for name, value := range r.Query {
		query.Set(name, value)
	}
	for name, value := range r.Header {
		header.Set(name, value)
	}
	u, err := p.signer.PresignHeader(ctx, r.Method, p.cfg.Bucket, g.Prefix+r.Key, max(end.Sub(now), time.Second), query, header)
	if err != nil {
		return "", fmt.Errorf("sign a URL for %q: %w", r.Key, err)
	}
	return u.String(), nil
}

// A form is a kind of request that can be signed.
type form struct {
	method string
	query  []string // names that must be there
	may    []string // and those that may
	write  bool     // who reads has no use for it
}

// forms are all that can be signed: reading, writing and removing an object, and the
// steps of an upload in parts.
var forms = []form{
	{method: http.MethodGet},
	{method: http.MethodHead},
	{method: http.MethodPut, write: true},
	{method: http.MethodDelete, write: true},
	{method: http.MethodPost, query: []string{"uploads"}, write: true},
	{method: http.MethodPut, query: []string{"uploadId", "partNumber"}, write: true},
	{method: http.MethodGet, query: []string{"uploadId"}, may: []string{"part-number-marker", "max-parts"}, write: true},
	{method: http.MethodPost, query: []string{"uploadId"}, write: true},
	{method: http.MethodDelete, query: []string{"uploadId"}, write: true},
}

// fits reports whether r is of this form.
func (f form) fits(r Request) bool {
	if f.method != r.Method {
		return false
	}
	for _, name := range f.query {
		if _, ok := r.Query[name]; !ok {
			return false
		}
	}
	for name, value := range r.Query {
		if !slices.Contains(f.query, name) && !slices.Contains(f.may, name) || !queryValues[name].MatchString(value) {
			return false
		}
	}
	return true
}

// queryValues are what the parameters of forms may hold.
var queryValues = map[string]*regexp.Regexp{
	"uploads": regexp.MustCompile(`^$`), "uploadId": regexp.MustCompile(`^[!-~]{1,1000}$`),
	"partNumber": regexp.MustCompile(`^[1-9][0-9]{0,4}$`), "part-number-marker": regexp.MustCompile(`^[0-9]{1,5}$`), "max-parts": regexp.MustCompile(`^[0-9]{1,5}$`),
}

// headers are those that may be part of a signature: sums, and what is about them.
var (
	headers      = regexp.MustCompile(`^x-amz-checksum-[a-z0-9]{1,32}$`)
	headerValues = regexp.MustCompile(`^[A-Za-z0-9+/=_-]{1,128}$`)
)

// check reports with an [ErrDenied] what is not within the grant.
func (r Request) check(a access) error {
	i := slices.IndexFunc(forms, func(f form) bool { return f.fits(r) })
	switch {
	case i < 0 && len(r.Query) == 0:
		return fmt.Errorf("%w: the method %q", ErrDenied, r.Method)
	case i < 0:
		return fmt.Errorf("%w: this query with the method %q", ErrDenied, r.Method)
	case forms[i].write && !a.write:
		return fmt.Errorf("%w: the role is %s", ErrDenied, d6tpipe.RoleRead)
	}
	for name, value := range r.Header {
		if !headers.MatchString(name) || !headerValues.MatchString(value) {
			return fmt.Errorf("%w: the header %q", ErrDenied, name)
		}
	}
	full := a.prefix + r.Key
	if reason := badKey(full); reason != "" {
		return fmt.Errorf("%w: the key %q %s", ErrDenied, r.Key, reason)
	}
	if r.Key == "" || !a.sees(full) {
		return fmt.Errorf("%w: the key %q", ErrDenied, r.Key)
	}
	return nil
}
