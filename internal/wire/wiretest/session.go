package wiretest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/internal/wire"
)

// A session is the service as one user sees it; "" is anybody.
type session struct {
	*Service
	user string
}

func (s *session) WhoAmI(context.Context) (json.RawMessage, error) {
	if s.user == "" {
		return nil, d6tpipe.ErrUnauthorized
	}
	return json.Marshal(map[string]string{"username": s.user, "message": "Hello " + s.user})
}

// Unregister removes the account with all that it owns.
func (s *session) Unregister(ctx context.Context, username string) error {
	switch s.user {
	case "":
		return d6tpipe.ErrUnauthorized
	case username:
	default:
		return refusal(http.StatusForbidden, "You can only unregister yourself.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for resource, owner := range s.owners {
		if owner == username {
			path, name, _ := strings.Cut(resource, "/")
			if _, err := s.records.Do(ctx, catalog.Delete, path, name, nil); err != nil {
				return err
			}
			delete(s.owners, resource)
			delete(s.grants, resource)
		}
	}
	delete(s.accounts, username)
	return nil
}

// Authorize knows what role each verb needs.
func (s *session) Authorize(ctx context.Context, verb catalog.Verb, path, name string) error {
	parts := strings.Split(path, "/")
	if name == "" && len(parts) == 1 {
		switch {
		case verb == catalog.Get:
			return nil
		case s.user == "":
			return d6tpipe.ErrUnauthorized
		case s.user == "demo":
			return refusal(http.StatusForbidden, "The demo account cannot register pipes.")
		}
		return nil
	}
	need := d6tpipe.RoleAdmin
	if len(parts) == 3 {
		name = parts[1]
	}
	switch {
	case verb == catalog.Get && (len(parts) == 1 || parts[2] == "credentials" || parts[2] == "files" || parts[2] == "changes"):
		need = d6tpipe.RoleRead
	case len(parts) == 3 && parts[2] == "files":
		need = d6tpipe.RoleWrite
	}
	return s.need(ctx, need, parts[0], name)
}

func (s *session) need(ctx context.Context, need d6tpipe.Role, path, name string) error {
	s.making.RLock()
	role, err := s.role(ctx, s.user, path, name)
	s.making.RUnlock()
	switch {
	case err != nil:
		return err
	case rank[role] >= rank[need]:
		return nil
	case s.user == "":
		return d6tpipe.ErrUnauthorized
	}
	return d6tpipe.ErrPermission
}

// Files implements [wire.Files].
func (s *session) Files(ctx context.Context, pipe string, refresh bool) (wire.Listing, error) {
	if s.files == nil {
		return wire.Listing{}, d6tpipe.ErrNotFound
	}
	return s.files.Files(ctx, pipe, refresh)
}

// FilesChanged implements [wire.Files].
func (s *session) FilesChanged(ctx context.Context, pipe string) (time.Time, error) {
	if s.files == nil {
		return time.Time{}, d6tpipe.ErrNotFound
	}
	return s.files.FilesChanged(ctx, pipe)
}

// Changes implements [wire.Feed], as far as who keeps listings does.
func (s *session) Changes(ctx context.Context, pipe string, q wire.ChangesQuery) (d6tpipe.ChangePage, error) {
	f, ok := s.files.(wire.Feed)
	if !ok {
		return d6tpipe.ChangePage{}, d6tpipe.ErrNotFound
	}
	return f.Changes(ctx, pipe, q)
}

// List leaves out what the user may not read.
func (s *session) List(ctx context.Context, path, page string) ([]json.RawMessage, string, error) {
	if resource, ok := strings.CutSuffix(path, "/permissions"); ok {
		return s.permissions(resource), "", nil
	}
	rows, next, err := s.records.List(ctx, path, page)
	if err != nil {
		return nil, "", err
	}
	var mine []json.RawMessage
	for _, row := range rows {
		var rec struct{ Name string }
		if err := json.Unmarshal(row, &rec); err != nil {
			return nil, "", err
		}
		shown, err := s.show(ctx, path, rec.Name, row)
		switch {
		case errors.Is(err, d6tpipe.ErrPermission), errors.Is(err, d6tpipe.ErrNotFound):
		case err != nil:
			return nil, "", err
		default:
			mine = append(mine, shown)
		}
	}
	return mine, next, nil
}

func (s *session) permissions(resource string) (rows []json.RawMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, grantee := range slices.Sorted(maps.Keys(s.grants[resource])) {
		p := s.grants[resource][grantee]
		p.User = ""
		if p.Username, p.Email = grantee, ""; strings.HasPrefix(grantee, "email:") {
			p.Username, p.Email = "", strings.TrimPrefix(grantee, "email:")
		}
		row, _ := json.Marshal(p)
		rows = append(rows, row)
	}
	return rows
}

// Do carries out verb; [session.Authorize] has allowed it.
func (s *session) Do(ctx context.Context, verb catalog.Verb, path, name string, in json.RawMessage) (json.RawMessage, error) {
	if resource, ok := strings.CutSuffix(path, "/permissions"); ok {
		return s.grant(resource, in)
	}
	if resource, ok := strings.CutSuffix(path, "/credentials"); ok {
		return s.credentials(ctx, strings.TrimPrefix(resource, "pipes/"), in)
	}
	var out json.RawMessage
	var err error
	switch verb {
	case catalog.Delete:
		return nil, s.remove(ctx, path, name)
	case catalog.Create:
		name, out, err = s.create(ctx, path, in)
	default:
		out, err = s.records.Do(ctx, verb, path, name, in)
	}
	if err != nil {
		return nil, err
	}
	return s.show(ctx, path, name, out)
}

func (s *session) create(ctx context.Context, path string, in json.RawMessage) (name string, out json.RawMessage, err error) {
	s.making.Lock()
	defer s.making.Unlock()
	in, free := s.managed(path, in)
	if out, err = s.records.Do(ctx, catalog.Create, path, "", in); err != nil {
		return "", nil, err
	}
	var rec struct{ Name string }
	if err := json.Unmarshal(out, &rec); err != nil {
		return "", nil, err
	}
	s.own(path+"/"+rec.Name, free)
	return rec.Name, out, nil
}

func (s *session) remove(ctx context.Context, path, name string) error {
	s.making.Lock()
	defer s.making.Unlock()
	if _, err := s.records.Do(ctx, catalog.Delete, path, name, nil); err != nil {
		return err
	}
	s.disown(path + "/" + name)
	return nil
}

func (s *session) own(resource string, free bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owners[resource], s.free[resource] = s.user, free
}

func (s *session) disown(resource string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.owners, resource)
	delete(s.grants, resource)
	delete(s.free, resource)
}

