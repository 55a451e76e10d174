package repo

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/webhook"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/hook"
	"github.com/d6t/d6tpipe-go/server/internal/vault"
)

// oldSecret is for how long messages are signed with a secret besides, after a
// rotation.
const oldSecret = 24 * time.Hour

// A hookRow is a webhook as the database has it.
type hookRow struct {
	id, record string
	creatorID  string                  // who made it, or last gave it an address or enabled it
	creator    string                  // their name, "" when they are gone; of users
	place      string                  // the address, without what may be a secret
	settings   d6tpipe.WebhookSettings // without the address and paused
	sealed     string                  // a [hookSecrets]
	paused     bool
	disabled   string
	disabledAt int64

	cursor        string // up to where all has arrived
	messageID     string // of the message that is being delivered, "" is none
	message       string
	messageCursor string // where cursor will be then
	attempts      int64
	retryAt       int64

	created, updated int64
}

const hookColumns = `w.id, w.record_id, w.creator_id, COALESCE((SELECT u.username FROM users u WHERE u.id = w.creator_id), ''), w.place, w.settings, w.sealed, w.paused, w.disabled, w.disabled_at,
	w.cursor, w.message_id, w.message, w.message_cursor, w.attempts, w.retry_at, w.created_at, w.updated_at`

func scanHook(row interface{ Scan(...any) error }) (*hookRow, error) {
	var w hookRow
	var settings string
	err := row.Scan(&w.id, &w.record, &w.creatorID, &w.creator, &w.place, &settings, &w.sealed, &w.paused, &w.disabled, &w.disabledAt,
		&w.cursor, &w.messageID, &w.message, &w.messageCursor, &w.attempts, &w.retryAt, &w.created, &w.updated)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, d6tpipe.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(settings), &w.settings); err != nil {
		return nil, fmt.Errorf("webhook %s is damaged: %w", w.id, err)
	}
	return &w, nil
}

// findHook returns a webhook by its id, of a record if that is not "".
func findHook(ctx context.Context, tx db.Tx, record, id string) (*hookRow, error) {
	return scanHook(tx.QueryRowContext(ctx, `SELECT `+hookColumns+` FROM webhooks w WHERE w.id = $1 AND (CAST($2 AS TEXT) = '' OR w.record_id = $2)`, id, record))
}

