package d6tpipe

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/d6t/d6tpipe-go/internal/catalog"
)

// An AuditEvent is a line of a server's audit log: who changed something, or got
// credentials.
type AuditEvent struct {
	Time   time.Time `json:"time"`
	Actor  string    `json:"actor"` // a username, "" for somebody without a token
	Peer   string    `json:"peer,omitempty"`
	Action string    `json:"action"` // POST, PUT, PATCH, DELETE, grant, transfer, credentials, ...
	Kind   string    `json:"kind"`   // pipes, remotes, groups, accounts
	Name   string    `json:"name"`
	Detail string    `json:"detail,omitempty"`
}

// Audit returns the newest lines of the audit log, at most 1,000, newest first: what
// happened to what the caller owns, and what the caller did.
func (c *APIClient) Audit(ctx context.Context) (events []AuditEvent, err error) {
	defer explain(&err, "get audit log", "")
	raw, err := c.server.send(ctx, request{method: http.MethodGet, url: c.server.url("audit")})
	if err != nil {
		return nil, err
	}
	if err := decodeJSON(raw, &events); err != nil {
		return nil, badAnswer(err)
	}
	return events, nil
}

// Usage is how often something was asked for of a pipe on a day.
type Usage struct {
	Day   string `json:"day"`  // 2026-11-23, in UTC
	What  string `json:"what"` // read, write: credentials for it
	Count int64  `json:"n"`
}

// Analytics returns how a pipe is used, newest first, to those who administer it.
func (c *APIClient) Analytics(ctx context.Context, pipe string) (usage []Usage, err error) {
	defer explain(&err, "get analytics of pipe", pipe)
	if err := checkName("pipe", pipe); err != nil {
		return nil, err
	}
	raw, err := c.server.send(ctx, request{method: http.MethodGet, url: c.server.url(catalog.Pipes, pipe, "analytics")})
	if err != nil {
		return nil, err
	}
	if err := decodeJSON(raw, &usage); err != nil {
		return nil, badAnswer(err)
	}
	return usage, nil
}

// Transfer gives a pipe, and its children, to another user. Only its owner can.
func (c *APIClient) Transfer(ctx context.Context, pipe, username string) error {
	return c.transfer(ctx, catalog.Pipes, pipe, username)
}

// TransferRemote gives a remote to another user. The pipes on it stay whose they are.
func (c *APIClient) TransferRemote(ctx context.Context, remote, username string) error {
	return c.transfer(ctx, catalog.Remotes, remote, username)
}

func (c *APIClient) transfer(ctx context.Context, path, name, username string) (err error) {
	defer explain(&err, "transfer", name)
	if err := checkName("name", name); err != nil {
		return err
	}
	in, err := encodeJSON(map[string]string{"username": username})
	if err != nil {
		return err
	}
	_, err = c.server.send(ctx, request{method: http.MethodPatch, url: c.server.url(path, name, "owner"), body: in})
	return err
}

// ResetToken asks for another token, which is kept and used like that of a login.
// The old one is good for nothing from now on, on every machine.
func (c *APIClient) ResetToken(ctx context.Context, username string) (token Secret, err error) {
	defer explain(&err, "reset token of", username)
	if err := checkUser(username); err != nil {
		return "", err
	}
	raw, err := c.server.send(ctx, request{method: http.MethodPost, url: c.server.url("accounts", url.PathEscape(username), "token")})
	if err != nil {
		return "", err
	}
	return c.keep(ctx, raw)
}
