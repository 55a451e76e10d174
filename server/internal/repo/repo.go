// Package repo is the repo API with accounts: the [wire.Service] over a database.
// It decides who may do what. What a record is, and what a request makes of it, are
// the rules of the SDK's catalogue, [d6tpipe.Records]; how bytes are sealed is
// package vault's business, and where managed files lie the storage's.
package repo

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/wire"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/hook"
	"github.com/d6t/d6tpipe-go/server/internal/listing"
	"github.com/d6t/d6tpipe-go/server/internal/vault"
)

// Demo is the name of an account that can change no pipe, whoever opens it.
const Demo = "demo"

// Storage is what a Repo wants of managed storage.
type Storage interface {
	// Bucket is where the files of all managed pipes lie, each pipe's in a folder.
	Bucket() string
	// Credentials returns keys for a grant, as keyword arguments of boto3, and when
	// they end.
	Credentials(ctx context.Context, g Grant) (map[string]any, time.Time, error)
	// URLsOnly says where the bucket is, as arguments of boto3, when users get URLs for
	// single requests and no keys.
	URLsOnly() (place map[string]any, ok bool)
	// Sign returns a URL for one request within a grant, or an [ErrGrant].
	Sign(ctx context.Context, g Grant, r Signing) (string, error)
}

// A Signing is a request to managed storage that is to be signed.
type Signing struct {
	Method string            `json:"method"`
	Key    string            `json:"key"`
	Query  map[string]string `json:"query"`
	Header map[string]string `json:"headers"`
}

// A Lister is a [listing.Scanner].
type Lister interface {
	Files(ctx context.Context, p listing.Pipe, refresh bool) (wire.Listing, error)
	Changed(ctx context.Context, p listing.Pipe) (time.Time, error)
}

// A Grant says what keys of managed storage may do.
type Grant struct {
	Prefix  string // the pipe's folder, with a slash at its end
	Role    d6tpipe.Role
	Filters []d6tpipe.Filter // relative to Prefix; a key must pass all of them
	Subject string           // for [Repo.StillMay]
}

// Errors of a [Storage] that callers hear of.
var (
	// ErrGrant says that the storage cannot enforce a grant; its text is for users.
	ErrGrant = errors.New("the storage cannot grant this")
	// ErrURLsOnly says that the storage hands out no keys.
	ErrURLsOnly = errors.New("This server's storage has no keys to hand out: it signs a URL for each request, at urls/. That takes a newer client, and not the Python one.") //nolint:staticcheck // it is a sentence for users
)

// Options are what a Repo is made of.
type Options struct {
	DB       *db.DB
	Keys     *vault.Keys
	Hasher   *vault.Hasher
	Throttle *vault.Throttle
	Storage  Storage // nil: there are no managed pipes
	// Lister keeps listings of pipes; nil: there are none.
	Lister Lister
	// Hooks sends to webhooks; nil: there are none.
	Hooks *hook.Sender
	// ListingAge is how old a listing may be for those who pull.
	ListingAge time.Duration
	// Kick is called when there may be something to do by itself at once, after it was
	// committed; nil: it is found by and by.
	Kick func()
	// Waiters wait for changes; nil: the feed is not told.
	Waiters *Waiters
	// Rest lets others have the place of a request that waits, until it resumes; nil does
	// nothing.
	Rest func(ctx context.Context) (resume func(context.Context) error)
	// Closed keeps strangers from opening accounts.
	Closed bool
	// OpenDemo says that everybody knows the password of the account [Demo], so that
	// nobody may close it or change its token.
	OpenDemo bool
	// ShareUnfiltered lets owners share children with filters, on storage of their own,
	// without accepting that the filters do not bind who has the keys.
	ShareUnfiltered bool
	// Message is what users read when they connect.
	Message string
	// Peer tells from where a request comes; nil is nobody's address.
	Peer func(ctx context.Context) netip.Addr
	// Seen is told who a request comes from; nil is nobody.
	Seen func(ctx context.Context, username string)
	// Now is the clock; time.Now.
	Now func() time.Time
	Log *slog.Logger
}

// A Repo is a [wire.Service]. It keeps nothing in memory that another replica on
// the same database would miss.
type Repo struct {
	o Options
}

var _ wire.Service = (*Repo)(nil)

// New returns the service.
func New(o Options) *Repo {
	if o.Peer == nil {
		o.Peer = func(context.Context) netip.Addr { return netip.Addr{} }
	}
	if o.Seen == nil {
		o.Seen = func(context.Context, string) {}
	}
	if o.Kick == nil {
		o.Kick = func() {}
	}
	if o.Rest == nil {
		o.Rest = func(context.Context) func(context.Context) error {
			return func(context.Context) error { return nil }
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Repo{o}
}

func (r *Repo) now() int64 { return r.o.Now().UnixMicro() }

// today is the day that permissions are compared with.
func (r *Repo) today() string { return d6tpipe.DateOf(r.o.Now().UTC()).String() }

// refusal is an answer in words of our own.
func refusal(status int, text string) error {
	return &d6tpipe.StatusError{Status: status, Message: text}
}

// later is a refusal after which it is worth trying again.
type later struct {
	error
	seconds int
}

func (l *later) Seconds() int  { return l.seconds }
func (l *later) Unwrap() error { return l.error }

// busy says in the contract's terms that the server is asked for too much.
func busy(err error) error {
	var throttled *vault.ThrottledError
	switch {
	case errors.As(err, &throttled):
		return &later{refusal(http.StatusTooManyRequests, "Too many attempts; try again later."), throttled.Seconds()}
	case errors.Is(err, vault.ErrBusy):
		return &later{refusal(http.StatusServiceUnavailable, "The server is busy, try again later."), 2}
	}
	return err
}

func taken(field string) error {
	return &d6tpipe.FieldError{Field: field, Reason: "This field must be unique.", Kind: d6tpipe.ErrExists}
}