// hooksOf returns the webhooks of a record, the oldest first.
func hooksOf(ctx context.Context, tx db.Tx, record string) (all []*hookRow, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT `+hookColumns+` FROM webhooks w WHERE w.record_id = $1 ORDER BY w.created_at, w.id`, record)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		w, err := scanHook(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, w)
	}
	return all, rows.Err()
}

const (
	insertHook = `INSERT INTO webhooks (id, record_id, place, settings, sealed, paused, disabled, disabled_at,
			cursor, message_id, message, message_cursor, attempts, retry_at, created_at, updated_at, creator_id)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)`
	updateHook = `UPDATE webhooks SET record_id = $2, place = $3, settings = $4, sealed = $5, paused = $6, disabled = $7, disabled_at = $8,
			cursor = $9, message_id = $10, message = $11, message_cursor = $12, attempts = $13, retry_at = $14, created_at = $15, updated_at = $16, creator_id = $17
		WHERE id = $1`
)

// write inserts or updates the row.
func (w *hookRow) write(ctx context.Context, tx db.Tx, statement string) error {
	settings := w.settings
	settings.URL, settings.Paused = "", false
	raw, err := json.Marshal(settings)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, statement, w.id, w.record, w.place, string(raw), w.sealed, w.paused, w.disabled, w.disabledAt,
		w.cursor, w.messageID, w.message, w.messageCursor, w.attempts, w.retryAt, w.created, w.updated, w.creatorID)
	return err
}

// forget drops the message that is being delivered. What it told is still to be told.
func (w *hookRow) forget() {
	w.messageID, w.message, w.messageCursor, w.attempts, w.retryAt = "", "", "", 0, 0
}

// waits reports whether the row has nothing to do before it is told.
func (w *hookRow) waits() bool { return w.paused || w.disabled != "" }

// hookSecrets are what is sealed of a webhook.
type hookSecrets struct {
	URL string `json:"url"`
	// Secrets are the newest one, and those before it until they end.
	Secrets []hookSecret `json:"secrets"`
}

type hookSecret struct {
	Secret string `json:"secret"`
	Until  int64  `json:"until,omitempty"` // Unix microseconds; 0 for the newest
}

func hookPlace(id string) vault.Place { return vault.Place{Record: id, Field: "webhook"} }

// sealHook puts an address and secrets into the row.
func (r *Repo) sealHook(ctx context.Context, tx db.Tx, w *hookRow, h hookSecrets) (err error) {
	plain, err := json.Marshal(h)
	if err != nil {
		return err
	}
	u, err := url.Parse(h.URL)
	if err != nil {
		return errors.New("the address of a webhook is no URL")
	}
	w.place = u.Scheme + "://" + u.Host
	w.sealed, err = r.seal(ctx, tx, plain, hookPlace(w.id))
	return err
}

// openHook returns what is sealed of a webhook, without secrets that have ended.
func (r *Repo) openHook(w *hookRow) (h hookSecrets, err error) {
	plain, err := r.unseal(w.sealed, hookPlace(w.id))
	if err != nil {
		return h, fmt.Errorf("secrets of webhook %s: %w", w.id, err)
	}
	if err := json.Unmarshal(plain, &h); err != nil {
		return h, fmt.Errorf("secrets of webhook %s are damaged: %w", w.id, err)
	}
	now, kept := r.now(), h.Secrets[:0]
	for _, s := range h.Secrets {
		if s.Until == 0 || s.Until > now {
			kept = append(kept, s)
		}
	}
	h.Secrets = kept
	return h, nil
}

// rotate makes a new secret, and lets the others end.
func (h *hookSecrets) rotate(now time.Time) (secret string) {
	for i := range h.Secrets {
		if h.Secrets[i].Until == 0 {
			h.Secrets[i].Until = now.Add(oldSecret).UnixMicro()
		}
	}
	secret = webhook.NewSecret()
	h.Secrets = append([]hookSecret{{Secret: secret}}, h.Secrets...)
	return secret
}

// oldUntil is when the last of the former secrets ends, 0 if there is none.
func (h *hookSecrets) oldUntil() (until int64) {
	for _, s := range h.Secrets {
		until = max(until, s.Until)
	}
	return until
}

// target is where to, and what to sign with.
func (h *hookSecrets) target() hook.Target {
	t := hook.Target{URL: h.URL}
	for _, s := range h.Secrets {
		t.Secrets = append(t.Secrets, s.Secret)
	}
	return t
}

// showHook is a webhook as those who administer the pipe see it.
func (r *Repo) showHook(w *hookRow, pipe string) (d6tpipe.Webhook, error) {
	h, err := r.openHook(w)
	if err != nil {
		return d6tpipe.Webhook{}, err
	}
	out := d6tpipe.Webhook{
		ID: w.id, Pipe: pipe, Creator: w.creator, WebhookSettings: w.settings, OldSecretsUntil: maybeTime(h.oldUntil()),
		Disabled: w.disabled, DisabledAt: maybeTime(w.disabledAt), Failures: int(w.attempts), Retry: maybeTime(w.retryAt),
		Created: timeOf(w.created), Updated: timeOf(w.updated),
	}
	out.URL, out.Paused = h.URL, w.paused
	if w.disabled != "" {
		out.Retry = nil
	}
	return out, nil
}

// maybeTime is nil for 0.
func maybeTime(micro int64) *time.Time {
	if micro == 0 {
		return nil
	}
	t := timeOf(micro)
	return &t
}
