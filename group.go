package d6tpipe

import (
	"context"
	"net/http"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/catalog"
)

// A Group is a team of users on a server, to whom pipes can be granted at once: see
// [Permission].Group. Groups are named organisation/team; an organisation belongs to
// who made its first team.
type Group struct {
	Name  string `json:"name"`
	Owner string `json:"owner,omitempty"` // answers only
}

// A Member belongs to a [Group]. It is named by one of Username and Email; an
// address that no account has is an invitation.
type Member struct {
	Username string `json:"username,omitempty"`
	Email    string `json:"email,omitempty"`
	// Role is "member", "admin" (who may change the members), or "revoke", which
	// takes somebody out. Empty is "member".
	Role string `json:"role,omitempty"`
}

// Groups lists the groups that the caller owns or belongs to.
func (c *APIClient) Groups(ctx context.Context) (groups []Group, err error) {
	defer explain(&err, "list groups", "")
	raw, err := c.server.send(ctx, request{method: http.MethodGet, url: c.server.url("groups")})
	if err != nil {
		return nil, err
	}
	if err := decodeJSON(raw, &groups); err != nil {
		return nil, badAnswer(err)
	}
	return groups, nil
}

// CreateGroup makes a group of the caller's. A name that is taken, or whose
// organisation is another one's, is [ErrExists].
func (c *APIClient) CreateGroup(ctx context.Context, name string) error {
	return c.changeGroup(ctx, "create group", http.MethodPost, name, nil, Group{Name: name})
}

// DeleteGroup removes a group of the caller's, with what was granted to it.
func (c *APIClient) DeleteGroup(ctx context.Context, name string) error {
	return c.changeGroup(ctx, "delete group", http.MethodDelete, name, []string{name}, nil)
}

// Members lists who belongs to a group, besides its owner.
func (c *APIClient) Members(ctx context.Context, group string) (members []Member, err error) {
	defer explain(&err, "list members of group", group)
	if err := checkGroup(group); err != nil {
		return nil, err
	}
	raw, err := c.server.send(ctx, request{method: http.MethodGet, url: c.server.url("groups", group, "members")})
	if err != nil {
		return nil, err
	}
	if err := decodeJSON(raw, &members); err != nil {
		return nil, badAnswer(err)
	}
	return members, nil
}

// SetMember takes somebody into a group, changes the role, or takes them out.
func (c *APIClient) SetMember(ctx context.Context, group string, m Member) error {
	return c.changeGroup(ctx, "set member of group", http.MethodPost, group, []string{group, "members"}, m)
}

func (c *APIClient) changeGroup(ctx context.Context, op, method, name string, path []string, in any) (err error) {
	defer explain(&err, op, name)
	if err := checkGroup(name); err != nil {
		return err
	}
	r := request{method: method, url: c.server.url(append([]string{"groups"}, path...)...)}
	if method == http.MethodDelete {
		r.gone = ErrNotFound
	}
	if in != nil {
		if r.body, err = encodeJSON(in); err != nil {
			return err
		}
	}
	_, err = c.server.send(ctx, r)
	return err
}

func checkGroup(name string) error {
	organisation, team, _ := strings.Cut(name, "/")
	if !catalog.IsName(organisation) || !catalog.IsName(team) {
		return &FieldError{Field: "name", Reason: "A group's name is organisation/team; only alphanumeric characters and hyphens are allowed in both."}
	}
	return nil
}
