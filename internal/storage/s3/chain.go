package s3

import (
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// metadataTimeout is for services that are on the same machine or are not there.
const metadataTimeout = time.Second

// environment finds credentials where Amazon's own tools look for them: in AWS_*
// variables, in the shared credentials file under AWS_PROFILE, and at the service
// that containers and machines get theirs from. The first that has some is asked
// again when they expire. Where there are none, requests stay anonymous; that is
// found out once.
type environment struct {
	mu    sync.Mutex
	found credentials.Provider
	none  bool
}

func newEnvironment() *credentials.Credentials { return credentials.New(&environment{}) }

// providers are asked in this order.
func providers() []credentials.Provider {
	all := []credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}}
	if hasMetadata() {
		all = append(all, &credentials.IAM{Client: &http.Client{Timeout: metadataTimeout, Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}})
	}
	return all
}

// hasMetadata reports whether something says that there is a service to ask: to try
// and see costs seconds on all other machines.
func hasMetadata() bool {
	for _, name := range []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_WEB_IDENTITY_TOKEN_FILE"} {
		if os.Getenv(name) != "" {
			return true
		}
	}
	if strings.EqualFold(os.Getenv("AWS_EC2_METADATA_DISABLED"), "true") {
		return false
	}
	vendor, err := os.ReadFile("/sys/class/dmi/id/sys_vendor")
	return err == nil && strings.Contains(string(vendor), "Amazon EC2")
}

// RetrieveWithCredContext implements [credentials.Provider].
func (e *environment) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.found != nil {
		return e.found.RetrieveWithCredContext(cc)
	}
	for _, p := range providers() {
		value, err := p.RetrieveWithCredContext(cc)
		if err == nil && value.AccessKeyID != "" && value.SecretAccessKey != "" {
			e.found = p
			return value, nil
		}
	}
	e.none = true
	return credentials.Value{SignerType: credentials.SignatureAnonymous}, nil
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
