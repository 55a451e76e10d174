package d6tpipe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/dir"
	"github.com/d6t/d6tpipe-go/internal/storage/s3"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

const defaultIdleTimeout = 5 * time.Minute

// openStore opens the storage of a pipe, rooted at the pipe's folder. To try again
// is for whoever uses it. Where a
// server says that the files lie in a folder of this machine, that folder must be
// below one of o.LocalFolders; nil allows all, as for a catalogue that is the
// user's own file.
func openStore(s Storage, o OpenOptions) (storage.Store, error) {
	var store storage.Store
	var err error
	switch s.Protocol {
	case ProtocolDir:
		if err := checkLocalFolder(s.Location, o.LocalFolders); err != nil {
			return nil, err
		}
		store, err = dir.New(s.Location)
	case ProtocolS3, ProtocolManaged:
		var bucket s3.Options
		if bucket, err = s3Options(s); err == nil {
			store, err = s3.New(bucket)
		}
	default:
		return nil, fmt.Errorf("protocol %s: %w in this version; dir and s3 are", s.Protocol, ErrUnsupported)
	}
	if err != nil {
		return nil, err
	}
	sub, err := storage.Prefix(store, s.Dir)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return storage.Idle(sub, cmp.Or(o.IdleTimeout, defaultIdleTimeout)), nil
}

// identity tells one place from another: two pipes of equal identity share their
// files. It holds no secret.
func (s Storage) identity() (string, error) {
	id := struct {
		Protocol Protocol `json:"protocol"`
		Endpoint string   `json:"endpoint,omitempty"`
		Location string   `json:"location"`
		Dir      string   `json:"dir,omitempty"`
	}{s.Protocol, "", s.Location, s.Dir}
	if s.Protocol == ProtocolS3 || s.Protocol == ProtocolManaged {
		o, err := s3Options(s)
		if err != nil {
			return "", err
		}
		// The credentials of each role may spell it in their own way.
		id.Protocol, id.Endpoint = ProtocolS3, strings.TrimRight(strings.ToLower(o.Endpoint), "/")
	}
	raw, err := encodeJSON(id)
	return string(raw), err
}

// checkLocalFolder keeps a server from reading and writing wherever it likes on
// the machines of its users. Symbolic links are resolved first: one that lies in
// an allowed folder may lead out of it.
func checkLocalFolder(location string, allowed []string) error {
	if !filepath.IsAbs(location) {
		return &FieldError{Field: "location", Reason: "The folder must be an absolute path."}
	}
	if allowed == nil {
		return nil
	}
	real, err := realPath(location)
	if err != nil {
		return err
	}
	for _, folder := range allowed {
		abs, err := filepath.Abs(folder)
		if err == nil {
			abs, err = realPath(abs)
		}
		if err != nil {
			continue
		}
		if _, ok := inside(abs, real); ok {
			return nil
		}
	}
	return fmt.Errorf("%w: the server names the local folder %q; allow it with OpenOptions.LocalFolders", ErrRefused, location)
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
	var set s3Credentials
	if len(s.Options) > 0 {
		if err := decodeJSON(s.Options, &set.s3Settings); err != nil {
			return s3.Options{}, &FieldError{Field: "settings", Reason: err.Error()}
		}
	}
	raw, err := encodeJSON(s.Credentials.reveal())
	if err == nil {
		err = decodeJSON(raw, &set)
	}
	if err != nil { // its text could show a part of a secret
		return s3.Options{}, &FieldError{Field: "credentials", Reason: "Keys and the endpoint are strings, path_style and insecure are true or false."}
	}
	o := s3.Options{
		Bucket: s.Location, Endpoint: set.EndpointURL, Region: set.RegionName, Insecure: set.Insecure,
		AccessKey: cmp.Or(set.AccessKey, set.Key), SecretKey: cmp.Or(set.SecretKey, set.Secret), SessionToken: set.SessionToken,
		Unconditional: set.Unconditional, NoSums: set.NoSums,
	}
	if (o.AccessKey == "") != (o.SecretKey == "") {
		return o, &FieldError{Field: "credentials", Reason: "An access key and its secret come together."}
	}
	if set.PathStyle != nil {
		o.Addressing = s3.Host
		if *set.PathStyle {
			o.Addressing = s3.Path
		}
	}
	return o, nil
}

// kinds are what the errors of storage and file systems are called here.
var kinds = []struct{ cause, kind error }{
	{storage.ErrChanged, ErrConflict},
	{storage.ErrKey, ErrRefused},
	{storage.ErrTemporary, ErrUnavailable},
	{storage.ErrExpired, ErrPermission},
	{transfer.ErrConflict, ErrConflict},
	{transfer.ErrPartial, ErrPartial},
	{transfer.ErrRefused, ErrRefused},
	{transfer.ErrCorrupt, ErrCorrupt},
	{transfer.ErrDamaged, ErrDamaged},
	{transfer.ErrNewer, ErrDamaged},
	{transfer.ErrEdited, ErrConflict},
	{fs.ErrNotExist, ErrNotFound},
	{fs.ErrPermission, ErrPermission},
	{fs.ErrInvalid, ErrInvalid},
}

// kinded is an error of a lower room with the kinds that it has in this package.
type kinded struct {
	err   error
	kinds []error
}

func (k *kinded) Error() string   { return k.err.Error() }
func (k *kinded) Unwrap() []error { return append([]error{k.err}, k.kinds...) }

// withKind adds to err the kinds under which callers of this package know it. A
// call that its context ended keeps the context's error and no kind.
func withKind(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	k := &kinded{err: err}
	for _, row := range kinds {
		if errors.Is(err, row.cause) && !errors.Is(err, row.kind) {
			k.kinds = append(k.kinds, row.kind)
		}
	}
	if k.kinds == nil {
		return err
	}
	return k
}
