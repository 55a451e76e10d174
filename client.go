// Package d6tpipe pushes and pulls data files the way one pushes and pulls code.
//
// The files lie on ordinary storage in their native layout, where every other
// tool can read them. A repo API knows where, and which of them belong together:
//
//   - a remote ([RemoteSettings]) is a storage place: a bucket, a folder;
//   - a pipe ([PipeSettings]) is a dataset: a folder of a remote, with filters and
//     a schema;
//   - an [API] is the catalogue of both: [APIClient] is a server's, [APILocal] a
//     JSON file's. Programs written against API work with either, and
//     [CopyCatalog] takes a catalogue from one to the other.
//
// A profile ([Config]) says which server, which folder for the files, and whose
// token, which a [TokenStore] keeps in the keyring of the operating system.
//
//	cfg, err := d6tpipe.LoadConfig("")
//	api, err := d6tpipe.NewAPIClient(cfg) // or NewAPILocal(cfg)
//	pipe, err := d6tpipe.OpenPipe(ctx, api, "sales", d6tpipe.OpenOptions{})
//	report, err := pipe.Pull(ctx, d6tpipe.PullOptions{})
//
// # Files
//
// A [Pipe] ties a folder of this machine to a remote. [Pipe.Pull] and [Pipe.Push]
// move what is new or modified, [Pipe.PlanPull] and [Pipe.PlanPush] show it first.
// They compare three states of each file: what was last synced, what the folder
// has now, and what the remote has now. So they know who changed what, and refuse
// with [ErrConflict] rather than lose an edit. Neither deletes anything;
// [Pipe.RemoveOrphans] does, when told, and only from complete knowledge.
//
// A file appears under its name when it is whole, verified and durable, not
// before. Keys are relative, slash-separated UTF-8; names that would be dangerous
// on some system ("../x", "CON", "a\b") are refused and reported, and the other
// files go on. A [LocalPipe] is the folder alone, for work without a network.
//
// # Errors
//
// An error whose kind a program may want to know matches one of the sentinels of
// this package with [errors.Is], such as [ErrNotFound]; a cancelled context stays
// [context.Canceled], and what else the system says, such as a full disk, can be
// found with errors.Is too. [Error] tells the operation and the name. Texts are
// for people.
//
// # Secrets
//
// [Secret] and [Credentials] print as "***" under every verb, in JSON and in logs.
// No error holds a token, a password or a signed URL.
//
// Everything here is safe for concurrent use, also by several processes on the
// same files.
package d6tpipe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/catalog"
)

// API is a repo API: it knows where data lies (remotes), which files belong
// together (pipes), and how to get at them. [APIClient] is a server's,
// [APILocal] a JSON file's; programs written against API work with both.
type API interface {
	// Remotes is the collection of storage places.
	Remotes() *Collection[RemoteSettings]
	// Pipes is the collection of datasets.
	Pipes() *Collection[PipeSettings]
	// Storage tells where the files of a pipe lie and gives the credentials for
	// role, [RoleRead] or [RoleWrite]: parents and remotes are followed to
	// their end. Where credentials expire, renew asks for new ones. Errors match
	// [ErrNotFound], and [ErrPermission] when the role is more than one has.
	Storage(ctx context.Context, pipe string, role Role, renew bool) (Storage, error)
	// Config is the profile with which the API was opened.
	Config() Config
}

// An APIClient is the repo API of a server: over HTTP, as the user whose token
// the profile's [TokenStore] has. It is safe for concurrent use.
//
// Requests that may safely be repeated (all but those that create) are repeated
// when the network fails or the server is busy (429, 502, 503, 504); see
// [Limits]. The token goes to the profile's server only: redirects to another
// scheme, host or port are not followed.
type APIClient struct {
	catalogue
	server *server
}

// NewAPIClient returns a client of the profile's server. It does no I/O; the
// token is looked up at the first call, and a profile without one makes an
// anonymous client.
func NewAPIClient(cfg Config) (*APIClient, error) {
	origin, err := cfg.Origin()
	if err != nil {
		return nil, &Error{Op: "open server of profile", Name: cfg.Profile, Err: err}
	}
	return newAPIClient(&server{
		base:    strings.TrimRight(cfg.Server, "/") + "/v1/api",
		origin:  origin,
		client:  newResty(origin),
		limits:  Limits{}.WithDefaults(),
		session: newSession(cfg.TokenStore(), TokenKey{Profile: cfg.Profile, Origin: origin}),
	}, cfg), nil
}

func newAPIClient(s *server, cfg Config) *APIClient {
	return &APIClient{catalogue: catalogue{s, hide(cfg)}, server: s}
}

// WithLimits returns a client with other limits. It shares everything else
// with c.
func (c *APIClient) WithLimits(limits Limits) *APIClient {
	s := *c.server
	s.limits = limits.WithDefaults()
	return newAPIClient(&s, c.cfg())
}

// CloseIdleConnections closes connections that are kept for later calls.
func (c *APIClient) CloseIdleConnections() { c.server.client.GetClient().CloseIdleConnections() }

