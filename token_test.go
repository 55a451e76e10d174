package d6tpipe_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zalando/go-keyring"

	"github.com/d6t/d6tpipe-go"
)

// canary is a token that is easy to find wherever it should not be.
const canary = "canary-7f3a9c5e1b-token"

var here = d6tpipe.TokenKey{Profile: "default", Origin: "https://example.com"}

// testTokenStore is what every TokenStore must do.
func testTokenStore(t *testing.T, store d6tpipe.TokenStore) {
	ctx := t.Context()
	_, err := store.Token(ctx, here)
	require.ErrorIs(t, err, d6tpipe.ErrNotFound)
	require.NoError(t, store.DeleteToken(ctx, here), "there is none")
	require.NoError(t, store.SetToken(ctx, here, "first"))
	require.NoError(t, store.SetToken(ctx, here, canary))

	for _, other := range []d6tpipe.TokenKey{
		{Profile: "Default", Origin: here.Origin},
		{Profile: "default2", Origin: here.Origin},
		{Profile: "default", Origin: "http://example.com"},
		{Profile: "default", Origin: "https://example.com:8443"},
		{Profile: "default", Origin: "https://example.com."},
		{Profile: "default", Origin: "https://example.com.evil.example"},
		{Profile: "default", Origin: "https://api.example.com"},
		{Profile: "default", Origin: "https://example.co"},
	} {
		_, err := store.Token(ctx, other)
		require.ErrorIs(t, err, d6tpipe.ErrNotFound, "%v", other)
		require.NoError(t, store.SetToken(ctx, other, "other"))
	}
	token, err := store.Token(ctx, here)
	require.NoError(t, err)
	require.Equal(t, canary, string(token))
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", token, token, token), canary)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", store, store, store), canary)

	for _, bad := range []d6tpipe.Secret{"", "a b", "a\nb", "a\x00", "é", "***", "a\x7f"} {
		require.ErrorIs(t, store.SetToken(ctx, here, bad), d6tpipe.ErrInvalid, "%q", string(bad))
	}
	require.ErrorIs(t, store.SetToken(ctx, d6tpipe.TokenKey{Profile: "default"}, "x"), d6tpipe.ErrInvalid)
	require.ErrorIs(t, store.SetToken(ctx, d6tpipe.TokenKey{Origin: here.Origin}, "x"), d6tpipe.ErrInvalid)

	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = store.Token(cancelled, here)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, store.SetToken(cancelled, here, "late"), context.Canceled)
	require.ErrorIs(t, store.DeleteToken(cancelled, here), context.Canceled)

	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			key := d6tpipe.TokenKey{Profile: fmt.Sprint("p", i), Origin: here.Origin}
			if err := store.SetToken(ctx, key, d6tpipe.Secret(fmt.Sprint("t", i))); err != nil {
				t.Error(err)
			}
			if got, err := store.Token(ctx, key); err != nil || string(got) != fmt.Sprint("t", i) {
				t.Error(err, string(got))
			}
		})
	}
	wg.Wait()

	require.NoError(t, store.SetToken(ctx, here, canary))
	require.NoError(t, store.DeleteToken(ctx, here))
	_, err = store.Token(ctx, here)
	require.ErrorIs(t, err, d6tpipe.ErrNotFound)
}

func TestMemoryTokens(t *testing.T) { testTokenStore(t, d6tpipe.MemoryTokens()) }

func TestFileTokens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "tokens.json")
	testTokenStore(t, d6tpipe.FileTokens(path))
	require.NotContains(t, readText(t, path), canary)
	if runtime.GOOS == "windows" {
		return
	}
	for file, want := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): 0o700 | fs.ModeDir} {
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Equal(t, want, info.Mode())
	}
}

