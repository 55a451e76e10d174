package repo_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/apitest"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
	"github.com/d6t/d6tpipe-go/server/internal/repo"
)

// TestConformance: what every repo API must do.
func TestConformance(t *testing.T) {
	for engine, empty := range map[string]func(testing.TB) string{"sqlite": dbtest.SQLite, "postgres": dbtest.Postgres} {
		t.Run(engine, func(t *testing.T) {
			w := newWorld(t, dbtest.Open(t, empty(t)))
			users := 0
			apitest.Run(t, func(t *testing.T) d6tpipe.API {
				users++
				me := fmt.Sprint("me", users)
				client := w.user(t, me)
				t.Cleanup(func() { // its names are free for the next
					require.NoError(t, client.Unregister(context.Background(), me))
				})
				return client
			})
		})
	}
}

// TestAccounts goes through the life of an account.
func TestAccounts(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		alice := w.user(t, "alice")
		stranger := w.anybody(t)
		_, err := stranger.Register(t.Context(), "alice", "other@example.com", "x")
		require.ErrorIs(t, err, d6tpipe.ErrExists)
		_, err = stranger.Register(t.Context(), "Alice", "other@example.com", "x")
		require.ErrorIs(t, err, d6tpipe.ErrExists, "names that differ in case only are one")
		_, err = stranger.Register(t.Context(), "other", "ALICE@example.com", "x")
		require.ErrorIs(t, err, d6tpipe.ErrExists)
		_, err = stranger.Register(t.Context(), "public", "p@example.com", "x")
		require.ErrorIs(t, err, d6tpipe.ErrInvalid)
		require.ErrorContains(t, err, "Username")

		first, err := stranger.Login(t.Context(), "alice", "secret-of-alice")
		require.NoError(t, err)
		again, err := stranger.Login(t.Context(), "alice", "secret-of-alice")
		require.NoError(t, err)
		require.Equal(t, first, again, "the same token as ever")
		_, err = stranger.Login(t.Context(), "alice", "wrong")
		require.ErrorIs(t, err, d6tpipe.ErrUnauthorized)
		who, err := alice.WhoAmI(t.Context())
		require.NoError(t, err)
		require.Equal(t, "alice", who.Username)

		token, err := alice.ResetToken(t.Context(), "alice")
		require.NoError(t, err)
		require.NotEqual(t, first, token)
		_, err = stranger.WhoAmI(t.Context())
		require.ErrorIs(t, err, d6tpipe.ErrUnauthorized, "the old token is dead at once")
		_, err = alice.WhoAmI(t.Context())
		require.NoError(t, err)
		fetched, err := stranger.Login(t.Context(), "alice", "secret-of-alice")
		require.NoError(t, err)
		require.Equal(t, token, fetched)

		bob := w.user(t, "bob")
		require.ErrorIs(t, bob.Unregister(t.Context(), "alice"), d6tpipe.ErrPermission)
		_, err = alice.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
		require.NoError(t, err)
		require.NoError(t, alice.Unregister(t.Context(), "alice"))
		_, err = bob.Pipes().Get(t.Context(), "p")
		require.ErrorIs(t, err, d6tpipe.ErrNotFound, "what the account owned went with it")
		leftovers, err := w.repo.Leftovers(t.Context(), w.clock.Now().UnixMicro()+1)
		require.NoError(t, err)
		require.Len(t, leftovers, 1)
		require.Contains(t, leftovers[0].Prefix, "alice/p/")
		require.NoError(t, w.repo.Cleaned(t.Context(), leftovers[0]))
		_, err = stranger.Login(t.Context(), "alice", "secret-of-alice")
		require.ErrorIs(t, err, d6tpipe.ErrUnauthorized)
	})
}

func TestClosedRegistration(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, dbtest.SQLite(t)), func(o *repo.Options) { o.Closed = true })
	_, err := w.anybody(t).Register(t.Context(), "alice", "alice@example.com", "x")
	require.ErrorIs(t, err, d6tpipe.ErrPermission)
}

