package repo

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base32"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"sync"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/wire"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/vault"
)

// user is an account. The zero user is anybody.
type user struct {
	id, name, email string
	admin           bool
}

// isKnown reports whether somebody is logged in.
func (u user) isKnown() bool { return u.id != "" }

// newID returns an id that nobody can guess and that is never used again.
func newID() string {
	data := make([]byte, 15)
	_, _ = rand.Read(data) // it never fails, says package rand
	return strings.ToLower(base32.StdEncoding.EncodeToString(data))
}

// Names of users are folders of managed storage, too. Both are compiled when they are
// first used: that takes a good part of the time in which a command that needs no
// server starts.
var (
	usernames = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`) })
	emails    = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f]{1,190}$`)
	})
)

func checkAccount(form *wire.Registration) error {
	form.Email = strings.ToLower(strings.TrimSpace(form.Email))
	switch {
	case form.Username == "":
		return &d6tpipe.FieldError{Field: "username", Reason: "This field is required."}
	case strings.EqualFold(form.Username, d6tpipe.Public):
		return &d6tpipe.FieldError{Field: "username", Reason: "Username is reserved."}
	case !usernames().MatchString(form.Username):
		return &d6tpipe.FieldError{Field: "username", Reason: "Username: up to 64 letters, digits, dots, hyphens and underscores, the first a letter or digit."}
	case !emails().MatchString(form.Email):
		return &d6tpipe.FieldError{Field: "email", Reason: "Enter a valid email address."}
	case form.Password == "" || len(form.Password) > vault.MaxPassword:
		return &d6tpipe.FieldError{Field: "password", Reason: "A password has 1 to 1024 bytes."}
	}
	return nil
}

// Register opens an account. Invitations to its e-mail address are its own from
// now on.
func (r *Repo) Register(ctx context.Context, form wire.Registration) (string, error) {
	if err := r.o.Throttle.Register(r.o.Peer(ctx)); err != nil {
		return "", busy(err)
	}
	if r.o.Closed {
		return "", refusal(http.StatusForbidden, "Registration is closed on this server; ask its administrator for an account.")
	}
	return r.AddAccount(ctx, form, false)
}

// AddAccount opens an account whether registration is closed or not.
func (r *Repo) AddAccount(ctx context.Context, form wire.Registration, admin bool) (string, error) {
	if err := checkAccount(&form); err != nil {
		return "", err
	}
	hash, err := r.o.Hasher.Hash(ctx, d6tpipe.Secret(form.Password))
	if err != nil {
		return "", busy(err)
	}
	u := user{newID(), form.Username, form.Email, admin}
	token := vault.NewToken()
	err = r.o.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		sealed, err := r.seal(ctx, tx, []byte(token), tokenPlace(u.id))
		if err != nil {
			return err
		}
		if err := unique(ctx, tx, form); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO users (id, username, email, password, token_hash, token_sealed, is_admin, created_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, u.id, u.name, u.email, hash, vault.Hash(token), sealed, admin, r.now()); err != nil {
			return err
		}
		if err := accept(ctx, tx, u); err != nil {
			return err
		}
		return r.note(ctx, tx, u, event{action: "register", kind: "accounts", name: u.name, owner: u.id})
	})
	return string(token), err
}

// unique says which of name and address is taken.
func unique(ctx context.Context, tx db.Tx, form wire.Registration) error {
	for _, f := range []struct{ field, query, value string }{
		{"username", `SELECT COUNT(*) FROM users WHERE lower(username) = lower($1)`, form.Username},
		{"email", `SELECT COUNT(*) FROM users WHERE email = $1`, form.Email},
	} {
		var n int64
		if err := tx.QueryRowContext(ctx, f.query, f.value).Scan(&n); err != nil {
			return err
		}
		if n > 0 {
			return taken(f.field)
		}
	}
	return nil
}

// accept makes what was granted to an e-mail address the user's.
func accept(ctx context.Context, tx db.Tx, u user) error {
	for _, query := range []string{
		`UPDATE grants SET grantee = $1 WHERE grantee = $2`,
		`UPDATE members SET member = $1 WHERE member = $2`,
	} {
		if _, err := tx.ExecContext(ctx, query, "user:"+u.id, "email:"+u.email); err != nil {
			return err
		}
	}
	return nil
}

func tokenPlace(user string) vault.Place { return vault.Place{Record: user, Field: "token"} }

var errLogin = refusal(http.StatusUnauthorized, "Unable to log in with provided credentials.")