func TestFileTokensRefuses(t *testing.T) {
	const good = `{"default@https://example.com": "` + canary + `"}`
	for name, c := range map[string]struct {
		text string
		mode fs.FileMode
		kind error
	}{
		"a good one":      {good, 0o600, nil},
		"read-only":       {good, 0o400, nil},
		"for the group":   {good, 0o640, d6tpipe.ErrRefused},
		"for all":         {good, 0o604, d6tpipe.ErrRefused},
		"damaged":         {`{"a": "` + canary, 0o600, d6tpipe.ErrDamaged},
		"doubled":         {good[:len(good)-1] + "," + good[1:], 0o600, d6tpipe.ErrDamaged},
		"not a text":      {`{"default@https://example.com": ["` + canary + `"]}`, 0o600, d6tpipe.ErrDamaged},
		"header breaking": {`{"default@https://example.com": "` + canary + `\n"}`, 0o600, d6tpipe.ErrDamaged},
		"empty":           {"", 0o600, d6tpipe.ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			if errors.Is(c.kind, d6tpipe.ErrRefused) && runtime.GOOS == "windows" {
				t.Skip("Windows has no permissions of this kind")
			}
			path := filepath.Join(t.TempDir(), "tokens.json")
			require.NoError(t, os.WriteFile(path, []byte(c.text), c.mode))
			require.NoError(t, os.Chmod(path, c.mode))
			store := d6tpipe.FileTokens(path)
			token, err := store.Token(t.Context(), here)
			if c.kind == nil {
				require.NoError(t, err)
				require.Equal(t, canary, string(token))
				return
			}
			require.ErrorIs(t, err, c.kind)
			require.NotContains(t, err.Error(), canary)
			if name != "not a text" && name != "header breaking" { // to write over these repairs them
				require.ErrorIs(t, store.SetToken(t.Context(), here, "new"), c.kind)
			}
			require.Contains(t, readText(t, path), c.text)
		})
	}
	_, err := d6tpipe.FileTokens(t.TempDir()).Token(t.Context(), here)
	require.ErrorIs(t, err, d6tpipe.ErrRefused, "a folder")
}