// TestThrottle: a password cannot be guessed by trying.
func TestThrottle(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, dbtest.SQLite(t)))
	w.user(t, "alice")
	stranger := w.anybody(t).WithLimits(d6tpipe.Limits{Retries: -1})
	for range 10 {
		_, err := stranger.Login(t.Context(), "alice", "wrong")
		require.ErrorIs(t, err, d6tpipe.ErrUnauthorized)
	}
	_, err := stranger.Login(t.Context(), "alice", "secret-of-alice")
	require.ErrorIs(t, err, d6tpipe.ErrRateLimited)
	w.clock.forward(16 * time.Minute)
	_, err = stranger.Login(t.Context(), "alice", "secret-of-alice")
	require.NoError(t, err)
}

// reader is what somebody sees of a pipe, in the words of the contract's table.
func reader(t *testing.T, c *d6tpipe.APIClient, pipe string) (see, role, read, write, put string) {
	t.Helper()
	p, err := c.Pipes().Get(t.Context(), pipe)
	see = word(err)
	_, readErr := c.Credentials(t.Context(), pipe, d6tpipe.RoleRead, false)
	_, writeErr := c.Credentials(t.Context(), pipe, d6tpipe.RoleWrite, false)
	_, putErr := c.Backend().Do(t.Context(), "PUT", "pipes", pipe, []byte(`{"bad":"request"}`))
	return see, string(p.Role), word(readErr), word(writeErr), word(putErr)
}

func word(err error) string {
	switch d6tpipe.HTTPStatus(err) {
	case 200:
		return "ok"
	case 403:
		return "403"
	}
	return err.Error()
}

// TestPermissions is the contract's table of grants on a parent and its child.
func TestPermissions(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		owner, other := w.user(t, "owner"), w.user(t, "other")
		_, err := owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "P"})
		require.NoError(t, err)
		_, err = owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "K", Parent: "P", Options: d6tpipe.PipeOptions{Dir: "k"}})
		require.NoError(t, err)
		past := d6tpipe.DateOf(w.clock.Now().AddDate(0, 0, -2))
		today := d6tpipe.DateOf(w.clock.Now())
		revoke := func(on string, p d6tpipe.Permission) {
			p.Role = d6tpipe.RoleRevoke
			require.NoError(t, owner.Grant(t.Context(), on, p))
		}
		for _, c := range []struct {
			name  string
			on    string
			p     d6tpipe.Permission
			pSees []string // see, role, read, write, put
			kSees []string
			list  []string
		}{
			{"none", "", d6tpipe.Permission{}, none(), none(), nil},
			{"P read", "P", d6tpipe.Permission{Username: "other", Role: d6tpipe.RoleRead}, []string{"ok", "read", "ok", "403", "403"}, []string{"ok", "read", "ok", "403", "403"}, []string{"K", "P"}},
			{"K read", "K", d6tpipe.Permission{Username: "other", Role: d6tpipe.RoleRead}, none(), []string{"ok", "read", "ok", "403", "403"}, []string{"K"}},
			{"P write", "P", d6tpipe.Permission{User: "other", Role: d6tpipe.RoleWrite}, []string{"ok", "write", "ok", "ok", "403"}, []string{"ok", "write", "ok", "ok", "403"}, []string{"K", "P"}},
			{"P write, expired", "P", d6tpipe.Permission{Username: "other", Role: d6tpipe.RoleWrite, Expires: past}, none(), none(), nil},
			{"P write, last day", "P", d6tpipe.Permission{Username: "other", Role: d6tpipe.RoleWrite, Expires: today}, []string{"ok", "write", "ok", "ok", "403"}, []string{"ok", "write", "ok", "ok", "403"}, []string{"K", "P"}},
			{"K write by address", "K", d6tpipe.Permission{Email: "Other@example.com", Role: d6tpipe.RoleWrite}, none(), []string{"ok", "write", "ok", "ok", "403"}, []string{"K"}},
			{"P public read", "P", d6tpipe.Permission{Username: "public", Role: d6tpipe.RoleRead}, []string{"ok", "read", "ok", "403", "403"}, []string{"ok", "read", "ok", "403", "403"}, []string{"K", "P"}},
			{"P public write", "P", d6tpipe.Permission{Username: "public", Role: d6tpipe.RoleWrite}, none(), none(), nil},
		} {
			if c.on != "" {
				require.NoError(t, owner.Grant(t.Context(), c.on, c.p), c.name)
			}
			for pipe, want := range map[string][]string{"P": c.pSees, "K": c.kSees} {
				see, role, read, write, put := reader(t, other, pipe)
				require.Equal(t, want, []string{see, role, read, write, put}, "%s, seen of %s", c.name, pipe)
			}
			names, err := other.Pipes().Names(t.Context())
			require.NoError(t, err)
			require.Equal(t, c.list, names, c.name)
			if c.on != "" {
				p := c.p
				if p.Email != "" { // granted by address, revoked by name
					p.Email, p.Username = "", "other"
				}
				revoke(c.on, p)
			}
			see, _, _, _, _ := reader(t, other, "K")
			require.Equal(t, "403", see, "%s, revoked", c.name)
		}
		see, role, read, write, _ := reader(t, owner, "K")
		require.Equal(t, []string{"ok", "write", "ok", "ok"}, []string{see, role, read, write})
	})
}

