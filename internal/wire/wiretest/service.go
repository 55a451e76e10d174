// Package wiretest is a repo API with accounts, permissions and managed storage
// in memory, above any catalogue: the far end of the SDK's tests. It stands for
// the server as package wire's contract has it, without its care for
// passwords, keys and data. Only tests import it.
package wiretest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/internal/wire"
)

// A Service is a [wire.Service].
type Service struct {
	records catalog.Backend

	// making is held for as long as a record is there without its owner, or the other way
	// round: who asks in between would be refused what is his.
	making sync.RWMutex

	mu       sync.Mutex
	accounts map[string]wire.Registration
	owners   map[string]string                        // "pipes/a" -> username
	grants   map[string]map[string]d6tpipe.Permission // "pipes/a" -> grantee
	free     map[string]bool                          // "pipes/a" lies in our storage
	renewals int
	files    wire.Files // nil keeps no listings
}

// New returns a service whose records lie in b.
func New(b catalog.Backend) *Service {
	return &Service{
		records: b, accounts: map[string]wire.Registration{},
		owners: map[string]string{}, grants: map[string]map[string]d6tpipe.Permission{}, free: map[string]bool{},
	}
}

// KeepListings makes f answer for the listings of pipes. Call it before the service is
// used.
func (s *Service) KeepListings(f wire.Files) { s.files = f }

func tokenOf(username string) string { return "token-of-" + username }

func taken(field string) error {
	return &d6tpipe.FieldError{Field: field, Reason: catalog.Taken, Kind: d6tpipe.ErrExists}
}

func refusal(status int, text string) error {
	return &d6tpipe.StatusError{Status: status, Message: text}
}

// Register opens an account.
func (s *Service) Register(_ context.Context, form wire.Registration) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case form.Username == d6tpipe.Public:
		return "", &d6tpipe.FieldError{Field: "username", Reason: "Username is reserved."}
	case form.Username == "":
		return "", &d6tpipe.FieldError{Field: "username", Reason: "This field is required."}
	}
	for _, a := range s.accounts {
		if a.Username == form.Username {
			return "", taken("username")
		}
		if a.Email == form.Email {
			return "", taken("email")
		}
	}
	s.accounts[form.Username] = form
	return tokenOf(form.Username), nil
}

// Login returns the token of an account.
func (s *Service) Login(_ context.Context, username, password string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a, ok := s.accounts[username]; !ok || a.Password != password {
		return "", refusal(http.StatusUnauthorized, "Unable to log in with provided credentials.")
	}
	return tokenOf(username), nil
}

// Open returns the session of a token's holder.
func (s *Service) Open(_ context.Context, token string) (wire.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if token == "" {
		return &session{Service: s}, nil
	}
	for name := range s.accounts {
		if tokenOf(name) == token {
			return &session{s, name}, nil
		}
	}
	return nil, d6tpipe.ErrUnauthorized
}

// role is what username may do with a record: the most that the record itself,
// its ancestors and its remote allow.
func (s *Service) role(ctx context.Context, username, path, name string) (d6tpipe.Role, error) {
	raw, err := s.records.Do(ctx, catalog.Get, path, name, nil)
	if err != nil {
		return "", err
	}
	var rec struct{ Parent, Remote string }
	if err := json.Unmarshal(raw, &rec); err != nil {
		return "", err
	}
	best := s.granted(username, path+"/"+name)
	for up, where := range map[string]string{rec.Parent: catalog.Pipes, rec.Remote: catalog.Remotes} {
		if up == "" {
			continue
		}
		if role, err := s.role(ctx, username, where, up); err == nil && rank[role] > rank[best] {
			best = role
		}
	}
	return best, nil
}

var rank = map[d6tpipe.Role]int{d6tpipe.RoleRead: 1, d6tpipe.RoleWrite: 2, d6tpipe.RoleAdmin: 3}

func (s *Service) granted(username, resource string) (best d6tpipe.Role) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if username != "" && s.owners[resource] == username {
		return d6tpipe.RoleAdmin
	}
	today := d6tpipe.DateOf(time.Now().UTC()).String()
	for _, grantee := range []string{username, "email:" + s.accounts[username].Email, d6tpipe.Public} {
		g, ok := s.grants[resource][grantee]
		switch {
		case !ok || grantee == "" || !g.Expires.IsZero() && g.Expires.String() < today:
		case grantee == d6tpipe.Public && g.Role != d6tpipe.RoleRead:
		case rank[g.Role] > rank[best]:
			best = g.Role
		}
	}
	return best
}

// grant stores a permission under the user's name, or as an invitation.
func (s *Service) grant(resource string, in json.RawMessage) (json.RawMessage, error) {
	var p d6tpipe.Permission
	if err := json.Unmarshal(in, &p); err != nil {
		return nil, d6tpipe.ErrInvalid
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	grantee := p.Username + p.User
	if p.Email != "" {
		grantee = "email:" + p.Email
		for name, a := range s.accounts {
			if a.Email == p.Email {
				grantee = name
			}
		}
	} else if _, ok := s.accounts[grantee]; !ok && grantee != d6tpipe.Public {
		return nil, &d6tpipe.FieldError{Field: "username", Reason: fmt.Sprintf("Object with username=%s does not exist.", grantee)}
	}
	if s.grants[resource] == nil {
		s.grants[resource] = map[string]d6tpipe.Permission{}
	}
	s.grants[resource][grantee] = p
	if p.Role == d6tpipe.RoleRevoke {
		delete(s.grants[resource], grantee)
	}
	return in, nil
}
