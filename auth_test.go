package d6tpipe_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/wire"
	"github.com/d6t/d6tpipe-go/internal/wire/wiretest"
)

// accounts starts a service with accounts and records the Authorization headers
// that reach it.
func accounts(t *testing.T) (url string, headers func() []string) {
	t.Helper()
	handler := wire.New(wiretest.New(localAPI(t).Backend()), wire.Options{})
	var mu sync.Mutex
	var seen []string
	url = serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, r.Method+" "+strings.TrimPrefix(r.URL.Path, "/v1/api")+" "+r.Header.Get("Authorization"))
		mu.Unlock()
		handler.ServeHTTP(w, r)
	})
	return url, func() []string {
		mu.Lock()
		defer mu.Unlock()
		all := seen
		seen = nil
		return all
	}
}

func client(t *testing.T, url string, store d6tpipe.TokenStore) *d6tpipe.APIClient {
	t.Helper()
	c, err := d6tpipe.NewAPIClient(d6tpipe.Config{Profile: "test", Server: url, Tokens: store})
	require.NoError(t, err)
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// TestAccount is the life of an account, with the headers of every call.
func TestAccount(t *testing.T) {
	url, headers := accounts(t)
	store := &tokens{held: map[d6tpipe.TokenKey]d6tpipe.Secret{}}
	key := d6tpipe.TokenKey{Profile: "test", Origin: url}
	c := client(t, url, store)

	_, err := c.WhoAmI(t.Context())
	require.ErrorIs(t, err, d6tpipe.ErrUnauthorized)
	require.Empty(t, headers(), "who has no token need not ask")
	_, err = c.Pipes().Create(t.Context(), aPipe)
	require.ErrorIs(t, err, d6tpipe.ErrUnauthorized)
	require.Equal(t, []string{"POST /pipes/ "}, headers())

	token, err := c.Register(t.Context(), "me", "me@example.com", "canary-password")
	require.NoError(t, err)
	require.Equal(t, d6tpipe.Secret("token-of-me"), token)
	require.Equal(t, token, store.held[key])
	user, err := c.WhoAmI(t.Context())
	require.NoError(t, err)
	require.Equal(t, d6tpipe.User{Username: "me", Message: "Hello me"}, user)
	require.Equal(t, []string{"POST /accounts/ ", "GET / Token token-of-me"}, headers())

	for _, taken := range [][2]string{{"me", "other@example.com"}, {"other", "me@example.com"}} {
		_, err = c.Register(t.Context(), taken[0], taken[1], "canary-password")
		require.ErrorIs(t, err, d6tpipe.ErrExists)
		discreet(t, err)
	}
	_, err = c.Login(t.Context(), "me", "canary-wrong")
	require.ErrorIs(t, err, d6tpipe.ErrUnauthorized)
	discreet(t, err)
	require.Equal(t, token, store.held[key], "a failed login takes nothing away")
	require.Equal(t, []string{"POST /accounts/ ", "POST /accounts/ ", "POST /accounts/token/ "}, headers(), "no stale token on the way in")

	again := client(t, url, &tokens{held: map[d6tpipe.TokenKey]d6tpipe.Secret{}})
	same, err := again.Login(t.Context(), "me", "canary-password")
	require.NoError(t, err)
	require.Equal(t, token, same)
	_, err = again.Pipes().Create(t.Context(), aPipe)
	require.NoError(t, err)

	require.NoError(t, c.Logout(t.Context()))
	require.NoError(t, c.Logout(t.Context()), "twice is once")
	require.Empty(t, store.held)
	_, err = c.WhoAmI(t.Context())
	require.ErrorIs(t, err, d6tpipe.ErrUnauthorized)

	require.ErrorIs(t, again.Unregister(t.Context(), "other"), d6tpipe.ErrPermission)
	require.NoError(t, again.Unregister(t.Context(), "me"))
	_, err = again.WhoAmI(t.Context())
	require.ErrorIs(t, err, d6tpipe.ErrUnauthorized)
	_, err = again.Register(t.Context(), "me", "me@example.com", "secret")
	require.NoError(t, err)
	names, err := again.Pipes().Names(t.Context())
	require.NoError(t, err)
	require.Empty(t, names, "the pipes went with the account")
}

// TestResetToken is the way of the Python docs: a client without token, then
// register.
func TestResetToken(t *testing.T) {
	url, headers := accounts(t)
	store := holding(t, url, "stale")
	c := client(t, url, store)
	_, err := c.WhoAmI(t.Context())
	require.ErrorIs(t, err, d6tpipe.ErrUnauthorized)
	headers()

	fresh := c.WithoutToken()
	_, err = fresh.Pipes().Names(t.Context())
	require.NoError(t, err)
	_, err = fresh.Register(t.Context(), "me", "me@example.com", "secret")
	require.NoError(t, err)
	_, err = fresh.WhoAmI(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"GET /pipes/ ", "POST /accounts/ ", "GET / Token token-of-me"}, headers())
	_, err = client(t, url, store).WhoAmI(t.Context())
	require.NoError(t, err, "the profile has the new token")
}