func none() []string { return []string{"403", "", "403", "403", "403"} }

// TestInvitation: what is granted to an address that nobody has is whose it becomes.
func TestInvitation(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		owner := w.user(t, "owner")
		_, err := owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
		require.NoError(t, err)
		require.NoError(t, owner.Grant(t.Context(), "p", d6tpipe.Permission{Email: "late@example.com", Role: d6tpipe.RoleRead}))
		shared, err := owner.Permissions(t.Context(), "p")
		require.NoError(t, err)
		require.Equal(t, []d6tpipe.Permission{{Email: "late@example.com", Role: d6tpipe.RoleRead}}, shared)
		late := w.user(t, "late")
		_, err = late.Pipes().Get(t.Context(), "p")
		require.NoError(t, err)
		shared, err = owner.Permissions(t.Context(), "p")
		require.NoError(t, err)
		require.Equal(t, []d6tpipe.Permission{{Username: "late", Role: d6tpipe.RoleRead}}, shared)
		_, err = late.Permissions(t.Context(), "p")
		require.ErrorIs(t, err, d6tpipe.ErrPermission)
		require.ErrorIs(t, late.Grant(t.Context(), "p", d6tpipe.Permission{Username: "late", Role: d6tpipe.RoleAdmin}), d6tpipe.ErrPermission)
	})
}

