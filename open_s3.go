package d6tpipe

import (
	"cmp"
	"net/url"
	"regexp"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/s3"
)

func openS3(s Storage, o OpenOptions) (storage.Store, error) {
	bucket, set, err := readS3(s)
	if err != nil {
		return nil, err
	}
	bucket.Chain = !set.Anonymous && bucket.AccessKey == "" && usesLocalKeys(bucket, o)
	bucket.Dial = o.Dial
	return s3.New(bucket)
}

// usesLocalKeys reports whether a remote without keys gets those of this machine. A
// program that opens what others name has none to give.
func usesLocalKeys(bucket s3.Options, o OpenOptions) bool {
	return o.LocalKeys || o.Dial == nil && amazons(bucket)
}

// wantsLocalKeys reports whether s is anonymous unless OpenOptions.LocalKeys is set.
func wantsLocalKeys(s Storage) bool {
	if s.Protocol != ProtocolS3 {
		return false
	}
	bucket, set, err := readS3(s)
	return err == nil && !set.Anonymous && bucket.AccessKey == "" && !amazons(bucket)
}

// amazonsS3 are the hosts of Amazon's S3, and not those that Amazon's customers
// name, such as that of a load balancer.
var amazonsS3 = regexp.MustCompile(`^s3([.-](dualstack|fips))*([.-][a-z]{2}(-[a-z]+)+-[0-9]+)?\.amazonaws\.com(\.cn)?$`)

// amazons reports whether requests go to Amazon. Elsewhere a server could have the
// keys of this machine's environment shown to itself: a session token is part of
// every request.
func amazons(o s3.Options) bool {
	if o.Endpoint == "" {
		return o.Region == "" || amazonsS3.MatchString("s3."+o.Region+".amazonaws.com")
	}
	u, err := url.Parse(o.Endpoint)
	return err == nil && u.Scheme == "https" && (u.Port() == "" || u.Port() == "443") && amazonsS3.MatchString(strings.ToLower(u.Hostname()))
}

// s3Settings are the options of an S3 remote: what its settings say, and then its
// credentials, which win. The names are those of boto3, as in the Python client.
type s3Settings struct {
	EndpointURL   string `json:"endpoint_url"`
	RegionName    string `json:"region_name"`
	PathStyle     *bool  `json:"path_style"`    // false: the bucket is part of the host name
	Insecure      bool   `json:"insecure"`      // http to other machines is meant so
	Unconditional bool   `json:"unconditional"` // the storage does not know If-Match on a PUT
	NoSums        bool   `json:"no_sums"`       // its ETags are no MD5 (SSE-KMS)
	Anonymous     bool   `json:"anonymous"`     // nobody logs in, whatever keys there are around
}

// s3Credentials are an S3 remote's credentials. They may hold its settings too, as
// in the Python client, but no keys are taken from the settings: those are shown
// and kept in plain files.
type s3Credentials struct {
	s3Settings
	AccessKey    string `json:"aws_access_key_id"`
	Key          string `json:"key"`
	SecretKey    string `json:"aws_secret_access_key"`
	Secret       string `json:"secret"`
	SessionToken string `json:"aws_session_token"`
}

func s3Options(s Storage) (s3.Options, error) {
	o, _, err := readS3(s)
	return o, err
}

func readS3(s Storage) (o s3.Options, set s3Credentials, err error) {
	if err := s.settings(&set.s3Settings); err != nil {
		return o, set, err
	}
	raw, err := encodeJSON(s.Credentials.reveal())
	if err == nil {
		err = decodeJSON(raw, &set)
	}
	if err != nil { // its text could show a part of a secret
		return o, set, &FieldError{Field: "credentials", Reason: "Keys and the endpoint are strings, path_style and insecure are true or false."}
	}
	o = s3.Options{
		Bucket: s.Location, Endpoint: set.EndpointURL, Region: set.RegionName, Insecure: set.Insecure,
		AccessKey: cmp.Or(set.AccessKey, set.Key), SecretKey: cmp.Or(set.SecretKey, set.Secret), SessionToken: set.SessionToken,
		Unconditional: set.Unconditional, NoSums: set.NoSums,
	}
	if (o.AccessKey == "") != (o.SecretKey == "") {
		return o, set, &FieldError{Field: "credentials", Reason: "An access key and its secret come together."}
	}
	if set.PathStyle != nil {
		o.Addressing = s3.Host
		if *set.PathStyle {
			o.Addressing = s3.Path
		}
	}
	return o, set, nil
}
