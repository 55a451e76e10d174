package d6tpipe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/s3"
	"github.com/d6t/d6tpipe-go/internal/storage/sftp"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

const defaultIdleTimeout = 5 * time.Minute

// openStore opens the storage of a pipe, rooted at the pipe's folder. To try again
// is for whoever uses it.
func openStore(s Storage, o OpenOptions) (storage.Store, error) {
	store, err := openFolder(s, o)
	if err != nil {
		return nil, err
	}
	return storage.Idle(store, cmp.Or(o.IdleTimeout, defaultIdleTimeout)), nil
}

// Open opens the storage, rooted at the pipe's folder, for the project's own server:
// the result is of no use elsewhere. As in [Check], nothing of this machine is used
// because a record says so, and of o only IdleTimeout, LocalKeys, LocalFolders (nil is
// none) and Dial count.
func (s Storage) Open(o OpenOptions) (storage.Store, error) {
	store, err := openStore(s, o.asSaid())
	return store, withKind(err)
}

// OpenRenewing is Open with credentials that run out, at expires or, when that is zero,
// nobody knows when. Again returns the same place with fresh ones.
func (s Storage) OpenRenewing(o OpenOptions, expires time.Time, again func(context.Context) (Storage, time.Time, error)) (storage.Store, error) {
	store, err := openRenewing(s, expires, o.asSaid(), again)
	return store, withKind(err)
}

// asSaid are the options of who opens a storage as its record says.
func (o OpenOptions) asSaid() OpenOptions {
	o.LocalFolders = append([]string{}, o.LocalFolders...)
	o.Credentials, o.CredentialSource = nil, nil
	return o
}

// Place tells one place from another, for the project's own server: two storages of
// equal places share their files. It holds no secret.
func (s Storage) Place() (string, error) {
	place, err := s.identity()
	return place, withKind(err)
}

// openRenewing is openStore with credentials that run out, at expires or when
// nobody knows. Again returns the same place with fresh ones.
func openRenewing(s Storage, expires time.Time, o OpenOptions, again func(context.Context) (Storage, time.Time, error)) (storage.Store, error) {
	place, err := s.identity()
	if err != nil {
		return nil, err
	}
	store, err := openFolder(s, o)
	if err != nil {
		return nil, err
	}
	store = storage.Renew(store, expires, func(ctx context.Context) (storage.Store, time.Time, error) {
		s, expires, err := again(ctx)
		if err != nil {
			return nil, expires, mayPass(err)
		}
		now, err := s.identity()
		if err != nil {
			return nil, expires, err
		}
		if now != place {
			return nil, expires, fmt.Errorf("%w: the pipe was moved to another storage meanwhile", ErrConflict)
		}
		store, err := openFolder(s, o)
		return store, expires, err
	})
	return storage.Idle(store, cmp.Or(o.IdleTimeout, defaultIdleTimeout)), nil
}

// mayPass lets a storage's decorators know which errors of the repo API are worth
// another attempt.
func mayPass(err error) error {
	if errors.Is(err, ErrUnavailable) || errors.Is(err, ErrRateLimited) {
		return fmt.Errorf("%w: %w", storage.ErrTemporary, err)
	}
	return err
}

// openFolder opens the driver of s, rooted at the pipe's folder.
func openFolder(s Storage, o OpenOptions) (storage.Store, error) {
	var store storage.Store
	var err error
	folder := s.Dir
	switch s.Protocol {
	case ProtocolDir:
		store, err = openDir(s, o)
	case ProtocolS3, ProtocolManaged:
		if s.SignedURLs {
			return nil, fmt.Errorf("a bucket for which its server signs requests: %w here", ErrUnsupported)
		}
		store, err = openS3(s, o)
	case ProtocolHTTP, ProtocolHTTPS:
		store, err = openHTTP(s, o)
	case ProtocolSFTP:
		_, folder = s.inRoot()
		store, err = openSFTP(s, o)
	case ProtocolFTP, ProtocolFTPS:
		_, folder = s.inRoot()
		store, err = openFTP(s, o)
	default:
		return nil, fmt.Errorf("protocol %q: %w by this version", s.Protocol, ErrUnsupported)
	}
	if err != nil {
		return nil, err
	}
	sub, err := storage.Prefix(store, folder)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return sub, nil
}

// identity tells one place from another: two pipes of equal identity share their
// files. It holds no secret. Who logs in is no part of it: the users for reading
// and for writing are often two.
func (s Storage) identity() (string, error) {
	id := struct {
		Protocol Protocol `json:"protocol"`
		Endpoint string   `json:"endpoint,omitempty"`
		Location string   `json:"location"`
		Dir      string   `json:"dir,omitempty"`
	}{s.Protocol, "", s.Location, s.Dir}
	var err error
	switch s.Protocol {
	case ProtocolS3, ProtocolManaged:
		var o s3.Options
		o, err = s3Options(s)
		// The credentials of each role may spell it in their own way.
		id.Protocol, id.Endpoint = ProtocolS3, strings.TrimRight(strings.ToLower(o.Endpoint), "/")
	case ProtocolHTTP, ProtocolHTTPS:
		id.Protocol, id.Location, err = httpPlace(s.Location)
	case ProtocolSFTP, ProtocolFTP, ProtocolFTPS:
		id.Protocol, id.Location, err = hostPlace(s)
	}
	if err != nil {
		return "", err
	}
	raw, err := encodeJSON(id)
	return string(raw), err
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
	{storage.ErrCorrupt, ErrCorrupt},
	{transfer.ErrDamaged, ErrDamaged},
	{transfer.ErrNewer, ErrDamaged},
	{transfer.ErrEdited, ErrConflict},
	{errors.ErrUnsupported, ErrUnsupported},
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
	var hostKey *sftp.HostKeyError
	if errors.As(err, &hostKey) {
		k.kinds = append(k.kinds, ErrRefused)
	}
	if k.kinds == nil {
		return err
	}
	return k
}