// TestGroups: what is granted to a team is its members', as long as they are.
func TestGroups(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		owner, ann, bob := w.user(t, "owner"), w.user(t, "ann"), w.user(t, "bob")
		_, err := owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
		require.NoError(t, err)
		require.NoError(t, owner.CreateGroup(t.Context(), "acme/data"))
		require.ErrorIs(t, bob.CreateGroup(t.Context(), "acme/data"), d6tpipe.ErrExists)
		require.ErrorIs(t, bob.CreateGroup(t.Context(), "acme/other"), d6tpipe.ErrExists, "the organisation is another one's")
		require.NoError(t, owner.Grant(t.Context(), "p", d6tpipe.Permission{Group: "acme/data", Role: d6tpipe.RoleWrite}))
		_, err = ann.Pipes().Get(t.Context(), "p")
		require.ErrorIs(t, err, d6tpipe.ErrPermission)
		require.NoError(t, owner.SetMember(t.Context(), "acme/data", d6tpipe.Member{Username: "ann", Role: "admin"}))
		p, err := ann.Pipes().Get(t.Context(), "p")
		require.NoError(t, err)
		require.Equal(t, d6tpipe.RoleWrite, p.Role)
		require.ErrorIs(t, bob.SetMember(t.Context(), "acme/data", d6tpipe.Member{Username: "bob"}), d6tpipe.ErrNotFound, "strangers are not told")
		require.NoError(t, ann.SetMember(t.Context(), "acme/data", d6tpipe.Member{Username: "bob"}))
		require.ErrorIs(t, bob.SetMember(t.Context(), "acme/data", d6tpipe.Member{Username: "ann", Role: "revoke"}), d6tpipe.ErrPermission)
		_, err = bob.Pipes().Get(t.Context(), "p")
		require.NoError(t, err)
		require.NoError(t, ann.SetMember(t.Context(), "acme/data", d6tpipe.Member{Username: "bob", Role: "revoke"}))
		_, err = bob.Pipes().Get(t.Context(), "p")
		require.ErrorIs(t, err, d6tpipe.ErrPermission)
		require.NoError(t, owner.SetMember(t.Context(), "acme/data", d6tpipe.Member{Email: "carl@example.com"}))
		carl := w.user(t, "carl")
		_, err = carl.Pipes().Get(t.Context(), "p")
		require.NoError(t, err, "an invitation to a team")
		require.ErrorIs(t, ann.DeleteGroup(t.Context(), "acme/data"), d6tpipe.ErrPermission)
		require.NoError(t, owner.DeleteGroup(t.Context(), "acme/data"))
		_, err = carl.Pipes().Get(t.Context(), "p")
		require.ErrorIs(t, err, d6tpipe.ErrPermission)
	})
}

// TestFamiliesHaveOneOwner: who may no longer administer a pipe has nothing left of
// what was put below it.
func TestFamiliesHaveOneOwner(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		owner, helper := w.user(t, "owner"), w.user(t, "helper")
		_, err := owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
		require.NoError(t, err)
		child := d6tpipe.PipeSettings{Name: "c", Parent: "p", Options: d6tpipe.PipeOptions{Dir: "c"}}
		_, err = helper.Pipes().Create(t.Context(), child)
		require.ErrorContains(t, err, "does not exist", "strangers are not told")
		require.NoError(t, owner.Grant(t.Context(), "p", d6tpipe.Permission{Username: "helper", Role: d6tpipe.RoleWrite}))
		_, err = helper.Pipes().Create(t.Context(), child)
		require.ErrorIs(t, err, d6tpipe.ErrPermission)
		require.NoError(t, owner.Grant(t.Context(), "p", d6tpipe.Permission{Username: "helper", Role: d6tpipe.RoleAdmin}))
		_, err = helper.Pipes().Create(t.Context(), child)
		require.NoError(t, err)
		require.NoError(t, owner.Grant(t.Context(), "p", d6tpipe.Permission{Username: "helper", Role: d6tpipe.RoleRevoke}))
		_, err = helper.Pipes().Get(t.Context(), "c")
		require.ErrorIs(t, err, d6tpipe.ErrPermission)
		_, err = helper.Credentials(t.Context(), "c", d6tpipe.RoleRead, false)
		require.ErrorIs(t, err, d6tpipe.ErrPermission)
		require.NoError(t, owner.Transfer(t.Context(), "p", "helper"))
		_, err = owner.Pipes().Get(t.Context(), "c")
		require.ErrorIs(t, err, d6tpipe.ErrPermission, "children go with their parent")
		_, err = helper.Credentials(t.Context(), "c", d6tpipe.RoleWrite, false)
		require.NoError(t, err)
		require.ErrorIs(t, owner.Transfer(t.Context(), "p", "owner"), d6tpipe.ErrPermission)
	})
}

// TestAForeignParentOfTheSameName: a child whose parent was deleted does not fall
// to whoever takes the name.
func TestAForeignParentOfTheSameName(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		owner, thief := w.user(t, "owner"), w.user(t, "thief")
		for _, p := range []d6tpipe.PipeSettings{{Name: "p"}, {Name: "c", Parent: "p"}} {
			_, err := owner.Pipes().Create(t.Context(), p)
			require.NoError(t, err)
		}
		require.NoError(t, owner.Pipes().Delete(t.Context(), "p"))
		_, err := thief.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
		require.NoError(t, err)
		_, err = thief.Pipes().Get(t.Context(), "c")
		require.ErrorIs(t, err, d6tpipe.ErrPermission)
		_, err = owner.Storage(t.Context(), "c", d6tpipe.RoleRead, false)
		require.Error(t, err, "nor does the child read the other one's files")
	})
}

