package repo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/internal/webhook"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/jobs"
)

const (
	// mostHooks is how many webhooks a pipe has at most.
	mostHooks = 10
	// mostSecrets is how many secrets a webhook has at a time, with those that were
	// rotated within [oldSecret].
	mostSecrets = 8
)

// webhooks lists those of a pipe.
func (s *session) webhooks(ctx context.Context, tx db.Tx, r resource) ([]json.RawMessage, error) {
	x, _, err := s.need(ctx, tx, r.kind, r.name, administers)
	if err != nil {
		return nil, err
	}
	rows, err := hooksOf(ctx, tx, x.id)
	if err != nil {
		return nil, err
	}
	all := make([]json.RawMessage, len(rows))
	for i, w := range rows {
		out, err := s.showHook(w, x.name)
		if err != nil {
			return nil, err
		}
		if all[i], err = json.Marshal(out); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// webhook reads or removes one of a pipe's. To make, change and try one is the business
// of [session.changeHook] and [session.testHook].
func (s *session) webhook(ctx context.Context, tx db.Tx, verb catalog.Verb, r resource, _ json.RawMessage) (json.RawMessage, error) {
	x, w, err := s.needHook(ctx, tx, r)
	if err != nil {
		return nil, err
	}
	switch verb {
	case catalog.Get:
		return s.tellHook(x, w, "", "")
	case catalog.Delete:
		return nil, s.deleteHook(ctx, tx, x, w)
	}
	return nil, d6tpipe.ErrNotFound
}

// needHook returns a webhook, to those who administer the pipe; none if the resource
// names none.
func (s *session) needHook(ctx context.Context, tx db.Tx, r resource) (x *row, w *hookRow, err error) {
	if x, _, err = s.need(ctx, tx, r.kind, r.name, administers); err != nil || r.id == "" {
		return x, nil, err
	}
	w, err = findHook(ctx, tx, x.id, r.id)
	return x, w, err
}

// A spot is where a feed is, and whether it reaches back to where a webhook had
// stopped.
type spot struct {
	now  string
	lost bool
}

// changeHook makes or changes a webhook. Where the feed is it asks before: changes
// that come in between are told.
func (s *session) changeHook(ctx context.Context, verb catalog.Verb, r resource, in json.RawMessage) (out json.RawMessage, err error) {
	var x *row
	var w *hookRow
	err = s.o.DB.Read(ctx, func(ctx context.Context, tx db.Tx) (err error) {
		x, w, err = s.needHook(ctx, tx, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	at, err := s.spot(ctx, x, w)
	if err != nil {
		return nil, err
	}
	err = s.o.DB.Write(ctx, func(ctx context.Context, tx db.Tx) (err error) {
		if x, w, err = s.needHook(ctx, tx, r); err != nil {
			return err
		}
		if verb == catalog.Create {
			out, err = s.createHook(ctx, tx, x, at, in)
		} else {
			out, err = s.updateHook(ctx, tx, x, w, at, in)
		}
		return err
	})
	if err == nil {
		s.o.Kick()
	}
	return out, err
}

// spot looks at the feed if that is needed: for a new webhook, and for one that is
// disabled.
func (s *session) spot(ctx context.Context, x *row, w *hookRow) (at spot, err error) {
	if w != nil && w.disabled == "" {
		return at, nil
	}
	p, err := s.ChangePage(ctx, x.id, "", 1)
	if err != nil || w == nil {
		return spot{now: p.Cursor}, err
	}
	_, err = s.ChangePage(ctx, x.id, w.cursor, 1)
	if errors.Is(err, d6tpipe.ErrCursorExpired) {
		return spot{p.Cursor, true}, nil
	}
	return spot{now: p.Cursor}, err
}

func (s *session) createHook(ctx context.Context, tx db.Tx, x *row, at spot, in json.RawMessage) (json.RawMessage, error) {
	said, err := readHook(in)
	if err != nil {
		return nil, err
	}
	if err := s.checkHook(said); err != nil {
		return nil, err
	}
	var n int64
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM webhooks WHERE record_id = $1`, x.id).Scan(&n); err != nil {
		return nil, err
	}
	if n >= mostHooks {
		return nil, refusal(http.StatusBadRequest, fmt.Sprintf("A pipe has at most %d webhooks; remove one first.", mostHooks))
	}
	w := &hookRow{id: newID(), record: x.id, creatorID: s.user.id, creator: s.user.name, settings: said, paused: said.Paused, cursor: at.now, created: s.now(), updated: s.now()}
	secret := webhook.NewSecret()
	if err := s.sealHook(ctx, tx, w, hookSecrets{URL: said.URL, Secrets: []hookSecret{{Secret: secret}}}); err != nil {
		return nil, err
	}
	if err := w.write(ctx, tx, insertHook); err != nil {
		return nil, err
	}
	if err := wake(ctx, tx, w, s.o.Now(), jobs.Wake); err != nil {
		return nil, err
	}
	if err := s.noteHook(ctx, tx, x, w, "create webhook", ""); err != nil {
		return nil, err
	}
	notice := ""
	if _, err := jobs.Find(ctx, tx, jobs.Scan, x.id); errors.Is(err, d6tpipe.ErrNotFound) {
		notice = "The server looks for changes of this pipe when somebody pulls or follows it; give the pipe a schedule, so that it does so by itself."
	} else if err != nil {
		return nil, err
	}
	return s.tellHook(x, w, secret, notice)
}

// hookAnswers are the fields that only answers about webhooks have.
var hookAnswers = []string{"id", "pipe", "creator", "secret", "old_secrets_until", "disabled", "disabled_at", "failures", "retry", "notice", "created", "updated"}

const mustKinds = "a list of new, modified and gone"

// readHook reads what was said of a webhook that is new.
func readHook(in json.RawMessage) (said d6tpipe.WebhookSettings, err error) {
	f := form{
		"url": {&said.URL, mustText}, "include": {&said.Include, mustText}, "exclude": {&said.Exclude, mustText},
		"kinds": {&said.Kinds, mustKinds}, "description": {&said.Description, mustText}, "paused": {&said.Paused, mustBool},
	}
	return said, f.answered(hookAnswers...).read(in, "A webhook")
}

// readHookUpdate reads what is to change of a webhook; nothing, when nothing was said.
func readHookUpdate(in json.RawMessage) (said d6tpipe.WebhookUpdate, err error) {
	if in == nil {
		return said, nil
	}
	f := form{
		"url": {&said.URL, mustText}, "include": {&said.Include, mustText}, "exclude": {&said.Exclude, mustText},
		"kinds": {&said.Kinds, mustKinds}, "description": {&said.Description, mustText}, "paused": {&said.Paused, mustBool},
		"rotate": {&said.Rotate, mustBool}, "enable": {&said.Enable, mustBool},
	}
	return said, f.answered(hookAnswers...).read(in, "A webhook")
}

// checkHook reports what cannot be meant.
func (s *session) checkHook(said d6tpipe.WebhookSettings) error {
	if err := said.Validate(); err != nil {
		return err
	}
	if s.o.Hooks == nil {
		return errNoHooks
	}
	return s.o.Hooks.Check(said.URL)
}

// tellHook is the answer to who has changed a webhook: with a secret, if there is a new
// one.
func (s *session) tellHook(x *row, w *hookRow, secret, notice string) (json.RawMessage, error) {
	out, err := s.showHook(w, x.name)
	if err != nil {
		return nil, err
	}
	out.Notice = notice
	raw, err := json.Marshal(out)
	if err != nil || secret == "" {
		return raw, err
	}
	return splice(string(raw), `"secret":"`+secret+`"`), nil // base64 needs no quoting
}

// noteHook writes to the audit log. The address is not told in full.
func (s *session) noteHook(ctx context.Context, tx db.Tx, x *row, w *hookRow, action, more string) error {
	detail := w.id + " to " + w.place
	if more != "" {
		detail += ": " + more
	}
	return s.note(ctx, tx, s.user, event{action: action, kind: x.kind, name: x.name, record: x.id, owner: x.owner, detail: detail})
}

func (s *session) updateHook(ctx context.Context, tx db.Tx, x *row, w *hookRow, at spot, in json.RawMessage) (json.RawMessage, error) {
	said, err := readHookUpdate(in)
	if err != nil {
		return nil, err
	}
	secrets, err := s.openHook(w)
	if err != nil {
		return nil, err
	}
	was := w.settings
	was.URL, was.Paused = secrets.URL, w.paused
	now := updated(was, said)
	if now.URL != was.URL {
		err = s.checkHook(now)
	} else {
		err = now.Validate()
	}
	if err != nil {
		return nil, err
	}
	if now.URL != was.URL {
		w.attempts, w.retryAt = 0, 0 // somebody else has not refused anything yet
	}
	if now.URL != was.URL || said.Enable {
		w.creatorID, w.creator = s.user.id, s.user.name
	}
	if now.Include != was.Include || now.Exclude != was.Exclude || !slices.Equal(now.Kinds, was.Kinds) {
		w.forget() // what it tells is told anew, in a message of another id
	}
	w.settings, w.paused, secrets.URL, w.updated = now, now.Paused, now.URL, s.now()
	secret, more, notice := "", "", ""
	if said.Rotate {
		if secret, err = s.rotateHook(&secrets); err != nil {
			return nil, err
		}
		more = "new secret"
	}
	if said.Enable && w.disabled != "" {
		notice, more = w.enable(at), "enabled"
	}
	if err := s.sealHook(ctx, tx, w, secrets); err != nil {
		return nil, err
	}
	if err := w.write(ctx, tx, updateHook); err != nil {
		return nil, err
	}
	if err := s.wakeHook(ctx, tx, w); err != nil {
		return nil, err
	}
	if err := s.noteHook(ctx, tx, x, w, "update webhook", more); err != nil {
		return nil, err
	}
	return s.tellHook(x, w, secret, notice)
}

// updated is what becomes of settings.
func updated(s d6tpipe.WebhookSettings, u d6tpipe.WebhookUpdate) d6tpipe.WebhookSettings {
	for _, f := range []struct {
		to  *string
		new *string
	}{{&s.URL, u.URL}, {&s.Include, u.Include}, {&s.Exclude, u.Exclude}, {&s.Description, u.Description}} {
		if f.new != nil {
			*f.to = *f.new
		}
	}
	if u.Kinds != nil {
		s.Kinds = *u.Kinds
	}
	if u.Paused != nil {
		s.Paused = *u.Paused
	}
	return s
}

func (s *session) rotateHook(h *hookSecrets) (secret string, err error) {
	if len(h.Secrets) >= mostSecrets {
		return "", refusal(http.StatusBadRequest, fmt.Sprintf("This webhook has %d secrets already, the former ones until %s; wait until then, or make another webhook.",
			len(h.Secrets), timeOf(h.oldUntil()).Format(time.RFC3339)))
	}
	return h.rotate(s.o.Now()), nil
}

func (s *session) deleteHook(ctx context.Context, tx db.Tx, x *row, w *hookRow) error {
	if err := jobs.Remove(ctx, tx, jobs.Webhook, w.id); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM webhooks WHERE id = $1`, w.id); err != nil {
		return err
	}
	return s.noteHook(ctx, tx, x, w, "delete webhook", "")
}
