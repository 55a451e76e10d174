package d6tpipe

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/d6t/d6tpipe-go/internal/catalog"
)

// WebhookSettings are what a pipe's administrator says about a webhook: an address to
// which a server posts what has changed in the pipe, signed as the Standard Webhooks
// specification says. [VerifyWebhook] is for who receives them.
type WebhookSettings struct {
	// URL is where to: https, or http where the server's administrator allows it. It may
	// hold a secret in its path or query, and so is shown to administrators of the pipe
	// only.
	URL string `json:"url"`
	// Include and Exclude are patterns for the keys that are told of, joined by |, as in
	// [PipeOptions]; they narrow the pipe's own.
	Include string `json:"include,omitempty"`
	Exclude string `json:"exclude,omitempty"`
	// Kinds are the kinds of changes that are told of; all when empty.
	Kinds []ChangeKind `json:"kinds,omitempty"`
	// Description is for people, up to 256 characters.
	Description string `json:"description,omitempty"`
	// Paused keeps what changes until it is over, as long as the server keeps the feed of
	// changes.
	Paused bool `json:"paused,omitempty"`
}

// The bounds of [WebhookSettings].
const (
	maxWebhookURL         = 2048
	maxWebhookFilter      = 4096
	maxWebhookDescription = 256
)

// Validate reports the first field that is malformed, as a [*FieldError].
func (s WebhookSettings) Validate() error {
	if reason := webhookURLReason(s.URL); reason != "" {
		return &FieldError{Field: "url", Reason: reason}
	}
	for _, f := range []struct {
		field, text string
		most        int
	}{{"include", s.Include, maxWebhookFilter}, {"exclude", s.Exclude, maxWebhookFilter}, {"description", s.Description, maxWebhookDescription}} {
		switch {
		case len(f.text) > f.most:
			return &FieldError{Field: f.field, Reason: fmt.Sprintf("This has at most %d bytes.", f.most)}
		case !utf8.ValidString(f.text) || strings.ContainsFunc(f.text, unicode.IsControl):
			return &FieldError{Field: f.field, Reason: "This must be text without control characters."}
		}
	}
	for _, kind := range s.Kinds {
		if !slices.Contains([]ChangeKind{ChangeNew, ChangeModified, ChangeGone}, kind) {
			return &FieldError{Field: "kinds", Reason: "The kinds of changes are new, modified and gone."}
		}
	}
	return nil
}

// webhookURLReason says what is wrong with an address. It quotes nothing: there may be
// a secret in it.
func webhookURLReason(text string) string {
	if text == "" {
		return "This field is required."
	}
	if len(text) > maxWebhookURL {
		return fmt.Sprintf("An address has at most %d bytes.", maxWebhookURL)
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "" || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return "This must be a URL such as https://example.com/hooks/1, in ASCII."
	case u.Scheme != "https" && u.Scheme != "http":
		return "The URL must begin with https://."
	case u.User != nil:
		return "There must be no user and password in the URL; the signature says who sends."
	case u.Fragment != "" || strings.HasSuffix(text, "#"):
		return "There must be no # in the URL, since what follows one is never sent."
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "The port of the URL is none."
		}
	}
	return ""
}

