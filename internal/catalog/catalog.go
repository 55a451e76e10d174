// Package catalog is the seam below [github.com/d6t/d6tpipe-go]'s API: a
// catalogue of remotes and pipes as raw JSON records. The JSON file of local
// mode, the HTTP client and the repo API server each implement [Backend];
// package wire serves any of them over HTTP.
package catalog

import (
	"context"
	"encoding/json"
	"regexp"
)

// The collections that every catalogue has. A sub-resource is written below a
// record: "pipes/sales/permissions".
const (
	Remotes = "remotes"
	Pipes   = "pipes"
)

// A Verb is what [Backend.Do] is to do with a record. The verbs are HTTP's.
type Verb string

// The verbs of a catalogue.
const (
	Get     Verb = "GET"    // the record
	Create  Verb = "POST"   // a new record; its name is in the body
	Replace Verb = "PUT"    // the whole record
	Update  Verb = "PATCH"  // the named top-level fields; an empty body changes nothing
	Delete  Verb = "DELETE" // the record goes, what names it stays
)

// nameForm is the Python client's rule for names.
var nameForm = regexp.MustCompile(`^[a-zA-Z0-9-]+$`)

// IsName reports whether name has the form of a record's name: letters, digits
// and hyphens.
func IsName(name string) bool { return nameForm.MatchString(name) }

// Taken is what a refusal says of a name that is taken. The Python client matches
// it in parts.
const Taken = "This field must be unique."

// A CredentialsQuery is the body of a Get of "pipes/NAME/credentials", and the
// query of the request for it.
type CredentialsQuery struct {
	Role  string `json:"role,omitempty"`  // read or write; empty is read
	Renew bool   `json:"renew,omitempty"` // for credentials that expire: others than before
	// Expiration asks for "expiration" among them, when they end. The Python client
	// does not ask: it gives all that it gets to boto3.
	Expiration bool `json:"expiration,omitempty"`
	URLs       bool `json:"urls,omitempty"` // for storage without any: where it is, as the client can use signed URLs
}

// IsValid reports whether the role is one that credentials can be for.
func (q CredentialsQuery) IsValid() bool {
	return q.Role == "" || q.Role == "read" || q.Role == "write"
}

// Backend moves raw records. It is all that an implementation of the repo API
// writes; checking names, encoding and wrapping errors happens once, above it.
//
// A Backend is safe for concurrent use. Its errors match the sentinels of
// package d6tpipe (ErrNotFound, ErrExists, ErrInvalid, ...); when ctx ends, they
// match its error.
type Backend interface {
	// List returns one page of the records below path, ordered by name. The
	// first page is "". next names the page that follows, "" after the last.
	// Records that the caller may not see are left out.
	List(ctx context.Context, path, page string) (rows []json.RawMessage, next string, err error)

	// Do carries out verb on the record called name below path. name is empty
	// for Create and for resources without a name. in is nil when there is no
	// body, and so is the result.
	Do(ctx context.Context, verb Verb, path, name string, in json.RawMessage) (json.RawMessage, error)
}
