package s3

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// metadataTimeout is for services that are on the same machine or are not there,
// identityTimeout for Amazon's own, which is far away, and for that of a container once it
// is reached: on a busy machine it takes a while to answer.
const (
	metadataTimeout = time.Second
	identityTimeout = 10 * time.Second
)

// The variables of containers and of web identities.
const (
	fullURI      = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
	relativeURI  = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
	identityFile = "AWS_WEB_IDENTITY_TOKEN_FILE"
)

// environment finds credentials where Amazon's own tools look for them: in AWS_*
// variables, in the shared files under AWS_PROFILE, and at the service that
// containers and machines get theirs from. The first place that is set up counts: it
// is asked again when the credentials expire, and when it has none that is an error.
// Only where nothing is set up do requests stay anonymous.
type environment struct {
	find func() (*place, error)

	mu    sync.Mutex
	found *place
	none  bool
}

func newEnvironment() *credentials.Credentials { return credentials.New(&environment{find: findPlace}) }

// A place has credentials.
type place struct {
	credentials.Provider
	local bool // what fails there does not pass
}

// findPlace returns the first place that is set up, nil when there is none.
func findPlace() (*place, error) {
	if os.Getenv("AWS_ACCESS_KEY_ID") != "" || os.Getenv("AWS_ACCESS_KEY") != "" {
		return &place{&credentials.EnvAWS{}, true}, nil
	}
	profile, err := sharedProfile()
	switch {
	case err != nil:
		return nil, err
	case profile.hasKeys():
		return &place{&credentials.FileAWSCredentials{}, true}, nil
	case os.Getenv(identityFile) != "":
		return service(identityTimeout, &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}), nil
	case os.Getenv(fullURI) != "" || os.Getenv(relativeURI) != "":
		dial := (&net.Dialer{Timeout: metadataTimeout}).DialContext
		return service(identityTimeout, &http.Transport{DialContext: dial, DisableKeepAlives: true}), nil
	case isMachine():
		return service(metadataTimeout, machine{&http.Transport{DisableKeepAlives: true}}), nil
	}
	return nil, nil
}

func service(timeout time.Duration, transport http.RoundTripper) *place {
	return &place{Provider: &credentials.IAM{Client: &http.Client{Timeout: timeout, Transport: transport}}}
}

// isMachine reports whether this is one of Amazon's: to try and see costs seconds on
// all others.
func isMachine() bool {
	if strings.EqualFold(os.Getenv("AWS_EC2_METADATA_DISABLED"), "true") {
		return false
	}
	vendor, err := os.ReadFile("/sys/class/dmi/id/sys_vendor")
	return err == nil && strings.Contains(string(vendor), "Amazon EC2")
}

// RetrieveWithCredContext implements [credentials.Provider].
func (e *environment) RetrieveWithCredContext(cc *credentials.CredContext) (value credentials.Value, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.found
	if p == nil {
		if p, err = e.find(); err != nil {
			return value, noKeys(err, true)
		}
	}
	if p != nil {
		value, err = p.RetrieveWithCredContext(cc)
	}
	switch {
	case p == nil, e.found == nil && errors.Is(err, errNoRole):
		e.none = true
		return credentials.Value{SignerType: credentials.SignatureAnonymous}, nil
	case err == nil && (value.AccessKeyID == "" || value.SecretAccessKey == ""):
		err = errHalf
	}
	if err != nil {
		return credentials.Value{}, noKeys(err, p.local)
	}
	e.found = p
	return value, nil
}

// Retrieve implements [credentials.Provider].
func (e *environment) Retrieve() (credentials.Value, error) { return e.RetrieveWithCredContext(nil) }

// IsExpired implements [credentials.Provider].
func (e *environment) IsExpired() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.found != nil {
		return e.found.IsExpired()
	}
	return !e.none
}

var (
	errHalf   = errors.New("there is no key with a secret (a role_arn of a profile is not followed)")
	errNoRole = errors.New("the machine has no role")
)

// noKeys is the error of a place that should have keys. Its text holds no address,
// which may be secret, and nothing that Amazon quotes of the request.
func noKeys(err error, local bool) error {
	var request *url.Error
	var refused credentials.ErrorResponse
	secret := cmp.Or(os.Getenv(fullURI), fullURI)
	switch {
	case errors.As(err, &request):
		err, local = request.Err, false
	case errors.As(err, &refused):
		err = errors.New(word(refused.STSError.Code))
	case strings.Contains(err.Error(), secret):
		err = errors.New(strings.ReplaceAll(err.Error(), secret, fullURI))
	}
	kind := storage.ErrTemporary
	if local {
		kind = fs.ErrPermission
	}
	return fmt.Errorf("%w: credentials of the environment: %w; the setting anonymous of the remote does without", kind, err)
}

// machine asks the service of a machine of Amazon's. One that has no role, or has
// the service switched off, has no keys and never will: the library tells that from
// other failures by texts only.
type machine struct{ base http.RoundTripper }

func (m machine) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := m.base.RoundTrip(req)
	if err == nil && (resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusForbidden) {
		_ = resp.Body.Close() // nobody wants it
		return nil, errNoRole
	}
	return resp, err
}