// TestTokenOrder goes through the places that a token comes from.
func TestTokenOrder(t *testing.T) {
	file := pythonConfig(t)
	ctx := t.Context()
	cfg, err := d6tpipe.LoadConfig("onprem")
	require.NoError(t, err)
	cfg.Tokens = d6tpipe.MemoryTokens()
	origin, err := cfg.Origin()
	require.NoError(t, err)
	key := d6tpipe.TokenKey{Profile: "onprem", Origin: origin}
	requireToken := func(want string) {
		t.Helper()
		got, err := cfg.TokenStore().Token(ctx, key)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
	requireToken("a0cefc11ec9b2d6a44f7e360d6ea36d4-not-real")
	_, err = cfg.TokenStore().Token(ctx, d6tpipe.TokenKey{Profile: "onprem", Origin: "https://elsewhere.example"})
	require.ErrorIs(t, err, d6tpipe.ErrNotFound, "what Python left is for its server only")
	before := readText(t, file)
	require.NoError(t, cfg.TokenStore().SetToken(ctx, key, "a0cefc11ec9b2d6a44f7e360d6ea36d4-not-real"))
	require.Equal(t, before, readText(t, file), "it is never written")
	requireToken("a0cefc11ec9b2d6a44f7e360d6ea36d4-not-real")
	t.Setenv("D6TPIPE_TOKEN", " "+canary+"\n")
	requireToken(canary)
	t.Setenv("D6TPIPE_TOKEN", canary+"\nEvil: header")
	_, err = cfg.TokenStore().Token(ctx, key)
	require.ErrorIs(t, err, d6tpipe.ErrInvalid)
	require.NotContains(t, err.Error(), canary)
	t.Setenv("D6TPIPE_TOKEN", "")

	require.NoError(t, cfg.TokenStore().DeleteToken(ctx, key))
	_, err = cfg.TokenStore().Token(ctx, key)
	require.ErrorIs(t, err, d6tpipe.ErrNotFound, "Python's is deleted as well")
	cfg, err = d6tpipe.LoadConfig("onprem")
	require.NoError(t, err)
	cfg.Tokens = d6tpipe.MemoryTokens()
	_, err = cfg.TokenStore().Token(ctx, key)
	require.ErrorIs(t, err, d6tpipe.ErrNotFound, "Python's is deleted as well")
	require.Equal(t, strings.Replace(before, `        "token": "a0cefc11ec9b2d6a44f7e360d6ea36d4-not-real",`+"\n", "", 1), readText(t, file))
}

// lockedTokens are tokens that were kept, in a keyring that is locked now.
type lockedTokens struct{ d6tpipe.TokenStore }

func (lockedTokens) Token(context.Context, d6tpipe.TokenKey) (d6tpipe.Secret, error) {
	return "", d6tpipe.ErrKeyring
}

// Who logs in as somebody else is not taken for the user whose token Python left
// when the keyring cannot be asked.
func TestTokenOfAnotherLogin(t *testing.T) {
	pythonConfig(t)
	cfg, err := d6tpipe.LoadConfig("onprem")
	require.NoError(t, err)
	cfg.Tokens = lockedTokens{d6tpipe.MemoryTokens()}
	origin, err := cfg.Origin()
	require.NoError(t, err)
	key := d6tpipe.TokenKey{Profile: "onprem", Origin: origin}
	left, err := cfg.TokenStore().Token(t.Context(), key)
	require.NoError(t, err, "without a keyring the token that Python left is used")
	require.NoError(t, cfg.TokenStore().SetToken(t.Context(), key, "somebody-elses"))
	cfg, err = d6tpipe.LoadConfig("onprem")
	require.NoError(t, err)
	cfg.Tokens = lockedTokens{d6tpipe.MemoryTokens()}
	token, err := cfg.TokenStore().Token(t.Context(), key)
	require.ErrorIs(t, err, d6tpipe.ErrKeyring)
	require.NotEqual(t, left, token)
}

func TestTokenDoesNotFollowTheServer(t *testing.T) {
	file := pythonConfig(t)
	cfg, err := d6tpipe.LoadConfig("onprem")
	require.NoError(t, err)
	cfg, err = cfg.Update(t.Context(), func(s *d6tpipe.ConfigSettings) { s.Server = "http://127.0.0.1:8670/sub/" })
	require.NoError(t, err)
	require.Contains(t, readText(t, file), "a0cefc11", "it is the same origin")
	_, err = cfg.Update(t.Context(), func(s *d6tpipe.ConfigSettings) { s.Server = "http://127.0.0.1:8671" })
	require.NoError(t, err)
	require.NotContains(t, readText(t, file), "a0cefc11")
}

func TestTokenFileSetting(t *testing.T) {
	newHome(t)
	cfg, err := d6tpipe.InitConfig(t.Context(), "", d6tpipe.InitOptions{Settings: d6tpipe.ConfigSettings{TokenFile: "~/token.json"}})
	require.NoError(t, err)
	require.NoError(t, cfg.TokenStore().SetToken(t.Context(), here, canary))
	require.Contains(t, readText(t, filepath.Join(os.Getenv("HOME"), "token.json")), canary)
	require.NotContains(t, fmt.Sprintf("%+v %#v", cfg.TokenStore(), cfg.TokenStore()), string(cfg.Key))
}

func TestOrigin(t *testing.T) {
	for server, want := range map[string]string{
		"https://example.com":              "https://example.com",
		"HTTPS://Example.COM:443/v1/":      "https://example.com",
		"https://example.com:0443":         "https://example.com",
		"https://example.com:":             "https://example.com",
		"https://example.com.":             "https://example.com.",
		"https://example.com:8443/a":       "https://example.com:8443",
		"https://example.com:80":           "https://example.com:80",
		"http://example.com:80":            "http://example.com",
		"http://localhost:8670":            "http://localhost:8670",
		"http://[::1]:8670/":               "http://[::1]:8670",
		"http://[0:0:0:0:0:0:0:1]":         "http://[::1]",
		"http://127.0.0.1:8670":            "http://127.0.0.1:8670",
		"https://xn--bcher-kva.example":    "https://xn--bcher-kva.example",
		"https://my_host.internal":         "https://my_host.internal",
		"https://example.com.evil.example": "https://example.com.evil.example",
	} {
		got, err := d6tpipe.Origin(server)
		require.NoError(t, err, server)
		require.Equal(t, want, got)
	}
	for _, bad := range []string{
		"", "example.com", "ftp://example.com", "https://", "https:///path", "https:example.com", "//example.com",
		"https://user:" + canary + "@example.com", "https://" + canary + "@example.com", "https://example.com?" + canary, "https://example.com/#" + canary,
		"https://example.com:0", "https://example.com:65536", "https://example.com:x", "https://exa mple.com", "https://bücher.example",
		"https://\u212Aelvin.example", "https://[fe80::1%25eth0]", "https://a%2eb", "https://example.com\\@evil.example", "https://.", " https://example.com", "https://example.com/\n",
		"https://example.com?", "https://example.com#",
	} {
		_, err := d6tpipe.Origin(bad)
		var field *d6tpipe.FieldError
		require.ErrorAs(t, err, &field, bad)
		require.Equal(t, "server", field.Field)
		require.NotContains(t, err.Error(), canary)
	}
}

func TestServerMustBeSafe(t *testing.T) {
	for server, safe := range map[string]bool{
		"https://example.com": true, "http://localhost:1": true, "http://LOCALHOST": true, "http://127.0.0.1:1": true, "http://127.9.9.9": true, "http://[::1]:1": true,
		"http://example.com": false, "http://localhost.example.com": false, "http://127.0.0.1.example.com": false, "http://192.168.0.1": false, "http://0.0.0.0": false, "http://[::]": false,
	} {
		_, err := d6tpipe.Config{Server: server}.Origin()
		require.Equal(t, safe, err == nil, server)
		_, err = d6tpipe.Config{Server: server, Insecure: true}.Origin()
		require.NoError(t, err)
	}
	_, err := d6tpipe.Config{}.Origin()
	require.ErrorIs(t, err, d6tpipe.ErrInvalid)
}

func TestKeyringWithoutBus(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("D-Bus is what Linux has")
	}
	for _, bus := range []string{"", "autolaunch:"} {
		t.Setenv("DBUS_SESSION_BUS_ADDRESS", bus)
		t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
		home := newHome(t)
		cfg, err := d6tpipe.LoadConfig("")
		require.NoError(t, err)
		err = cfg.TokenStore().SetToken(t.Context(), here, canary)
		require.ErrorIs(t, err, d6tpipe.ErrKeyring)
		for _, choice := range []string{"D6TPIPE_TOKEN", "token file", "unlock a keyring"} {
			require.ErrorContains(t, err, choice)
		}
		requireNoCanary(t, home, err.Error())
	}
	pythonConfig(t)
	cfg, err := d6tpipe.LoadConfig("onprem")
	require.NoError(t, err)
	token, err := cfg.TokenStore().Token(t.Context(), d6tpipe.TokenKey{Profile: "onprem", Origin: "http://127.0.0.1:8670"})
	require.NoError(t, err, "what Python left needs no keyring")
	require.NotEmpty(t, token)
}