// managed gives a record that says nothing of its storage, or d6tfree, a place
// in ours, below the names of its owner and itself.
func (s *session) managed(path string, in json.RawMessage) (out json.RawMessage, free bool) {
	var rec map[string]json.RawMessage
	var said struct {
		Name, Parent, Remote string
		Protocol             d6tpipe.Protocol
	}
	if json.Unmarshal(in, &rec) != nil || json.Unmarshal(in, &said) != nil || rec == nil {
		return in, false
	}
	bare := path == catalog.Pipes && said.Protocol == "" && said.Parent == "" && said.Remote == ""
	if !bare && said.Protocol != d6tpipe.ProtocolManaged {
		return in, false
	}
	rec["protocol"] = json.RawMessage(`"s3"`)
	rec["location"], _ = json.Marshal("managed/" + s.user + "/" + said.Name)
	out, _ = json.Marshal(rec)
	return out, true
}

// show is a record as the user may see it.
func (s *session) show(ctx context.Context, path, name string, raw json.RawMessage) (json.RawMessage, error) {
	role, err := s.role(ctx, s.user, path, name)
	if err != nil {
		return nil, err
	}
	if role == "" {
		return nil, d6tpipe.ErrPermission
	}
	var rec map[string]json.RawMessage
	if err := json.Unmarshal(raw, &rec); err != nil {
		return nil, err
	}
	if path == catalog.Remotes {
		s.embed(rec, name)
		if rank[role] < rank[d6tpipe.RoleWrite] {
			delete(rec, "writeCredentials")
		}
		return json.Marshal(rec)
	}
	if role == d6tpipe.RoleAdmin {
		role = d6tpipe.RoleWrite
	}
	rec["role"], _ = json.Marshal(role)
	return json.Marshal(rec)
}

// embed puts both sets of keys into a managed remote.
func (s *session) embed(rec map[string]json.RawMessage, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free["remotes/"+name] {
		rec["readCredentials"] = s.temporary(d6tpipe.RoleRead)
		rec["writeCredentials"] = s.temporary(d6tpipe.RoleWrite)
	}
}

// temporary makes a set of keys; s.mu is held.
func (s *session) temporary(role d6tpipe.Role) json.RawMessage {
	set, _ := json.Marshal(map[string]string{
		"aws_access_key_id":     fmt.Sprintf("%s-%d", role, s.renewals),
		"aws_secret_access_key": "canary-temporary",
		"aws_session_token":     "",
	})
	return set
}

func (s *session) credentials(ctx context.Context, name string, in json.RawMessage) (json.RawMessage, error) {
	var query struct {
		Role  d6tpipe.Role
		Renew bool
	}
	if err := json.Unmarshal(in, &query); err != nil {
		return nil, err
	}
	query.Role = cmp.Or(query.Role, d6tpipe.RoleRead)
	if err := s.need(ctx, query.Role, catalog.Pipes, name); err != nil {
		return nil, err
	}
	raw, err := s.records.Do(ctx, catalog.Get, catalog.Pipes, name, nil)
	if err != nil {
		return nil, err
	}
	var rec struct {
		Root string `json:"parent-ultimate"`
	}
	if err := json.Unmarshal(raw, &rec); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.free["pipes/"+cmp.Or(rec.Root, name)] {
		return s.records.Do(ctx, catalog.Get, catalog.Pipes+"/"+name+"/credentials", "", in)
	}
	if query.Renew {
		s.renewals++
	}
	return s.temporary(query.Role), nil
}
