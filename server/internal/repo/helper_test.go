package repo_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/wire"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
	"github.com/d6t/d6tpipe-go/server/internal/repo"
	"github.com/d6t/d6tpipe-go/server/internal/vault"
)

func TestMain(m *testing.M) {
	if os.Getenv(delivererVariable) != "" { // it was started by TestDeliveryKills
		if err := deliver(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	dbtest.Main(m)
}

// cheap makes passwords quick to hash.
var cheap = vault.HasherOptions{Cost: vault.Cost{Memory: 8, Passes: 1, Lanes: 1}}

// clock is a clock that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// keyring makes stub keys and tells what was asked for.
type keyring struct {
	mu    sync.Mutex
	made  int
	asked []repo.Grant

	urlsOnly bool // set before use
}

func (k *keyring) Bucket() string { return "managed" }

func (k *keyring) Credentials(_ context.Context, g repo.Grant) (map[string]any, time.Time, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.made++
	k.asked = append(k.asked, g)
	return map[string]any{
		"aws_access_key_id": fmt.Sprintf("%s-%d", g.Role, k.made), "aws_secret_access_key": "canary-temporary", "aws_session_token": "",
	}, time.Date(2999, 12, 31, 0, 0, 0, 0, time.UTC), nil
}

func (k *keyring) URLsOnly() (map[string]any, bool) {
	if !k.urlsOnly {
		return nil, false
	}
	return map[string]any{"endpoint_url": "https://files.example.com"}, true
}

func (k *keyring) Sign(_ context.Context, g repo.Grant, r repo.Signing) (string, error) {
	return "https://files.example.com/" + g.Prefix + r.Key + "?" + r.Method, nil
}

func (k *keyring) last() repo.Grant {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.asked[len(k.asked)-1]
}

// A world is a server in a test.
type world struct {
	db    *db.DB
	repo  *repo.Repo
	keys  *keyring
	clock *clock
	url   string

	keyFile string
}

// newKeys makes a database's key.
func newKeys(t testing.TB, d *db.DB) *vault.Keys {
	t.Helper()
	return newKeyFile(t, d, filepath.Join(t.TempDir(), "keys", "key"))
}

// newKeyFile makes a database's key in a file.
func newKeyFile(t testing.TB, d *db.DB, path string) *vault.Keys {
	t.Helper()
	keys, err := vault.Load(t.Context(), vault.Source{Make: path}, "")
	require.NoError(t, err)
	check, err := keys.Check()
	require.NoError(t, err)
	_, err = repo.FirstKey(t.Context(), d, check)
	require.NoError(t, err)
	return keys
}

func newWorld(t testing.TB, d *db.DB, change ...func(*repo.Options)) *world {
	t.Helper()
	keyFile := filepath.Join(t.TempDir(), "keys", "key")
	keys := newKeyFile(t, d, keyFile)
	hasher, err := vault.NewHasher(cheap)
	require.NoError(t, err)
	w := &world{db: d, keyFile: keyFile, keys: &keyring{}, clock: &clock{now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}}
	o := repo.Options{
		DB: d, Keys: keys, Hasher: hasher, Storage: w.keys, Now: w.clock.Now,
		Throttle: vault.NewThrottle(vault.ThrottleOptions{Registrations: -1, Now: w.clock.Now}),
		Peer:     func(context.Context) netip.Addr { return netip.MustParseAddr("192.0.2.1") },
	}
	for _, c := range change {
		c(&o)
	}
	w.repo = repo.New(o)
	server := httptest.NewServer(wire.New(w.repo, wire.Options{}))
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

// anybody is a client without a token.
func (w *world) anybody(t testing.TB) *d6tpipe.APIClient {
	t.Helper()
	client, err := d6tpipe.NewAPIClient(d6tpipe.Config{Profile: t.Name(), Server: w.url, Tokens: d6tpipe.MemoryTokens()})
	require.NoError(t, err)
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// user is a client of a new account.
func (w *world) user(t testing.TB, name string) *d6tpipe.APIClient {
	t.Helper()
	client := w.anybody(t)
	_, err := client.Register(t.Context(), name, name+"@example.com", d6tpipe.Secret("secret-of-"+name))
	require.NoError(t, err)
	return client
}