// Login returns the token of an account, the same one as ever.
func (r *Repo) Login(ctx context.Context, username, password string) (string, error) {
	attempt, err := r.o.Throttle.Login(ctx, strings.ToLower(username), r.o.Peer(ctx))
	if err != nil {
		return "", busy(err)
	}
	defer attempt.Done()
	var u user
	var hash, sealed string
	err = r.o.DB.Read(ctx, func(ctx context.Context, tx db.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT id, username, password, token_sealed FROM users WHERE username = $1`, username).
			Scan(&u.id, &u.name, &hash, &sealed)
	})
	switch {
	case errors.Is(err, sql.ErrNoRows), errors.Is(err, db.ErrArgument):
		if err := r.o.Hasher.VerifyNobody(ctx, d6tpipe.Secret(password)); err != nil {
			return "", busy(err)
		}
		attempt.Fail()
		return "", errLogin
	case err != nil:
		return "", err
	}
	ok, err := r.o.Hasher.Verify(ctx, hash, d6tpipe.Secret(password))
	switch {
	case err != nil:
		return "", busy(err)
	case !ok:
		attempt.Fail()
		return "", errLogin
	}
	if r.o.Hasher.NeedsRehash(hash) {
		if err := r.rehash(ctx, u, hash, password); err != nil {
			r.o.Log.Warn("a password could not be hashed anew", "user", u.name, "error", err)
		}
	}
	token, err := r.unseal(sealed, tokenPlace(u.id))
	return string(token), err
}

func (r *Repo) rehash(ctx context.Context, u user, old, password string) error {
	hash, err := r.o.Hasher.Hash(ctx, d6tpipe.Secret(password))
	if err != nil {
		return err
	}
	return r.o.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE users SET password = $1 WHERE id = $2 AND password = $3`, hash, u.id, old)
		return err
	})
}

// Open returns the session of a token's holder.
func (r *Repo) Open(ctx context.Context, token string) (wire.Session, error) {
	s := &session{Repo: r, token: token}
	if token == "" {
		return s, nil
	}
	err := r.o.DB.Query(ctx, func(rows *sql.Rows) error {
		if !rows.Next() { // or it failed, which Query says
			return d6tpipe.ErrUnauthorized
		}
		return rows.Scan(&s.user.id, &s.user.name, &s.user.email, &s.user.admin)
	}, `SELECT id, username, email, is_admin FROM users WHERE token_hash = $1`, vault.Hash(d6tpipe.Secret(token)))
	if err != nil {
		return nil, err
	}
	r.o.Seen(ctx, s.user.name)
	return s, nil
}

// WhoAmI returns the caller's name, and what the server has to tell.
func (s *session) WhoAmI(ctx context.Context) (json.RawMessage, error) {
	if !s.user.isKnown() {
		return nil, d6tpipe.ErrUnauthorized
	}
	message, err := s.messageFor(ctx)
	if err != nil {
		return nil, err
	}
	return json.Marshal(d6tpipe.User{Username: s.user.name, Message: message})
}

// Unregister closes the caller's account and removes what it owns.
func (s *session) Unregister(ctx context.Context, username string) error {
	if err := s.self(username); err != nil {
		return err
	}
	return s.o.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		if err := s.forgetManaged(ctx, tx, `owner_id = $1`, s.user.id); err != nil {
			return err
		}
		if err := removeHooks(ctx, tx, `r.owner_id = $1`, s.user.id); err != nil {
			return err
		}
		for _, query := range []string{
			`DELETE FROM grants WHERE grantee = $1`, `DELETE FROM members WHERE member = $1`,
		} {
			if _, err := tx.ExecContext(ctx, query, "user:"+s.user.id); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM grants WHERE grantee IN (SELECT 'group:' || id FROM teams WHERE owner_id = $1)`, s.user.id); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM users WHERE id = $1`, s.user.id); err != nil {
			return err
		}
		return s.note(ctx, tx, s.user, event{action: "unregister", kind: "accounts", name: username, owner: s.user.id})
	})
}

// self makes sure that the caller is called username.
func (s *session) self(username string) error {
	switch {
	case !s.user.isKnown():
		return d6tpipe.ErrUnauthorized
	case s.user.name != username:
		return refusal(http.StatusForbidden, "You can only unregister yourself.")
	case s.o.OpenDemo && s.isDemo():
		return refusal(http.StatusForbidden, "The demo account cannot be changed.")
	}
	return nil
}

// isDemo reports whether the caller is the account that can change no pipe: the old
// cloud had it, and the Python client's users know it.
func (s *session) isDemo() bool { return s.user.name == Demo }

// resetToken gives the caller another token. The old one is good for nothing from
// now on.
func (s *session) resetToken(ctx context.Context, username string) (json.RawMessage, error) {
	switch {
	case !s.user.isKnown():
		return nil, d6tpipe.ErrUnauthorized
	case s.user.name != username:
		return nil, refusal(http.StatusForbidden, "You can only reset your own token.")
	case s.o.OpenDemo && s.isDemo():
		return nil, refusal(http.StatusForbidden, "The demo account cannot be changed.")
	}
	token := vault.NewToken()
	err := s.o.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		sealed, err := s.seal(ctx, tx, []byte(token), tokenPlace(s.user.id))
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE users SET token_hash = $1, token_sealed = $2 WHERE id = $3`, vault.Hash(token), sealed, s.user.id); err != nil {
			return err
		}
		return s.note(ctx, tx, s.user, event{action: "reset token", kind: "accounts", name: username, owner: s.user.id})
	})
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]string{"token": string(token)})
}