// TestManaged: pipes whose files the server keeps.
func TestManaged(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		owner, other := w.user(t, "owner"), w.user(t, "other")
		p, err := owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
		require.NoError(t, err)
		require.Equal(t, d6tpipe.ProtocolS3, p.Protocol)
		require.Regexp(t, `^s3://managed/owner/p/$`, p.Options.RemotePath)
		_, err = owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "c", Parent: "p", Options: d6tpipe.PipeOptions{Dir: "sub", Include: "*.csv"}})
		require.NoError(t, err)
		require.NoError(t, owner.Grant(t.Context(), "c", d6tpipe.Permission{Username: "other", Role: d6tpipe.RoleRead}), "the server enforces the filter")
		set, err := other.Credentials(t.Context(), "c", d6tpipe.RoleRead, false)
		require.NoError(t, err)
		require.Contains(t, set, "aws_session_token")
		g := w.keys.last()
		require.Equal(t, d6tpipe.RoleRead, g.Role)
		require.Equal(t, p.Options.RemotePath[len("s3://managed/"):]+"sub/", g.Prefix)
		require.Equal(t, []d6tpipe.Filter{{Include: "*.csv"}}, g.Filters)

		for _, in := range []string{
			`{"name":"p","location":"managed/other/q/00000000"}`, `{"name":"p","protocol":"sftp"}`, `{"name":"p","parent":"c"}`, `{"name":"p","remote":"r"}`,
		} {
			for _, verb := range []string{"PATCH", "PUT"} {
				_, err = owner.Backend().Do(t.Context(), "PATCH", "pipes", "p", []byte(in))
				require.ErrorIs(t, err, d6tpipe.ErrInvalid, "%s %s", verb, in)
			}
		}
		_, err = owner.Pipes().Replace(t.Context(), d6tpipe.PipeSettings{Name: "p", Schema: []byte(`{"a":1}`)})
		require.NoError(t, err)
		again, err := owner.Pipes().Get(t.Context(), "p")
		require.NoError(t, err)
		require.Equal(t, p.Options.RemotePath, again.Options.RemotePath, "the files stay where they are")

		// A child that says it lies in somebody else's folder gets no keys for it.
		_, err = owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "evil", Parent: "p", Protocol: d6tpipe.ProtocolS3, Location: "managed/other/q/00000000"})
		require.NoError(t, err)
		n := w.keys.made
		set, err = owner.Credentials(t.Context(), "evil", d6tpipe.RoleWrite, false)
		require.NoError(t, err)
		require.Empty(t, set)
		require.Equal(t, n, w.keys.made)

		r, err := owner.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{Name: "r", Protocol: d6tpipe.ProtocolManaged})
		require.NoError(t, err)
		require.Equal(t, d6tpipe.ProtocolS3, r.Protocol)
		require.Regexp(t, `^managed/owner/r$`, r.Location)
		require.NotEqual(t, r.ReadCredentials.Value("aws_access_key_id"), r.WriteCredentials.Value("aws_access_key_id"))
		require.NoError(t, owner.GrantRemote(t.Context(), "r", d6tpipe.Permission{User: "other", Role: d6tpipe.RoleRead}))
		r, err = other.Remotes().Get(t.Context(), "r")
		require.NoError(t, err)
		require.NotEmpty(t, r.ReadCredentials)
		require.Nil(t, r.WriteCredentials)
		for listed, err := range other.Remotes().All(t.Context()) {
			require.NoError(t, err)
			require.Equal(t, r.Location, listed.Location)
			require.NotEmpty(t, listed.ReadCredentials)
			require.Nil(t, listed.WriteCredentials)
		}

		// Files of two records are never in one folder.
		twin, err := owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "r"})
		require.NoError(t, err)
		require.Regexp(t, `^s3://managed/owner/r\.[a-z0-9]{8}/$`, twin.Options.RemotePath)
		require.NoError(t, owner.Pipes().Delete(t.Context(), "p"))
		heir, err := owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
		require.NoError(t, err)
		require.NotEqual(t, p.Options.RemotePath, heir.Options.RemotePath)
	})
}

