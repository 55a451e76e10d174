package d6tpipe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	gokeyring "github.com/zalando/go-keyring"
)

// TokenKey tells tokens apart: each profile has one for each server.
type TokenKey struct {
	Profile string // the name of the profile
	Origin  string // as [Origin] returns it
}

// String returns profile@origin, the name of the token in the keyring.
func (k TokenKey) String() string { return k.Profile + "@" + k.Origin }

// TokenStore keeps the tokens for repo APIs. It is safe for concurrent use.
// Errors never show a token.
type TokenStore interface {
	// Token returns the token of a key. It is [ErrNotFound] when there is none.
	Token(ctx context.Context, key TokenKey) (Secret, error)
	// SetToken keeps a token in the place of the former one. A token that no HTTP
	// header can carry is [ErrInvalid].
	SetToken(ctx context.Context, key TokenKey, token Secret) error
	// DeleteToken forgets a token. That there is none is no error.
	DeleteToken(ctx context.Context, key TokenKey) error
}

// TokenStore returns where the profile's token comes from. Tokens are read from
// $D6TPIPE_TOKEN first, then from where they are kept, and at last from what the
// Python client left in the file of profiles, if it is for the same server. They
// are kept in c.Tokens if it is not nil, else in the file c.TokenFile if there is
// one, else in the keyring of the operating system; never anywhere else.
// Deleting a token removes the one that the Python client left as well.
func (c Config) TokenStore() TokenStore { return configTokens{hide(c)} }

// stored is where tokens are kept.
func (c Config) stored() TokenStore {
	switch {
	case c.Tokens != nil:
		return c.Tokens
	case c.TokenFile != "":
		return FileTokens(c.TokenFile)
	default:
		return KeyringTokens()
	}
}

type configTokens struct{ cfg hidden[Config] }

func (t configTokens) Token(ctx context.Context, key TokenKey) (Secret, error) {
	if token := Secret(strings.TrimSpace(os.Getenv(envToken))); token != "" {
		return token, checkToken(envToken, key, token)
	}
	token, err := t.cfg().stored().Token(ctx, key)
	if left, ok := t.cfg().leftFor(key); ok && (errors.Is(err, ErrNotFound) || errors.Is(err, ErrKeyring)) {
		return left, checkToken("token", key, left)
	}
	return token, err
}

func (t configTokens) SetToken(ctx context.Context, key TokenKey, token Secret) error {
	if err := t.cfg().stored().SetToken(ctx, key, token); err != nil {
		return err
	}
	// A token of somebody else, left in the file, must not stand in for this one
	// when the keyring is locked.
	if left, ok := t.cfg().leftFor(key); ok && left != token {
		return t.cfg().dropLeft(ctx)
	}
	return nil
}

func (t configTokens) DeleteToken(ctx context.Context, key TokenKey) error {
	var err error
	if _, ok := t.cfg().leftFor(key); ok {
		err = t.cfg().dropLeft(ctx)
	}
	return errors.Join(err, t.cfg().stored().DeleteToken(ctx, key))
}

// dropLeft removes the token that the Python client left in the file.
func (c Config) dropLeft(ctx context.Context) error {
	err := editProfiles(ctx, c.File, func(doc *profiles) error {
		_, left, err := doc.settings(c.Profile)
		if left == nil || left.key != c.left.key {
			return ignoreNotFound(err)
		}
		profile, err := doc.profile(c.Profile)
		if err != nil {
			return err
		}
		profile.Delete("token")
		return doc.set(c.Profile, profile)
	})
	if err == nil {
		c.left.deleted.Store(true)
	}
	return err
}

func ignoreNotFound(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// checkToken refuses a token that would break out of its header. The field tells
// where it came from.
func checkToken(field string, key TokenKey, token Secret) error {
	switch {
	case key.Profile == "" || key.Origin == "":
		return &FieldError{Field: "key", Reason: "A token needs a profile and an origin."}
	case token == "":
		return &FieldError{Field: field, Reason: "The token is empty."}
	case token == redacted:
		return &FieldError{Field: field, Reason: "This is what a secret prints as, and not the token."}
	case strings.ContainsFunc(string(token), func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsGraphic(r) || r == ' ' }):
		return &FieldError{Field: field, Reason: "A token has only printable ASCII characters and no space."}
	}
	return nil
}