// A Webhook is what a server knows of a webhook.
type Webhook struct {
	ID   string `json:"id"`
	Pipe string `json:"pipe"`
	// Creator is who made it, or last gave it an address or enabled it; "" when that
	// account is gone. It is disabled when they do not administer the pipe any more.
	Creator string `json:"creator,omitempty"`
	WebhookSettings
	// Secret is what the messages are signed with, in the answers to [APIClient.CreateWebhook]
	// and to a rotation alone. It prints and marshals as ***.
	Secret Secret `json:"secret,omitempty"`
	// OldSecretsUntil is until when messages are signed with former secrets besides; nil
	// is not at all.
	OldSecretsUntil *time.Time `json:"old_secrets_until,omitempty"`
	// Disabled says why the server sends nothing any more, "" that it does. See
	// [WebhookUpdate].Enable.
	Disabled   string     `json:"disabled,omitempty"`
	DisabledAt *time.Time `json:"disabled_at,omitempty"`
	// Failures counts the attempts at the message that waits, and Retry is when the next
	// one is due.
	Failures int        `json:"failures,omitempty"`
	Retry    *time.Time `json:"retry,omitempty"`
	// Notice is what the caller should know about what was done, such as that it goes on
	// from now on because what was in between is forgotten.
	Notice  string    `json:"notice,omitempty"`
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

// A WebhookUpdate says what is to change. What is nil stays.
type WebhookUpdate struct {
	URL         *string       `json:"url,omitempty"`
	Include     *string       `json:"include,omitempty"`
	Exclude     *string       `json:"exclude,omitempty"`
	Kinds       *[]ChangeKind `json:"kinds,omitempty"`
	Description *string       `json:"description,omitempty"`
	Paused      *bool         `json:"paused,omitempty"`
	// Rotate makes a new secret. For 24 hours the former one signs too.
	Rotate bool `json:"rotate,omitempty"`
	// Enable lets the server send again to a webhook that it has disabled, from where it
	// had stopped, if that is not forgotten yet.
	Enable bool `json:"enable,omitempty"`
}

// A WebhookRun is the detail of the [Run] of a webhook: what of it has arrived.
type WebhookRun struct {
	Messages int `json:"messages"`
	// Changes are those that new messages were made of.
	Changes int `json:"changes"`
	// Waits is when the next attempt is due at a message that was not accepted.
	Waits *time.Time `json:"waits,omitempty"`
}

// A Delivery is an attempt to deliver a message to a webhook.
type Delivery struct {
	ID   string    `json:"id"`
	Time time.Time `json:"time"`
	// Message is the id of the message, the same for all attempts at it.
	Message string `json:"message"`
	Type    string `json:"type"` // WebhookPipeChanged, WebhookTest
	Attempt int    `json:"attempt"`
	// Status is the HTTP status of the answer, 0 when there was none.
	Status int      `json:"status,omitempty"`
	Took   Interval `json:"took"`
	// Error says why it counts as failed, "" that it has arrived.
	Error string `json:"error,omitempty"`
	// Said is the beginning of the answer, up to 1 KiB, with what is no text escaped.
	Said string `json:"said,omitempty"`
}

// Webhooks lists the webhooks of a pipe, the oldest first, to those who administer it.
func (c *APIClient) Webhooks(ctx context.Context, pipe string) (hooks []Webhook, err error) {
	defer explain(&err, "list webhooks of pipe", pipe)
	if err := checkName("pipe", pipe); err != nil {
		return nil, err
	}
	return page[Webhook](ctx, c.server, c.server.url(catalog.Pipes, pipe, "webhooks"), nil)
}

// Webhook returns a webhook of a pipe.
func (c *APIClient) Webhook(ctx context.Context, pipe, id string) (Webhook, error) {
	return c.webhook(ctx, "get webhook of pipe", http.MethodGet, pipe, id, nil)
}

// CreateWebhook makes a webhook. It is told of what changes from now on. Keep the
// secret of the answer: it cannot be asked for again.
func (c *APIClient) CreateWebhook(ctx context.Context, pipe string, s WebhookSettings) (Webhook, error) {
	if err := s.Validate(); err != nil {
		explain(&err, "create webhook of pipe", pipe)
		return Webhook{}, err
	}
	return c.webhook(ctx, "create webhook of pipe", http.MethodPost, pipe, "", s)
}

// UpdateWebhook changes a webhook. After a rotation the answer has the new secret; when
// an answer is lost and the secret with it, rotate again: the one that the receiver has
// stays good all the same.
func (c *APIClient) UpdateWebhook(ctx context.Context, pipe, id string, u WebhookUpdate) (Webhook, error) {
	return c.webhook(ctx, "update webhook of pipe", http.MethodPatch, pipe, id, u)
}

// DeleteWebhook removes a webhook, with the log of its deliveries.
func (c *APIClient) DeleteWebhook(ctx context.Context, pipe, id string) (err error) {
	defer explain(&err, "delete webhook of pipe", pipe)
	if err := checkWebhook(pipe, id); err != nil {
		return err
	}
	_, err = c.server.send(ctx, request{method: http.MethodDelete, url: c.server.url(catalog.Pipes, pipe, "webhooks", id)})
	return err
}

// TestWebhook has the server send a message of the type [WebhookTest] now, once, and
// returns what came of it. That the message did not arrive is no error: see
// [Delivery].Error.
func (c *APIClient) TestWebhook(ctx context.Context, pipe, id string) (d Delivery, err error) {
	defer explain(&err, "test webhook of pipe", pipe)
	if err := checkWebhook(pipe, id); err != nil {
		return d, err
	}
	raw, err := c.server.send(ctx, request{method: http.MethodPost, url: c.server.url(catalog.Pipes, pipe, "webhooks", id, "test")})
	if err != nil {
		return d, err
	}
	if err := decodeJSON(raw, &d); err != nil {
		return d, badAnswer(err)
	}
	return d, nil
}

// Deliveries goes through what was sent to a webhook, the newest first, as far back as
// the server keeps it. An error comes last.
func (c *APIClient) Deliveries(ctx context.Context, pipe, id string) iter.Seq2[Delivery, error] {
	const op = "list deliveries to webhook of pipe"
	return func(yield func(Delivery, error) bool) {
		if err := checkWebhook(pipe, id); err != nil {
			explain(&err, op, pipe)
			yield(Delivery{}, err)
			return
		}
		q := url.Values{"limit": {"100"}}
		for d, err := range pages(ctx, c.server, c.server.url(catalog.Pipes, pipe, "webhooks", id, "deliveries"), q, func(d Delivery) string { return d.ID }) {
			explain(&err, op, pipe)
			if !yield(d, err) || err != nil {
				return
			}
		}
	}
}

// webhook sends a request that a webhook is the answer to. An id of "" is a new one.
func (c *APIClient) webhook(ctx context.Context, op, method, pipe, id string, in any) (hook Webhook, err error) {
	defer explain(&err, op, pipe)
	if method == http.MethodPost {
		err = checkName("pipe", pipe)
	} else {
		err = checkWebhook(pipe, id)
	}
	if err != nil {
		return hook, err
	}
	r := request{method: method, url: c.server.url(catalog.Pipes, pipe, "webhooks", id)}
	if in != nil {
		if r.body, err = encodeJSON(in); err != nil {
			return hook, err
		}
	}
	raw, err := c.server.send(ctx, r)
	if err != nil {
		return hook, err
	}
	if err := decodeJSON(raw, &hook); err != nil {
		return hook, badAnswer(err)
	}
	return hook, nil
}

func checkWebhook(pipe, id string) error {
	if err := checkName("pipe", pipe); err != nil {
		return err
	}
	if !catalog.IsName(id) {
		return &FieldError{Field: "id", Reason: "This is not the id of a webhook."}
	}
	return nil
}
