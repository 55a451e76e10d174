package d6tpipe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// A Pipe is an open pipe: its files here, as in [LocalPipe], and its files on the
// remote. It is safe for concurrent use, and so are several processes on one
// pipe: what changes files waits for its turn.
type Pipe struct {
	*LocalPipe
	api  API
	opts hidden[OpenOptions]
}

// OpenOptions say how to work with a pipe's files. The zero value is fine.
type OpenOptions struct {
	// Workers is how many files are moved at a time; 0 means 32.
	Workers int
	// Progress is told what happens, one call after the other, from several
	// goroutines. It must be quick.
	Progress func(Event)
	// IdleTimeout is how long the storage may move no byte before that is an
	// error, and tried again; 0 means 5 minutes, which is longer than a storage
	// takes to put a large upload together.
	IdleTimeout time.Duration
	// ReadCache is how many bytes of files [Pipe.FS] holds in memory; 0 means
	// 16 MiB, and it is never less than 4 MiB.
	ReadCache int64
	// Credentials are used instead of those that the repo API gives.
	Credentials Credentials
	// CredentialSource is asked for credentials instead, also in the middle of a
	// transfer: before they run out, or, with renew, when the storage says that
	// they have. The time is when they run out, zero when nobody knows. Without it
	// and Credentials the source is the repo API's [API].Storage.
	CredentialSource CredentialSource
	// LocalKeys lets a server's pipe use the keys of this machine: the ssh agent,
	// known_hosts and private_key_file where the remote's settings or credentials
	// name them, and the environment's AWS credentials for an endpoint that is not
	// Amazon's. Without it such settings are refused. Pipes of an [APILocal] may
	// use them.
	LocalKeys bool
	// LocalFolders are the folders of this machine in which the files of a
	// server's pipe may lie, for protocol dir. A server cannot make a client
	// read or write elsewhere; pipes of an [APILocal] may lie anywhere.
	LocalFolders []string
	// Dial makes every connection to the storage, those for data too, for programs that
	// must not, or cannot, connect to wherever a record says. Proxies of the environment
	// are not used then, redirects are followed within the storage's own address only,
	// and a pipe of any API may use no keys and no folders of this machine but those that
	// LocalKeys and LocalFolders allow, not the environment's for Amazon's own S3 either.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// A CredentialSource gives the credentials of a pipe for what role may do, and
// tells when they run out. Renew says that the ones before are of no use any more.
type CredentialSource func(ctx context.Context, role Role, renew bool) (Credentials, time.Time, error)

// OpenPipe connects to the pipe called name. Its files lie in the file repo of
// the profile with which api was opened. The pipe's settings are remembered, so
// that [OpenLocalPipe] works offline from now on.
//
// Files on a web server (protocols http and https) can be pulled; a push to them is
// [ErrUnsupported].
func OpenPipe(ctx context.Context, api API, name string, o OpenOptions) (*Pipe, error) {
	p, err := findPipe(ctx, api, name, o)
	if err != nil {
		return nil, err
	}
	return p, p.explain("open pipe", p.remember(p.Settings()))
}

// findPipe is OpenPipe without a trace in the file repo.
func findPipe(ctx context.Context, api API, name string, o OpenOptions) (*Pipe, error) {
	if o.Workers < 0 {
		return nil, &Error{Op: "open pipe", Name: name, Err: &FieldError{Field: "workers", Reason: "This field cannot be negative."}}
	}
	settings, err := api.Pipes().Get(ctx, name)
	if err != nil {
		return nil, err
	}
	if settings.Name != name {
		return nil, &Error{Op: "open pipe", Name: name, Err: badAnswer(fmt.Errorf("it is a record of %q", settings.Name))}
	}
	if o.Credentials != nil && o.CredentialSource != nil {
		return nil, &Error{Op: "open pipe", Name: name, Err: &FieldError{Field: "credentials", Reason: "Credentials and a CredentialSource cannot both be used."}}
	}
	switch _, local := api.(*APILocal); {
	case local && o.Dial == nil:
		o.LocalKeys = true
	case o.LocalFolders == nil:
		o.LocalFolders = []string{}
	}
	l, err := newLocalPipe(api.Config(), settings)
	if err != nil {
		return nil, &Error{Op: "open pipe", Name: name, Err: withKind(err)}
	}
	return &Pipe{LocalPipe: l, api: api, opts: hide(o)}, nil
}

// open connects the folder with the remote, for what role may do there.
func (p *Pipe) open(ctx context.Context, role Role) (s *transfer.Sync, closeAll func() error, err error) {
	store, where, err := p.connect(ctx, role)
	if err != nil {
		return nil, nil, err
	}
	if s, err = p.sync(store, where); err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return s, func() error { return errors.Join(s.Close(), store.Close()) }, nil
}

// sync is the folder and the storage at where, of which store is the caller's.
func (p *Pipe) sync(store storage.Store, where Storage) (*transfer.Sync, error) {
	place, err := where.identity()
	if err == nil {
		err = p.checkApart(where)
	}
	if err != nil {
		return nil, err
	}
	return transfer.Open(transfer.Config{
		Store: store, Place: place, Dir: p.dir, State: p.state, Match: matchAll(where.Filters),
		Workers: p.opts().Workers, Progress: p.progress(),
	})
}

// connect opens the pipe's storage, for what role may do there.
func (p *Pipe) connect(ctx context.Context, role Role) (storage.Store, Storage, error) {
	where, expires, err := p.where(ctx, role, false)
	if err != nil {
		return nil, where, err
	}
	switch {
	case role != RoleRead && readOnly(where.Protocol):
		return nil, where, fmt.Errorf("%w: files on a web server are read-only", ErrUnsupported)
	case role == RoleWrite && len(where.Credentials) == 0 && p.hasReadCredentials(ctx):
		return nil, where, fmt.Errorf("%w: there are credentials to read the remote, and none to write to it", ErrPermission)
	}
	if where.SignedURLs {
		store, err := p.openURLs(where)
		return store, where, err
	}
	if p.opts().Credentials != nil || where.Protocol == ProtocolDir {
		store, err := openStore(where, p.opts())
		return store, where, err
	}
	store, err := openRenewing(where, expires, p.opts(), func(ctx context.Context) (Storage, time.Time, error) {
		return p.where(ctx, role, true)
	})
	return store, where, err
}

// Store is the pipe's storage as a role may use it, for the project's own tests: the
// result is of no use elsewhere.
func (p *Pipe) Store(ctx context.Context, role Role) (storage.Store, error) {
	store, _, err := p.connect(ctx, role)
	return store, p.explain("open", err)
}

func readOnly(protocol Protocol) bool { return protocol == ProtocolHTTP || protocol == ProtocolHTTPS }

// where tells where the files lie, with the credentials of the pipe's source and
// when they run out.
func (p *Pipe) where(ctx context.Context, role Role, renew bool) (Storage, time.Time, error) {
	o := p.opts()
	where, err := p.api.Storage(ctx, p.Name(), role, renew && o.CredentialSource == nil)
	if err != nil {
		return where, time.Time{}, err
	}
	where.SignedURLs = where.SignedURLs && o.CredentialSource == nil && o.Credentials == nil
	switch {
	case o.CredentialSource != nil:
		set, expires, err := o.CredentialSource(ctx, role, renew)
		where.Credentials = set.For(role)
		if err == nil && expires.IsZero() {
			expires = where.Credentials.Expires()
		}
		return where, expires, err
	case o.Credentials != nil:
		where.Credentials = o.Credentials.For(role)
	}
	return where, where.Credentials.Expires(), nil
}

// hasReadCredentials tells a remote that lets everybody in from one whose write
// credentials we lack: what is said in credentials, such as the endpoint, is then
// unknown, and a push would go somewhere else.
func (p *Pipe) hasReadCredentials(ctx context.Context) bool {
	where, _, err := p.where(ctx, RoleRead, false)
	return err == nil && len(where.Credentials) > 0
}

// checkApart refuses a remote that is the pipe's own folder, in it or around it:
// what is deleted here would be gone there too, and a push would send the remote
// to itself.
func (p *Pipe) checkApart(where Storage) error {
	if where.Protocol != ProtocolDir {
		return nil
	}
	there, err := realPath(filepath.Join(where.Location, filepath.FromSlash(where.Dir)))
	if err != nil {
		return err
	}
	for _, own := range []string{p.dir, p.state} {
		here, err := realPath(own)
		if err != nil {
			return err
		}
		_, within := inside(here, there)
		_, around := inside(there, here)
		if within || around {
			return fmt.Errorf("%w: the remote's folder %s and the pipe's own %s overlap", ErrRefused, there, here)
		}
	}
	return nil
}

// with opens both sides, lets do work on them and names the operation in errors.
func (p *Pipe) with(ctx context.Context, op string, role Role, do func(*transfer.Sync) error) (err error) {
	s, closeAll, err := p.open(ctx, role)
	if err == nil {
		err = errors.Join(do(s), closeAll())
	}
	return p.explain(op, err)
}

// explain names the operation that err, which may be nil, is of.
func (p *Pipe) explain(op string, err error) error {
	if err != nil {
		return &Error{Op: op, Name: p.Name(), Err: withKind(err)}
	}
	return nil
}

// matchAll joins filters: a key must pass all of them.
func matchAll(filters []Filter) func(key string) bool {
	matchers := make([]func(string) bool, len(filters))
	for i, f := range filters {
		matchers[i] = f.Matcher()
	}
	return func(key string) bool {
		for _, match := range matchers {
			if !match(key) {
				return false
			}
		}
		return true
	}
}

// ScanRemote lists the pipe's files on the remote, as it is now. Names that
// cannot be used are left out and the error, with the list, matches
// [ErrPartial].
func (p *Pipe) ScanRemote(ctx context.Context, o ListOptions) (files []File, err error) {
	err = p.with(ctx, "scan remote of", RoleRead, func(s *transfer.Sync) error {
		if err := o.validate(); err != nil {
			return err
		}
		listing, err := s.ScanRemote(ctx)
		if err != nil {
			return err
		}
		for obj := range listing.All() {
			files = append(files, File{Key: obj.Key, Size: obj.Size, ModTime: obj.ModTime, Tag: obj.Tag})
		}
		files = o.apply(files)
		return refusedErr(listing.Refused)
	})
	return files, err
}

// UpdateSettings changes the fields of the pipe's settings that s has, in the
// repo API and in this pipe. The name is the pipe's own.
func (p *Pipe) UpdateSettings(ctx context.Context, s PipeSettings) error {
	s.Name = p.Name()
	settings, err := p.api.Pipes().Update(ctx, s)
	if err != nil {
		return err
	}
	if err := p.remember(settings); err != nil {
		return &Error{Op: "remember settings of pipe", Name: p.Name(), Err: withKind(err)}
	}
	return nil
}