// TestFilteredChildOfOwnStorage: stored credentials open more than a filter lets
// through.
func TestFilteredChildOfOwnStorage(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, dbtest.SQLite(t)))
	owner, other := w.user(t, "owner"), w.user(t, "other")
	for _, p := range []d6tpipe.PipeSettings{
		{Name: "p", Protocol: d6tpipe.ProtocolS3, Location: "b", Credentials: d6tpipe.Credentials{"aws_access_key_id": "id", "aws_secret_access_key": "canary-stored"}},
		{Name: "c", Parent: "p", Options: d6tpipe.PipeOptions{Include: "*.csv"}},
		{Name: "d", Parent: "p", Options: d6tpipe.PipeOptions{Dir: "d"}},
	} {
		_, err := owner.Pipes().Create(t.Context(), p)
		require.NoError(t, err)
	}
	grant := d6tpipe.Permission{Username: "other", Role: d6tpipe.RoleRead}
	require.NoError(t, owner.Grant(t.Context(), "d", grant))
	require.ErrorIs(t, owner.Grant(t.Context(), "c", grant), d6tpipe.ErrInvalid)
	_, err := other.Pipes().Get(t.Context(), "c")
	require.ErrorIs(t, err, d6tpipe.ErrPermission)
	grant.AcceptUnfiltered = true
	require.NoError(t, owner.Grant(t.Context(), "c", grant))
	set, err := other.Credentials(t.Context(), "c", d6tpipe.RoleRead, false)
	require.NoError(t, err)
	require.Equal(t, d6tpipe.Secret("id"), set.Value("aws_access_key_id"))
}

// TestFirstGenerationKeys: who may only read gets no keys to write, wherever they
// are stored.
func TestFirstGenerationKeys(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		owner, other := w.user(t, "owner"), w.user(t, "other")
		keys := func(id string) d6tpipe.Credentials {
			return d6tpipe.Credentials{"aws_access_key_id": id, "aws_secret_access_key": "canary"}
		}
		_, err := owner.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{Name: "r", Protocol: d6tpipe.ProtocolS3, Location: "b", ReadCredentials: keys("r"), WriteCredentials: keys("w")})
		require.NoError(t, err)
		_, err = owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p", Remote: "r", ReadCredentials: keys("pr"), WriteCredentials: keys("pw")})
		require.NoError(t, err)
		_, err = other.Pipes().Get(t.Context(), "p")
		require.ErrorIs(t, err, d6tpipe.ErrPermission)
		require.NoError(t, owner.GrantRemote(t.Context(), "r", d6tpipe.Permission{User: "other", Role: d6tpipe.RoleRead}))
		p, err := other.Pipes().Get(t.Context(), "p")
		require.NoError(t, err)
		r, err := other.Remotes().Get(t.Context(), "r")
		require.NoError(t, err)
		require.Equal(t, d6tpipe.Secret("pr"), p.ReadCredentials.Value("aws_access_key_id"))
		require.Equal(t, d6tpipe.Secret("r"), r.ReadCredentials.Value("aws_access_key_id"))
		require.Nil(t, p.WriteCredentials)
		require.Nil(t, r.WriteCredentials)
		require.NoError(t, owner.GrantRemote(t.Context(), "r", d6tpipe.Permission{User: "other", Role: d6tpipe.RoleWrite}))
		p, err = other.Pipes().Get(t.Context(), "p")
		require.NoError(t, err)
		require.Equal(t, d6tpipe.Secret("pw"), p.WriteCredentials.Value("aws_access_key_id"))
	})
}

