package d6tpipe

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/d6t/d6tpipe-go/internal/catalog"
)

// An AuditEvent is a line of a server's audit log: who changed something, or got
// credentials.
type AuditEvent struct {
	ID     string    `json:"id"` // tells it from others; "" from a server without pages
	Time   time.Time `json:"time"`
	Actor  string    `json:"actor"` // a username, "" for somebody without a token
	Peer   string    `json:"peer,omitempty"`
	Action string    `json:"action"` // POST, PUT, PATCH, DELETE, grant, transfer, credentials, ...
	Kind   string    `json:"kind"`   // pipes, remotes, groups, accounts
	Name   string    `json:"name"`
	Detail string    `json:"detail,omitempty"`
}

// AuditOptions say which lines of the audit log are wanted. The zero value is all.
type AuditOptions struct {
	// Pipe and Remote are names of a record; at most one of them.
	Pipe, Remote string
	// Since and Until bound the time; zero is no bound. Until itself is left out.
	Since, Until time.Time
}

// auditPage is how many lines are asked for at a time.
const auditPage = 500

// Audit returns the newest lines of the audit log, at most 1,000, newest first: what
// happened to what the caller owns, and what the caller did. See [APIClient.AuditLog]
// for all of them.
func (c *APIClient) Audit(ctx context.Context) (events []AuditEvent, err error) {
	defer explain(&err, "get audit log", "")
	return page[AuditEvent](ctx, c.server, c.server.url("audit"), nil)
}

// AuditLog goes through the audit log as [APIClient.Audit] has it, newest first. It is
// asked for in pages: however long it is, it takes little memory, here and on the
// server. An error comes last.
func (c *APIClient) AuditLog(ctx context.Context, o AuditOptions) iter.Seq2[AuditEvent, error] {
	return func(yield func(AuditEvent, error) bool) {
		q := url.Values{"limit": {strconv.Itoa(auditPage)}}
		for name, value := range map[string]string{"pipe": o.Pipe, "remote": o.Remote} {
			if value != "" {
				q.Set(name, value)
			}
		}
		if !o.Until.IsZero() {
			q.Set("before", strconv.FormatInt(o.Until.UnixMicro(), 10))
		}
		for e, err := range pages(ctx, c.server, c.server.url("audit"), q, func(e AuditEvent) string { return e.ID }) {
			switch {
			case err != nil:
				explain(&err, "get audit log", "")
				yield(AuditEvent{}, err)
				return
			case e.Time.Before(o.Since), !yield(e, nil):
				return
			}
		}
	}
}

// page asks for one page of a list.
func page[T any](ctx context.Context, s *server, address string, q url.Values) (rows []T, err error) {
	if len(q) > 0 {
		address += "?" + q.Encode()
	}
	raw, err := s.send(ctx, request{method: http.MethodGet, url: address})
	if err != nil {
		return nil, err
	}
	if err := decodeJSON(raw, &rows); err != nil {
		return nil, badAnswer(err)
	}
	return rows, nil
}

// pages goes through a list of which each row tells where the next page begins. A
// server that has no pages answers with the same rows again, or with all of them.
func pages[T any](ctx context.Context, s *server, address string, q url.Values, id func(T) string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		limit, _ := strconv.Atoi(q.Get("limit"))
		for {
			rows, err := page[T](ctx, s, address, q)
			if err != nil {
				yield(*new(T), err)
				return
			}
			for _, row := range rows {
				if !yield(row, nil) {
					return
				}
			}
			if len(rows) != limit { // the last page, or a server without pages
				return
			}
			next := id(rows[len(rows)-1])
			if next == "" || next == q.Get("before") {
				return
			}
			q.Set("before", next)
		}
	}
}

// Usage is how often something was asked for of a pipe on a day.
type Usage struct {
	Day   string `json:"day"`  // 2026-11-23, in UTC
	What  string `json:"what"` // read, write: credentials for it; url read, url write: signed URLs
	Count int64  `json:"n"`
}

// Analytics returns how a pipe is used, newest first, to those who administer it. It
// goes back as far as the server keeps it.
func (c *APIClient) Analytics(ctx context.Context, pipe string) (usage []Usage, err error) {
	defer explain(&err, "get analytics of pipe", pipe)
	if err := checkName("pipe", pipe); err != nil {
		return nil, err
	}
	q := url.Values{"limit": {strconv.Itoa(auditPage)}}
	for u, err := range pages(ctx, c.server, c.server.url(catalog.Pipes, pipe, "analytics"), q, func(u Usage) string { return u.Day + " " + u.What }) {
		if err != nil {
			return nil, err
		}
		usage = append(usage, u)
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
