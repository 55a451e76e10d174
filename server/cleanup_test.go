package server_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
)

// A cleaned is a server on a bucket with one user, own, and another server on the same
// database and bucket.
type cleaned struct {
	*running
	first, second *server.Server
	own           *d6tpipe.APIClient
	before        func(prefix string) error // the first server removes a folder
}

func startCleaned(t *testing.T, url string) *cleaned {
	t.Helper()
	c := &cleaned{before: func(string) error { return nil }}
	bucket, key := startBucket(t), filepath.Join(t.TempDir(), "keys", "key")
	c.running = start(t, func(config *server.Config) {
		config.Database, config.Storage, config.KeyFile, config.ListingAge = url, bucket, key, -1
	})
	c.first, c.second = cleanerOf(t, c.config), cleanerOf(t, c.config)
	c.first.BeforeRemove(func(prefix string) error { return c.before(prefix) })
	c.own = c.user("own")
	return c
}

// cleanerOf is a server that only cleans up.
func cleanerOf(t *testing.T, config server.Config) *server.Server {
	t.Helper()
	config.Data, config.Log = t.TempDir(), nil
	srv, err := server.New(context.Background(), config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, srv.Close()) })
	return srv
}

// pushed makes a pipe with one file, and returns where that lies.
func (c *cleaned) pushed(name, text string) (folder string) {
	c.t.Helper()
	_, err := c.own.Pipes().Create(c.t.Context(), d6tpipe.PipeSettings{Name: name})
	require.NoError(c.t, err)
	p := c.open(c.own, name)
	write(c.t, p, "a.csv", text)
	_, err = p.Push(c.t.Context(), d6tpipe.PushOptions{Mode: d6tpipe.ModeAll})
	require.NoError(c.t, err)
	return c.folder(name)
}

func (c *cleaned) folder(name string) string {
	c.t.Helper()
	p, err := c.own.Pipes().Get(c.t.Context(), name)
	require.NoError(c.t, err)
	return p.Options.RemotePath
}

func (c *cleaned) drop(names ...string) {
	c.t.Helper()
	for _, name := range names {
		require.NoError(c.t, c.own.Pipes().Delete(c.t.Context(), name))
	}
}

// requireFile makes sure that a pipe has its file.
func (c *cleaned) requireFile(name, text string) {
	c.t.Helper()
	reader := c.client("own") // with an empty folder
	_, err := reader.Login(c.t.Context(), "own", "canary-password-own")
	require.NoError(c.t, err)
	p := c.open(reader, name)
	_, err = p.Pull(c.t.Context(), d6tpipe.PullOptions{})
	require.NoError(c.t, err)
	require.Equal(c.t, text, read(c.t, p, "a.csv"))
}

// TestReplicasCleanUp: what one server has listed to be removed, another one has removed
// meanwhile, and the folder is in use again.
func TestReplicasCleanUp(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		c := startCleaned(t, url)
		x, y := c.pushed("x", "old x"), c.pushed("y", "old y")
		c.drop("x", "y")
		var removed []string
		c.before = func(prefix string) error {
			removed = append(removed, prefix)
			if len(removed) > 1 {
				return nil
			}
			require.NoError(t, c.second.CleanUp(t.Context()))
			require.Equal(t, y, c.pushed("y", "new y"), "its folder is free again")
			require.NotEqual(t, x, c.pushed("x", "new x"), "this one is just being removed")
			return nil
		}
		require.NoError(t, c.first.CleanUp(t.Context()))
		require.Equal(t, []string{"own/x/"}, removed)
		c.requireFile("x", "new x")
		c.requireFile("y", "new y")
		c.drop("x")
		require.Equal(t, x, c.pushed("x", "third x"), "the first server was done")
		c.requireFile("x", "third x")
	})
}

// TestCleanUpGoesOn: a folder that cannot be removed does not keep the others.
func TestCleanUpGoesOn(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		c := startCleaned(t, url)
		a, b := c.pushed("a", "old"), c.pushed("b", "old")
		c.drop("a", "b")
		broken := errors.New("no luck")
		c.before = func(prefix string) error {
			if prefix == "own/a/" {
				return broken
			}
			return nil
		}
		require.ErrorIs(t, c.first.CleanUp(t.Context()), broken)
		require.Equal(t, b, c.pushed("b", "new"), "it was removed")
		require.NotEqual(t, a, c.pushed("a", "new"), "its folder is not free")
		c.requireFile("b", "new")
		c.requireFile("a", "new")
	})
}

// TestCleanUpSparesTheLiving: former versions could give two pipes one folder. When one
// of them is removed, the files are still the other's.
func TestCleanUpSparesTheLiving(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		c := startCleaned(t, url)
		c.pushed("live", "mine")
		c.pushed("gone", "not mine")
		require.NoError(t, dbtest.Open(t, url).Write(t.Context(), func(ctx context.Context, tx db.Tx) error {
			_, err := tx.ExecContext(ctx, `UPDATE records SET body = replace(body, 'own/gone', 'own/live') WHERE name = 'gone'`)
			return err
		}))
		c.drop("gone")
		c.before = func(prefix string) error { return errors.New("removes " + prefix) }
		require.NoError(t, c.first.CleanUp(t.Context()))
		c.requireFile("live", "mine")
		c.drop("live")
		require.ErrorContains(t, c.first.CleanUp(t.Context()), "removes own/live/", "now nobody has files there")
	})
}