// TestDemo: everybody may use the account, nobody can change anything with it.
func TestDemo(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, dbtest.SQLite(t)), func(o *repo.Options) { o.OpenDemo = true })
	demo, owner := w.user(t, "demo"), w.user(t, "owner")
	_, err := demo.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
	require.ErrorIs(t, err, d6tpipe.ErrPermission)
	require.ErrorContains(t, err, "cannot register pipes")
	_, err = owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
	require.NoError(t, err)
	require.NoError(t, owner.Grant(t.Context(), "p", d6tpipe.Permission{Username: "demo", Role: d6tpipe.RoleAdmin}))
	_, err = demo.Credentials(t.Context(), "p", d6tpipe.RoleRead, false)
	require.NoError(t, err)
	_, err = demo.Credentials(t.Context(), "p", d6tpipe.RoleWrite, false)
	require.ErrorIs(t, err, d6tpipe.ErrPermission)
	require.ErrorIs(t, demo.Pipes().Delete(t.Context(), "p"), d6tpipe.ErrPermission)
	require.ErrorIs(t, demo.Unregister(t.Context(), "demo"), d6tpipe.ErrPermission)
	_, err = demo.ResetToken(t.Context(), "demo")
	require.ErrorIs(t, err, d6tpipe.ErrPermission)
	require.ErrorIs(t, demo.CreateGroup(t.Context(), "a/b"), d6tpipe.ErrPermission)
}

// TestOwnDemo: where the account is not everybody's, who opened it can close it. The
// Python project's own tests do so, and could not run a second time otherwise.
func TestOwnDemo(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, dbtest.SQLite(t)))
	for range 2 {
		demo := w.user(t, "demo")
		_, err := demo.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
		require.ErrorContains(t, err, "cannot register pipes")
		_, err = demo.ResetToken(t.Context(), "demo")
		require.NoError(t, err)
		require.NoError(t, demo.Unregister(t.Context(), "demo"))
	}
}

// TestAudit: who did what is known to whose it is.
func TestAudit(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		owner, other := w.user(t, "owner"), w.user(t, "other")
		_, err := owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
		require.NoError(t, err)
		require.NoError(t, owner.Grant(t.Context(), "p", d6tpipe.Permission{Username: "other", Role: d6tpipe.RoleRead, Expires: d6tpipe.Date{Year: 2026, Month: 12, Day: 31}}))
		w.clock.forward(time.Minute)
		_, err = other.Credentials(t.Context(), "p", d6tpipe.RoleRead, false)
		require.NoError(t, err)
		events, err := owner.Audit(t.Context())
		require.NoError(t, err)
		require.NotEmpty(t, events[0].ID)
		require.Equal(t, d6tpipe.AuditEvent{ID: events[0].ID, Time: w.clock.Now(), Actor: "other", Peer: "192.0.2.1", Action: "credentials", Kind: "pipes", Name: "p", Detail: "read"}, events[0])
		var lines []string
		for _, e := range events {
			lines = append(lines, e.Actor+" "+e.Action+" "+e.Kind+" "+e.Name+" "+e.Detail)
		}
		require.Contains(t, lines, "owner POST pipes p ")
		require.Contains(t, lines, "owner grant pipes p read to other 2026-12-31")
		theirs, err := other.Audit(t.Context())
		require.NoError(t, err)
		for _, e := range theirs {
			require.Equal(t, "other", e.Actor)
		}
		_, err = w.anybody(t).Audit(t.Context())
		require.ErrorIs(t, err, d6tpipe.ErrUnauthorized)
		usage, err := owner.Analytics(t.Context(), "p")
		require.NoError(t, err)
		require.Equal(t, []d6tpipe.Usage{{Day: "2026-11-23", What: "read", Count: 1}}, usage)
		_, err = other.Analytics(t.Context(), "p")
		require.ErrorIs(t, err, d6tpipe.ErrPermission)
	})
}
