package server_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
	"github.com/d6t/d6tpipe-go/server/internal/repo"
	"github.com/d6t/d6tpipe-go/server/internal/vault"
)

// twoKeys are two servers on one database, each with a copy of the key file.
type twoKeys struct{ one, other *running }

func startTwo(t *testing.T, url string) twoKeys {
	t.Helper()
	at := func() func(*server.Config) { return func(c *server.Config) { c.Database = url } }
	one := start(t, at())
	text, err := os.ReadFile(one.config.KeyFile)
	require.NoError(t, err)
	other := start(t, at(), func(c *server.Config) {
		c.KeyFile = filepath.Join(t.TempDir(), "copy")
		require.NoError(t, os.WriteFile(c.KeyFile, text, 0o600))
	})
	return twoKeys{one, other}
}

// copyKey copies the key file of one server over that of the other, as administrators
// do.
func (k twoKeys) copyKey(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(k.one.config.KeyFile)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(k.other.config.KeyFile, text, 0o600))
}

// old makes the last change of a key file an hour old.
func (r *running) old() {
	r.t.Helper()
	then := time.Now().Add(-time.Hour)
	require.NoError(r.t, os.Chtimes(r.config.KeyFile, then, then))
}

// status is that of a login and what it says.
func (r *running) login(name string) (status int, body string) {
	r.t.Helper()
	form := fmt.Sprintf(`{"username":%q,"password":"canary-password-%s"}`, name, name)
	return r.send(http.MethodPost, "/v1/api/accounts/token/", "", form)
}

func (r *running) send(method, path, token, form string) (status int, body string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(form))
	require.NoError(r.t, err)
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Token "+token)
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	require.NoError(r.t, err)
	var text bytes.Buffer
	_, err = text.ReadFrom(res.Body)
	require.NoError(r.t, err)
	require.NoError(r.t, res.Body.Close())
	return res.StatusCode, text.String()
}

// requireReady waits for what /readyz says, which is a second old at most.
func (r *running) requireReady(want int) (body string) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		status, text := r.send(http.MethodGet, "/readyz", "", "")
		body = text
		return status == want
	}, patience, 50*time.Millisecond)
	return body
}

func remoteOf(name string) d6tpipe.RemoteSettings {
	keys := d6tpipe.Credentials{"aws_access_key_id": "id", "aws_secret_access_key": "canary-" + name}
	return d6tpipe.RemoteSettings{Name: name, Protocol: d6tpipe.ProtocolS3, Location: "b", ReadCredentials: keys, WriteCredentials: keys}
}

// TestRotateCopies: where a key is rotated in one of two copies of the file, the server
// with the other one says so, refuses what needs the new key, and seals nothing that is
// lost when it gets a copy.
func TestRotateCopies(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		k := startTwo(t, url)
		me := k.one.user("me")
		_, err := me.Remotes().Create(t.Context(), remoteOf("before"))
		require.NoError(t, err)
		token, err := me.Login(t.Context(), "me", "canary-password-me")
		require.NoError(t, err)

		_, err = server.RotateKey(t.Context(), k.one.config)
		require.NoError(t, err)
		k.one.requireReady(http.StatusOK)
		require.Contains(t, k.other.requireReady(http.StatusServiceUnavailable), "copy the key file")
		status, body := k.other.login("me")
		require.Equal(t, http.StatusServiceUnavailable, status, body)
		require.Contains(t, body, "lacks the key")
		form := `{"name":"late","protocol":"s3","location":"b","readCredentials":{"aws_access_key_id":"id","aws_secret_access_key":"x"}}`
		status, body = k.other.send(http.MethodPost, "/v1/api/remotes/", string(token), form)
		require.Equal(t, http.StatusServiceUnavailable, status, "it would seal with the old key: "+body)
		_, err = server.RotateKey(t.Context(), k.other.config)
		require.ErrorIs(t, err, vault.ErrKeyWrong)

		k.one.old()
		n, err := server.PruneKeys(t.Context(), k.one.config)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		status, body = k.other.send(http.MethodPost, "/v1/api/remotes/", string(token), form)
		require.Equal(t, http.StatusServiceUnavailable, status, body)
		k.copyKey(t)
		again := &running{t: t, config: k.other.config}
		defer again.run()()
		again.requireReady(http.StatusOK)
		requireAllOpen(t, again, "me", "before")
		requireAllOpen(t, k.one, "me", "before")
	})
}

// TestRotatePrepared: with the new key in all copies before it is used, no server
// refuses anything, and none seals with an old key what a prune takes the key from.
func TestRotatePrepared(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		k := startTwo(t, url)
		me := k.one.user("me")
		token, err := me.Login(t.Context(), "me", "canary-password-me")
		require.NoError(t, err)
		make := func(r *running, name string) {
			t.Helper()
			require.NoError(t, as(r.url, token, "", func(c *d6tpipe.APIClient) error {
				_, err := c.Remotes().Create(t.Context(), remoteOf(name))
				return err
			}))
		}
		make(k.one, "r1")
		stale, err := os.ReadFile(k.one.config.KeyFile)
		require.NoError(t, err)
		require.NoError(t, server.PrepareKey(t.Context(), k.one.config))
		require.NoError(t, server.PrepareKey(t.Context(), k.one.config), "once more")
		make(k.one, "r2") // before the other one has the key
		make(k.other, "r3")
		k.one.old()
		n, err := server.PruneKeys(t.Context(), k.one.config)
		require.NoError(t, err)
		require.Zero(t, n, "the key that is in use, and the one that waits")
		k.copyKey(t)
		n, err = server.RotateKey(t.Context(), k.one.config)
		require.NoError(t, err)
		require.Equal(t, 5, n, "a token, three remotes, and the storage's secret")
		make(k.one, "r4")
		make(k.other, "r5")
		n, err = server.PruneKeys(t.Context(), k.one.config)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		make(k.other, "r6") // it still has the old key, and the new one
		k.one.requireReady(http.StatusOK)
		k.other.requireReady(http.StatusOK)
		requireAllOpen(t, k.one, "me", "r1", "r2", "r3", "r4", "r5", "r6")
		requireAllOpen(t, k.other, "me", "r1", "r2", "r3", "r4", "r5", "r6")
		old := k.one.config // a backup of the file from before the rotation
		old.KeyFile = filepath.Join(t.TempDir(), "key")
		require.NoError(t, os.WriteFile(old.KeyFile, stale, 0o600))
		_, err = server.New(t.Context(), old)
		require.ErrorIs(t, err, vault.ErrKeyWrong)
	})
}