// A Collection holds the records of one type, each under its name. It is safe
// for concurrent use. Errors are [*Error] and match the sentinels of this
// package.
type Collection[T Record] struct {
	backend catalog.Backend
	path    string // "pipes"
	noun    string // "pipe"
}

// All yields the records that the caller may see, ordered by name; those of a
// server that answers in pages, within each page. An error comes last.
func (c *Collection[T]) All(ctx context.Context) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for raw, err := range eachRow(ctx, c.backend, c.path) {
			var rec T
			if err == nil {
				if err = decodeJSON(raw, &rec); err != nil {
					err = badAnswer(err)
				}
			}
			if err != nil {
				var zero T
				yield(zero, &Error{Op: "list " + c.path, Err: err})
				return
			}
			if !yield(rec, nil) {
				return
			}
		}
	}
}

// eachRow yields the rows below path, page by page. An error comes last. A
// server that leads in circles or through empty pages for ever is stopped.
func eachRow(ctx context.Context, backend catalog.Backend, path string) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		const maxEmpty = 100
		seen, empty := map[string]bool{"": true}, 0
		for page := ""; ; {
			rows, next, err := backend.List(ctx, path, page)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, raw := range rows {
				if !yield(raw, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			if empty++; len(rows) > 0 {
				empty = 0
			}
			if seen[next] || empty > maxEmpty {
				yield(nil, badAnswer(errors.New("the pages of the list do not end")))
				return
			}
			seen[next], page = true, next
		}
	}
}

// Names returns the names of all records, sorted.
func (c *Collection[T]) Names(ctx context.Context) ([]string, error) {
	var names []string
	for rec, err := range c.All(ctx) {
		if err != nil {
			return nil, err
		}
		names = append(names, rec.key())
	}
	slices.Sort(names)
	return names, nil
}

// Get returns the record called name.
func (c *Collection[T]) Get(ctx context.Context, name string) (T, error) {
	return c.call(ctx, catalog.Get, name, nil)
}

// Create adds a record. A taken name is [ErrExists].
func (c *Collection[T]) Create(ctx context.Context, rec T) (T, error) {
	return c.call(ctx, catalog.Create, rec.key(), &rec)
}

// Replace puts rec in the place of the record of its name: a field that rec
// does not have is gone afterwards. Credentials are the exception: they stay
// unless rec brings new ones, because Get does not show them.
func (c *Collection[T]) Replace(ctx context.Context, rec T) (T, error) {
	return c.call(ctx, catalog.Replace, rec.key(), &rec)
}

// Update changes the fields that rec has and leaves the others. Options,
// settings and schema are replaced whole.
func (c *Collection[T]) Update(ctx context.Context, rec T) (T, error) {
	return c.call(ctx, catalog.Update, rec.key(), &rec)
}

// Upsert updates the record, or creates it when there is none of its name.
func (c *Collection[T]) Upsert(ctx context.Context, rec T) (T, error) {
	out, err := c.Update(ctx, rec)
	if errors.Is(err, ErrNotFound) {
		out, err = c.Create(ctx, rec)
	}
	if errors.Is(err, ErrExists) { // somebody was faster
		out, err = c.Update(ctx, rec)
	}
	return out, err
}

// Delete removes the record called name. The files stay where they are, and so
// do records that refer to it.
func (c *Collection[T]) Delete(ctx context.Context, name string) error {
	_, err := c.call(ctx, catalog.Delete, name, nil)
	return err
}

// ops are the words for verbs in errors.
var ops = map[catalog.Verb]string{
	catalog.Get: "get ", catalog.Create: "create ", catalog.Replace: "replace ",
	catalog.Update: "update ", catalog.Delete: "delete ",
}

// call is the one road of every verb: check, encode, move, decode, explain.
func (c *Collection[T]) call(ctx context.Context, verb catalog.Verb, name string, rec *T) (out T, err error) {
	defer func() {
		if err != nil {
			err = &Error{Op: ops[verb] + c.noun, Name: name, Err: err}
		}
	}()
	if err := checkName("name", name); err != nil {
		return out, err
	}
	var in json.RawMessage
	if rec != nil {
		check := (*rec).Validate
		if verb == catalog.Update { // a partial record is judged by the catalogue, when merged
			check = (*rec).checkSecrets
		}
		if err := check(); err != nil {
			return out, err
		}
		if in, err = (*rec).reveal(); err != nil {
			return out, &FieldError{Field: c.noun, Reason: err.Error()}
		}
	}
	target := name
	if verb == catalog.Create {
		target = ""
	}
	raw, err := c.backend.Do(ctx, verb, c.path, target, in)
	if err != nil || len(raw) == 0 {
		return out, err
	}
	if err := decodeJSON(raw, &out); err != nil {
		return out, badAnswer(err)
	}
	return out, nil
}

// badAnswer says that a repo API answered what no repo API answers.
func badAnswer(err error) error {
	return &Error{Op: "read the answer", Err: fmt.Errorf("%w: %w", ErrUnavailable, err)}
}