// requireNoCanary looks for the canary in all files below a folder and in texts,
// in clear and in the usual encodings.
func requireNoCanary(t *testing.T, dir string, texts ...string) (files int) {
	for _, text := range texts {
		requireNone(t, "a text", []byte(text))
	}
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		requireNone(t, path, data)
		requireNone(t, path, []byte(e.Name()))
		files++
		return nil
	}))
	return files
}

func requireNone(t *testing.T, where string, data []byte) {
	plain := []byte(canary)
	for offset := range 3 { // the middle of what base64 makes of it, wherever it starts
		coded := base64.StdEncoding.EncodeToString(append(make([]byte, offset), plain...))
		require.False(t, bytes.Contains(data, []byte(coded[4:len(coded)-4])), where)
	}
	require.False(t, bytes.Contains(data, plain), where)
	require.False(t, bytes.Contains(bytes.ToLower(data), []byte(hex.EncodeToString(plain))), where)
}

const keyringTest = "D6TPIPE_TEST_KEYRING" // what the child process is to do

// TestKeyringChild is run by the tests below in a process of its own.
func TestKeyringChild(t *testing.T) {
	children := map[string]func(*testing.T){
		"session": keyringSession, "locked": keyringLocked, "hangs": keyringHangs, "cancelled": keyringCancelled, "errors": keyringErrors,
	}
	if child, ok := children[os.Getenv(keyringTest)]; ok {
		child(t)
		fmt.Println("the child is done")
	}
}

func runChild(t *testing.T, what string, command ...string) string {
	args := append(command, os.Args[0], "-test.run=^TestKeyringChild$", "-test.count=1")
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env = append(os.Environ(), keyringTest+"="+what, "GORACE=atexit_sleep_ms=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "the child is done")
	return string(out)
}

func inSession(t *testing.T, what string) (home, out string) {
	if runtime.GOOS != "linux" {
		t.Skip("the Secret Service is what Linux has")
	}
	for program, pkg := range map[string]string{"dbus-run-session": "dbus", "gnome-keyring-daemon": "gnome-keyring"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("needs apt package: " + pkg)
		}
	}
	home = t.TempDir()
	return home, runChild(t, what, "sh", "testdata/keyring-session.sh", home)
}

// TestKeyringSession stores tokens in a real Secret Service, and looks for them
// where they should not be.
func TestKeyringSession(t *testing.T) {
	home, out := inSession(t, "session")
	files := requireNoCanary(t, home, out)
	require.Greater(t, files, 1, "the keyring and the profiles are there")
}

