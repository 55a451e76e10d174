package d6tpipe

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/d6t/d6tpipe-go/internal/catalog"
)

// Public is the username that stands for everybody.
const Public = "public"

// A Permission lets one user, or everybody, use a pipe or a remote. It reaches
// down to child pipes.
type Permission struct {
	// Username, Email, Group or User names the grantee; exactly one of them.
	// Username [Public] is everybody, who can be given [RoleRead] only. An Email
	// that no account has is an invitation. Group is organisation/team, and stands
	// for all its members. User is the first generation's word for Username.
	Username string `json:"username,omitempty"`
	Email    string `json:"email,omitempty"`
	Group    string `json:"group,omitempty"`
	User     string `json:"user,omitempty"`
	// Role is what the grantee may do; [RoleRevoke] takes the permission back.
	Role Role `json:"role"`
	// Expires is the last day of the permission, in UTC; zero means never.
	Expires Date `json:"expiration_date,omitzero"`
	// AcceptUnfiltered says that whoever shares a pipe with a parent and filters knows
	// that the grantee gets stored credentials, which open more than the filters
	// let through. A server refuses to share such a pipe otherwise. Where it
	// manages the storage it enforces filters, and this does not matter.
	AcceptUnfiltered bool `json:"accept_unfiltered,omitempty"`
}

// Validate reports the first field that is malformed, as a [*FieldError].
func (p Permission) Validate() error {
	named := 0
	for _, name := range []string{p.Username, p.Email, p.Group, p.User} {
		if name != "" {
			named++
		}
	}
	if named != 1 {
		return &FieldError{Field: "username", Reason: "Name the grantee by exactly one of username, email and group."}
	}
	if !slices.Contains([]Role{RoleRead, RoleWrite, RoleAdmin, RoleRevoke}, p.Role) {
		return &FieldError{Field: "role", Reason: "Roles are read, write, admin and revoke."}
	}
	if _, err := time.Parse(time.DateOnly, p.Expires.String()); err != nil && !p.Expires.IsZero() {
		return &FieldError{Field: "expiration_date", Reason: "There is no such day."}
	}
	return nil
}

// A Date is a day of the calendar, written 2026-11-23. The zero Date is none.
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

// DateOf returns the day of t in t's location.
func DateOf(t time.Time) Date {
	var d Date
	d.Year, d.Month, d.Day = t.Date()
	return d
}

// IsZero reports whether d is no day.
func (d Date) IsZero() bool { return d == Date{} }

// String returns d in the form of ISO 8601, "" for the zero Date.
func (d Date) String() string {
	if d.IsZero() {
		return ""
	}
	return fmt.Sprintf("%04d-%02d-%02d", d.Year, d.Month, d.Day)
}

// MarshalText writes d as String does.
func (d Date) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the form 2026-11-23; a time of day after it is ignored.
func (d *Date) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*d = Date{}
		return nil
	}
	t, err := time.Parse(time.DateOnly, string(text[:min(len(text), len(time.DateOnly))]))
	if err != nil {
		return &FieldError{Field: "expiration_date", Reason: "Dates have the form 2026-11-23."}
	}
	*d = DateOf(t)
	return nil
}

// Grant gives or takes back a permission on a pipe and its children. It
// takes the place of the grantee's former one. Only who administers the pipe may
// do so; others get [ErrPermission].
func (c *APIClient) Grant(ctx context.Context, pipe string, p Permission) error {
	return c.grant(ctx, catalog.Pipes, pipe, p)
}

// GrantRemote gives or takes back a permission on a remote and the pipes on it.
func (c *APIClient) GrantRemote(ctx context.Context, remote string, p Permission) error {
	return c.grant(ctx, catalog.Remotes, remote, p)
}

// Permissions lists the permissions on a pipe, for those who administer it.
func (c *APIClient) Permissions(ctx context.Context, pipe string) ([]Permission, error) {
	return c.permissions(ctx, catalog.Pipes, pipe)
}

// RemotePermissions lists the permissions on a remote.
func (c *APIClient) RemotePermissions(ctx context.Context, remote string) ([]Permission, error) {
	return c.permissions(ctx, catalog.Remotes, remote)
}

// Credentials asks for the credentials of a pipe's storage for a role,
// [RoleRead] or [RoleWrite]. Where they expire, renew asks for new ones. A pipe
// without credentials has empty ones. A role that is more than one has is
// [ErrPermission]. The credentials of a pipe on a remote are the remote's; see
// [API].Storage, which finds them wherever they are.
func (c *APIClient) Credentials(ctx context.Context, pipe string, role Role, renew bool) (Credentials, error) {
	return c.credentials(ctx, pipe, catalog.CredentialsQuery{Role: string(role), Renew: renew, Expiration: true})
}

func (c *APIClient) grant(ctx context.Context, path, name string, p Permission) (err error) {
	op := "grant permission on"
	if p.Role == RoleRevoke {
		op = "take back permission on"
	}
	defer explain(&err, op, path+"/"+name)
	if err := checkName("name", name); err != nil {
		return err
	}
	if err := p.Validate(); err != nil {
		return err
	}
	in, err := encodeJSON(p)
	if err != nil {
		return err
	}
	_, err = c.backend.Do(ctx, catalog.Create, path+"/"+name+"/permissions", "", in)
	return err
}

func (c *APIClient) permissions(ctx context.Context, path, name string) (all []Permission, err error) {
	defer explain(&err, "list permissions on", path+"/"+name)
	if err := checkName("name", name); err != nil {
		return nil, err
	}
	for raw, err := range eachRow(ctx, c.backend, path+"/"+name+"/permissions") {
		if err != nil {
			return nil, err
		}
		var p Permission
		if err := decodeJSON(raw, &p); err != nil {
			return nil, badAnswer(err)
		}
		all = append(all, p)
	}
	return all, nil
}
