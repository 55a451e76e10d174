package d6tpipe

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/d6t/d6tpipe-go/internal/webhook"
)

// The types of messages to webhooks.
const (
	WebhookPipeChanged = "pipe.changed" // Data is a PipeChanged
	WebhookTest        = "webhook.test" // somebody wants to see whether it works; Data names the pipe
)

// The reasons for which [VerifyWebhook] refuses a message.
var (
	// ErrWebhookForged says that none of the secrets has signed the message as it is:
	// somebody else sent it, it was changed on its way, or the secret is another one.
	ErrWebhookForged = errors.New("the signature is not by the secret of this webhook")
	// ErrWebhookTime says that the message was signed, at a time more than five minutes
	// ago or ahead: somebody replays it, or one of the clocks is wrong.
	ErrWebhookTime = errors.New("the message is from another time")
)

// A WebhookEvent is a message to a webhook that was verified.
type WebhookEvent struct {
	// ID is the message's, the same when it is sent again: what was processed under this
	// id needs no second time. Messages come at least once, and in order.
	ID string `json:"-"`
	// Sent is when this attempt was made, Timestamp when the message was.
	Sent      time.Time       `json:"-"`
	Type      string          `json:"type"`
	Timestamp time.Time       `json:"timestamp"`
	Data      json.RawMessage `json:"data"`
}

// PipeChanged is what a message of the type [WebhookPipeChanged] says.
type PipeChanged struct {
	Pipe string `json:"pipe"`
	// Changes are the first ones, at most 100, in order per key.
	Changes []Change `json:"changes"`
	// Total is how many changes the message is about, and More says that these are not
	// all in it. Cursor is behind those that are: the feed of changes goes on from there.
	Total  int    `json:"total"`
	More   bool   `json:"more"`
	Cursor string `json:"cursor"`
	// Missed says that there were changes before these that the server has forgotten:
	// compare all files, as a pull does.
	Missed bool `json:"missed,omitempty"`
}

// Changed returns what a message of the type [WebhookPipeChanged] says; another type is
// [ErrUnsupported].
func (e WebhookEvent) Changed() (c PipeChanged, err error) {
	if e.Type != WebhookPipeChanged {
		return c, fmt.Errorf("%w: a message of the type %q", ErrUnsupported, e.Type)
	}
	if err := json.Unmarshal(e.Data, &c); err != nil {
		return c, fmt.Errorf("%w: the data of the message: %w", ErrInvalid, err)
	}
	return c, nil
}

// VerifyWebhook returns the message that a request to a webhook's address holds, if it
// is signed with one of the secrets, and was within five minutes of now. Give it the body
// as it came, byte by byte, of which you read no more than a mebibyte. The errors are
// [ErrWebhookForged], [ErrWebhookTime] and, for a request or a secret that is
// malformed, [ErrInvalid].
//
// Who sends expects an answer 2xx within 20 seconds, and takes anything else for a
// failure. It is the Standard Webhooks specification, so that its libraries in other
// languages work as well.
func VerifyWebhook(secrets []Secret, header http.Header, body []byte, now time.Time) (e WebhookEvent, err error) {
	defer explain(&err, "verify webhook", "")
	keys := make([][]byte, len(secrets))
	for i, secret := range secrets {
		if keys[i], err = webhook.ParseSecret(string(secret)); err != nil {
			return e, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	id, timestamp, signature := header.Get(webhook.HeaderID), header.Get(webhook.HeaderTimestamp), header.Get(webhook.HeaderSignature)
	if id == "" || timestamp == "" || signature == "" {
		return e, fmt.Errorf("%w: one of the headers webhook-id, webhook-timestamp and webhook-signature is missing", ErrInvalid)
	}
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return e, fmt.Errorf("%w: webhook-timestamp is no time in seconds", ErrInvalid)
	}
	if !webhook.Verify(signature, id, timestamp, body, keys...) {
		return e, ErrWebhookForged
	}
	sent := time.Unix(seconds, 0).UTC()
	if off := now.Sub(sent); off > webhook.Tolerance || off < -webhook.Tolerance {
		return e, fmt.Errorf("%w: it was sent at %s", ErrWebhookTime, sent.Format(time.RFC3339))
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return WebhookEvent{}, fmt.Errorf("%w: the body: %w", ErrInvalid, err)
	}
	e.ID, e.Sent = id, sent
	return e, nil
}