func keyringSession(t *testing.T) {
	patient := d6tpipe.KeyringWithin(time.Minute) // the machine may be slow
	testTokenStore(t, patient)
	cfg, err := d6tpipe.InitConfig(t.Context(), "", d6tpipe.InitOptions{Settings: d6tpipe.ConfigSettings{Server: "https://example.com"}})
	require.NoError(t, err)
	require.Equal(t, d6tpipe.KeyringTokens(), d6tpipe.KeyringWithin(0))
	cfg.Tokens = patient
	require.NoError(t, cfg.TokenStore().SetToken(t.Context(), here, canary))
	token, err := cfg.TokenStore().Token(t.Context(), here)
	require.NoError(t, err)
	require.Equal(t, canary, string(token))
	token2, err := keyring.Get("d6tpipe", "default@https://example.com")
	require.NoError(t, err, "this is where others find it")
	require.Equal(t, canary, token2)
}

func TestKeyringLocked(t *testing.T) {
	if _, err := exec.LookPath("dbus-send"); err != nil {
		t.Skip("needs apt package: dbus")
	}
	home, out := inSession(t, "locked")
	requireNoCanary(t, home, out)
}

func keyringLocked(t *testing.T) {
	require.NoError(t, d6tpipe.KeyringWithin(time.Minute).SetToken(t.Context(), here, canary))
	store := d6tpipe.KeyringTokens()
	out, err := exec.CommandContext(t.Context(), "dbus-send", "--session", "--print-reply", "--dest=org.freedesktop.secrets", "/org/freedesktop/secrets",
		"org.freedesktop.Secret.Service.Lock", "array:objpath:/org/freedesktop/secrets/collection/login").CombinedOutput()
	require.NoError(t, err, string(out))
	for range 2 {
		_, err = store.Token(t.Context(), here)
		require.ErrorIs(t, err, d6tpipe.ErrKeyring)
	}
	require.ErrorIs(t, store.SetToken(t.Context(), here, "new"), d6tpipe.ErrKeyring)
	t.Log(err)
}

// silentBus stands for a session bus that takes calls and never answers.
func silentBus(t *testing.T) {
	dir, err := os.MkdirTemp("", "bus") // the name of t.TempDir is too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "bus")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path="+path)
}

func TestKeyringHangs(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("D-Bus is what Linux has")
	}
	runChild(t, "hangs")
	runChild(t, "cancelled")
}

func keyringHangs(t *testing.T) {
	silentBus(t)
	newHome(t)
	cfg, err := d6tpipe.LoadConfig("")
	require.NoError(t, err)
	start := time.Now()
	_, err = cfg.TokenStore().Token(t.Context(), here)
	require.ErrorIs(t, err, d6tpipe.ErrKeyring)
	require.GreaterOrEqual(t, time.Since(start), 3*time.Second)
	start = time.Now()
	for range 20 { // so that one that waits again is told from a busy machine
		require.ErrorIs(t, d6tpipe.KeyringTokens().SetToken(t.Context(), here, canary), d6tpipe.ErrKeyring)
		require.ErrorIs(t, cfg.TokenStore().DeleteToken(t.Context(), here), d6tpipe.ErrKeyring)
	}
	require.Less(t, time.Since(start), time.Minute, "one timeout for the process")
}

func keyringCancelled(t *testing.T) {
	silentBus(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := d6tpipe.KeyringWithin(time.Minute).Token(ctx, here)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, d6tpipe.ErrKeyring)
}

func TestKeyringErrors(t *testing.T) { runChild(t, "errors") }

func keyringErrors(t *testing.T) {
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
	store := d6tpipe.KeyringTokens()
	for given, want := range map[error]error{
		keyring.ErrNotFound:                                     d6tpipe.ErrNotFound,
		keyring.ErrSetDataTooBig:                                d6tpipe.ErrKeyring,
		errors.New("prompt dismissed"):                          d6tpipe.ErrKeyring,
		&exec.Error{Name: "dbus-launch", Err: exec.ErrNotFound}: d6tpipe.ErrKeyring,
	} {
		keyring.MockInitWithError(given)
		_, err := store.Token(t.Context(), here)
		require.ErrorIs(t, err, want)
		require.ErrorIs(t, store.SetToken(t.Context(), here, canary), want)
		err = store.DeleteToken(t.Context(), here)
		if errors.Is(want, d6tpipe.ErrNotFound) {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, want)
	}
	keyring.MockInit()
	testTokenStore(t, d6tpipe.KeyringWithin(time.Minute))
	require.NoError(t, keyring.Set("d6tpipe", here.String(), canary+"\n"))
	_, err := store.Token(t.Context(), here)
	require.ErrorIs(t, err, d6tpipe.ErrInvalid, "somebody else wrote it")
}