// TestKeyringFailure: a token is not lost because it could not be kept.
func TestKeyringFailure(t *testing.T) {
	url, _ := accounts(t)
	store := &tokens{held: map[d6tpipe.TokenKey]d6tpipe.Secret{}, fail: d6tpipe.ErrKeyring}
	c := client(t, url, store)
	_, err := c.Pipes().Names(t.Context())
	require.ErrorIs(t, err, d6tpipe.ErrKeyring, "a call without its token is not made as somebody else")

	token, err := c.Register(t.Context(), "me", "me@example.com", "secret")
	require.ErrorIs(t, err, d6tpipe.ErrKeyring)
	require.Equal(t, d6tpipe.Secret("token-of-me"), token)
	require.ErrorContains(t, err, "could not be kept")
	require.NotContains(t, err.Error(), "token-of-me")
	_, err = c.WhoAmI(t.Context())
	require.NoError(t, err, "the client has it for now")

	store.fail = nil
	token, err = c.Login(t.Context(), "me", "secret")
	require.NoError(t, err)
	require.Len(t, store.held, 1)
	require.Equal(t, d6tpipe.Secret("token-of-me"), token)

	store.fail = d6tpipe.ErrKeyring
	err = c.Unregister(t.Context(), "me")
	require.ErrorIs(t, err, d6tpipe.ErrKeyring)
	require.ErrorContains(t, err, "the account is closed")
}

// TestTokenIsLookedUpOnce, and not before the first call.
func TestTokenIsLookedUpOnce(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `[]`) })
	store := holding(t, url, " token \n")
	c := client(t, url, store)
	require.Zero(t, store.asks)
	var wg sync.WaitGroup
	errs := make([]error, 20)
	for i := range errs {
		wg.Go(func() { _, errs[i] = c.Pipes().Names(t.Context()) })
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	require.Equal(t, 1, store.asks)

	for _, bad := range []d6tpipe.Secret{"canary\r\nX: y", "canary canary", "canary\x00", "cänary"} {
		_, err := client(t, url, holding(t, url, bad)).Pipes().Names(t.Context())
		require.ErrorIs(t, err, d6tpipe.ErrInvalid)
		discreet(t, err)
	}
}

func TestBadForms(t *testing.T) {
	url, headers := accounts(t)
	c := client(t, url, &tokens{})
	for _, name := range []string{"", ".", "..", "a/b", "a\n"} {
		_, err := c.Register(t.Context(), name, "e@example.com", "secret")
		field(t, err, "username")
		require.Error(t, c.Unregister(t.Context(), name))
	}
	_, err := c.Login(t.Context(), "me", "")
	field(t, err, "password")
	for _, p := range []d6tpipe.Permission{
		{Role: d6tpipe.RoleRead}, {Username: "a", Email: "b", Role: d6tpipe.RoleRead}, {Username: "a", User: "a", Role: d6tpipe.RoleRead},
	} {
		field(t, c.Grant(t.Context(), "p", p), "username")
	}
	field(t, c.Grant(t.Context(), "p", d6tpipe.Permission{Username: "a", Role: "owner"}), "role")
	field(t, c.Grant(t.Context(), "$x", d6tpipe.Permission{Username: "a", Role: d6tpipe.RoleRead}), "name")
	_, err = c.Permissions(t.Context(), "../x")
	field(t, err, "name")
	_, err = c.Credentials(t.Context(), "a/b", d6tpipe.RoleRead, false)
	field(t, err, "pipe")
	require.Empty(t, headers())
}

func field(t *testing.T, err error, name string) {
	t.Helper()
	require.ErrorIs(t, err, d6tpipe.ErrInvalid)
	var f *d6tpipe.FieldError
	require.ErrorAs(t, err, &f)
	require.Equal(t, name, f.Field)
}

