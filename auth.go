package d6tpipe

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"unicode"
)

// A User is who a server takes the caller for.
type User struct {
	Username string `json:"username"`
	// Message is what the server wants its users to read; often empty.
	Message string `json:"message,omitempty"`
}

// Register opens an account and returns its token, which is kept in the
// profile's [TokenStore] and used by c from now on. A username or an e-mail
// address that is taken is [ErrExists]. When the token could not be kept, it is
// returned together with an error that says so: the account exists.
func (c *APIClient) Register(ctx context.Context, username, email string, password Secret) (Secret, error) {
	return c.enter(ctx, "register", username, password, c.server.url("accounts"),
		map[string]string{"username": username, "email": email, "password": string(password)})
}

// Login fetches the token of an account; like [APIClient.Register] it is kept
// and used. It is the same token at every login, on every machine.
func (c *APIClient) Login(ctx context.Context, username string, password Secret) (Secret, error) {
	return c.enter(ctx, "log in", username, password, c.server.url("accounts", "token"),
		map[string]string{"username": username, "password": string(password)})
}

// ForgotToken is [APIClient.Login] under the name that the Python client has
// for it.
func (c *APIClient) ForgotToken(ctx context.Context, username string, password Secret) (Secret, error) {
	return c.Login(ctx, username, password)
}

// Logout removes the token from the profile's [TokenStore] and from c. The
// server does not hear of it.
func (c *APIClient) Logout(ctx context.Context) error {
	if err := c.server.session.forget(ctx); err != nil {
		return &Error{Op: "log out", Name: c.server.session.key.Profile, Err: err}
	}
	return nil
}

// WithoutToken returns an anonymous client of the same server, whatever token
// the profile has. To reset a token as with the Python client, register with it:
// the new token takes the place of the old one in the profile, and the returned
// client uses it.
func (c *APIClient) WithoutToken() *APIClient {
	s := *c.server
	s.session = newSession(s.session.store, s.session.key)
	s.session.known = true
	return newAPIClient(&s, c.cfg())
}

// WhoAmI asks the server who the caller is. Without a token, or with one that
// the server does not know, it is [ErrUnauthorized].
func (c *APIClient) WhoAmI(ctx context.Context) (user User, err error) {
	defer explain(&err, "ask who I am", "")
	token, err := c.server.session.get(ctx)
	if err != nil {
		return user, err
	}
	if token == "" {
		return user, ErrUnauthorized
	}
	raw, err := c.server.send(ctx, request{method: http.MethodGet, url: c.server.url()})
	if err != nil {
		return user, err
	}
	if err := decodeJSON(raw, &user); err != nil {
		return user, badAnswer(err)
	}
	if user.Username == "" {
		return user, ErrUnauthorized
	}
	return user, nil
}

// Unregister closes the account of the caller; the server removes the caller's
// pipes and remotes. The token is removed as [APIClient.Logout] does. Somebody
// else's account is [ErrPermission].
func (c *APIClient) Unregister(ctx context.Context, username string) (err error) {
	defer explain(&err, "unregister", username)
	if err := checkUser(username); err != nil {
		return err
	}
	target := c.server.url("accounts", url.PathEscape(username))
	if _, err := c.server.send(ctx, request{method: http.MethodDelete, url: target, gone: ErrUnauthorized}); err != nil {
		return err
	}
	if err := c.server.session.forget(ctx); err != nil {
		return &Error{Op: "the account is closed, but the token stays: remove token", Err: err}
	}
	return nil
}

// enter posts to a route that answers with a token, and keeps it.
func (c *APIClient) enter(ctx context.Context, op, username string, password Secret, target string, form map[string]string) (token Secret, err error) {
	defer explain(&err, op, username)
	if err := checkUser(username); err != nil {
		return "", err
	}
	if password == "" {
		return "", &FieldError{Field: "password", Reason: "This field is required."}
	}
	in, err := encodeJSON(form)
	if err != nil {
		return "", err
	}
	raw, err := c.server.send(ctx, request{method: http.MethodPost, url: target, body: in, open: true})
	if err != nil {
		return "", err
	}
	return c.keep(ctx, raw)
}

// keep keeps the token of an answer.
func (c *APIClient) keep(ctx context.Context, raw json.RawMessage) (Secret, error) {
	var answer struct{ Token string }
	if err := decodeJSON(raw, &answer); err != nil {
		return "", badAnswer(err)
	}
	if answer.Token == "" {
		return "", badAnswer(errors.New("it has no token"))
	}
	token := Secret(answer.Token)
	if err := c.server.session.put(ctx, token); err != nil {
		return token, &Error{Op: "the server gave a token, but it could not be kept: store token", Err: err}
	}
	return token, nil
}

// checkUser refuses names that are no single segment of a path.
func checkUser(username string) error {
	switch {
	case username == "":
		return &FieldError{Field: "username", Reason: "This field is required."}
	case username == "." || username == "..", strings.ContainsFunc(username, unicode.IsControl), strings.Contains(username, "/"):
		return &FieldError{Field: "username", Reason: "This name cannot be a username."}
	}
	return nil
}

// explain wraps *err, if there is one, with what was tried.
func explain(err *error, op, name string) {
	if *err != nil {
		*err = &Error{Op: op, Name: name, Err: *err}
	}
}

// A session is the token of a client, fetched once from the store.
type session struct {
	store TokenStore
	key   TokenKey
	turn  chan struct{} // holds one value while nobody is at known and token
	known bool
	token Secret
}

func newSession(store TokenStore, key TokenKey) *session {
	s := &session{store: store, key: key, turn: make(chan struct{}, 1)}
	s.turn <- struct{}{}
	return s
}

// lock waits for its turn, no longer than ctx: a keyring may take seconds.
func (s *session) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-s.turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *session) unlock() { s.turn <- struct{}{} }

// get returns the token, "" when the profile has none.
func (s *session) get(ctx context.Context) (Secret, error) {
	if err := s.lock(ctx); err != nil {
		return "", err
	}
	defer s.unlock()
	if s.known {
		return s.token, nil
	}
	token, err := s.store.Token(ctx, s.key)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return "", err
	}
	token = Secret(strings.TrimSpace(string(token)))
	if strings.ContainsFunc(string(token), func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", &FieldError{Field: "token", Reason: "The token has characters that no token has."}
	}
	s.known, s.token = true, token
	return token, nil
}

// put makes token the one to use and keeps it in the store.
func (s *session) put(ctx context.Context, token Secret) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	s.known, s.token = true, token
	return s.store.SetToken(ctx, s.key, token)
}

// forget removes the token here and in the store.
func (s *session) forget(ctx context.Context) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	s.known, s.token = true, ""
	if err := s.store.DeleteToken(ctx, s.key); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil
}
