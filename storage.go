package d6tpipe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/internal/glob"
)

// Storage is where the files of a pipe lie, with everything that opens it: the
// pipe, its parents and its remote taken together.
type Storage struct {
	Protocol    Protocol
	Location    string          // bucket, host, folder or URL
	Dir         string          // folder below Location; absolute on SFTP and FTP
	Root        string          // on SFTP and FTP, the part of Dir that is the remote's own and must exist
	Filters     []Filter        // a key must pass all of them
	Options     json.RawMessage // the remote's settings, a JSON object or nil
	Credentials Credentials     // the set for the role that was asked for
	// SignedURLs says that nobody gets keys: the server signs each request, at
	// pipes/{name}/urls/. Credentials then only say where the bucket is.
	SignedURLs bool
}

// A Filter selects keys. Patterns are Python's fnmatch, joined by |.
type Filter struct {
	// Prefix stands before the key when it is matched: the filter of a parent
	// sees keys relative to the parent's folder.
	Prefix  string `json:"prefix,omitempty"`
	Include string `json:"include,omitempty"`
	Exclude string `json:"exclude,omitempty"`
}

// Matcher returns a function that reports whether a key passes the filter.
func (f Filter) Matcher() func(key string) bool {
	match := glob.Filter(f.Include, f.Exclude)
	prefix := f.Prefix
	if prefix != "" && !strings.HasSuffix(prefix, "/") {
		prefix += "/"
	}
	return func(key string) bool { return match(prefix + key) }
}

// Inherit returns the pipe as a repo API shows it: what it does not say itself
// is taken from its ancestors, the nearest first, folders add up to
// Options.RemotePath, the ancestors' filters are in Filters, and credentials are
// left out. A pipe on a remote is shown as it is, because the client adds up its
// folders. The caller sets Role.
func (p PipeSettings) Inherit(ancestors ...PipeSettings) PipeSettings {
	p.Credentials = nil
	p.Root, p.Filters = "", nil
	if p.Remote != "" {
		return p
	}
	p.ReadCredentials, p.WriteCredentials = nil, nil // only on a remote do they mean something
	dir := p.Options.Dir
	for _, a := range ancestors {
		if f := (Filter{Prefix: trimDir(dir), Include: a.Options.Include, Exclude: a.Options.Exclude}); f.Include != "" || f.Exclude != "" {
			p.Filters = append(p.Filters, f)
		}
		if p.Protocol == "" {
			p.Protocol = a.Protocol
		}
		if p.Location == "" {
			p.Location = a.Location
		}
		if len(p.Settings) == 0 {
			p.Settings = a.Settings
		}
		dir = joinDir(a.Options.Dir, dir)
		p.Root = a.Name
	}
	if len(p.Schema) == 0 {
		p.Schema = json.RawMessage(`{}`)
	}
	p.Options.RemotePath = remotePath(p.Protocol, p.Location, dir)
	return p
}

// remotePath is the place of dir in the form that the Python client wants: with
// a slash at the end, because it cuts names at its length.
func remotePath(protocol Protocol, location, dir string) string {
	dir = trimDir(dir)
	if dir != "" {
		dir += "/"
	}
	switch protocol {
	case ProtocolS3, ProtocolManaged:
		return "s3://" + location + "/" + dir
	case ProtocolDir, ProtocolHTTP, ProtocolHTTPS:
		return strings.TrimSuffix(location, "/") + "/" + dir
	default:
		return "/" + dir
	}
}

// storage is where the files of a pipe lie that a repo API shows as p, on remote
// if it names one. Credentials are not filled in.
func (p PipeSettings) storage(remote RemoteSettings) (Storage, error) {
	s := Storage{Protocol: p.Protocol, Location: p.Location, Filters: p.filters()}
	first, err := optionsOf(p.Settings)
	if err != nil { // a server's answer, not checked before
		return s, err
	}
	if p.Remote != "" {
		base, err := optionsOf(remote.Settings)
		if err != nil {
			return s, err
		}
		s.Protocol, s.Location, s.Options = remote.Protocol, remote.Location, remote.Settings
		s.Root, s.Dir = base.Dir, joinDir(joinDir(base.Dir, first.Dir), p.Options.Dir)
		if s.Protocol == ProtocolS3 || s.Protocol == ProtocolManaged { // a managed remote is a folder of a bucket
			bucket, folder, _ := strings.Cut(s.Location, "/")
			s.Location, s.Dir = bucket, joinDir(folder, s.Dir)
		}
	} else {
		s.Options = p.Settings
		path := p.Options.RemotePath
		switch s.Protocol {
		case ProtocolS3, ProtocolManaged:
			s.Location, s.Dir, _ = strings.Cut(strings.TrimPrefix(path, "s3://"), "/")
		case ProtocolDir, ProtocolHTTP, ProtocolHTTPS:
			s.Dir = strings.TrimPrefix(path, strings.TrimSuffix(s.Location, "/"))
		default:
			s.Dir = path
		}
	}
	if s.Protocol == "" {
		return s, &FieldError{Field: "protocol", Reason: "The pipe says nothing of its storage, and neither does a parent."}
	}
	switch s.Protocol {
	case ProtocolSFTP, ProtocolFTP, ProtocolFTPS:
		s.Root, s.Dir = "/"+trimDir(s.Root), "/"+trimDir(s.Dir)
	default:
		s.Root, s.Dir = "", trimDir(s.Dir)
	}
	if err := checkDir("options", s.Dir); err != nil { // a server's answer, not checked before
		return s, err
	}
	return s, nil
}