// TestPermissionTable is the contract's table of grants on a parent P and its
// child K, as bob sees it.
func TestPermissionTable(t *testing.T) {
	url, _ := accounts(t)
	ctx := t.Context()
	alice, bob := dialAs(t, url), dialAs(t, url)
	_, err := alice.Register(ctx, "alice", "alice@example.com", "secret")
	require.NoError(t, err)
	_, err = bob.Register(ctx, "bob", "bob@example.com", "secret")
	require.NoError(t, err)
	parent := d6tpipe.PipeSettings{Name: "P", Protocol: d6tpipe.ProtocolS3, Location: "b", Credentials: d6tpipe.Credentials{"read": map[string]any{"k": "r"}, "write": map[string]any{"k": "w"}}}
	_, err = alice.Pipes().Create(ctx, parent)
	require.NoError(t, err)
	_, err = alice.Pipes().Create(ctx, d6tpipe.PipeSettings{Name: "K", Parent: "P"})
	require.NoError(t, err)

	past := d6tpipe.DateOf(time.Now().UTC().AddDate(0, 0, -2))
	today := d6tpipe.DateOf(time.Now().UTC().Add(time.Hour)) // or tomorrow, where today is about to end
	revoke := d6tpipe.Permission{Username: "bob", Role: d6tpipe.RoleRevoke}
	for _, row := range []struct {
		name, on     string
		grant        d6tpipe.Permission
		list         string
		role         d6tpipe.Role
		read, write_ bool
	}{
		{"nothing", "P", revoke, "", "", false, false},
		{"P read", "P", d6tpipe.Permission{Username: "bob", Role: d6tpipe.RoleRead}, "K P", d6tpipe.RoleRead, true, false},
		{"P write takes its place", "P", d6tpipe.Permission{Username: "bob", Role: d6tpipe.RoleWrite, Expires: today}, "K P", d6tpipe.RoleWrite, true, true},
		{"P write, expired", "P", d6tpipe.Permission{Username: "bob", Role: d6tpipe.RoleWrite, Expires: past}, "", "", false, false},
		{"P revoked", "P", revoke, "", "", false, false},
		{"K write by e-mail", "K", d6tpipe.Permission{Email: "bob@example.com", Role: d6tpipe.RoleWrite}, "K", d6tpipe.RoleWrite, true, true},
		{"K read", "K", d6tpipe.Permission{User: "bob", Role: d6tpipe.RoleRead}, "K", d6tpipe.RoleRead, true, false},
		{"K revoked by name", "K", revoke, "", "", false, false},
		{"P public read", "P", d6tpipe.Permission{Username: d6tpipe.Public, Role: d6tpipe.RoleRead}, "K P", d6tpipe.RoleRead, true, false},
		{"P public write grants nothing", "P", d6tpipe.Permission{Username: d6tpipe.Public, Role: d6tpipe.RoleWrite}, "", "", false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			require.NoError(t, alice.Grant(ctx, row.on, row.grant))
			names, err := bob.Pipes().Names(ctx)
			require.NoError(t, err)
			require.Equal(t, row.list, strings.Join(names, " "))
			for _, name := range []string{"P", "K"} {
				mine := strings.Contains(row.list, name)
				p, err := bob.Pipes().Get(ctx, name)
				permitted(t, mine, err)
				if mine {
					require.Equal(t, row.role, p.Role)
				}
				_, err = bob.Credentials(ctx, name, d6tpipe.RoleRead, false)
				permitted(t, mine && row.read, err)
				_, err = bob.Credentials(ctx, name, d6tpipe.RoleWrite, false)
				permitted(t, mine && row.write_, err)
				_, err = bob.Storage(ctx, name, d6tpipe.RoleWrite, false)
				permitted(t, mine && row.write_, err)
				_, err = bob.Pipes().Replace(ctx, d6tpipe.PipeSettings{Name: name})
				permitted(t, false, err)
				permitted(t, false, bob.Grant(ctx, name, revoke))
				_, err = bob.Permissions(ctx, name)
				permitted(t, false, err)
			}
		})
	}
	require.ErrorIs(t, alice.Grant(ctx, "P", d6tpipe.Permission{Username: "nobody", Role: d6tpipe.RoleRead}), d6tpipe.ErrInvalid)
}

func permitted(t *testing.T, may bool, err error) {
	t.Helper()
	if may {
		require.NoError(t, err)
	} else {
		require.ErrorIs(t, err, d6tpipe.ErrPermission)
	}
}

func TestPermissionOnADayThatIsNone(t *testing.T) {
	for _, day := range []d6tpipe.Date{{Year: 2026, Month: 2, Day: 30}, {Year: 2026, Month: 13, Day: 1}, {Year: 12026, Month: 1, Day: 1}, {Year: -1, Month: 1, Day: 1}} {
		p := d6tpipe.Permission{Username: "u", Role: d6tpipe.RoleRead, Expires: day}
		require.ErrorIs(t, p.Validate(), d6tpipe.ErrInvalid, "%v", day)
	}
	require.NoError(t, d6tpipe.Permission{Username: "u", Role: d6tpipe.RoleRead, Expires: d6tpipe.Date{Year: 2028, Month: 2, Day: 29}}.Validate())
}

func TestDate(t *testing.T) {
	for text, want := range map[string]d6tpipe.Date{
		"2026-11-23": {Year: 2026, Month: 11, Day: 23}, "2026-11-23T10:00:00Z": {Year: 2026, Month: 11, Day: 23}, "": {},
	} {
		var d d6tpipe.Date
		require.NoError(t, d.UnmarshalText([]byte(text)))
		require.Equal(t, want, d)
	}
	for _, bad := range []string{"2026-13-01", "23.11.2026", "tomorrow", "2026-02-30"} {
		var d d6tpipe.Date
		require.ErrorIs(t, d.UnmarshalText([]byte(bad)), d6tpipe.ErrInvalid, bad)
	}
}

// The account is closed although the first answer got lost: the token is not known
// any more, which is no failure but the proof.
func TestUnregisterWhoseAnswerIsLost(t *testing.T) {
	var calls atomic.Int32
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) == 1 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusUnauthorized)
	})
	client := dial(t, url, d6tpipe.Limits{Backoff: time.Millisecond})
	require.NoError(t, client.Unregister(t.Context(), "me"))
	require.EqualValues(t, 2, calls.Load())
	require.ErrorIs(t, client.Unregister(t.Context(), "me"), d6tpipe.ErrUnauthorized, "a first answer is believed")
}