// TestRotateValue: a key in the variable is changed on one server after the other.
func TestRotateValue(t *testing.T) {
	words := []string{strings.Repeat("A", 42) + "A", strings.Repeat("B", 42) + "A"}
	t.Setenv(server.KeyVariable, words[0])
	url := dbtest.SQLite(t)
	with := func(key string) *running {
		t.Setenv(server.KeyVariable, key)
		return start(t, func(c *server.Config) { c.Database, c.KeyFile = url, "" })
	}
	first := with(words[0])
	me := first.user("me")
	second := with(words[1] + " " + words[0])
	other := second.client("me")
	_, err := other.Login(t.Context(), "me", "canary-password-me")
	require.NoError(t, err)
	_, err = other.Remotes().Create(t.Context(), remoteOf("r1"))
	require.NoError(t, err)
	requireAllOpen(t, first, "me", "r1") // it has not got the new key yet
	_, err = me.Remotes().Create(t.Context(), remoteOf("r2"))
	require.NoError(t, err)
	n, err := server.RotateKey(t.Context(), second.config)
	require.NoError(t, err)
	require.Equal(t, 4, n)
	requireAllOpen(t, second, "me", "r1", "r2")
	first.requireReady(http.StatusServiceUnavailable)
	requireAllOpen(t, with(words[1]), "me", "r1", "r2")
	_, err = server.RotateKey(t.Context(), second.config)
	require.ErrorIs(t, err, vault.ErrKeyFixed)
}

// TestRotateAtOnce: of two who rotate copies at the same time one wins, and what the
// other one has made seals nothing.
func TestRotateAtOnce(t *testing.T) {
	r := start(t)
	r.user("me")
	d := dbtest.Open(t, filepath.Join(r.config.Data, "server.db"))
	check, err := repo.Meta(t.Context(), d, repo.KeyCheck)
	require.NoError(t, err)
	_, err = server.RotateKey(t.Context(), r.config)
	require.NoError(t, err)
	require.ErrorIs(t, repo.New(repo.Options{DB: d}).SwitchKey(t.Context(), check, "another"), repo.ErrRotated)
	now, err := repo.Meta(t.Context(), d, repo.KeyCheck)
	require.NoError(t, err)
	require.NotEqual(t, "another", now)
}

// requireAllOpen looks whether a server opens an account's token and credentials.
func requireAllOpen(t *testing.T, r *running, name string, remotes ...string) {
	t.Helper()
	c := r.client(name)
	_, err := c.Login(t.Context(), name, d6tpipe.Secret("canary-password-"+name))
	require.NoError(t, err)
	for _, remote := range remotes {
		got, err := c.Remotes().Get(t.Context(), remote)
		require.NoError(t, err)
		require.Equal(t, "canary-"+remote, got.ReadCredentials["aws_secret_access_key"])
	}
}

// TestCommandsWantADatabase: what works on a server's data makes nothing where there is
// none, whether no file or an empty one.
func TestCommandsWantADatabase(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.db")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	urls := map[string]string{"no folder": "", "no file": filepath.Join(dir, "typo.db"), "an empty file": empty}
	t.Run("postgres", func(t *testing.T) {
		requireMissing(t, server.Config{Data: filepath.Join(dir, "typo"), Database: dbtest.Postgres(t), KeyFile: filepath.Join(dir, "key")})
	})
	for name, url := range urls {
		t.Run(name, func(t *testing.T) {
			requireMissing(t, server.Config{Data: filepath.Join(dir, "typo"), Database: url, KeyFile: filepath.Join(dir, "key")})
			entries, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Len(t, entries, 1, "the empty file")
		})
	}
	text, err := os.ReadFile(empty)
	require.NoError(t, err)
	require.Empty(t, text)
}

func requireMissing(t *testing.T, c server.Config) {
	t.Helper()
	c.Log = slog.New(slog.DiscardHandler)
	for name, do := range map[string]func(ctx context.Context) error{
		"backup":  func(ctx context.Context) error { return server.Backup(ctx, c, &bytes.Buffer{}) },
		"rotate":  func(ctx context.Context) error { _, err := server.RotateKey(ctx, c); return err },
		"prepare": func(ctx context.Context) error { return server.PrepareKey(ctx, c) },
		"prune":   func(ctx context.Context) error { _, err := server.PruneKeys(ctx, c); return err },
	} {
		err := do(t.Context())
		require.ErrorIs(t, err, db.ErrMissing, name)
		require.ErrorContains(t, err, "there is no server's database at", name)
	}
	require.NoFileExists(t, c.KeyFile)
	require.NoDirExists(t, c.Data)
}