const (
	keyringService = "d6tpipe"
	keyringLimit   = 3 * time.Second
)

// KeyringTokens returns the store that the operating system offers: the Secret
// Service on Linux and BSD, the Keychain on macOS, the Credential Manager on
// Windows. A token is the password of the user profile@origin for the service
// d6tpipe.
//
// A call takes 3 seconds at most. Where the keyring is not there, is locked or
// does not answer, errors match [ErrKeyring] and tell what else can be done;
// tokens are never written anywhere else instead. After one call without an
// answer, all further calls of the process fail at once.
func KeyringTokens() TokenStore { return keyringTokens{} }

type keyringTokens struct {
	limit time.Duration // of a call; 0 is keyringLimit
}

// theKeyring belongs to the process, as go-keyring's one connection does, which
// is not made for several calls at once. Who has waited for it in vain is not to
// wait again.
var theKeyring struct {
	mu    sync.Mutex
	hangs atomic.Bool
}

func (k keyringTokens) Token(ctx context.Context, key TokenKey) (Secret, error) {
	token, err := k.ask(ctx, "read token", key, func() (string, error) {
		return gokeyring.Get(keyringService, key.String())
	})
	if err != nil {
		return "", err
	}
	return Secret(token), checkToken("token", key, Secret(token))
}

func (k keyringTokens) SetToken(ctx context.Context, key TokenKey, token Secret) error {
	if err := checkToken("token", key, token); err != nil {
		return err
	}
	_, err := k.ask(ctx, "keep token", key, func() (string, error) {
		return "", gokeyring.Set(keyringService, key.String(), string(token))
	})
	return err
}

func (k keyringTokens) DeleteToken(ctx context.Context, key TokenKey) error {
	_, err := k.ask(ctx, "delete token", key, func() (string, error) {
		return "", gokeyring.Delete(keyringService, key.String())
	})
	return ignoreNotFound(err)
}

// ask makes one call to the keyring, in time. The keyring's library knows no context:
// a call that does not come back is left behind.
func (k keyringTokens) ask(ctx context.Context, op string, key TokenKey, call func() (string, error)) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", &Error{Op: op, Name: key.String(), Err: err}
	}
	if why := noKeyring(); why != "" {
		return "", keyringError(op, key, why)
	}
	limit := cmp.Or(k.limit, keyringLimit)
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case a := <-inTurn(ctx, call):
		switch {
		case errors.Is(a.err, gokeyring.ErrNotFound):
			a.err = &Error{Op: op, Name: key.String(), Err: ErrNotFound}
		case a.err != nil:
			a.err = keyringError(op, key, "it says: "+a.err.Error())
		}
		return a.text, a.err
	case <-limited.Done():
		if err := ctx.Err(); err != nil {
			return "", &Error{Op: op, Name: key.String(), Err: err}
		}
		theKeyring.hangs.Store(true)
		return "", keyringError(op, key, fmt.Sprintf("it did not answer within %v; it may be waiting to be unlocked", limit))
	}
}

type keyringAnswer struct {
	text string
	err  error
}

// inTurn makes a call once all others are done, unless nobody waits for it any
// more then.
func inTurn(ctx context.Context, call func() (string, error)) <-chan keyringAnswer {
	answers := make(chan keyringAnswer, 1)
	go func() {
		theKeyring.mu.Lock()
		defer theKeyring.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		text, err := call()
		answers <- keyringAnswer{text, err}
	}()
	return answers
}

// noKeyring says why it is of no use to ask, "" when it is.
func noKeyring() string {
	if theKeyring.hangs.Load() {
		return "it did not answer before"
	}
	switch runtime.GOOS {
	case "windows", "darwin":
		return ""
	}
	// Without a bus to go to, the library would try to start one, and hang.
	if bus := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); bus != "" && !strings.HasPrefix(bus, "autolaunch:") {
		return ""
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		if _, err := os.Stat(filepath.Join(dir, "bus")); err == nil {
			return ""
		}
	}
	return "there is no D-Bus session"
}

func keyringError(op string, key TokenKey, why string) error {
	return &Error{Op: op, Name: key.String(), Err: fmt.Errorf("%w: %s. "+
		"Set %s for this run, or name a token file in the profile (the setting tokenfile; the token lies in it unencrypted, readable by you only), "+
		"or start and unlock a keyring such as gnome-keyring", ErrKeyring, why, envToken)}
}
