package repo_test

import (
	"context"
	"io/fs"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/wire"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
	"github.com/d6t/d6tpipe-go/server/internal/listing"
	"github.com/d6t/d6tpipe-go/server/internal/repo"
)

// idOf is the id of a pipe's record.
func idOf(t testing.TB, d *db.DB, name string) (id string) {
	t.Helper()
	require.NoError(t, d.Read(t.Context(), func(ctx context.Context, tx db.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT id FROM records WHERE kind = 'pipes' AND name = $1`, name).Scan(&id)
	}))
	return id
}

// TestListings: the cache in the database keeps to its contract.
func TestListings(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		owner := w.user(t, "owner")
		_, err := owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
		require.NoError(t, err)
		id := idOf(t, d, "p")
		l := repo.Listings{DB: d}
		at := time.Date(2026, 11, 23, 12, 0, 0, 1000, time.UTC)
		none, err := l.Head(t.Context(), id)
		require.NoError(t, err)
		require.Zero(t, none)
		require.NoError(t, l.Changed(t.Context(), id, at))
		require.NoError(t, l.Changed(t.Context(), id, at.Add(-time.Hour)), "an earlier one is no news")
		first := listing.Record{Tag: "t1", View: "v", Seen: at.Add(time.Second), Scanned: at.Add(time.Second), Files: 2, Bytes: 1 << 40, Body: []byte{0, 1, 255}}
		require.NoError(t, l.Save(t.Context(), id, first, listing.Changes{}))
		late := first
		late.Tag, late.Scanned = "old", at
		require.NoError(t, l.Save(t.Context(), id, late, listing.Changes{Since: "t1"}), "a replica that is slow")
		head, err := l.Head(t.Context(), id)
		require.NoError(t, err)
		want := first
		want.Body, want.Size, want.Changed = nil, 3, at
		require.Equal(t, want, head)
		body, err := l.Body(t.Context(), id, "t1")
		require.NoError(t, err)
		require.Equal(t, first.Body, body)
		_, err = l.Body(t.Context(), id, "old")
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.NoError(t, l.Confirm(t.Context(), id, "t1", at.Add(time.Minute)))
		require.NoError(t, l.Confirm(t.Context(), id, "t1", at))
		require.NoError(t, l.Confirm(t.Context(), id, "other", at.Add(time.Hour)))
		head, err = l.Head(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, at.Add(time.Minute), head.Scanned)
		require.NoError(t, l.Save(t.Context(), "gone", first, listing.Changes{}))
		require.NoError(t, l.Changed(t.Context(), "gone", at))
		head, err = l.Head(t.Context(), "gone")
		require.NoError(t, err)
		require.Zero(t, head)
		require.NoError(t, owner.Pipes().Delete(t.Context(), "p"))
		head, err = l.Head(t.Context(), id)
		require.NoError(t, err)
		require.Zero(t, head)
	})
}

// lister tells for which pipes it was asked.
type lister struct{ asked []listing.Pipe }

func (l *lister) Files(_ context.Context, p listing.Pipe, _ bool) (wire.Listing, error) {
	l.asked = append(l.asked, p)
	return wire.Listing{Tag: "t"}, nil
}

func (l *lister) Changed(_ context.Context, p listing.Pipe) (time.Time, error) {
	l.asked = append(l.asked, p)
	return time.Time{}, nil
}

// TestListedPipes: which place is listed for whom.
func TestListedPipes(t *testing.T) {
	l := &lister{}
	w := newWorld(t, dbtest.Open(t, dbtest.SQLite(t)), func(o *repo.Options) { o.Lister = l })
	owner, other := w.user(t, "owner"), w.user(t, "other")
	keys := d6tpipe.Credentials{"aws_access_key_id": "id", "aws_secret_access_key": "canary"}
	_, err := owner.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{Name: "r", Protocol: d6tpipe.ProtocolS3, Location: "b", ReadCredentials: keys})
	require.NoError(t, err)
	_, err = owner.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{Name: "m", Protocol: d6tpipe.ProtocolManaged})
	require.NoError(t, err)
	for _, p := range []d6tpipe.PipeSettings{
		{Name: "managed"}, {Name: "child", Parent: "managed", Options: d6tpipe.PipeOptions{Dir: "d", Include: "*.csv"}},
		{Name: "on-remote", Remote: "r", Options: d6tpipe.PipeOptions{Dir: "x"}}, {Name: "on-managed", Remote: "m"},
		{Name: "own", Protocol: d6tpipe.ProtocolS3, Location: "b", Credentials: keys},
	} {
		_, err := owner.Pipes().Create(t.Context(), p)
		require.NoError(t, err)
	}
	for name, want := range map[string]struct {
		managed     bool
		prefix, dir string
	}{
		"managed": {true, "owner/managed/", "owner/managed"}, "child": {true, "owner/managed/d/", "owner/managed/d"},
		"on-remote": {false, "", "x"}, "on-managed": {true, "owner/m/", "owner/m"}, "own": {false, "", ""},
	} {
		where, err := w.repo.Where(t.Context(), idOf(t, w.db, name))
		require.NoError(t, err)
		require.Equal(t, want.managed, where.Managed, name)
		require.Equal(t, want.prefix, where.Grant.Prefix, name)
		require.Equal(t, want.dir, where.Dir, name)
		if want.managed {
			require.Nil(t, where.Credentials, name)
			require.Empty(t, where.Grant.Filters, "the listing filters, and shares one scan")
		} else {
			require.Equal(t, d6tpipe.Secret("canary"), where.Credentials.Value("aws_secret_access_key"), name)
		}
		_, err = owner.ListFiles(t.Context(), name, false)
		require.Error(t, err, "the answer is a stub's")
		require.NotErrorIs(t, err, d6tpipe.ErrPermission)
		require.Equal(t, idOf(t, w.db, name), l.asked[len(l.asked)-1].ID)
		n := len(l.asked)
		_, err = other.ListFiles(t.Context(), name, false)
		require.ErrorIs(t, err, d6tpipe.ErrPermission, name)
		require.Len(t, l.asked, n)
	}
	// A refresh is limited for those who only read, and by whose it is.
	require.NoError(t, owner.Grant(t.Context(), "managed", d6tpipe.Permission{Username: "other", Role: d6tpipe.RoleRead}))
	for _, who := range []*d6tpipe.APIClient{owner, other} {
		_, _ = who.ListFiles(t.Context(), "managed", true)
	}
	asked := l.asked[len(l.asked)-2:]
	require.Equal(t, []bool{false, true}, []bool{asked[0].Reader, asked[1].Reader})
	require.NotEmpty(t, asked[0].Account)
	require.NotEqual(t, asked[0].Account, asked[1].Account)
	require.NoError(t, owner.Grant(t.Context(), "managed", d6tpipe.Permission{Username: "other", Role: d6tpipe.RoleWrite}))
	_, _ = other.ListFiles(t.Context(), "managed", true)
	require.False(t, l.asked[len(l.asked)-1].Reader)

	// Who may read the pipe and not its remote has no right to what is listed with the
	// remote's keys.
	require.NoError(t, owner.Grant(t.Context(), "on-remote", d6tpipe.Permission{Username: "other", Role: d6tpipe.RoleRead}))
	n := len(l.asked)
	_, err = other.ListFiles(t.Context(), "on-remote", false)
	require.ErrorIs(t, err, d6tpipe.ErrPermission)
	require.Len(t, l.asked, n)
}