// filters are all that apply to the pipe: its own options, what the first
// generation's settings say, and the ancestors'.
func (p PipeSettings) filters() (all []Filter) {
	own := []Filter{{Include: p.Options.Include, Exclude: p.Options.Exclude}}
	if p.Remote != "" {
		first, _ := optionsOf(p.Settings) // what cannot be read was refused
		own = append(own, Filter{Include: first.Include, Exclude: first.Exclude})
	}
	for _, f := range slices.Concat(own, p.Filters) {
		if f.Include != "" || f.Exclude != "" {
			all = append(all, f)
		}
	}
	return all
}

// catalogue is the half of an API that both implementations share.
type catalogue struct {
	backend catalog.Backend
	cfg     hidden[Config]
}

// Config is the profile with which the API was opened.
func (c catalogue) Config() Config { return c.cfg() }

// Remotes is the collection of storage places.
func (c catalogue) Remotes() *Collection[RemoteSettings] {
	return &Collection[RemoteSettings]{c.backend, catalog.Remotes, "remote"}
}

// Pipes is the collection of datasets.
func (c catalogue) Pipes() *Collection[PipeSettings] {
	return &Collection[PipeSettings]{c.backend, catalog.Pipes, "pipe"}
}

// Backend is the raw catalogue, for the project's own server and tests.
func (c catalogue) Backend() catalog.Backend { return c.backend }

// credentials asks for the credentials of a pipe.
func (c catalogue) credentials(ctx context.Context, pipe string, q catalog.CredentialsQuery) (out Credentials, err error) {
	defer func() {
		if err != nil {
			err = &Error{Op: "get credentials of pipe", Name: pipe, Err: err}
		}
	}()
	if err := checkName("pipe", pipe); err != nil {
		return nil, err
	}
	in, err := encodeJSON(q)
	if err != nil {
		return nil, err
	}
	raw, err := c.backend.Do(ctx, catalog.Get, catalog.Pipes+"/"+pipe+"/credentials", "", in)
	if err != nil || len(raw) == 0 {
		return nil, err
	}
	if err := decodeJSON(raw, &out); err != nil {
		return nil, badAnswer(err)
	}
	return out, nil
}

// over returns base with what own says instead, as the first generation's client
// joins the credentials of a remote and a pipe.
func over(base, own Credentials) Credentials {
	if len(own) == 0 {
		return base
	}
	all := Credentials{}
	maps.Copy(all, base)
	maps.Copy(all, own)
	return all
}

// Storage tells where the files of a pipe lie and gives the credentials for
// role. See [API].
func (c catalogue) Storage(ctx context.Context, pipe string, role Role, renew bool) (Storage, error) {
	p, err := c.Pipes().Get(ctx, pipe)
	if err != nil {
		return Storage{}, err
	}
	if role != RoleRead && p.Role == RoleRead {
		return Storage{}, &Error{Op: "open pipe", Name: pipe, Err: ErrPermission}
	}
	var remote RemoteSettings
	if p.Remote != "" {
		if remote, err = c.Remotes().Get(ctx, p.Remote); err != nil {
			return Storage{}, &Error{Op: "open pipe", Name: pipe, Err: err}
		}
	}
	shown := p
	p, remote, err = decodeBoth(c.Config(), p, remote)
	if err != nil {
		return Storage{}, &Error{Op: "open pipe", Name: pipe, Err: err}
	}
	credentials, signed := over(remote.WriteCredentials, p.WriteCredentials), false
	switch {
	case p.Remote == "": // asked for first: the answer tells when a parent is missing
		if credentials, signed, err = c.credentialsOrURLs(ctx, pipe, role, renew); err != nil {
			return Storage{}, err
		}
		if err = shown.decodeFor(c.Config(), role, &credentials); err != nil {
			return Storage{}, &Error{Op: "open pipe", Name: pipe, Err: err}
		}
	case role == RoleRead:
		credentials = over(remote.ReadCredentials, p.ReadCredentials)
	}
	s, err := p.storage(remote)
	if err != nil {
		return Storage{}, &Error{Op: "open pipe", Name: pipe, Err: err}
	}
	s.Credentials, s.SignedURLs = credentials, signed
	return s, nil
}

// signedURLs is the credential that says that there are none.
const signedURLs = "signed_urls"

// credentialsOrURLs asks for the credentials of a pipe. A server that has none to give
// is asked again whether it signs requests instead: those who do not know of that hear
// that there are none.
func (c catalogue) credentialsOrURLs(ctx context.Context, pipe string, role Role, renew bool) (set Credentials, signed bool, err error) {
	q := catalog.CredentialsQuery{Role: string(role), Renew: renew, Expiration: true}
	set, err = c.credentials(ctx, pipe, q)
	if !errors.Is(err, ErrUnsupported) {
		return set, false, err
	}
	q.URLs = true
	place, urlsErr := c.credentials(ctx, pipe, q)
	if errors.Is(urlsErr, ErrUnsupported) {
		return nil, false, err
	}
	if said, ok := place[signedURLs].(bool); urlsErr == nil && (!ok || !said) {
		return nil, false, err
	}
	delete(place, signedURLs)
	return place, urlsErr == nil, urlsErr
}

// decodeBoth decrypts what a client has encrypted of a pipe and its remote.
func decodeBoth(cfg Config, p PipeSettings, remote RemoteSettings) (PipeSettings, RemoteSettings, error) {
	if p.Options.Encrypted && !p.sealed() && remote.Name == "" {
		return p, remote, fmt.Errorf("%w: its settings were encrypted by a client, in a way that this version does not know", ErrUnsupported)
	}
	plain, err := Decode(cfg, p)
	if err == nil && p.Remote != "" {
		remote, err = remote.decodeFor(cfg, p)
	}
	return plain, remote, err
}
