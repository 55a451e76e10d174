package repo

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/hook"
)

// mostTests is how many tests of a webhook there may be in testsWithin.
const (
	mostTests   = 10
	testsWithin = time.Minute
)

// errNoHooks says that the server was not made for it.
var errNoHooks = refusal(http.StatusNotImplemented, "This server sends no webhooks.")

// testHook sends a message to a webhook, once, and tells what came back.
func (s *session) testHook(ctx context.Context, r resource) (json.RawMessage, error) {
	x, w, err := s.testable(ctx, r)
	if err != nil {
		return nil, err
	}
	if s.o.Hooks == nil {
		return nil, errNoHooks
	}
	end, err := s.o.Hooks.BeginTest(s.user.id)
	if err != nil {
		return nil, &later{refusal(http.StatusServiceUnavailable, "Too many webhooks are being tested, try again later."), int(hook.Timeout.Seconds())}
	}
	defer end()
	secrets, err := s.openHook(w)
	if err != nil {
		return nil, err
	}
	body, err := s.event(d6tpipe.WebhookTest, map[string]string{"pipe": x.name, "webhook": w.id})
	if err != nil {
		return nil, err
	}
	id := newMessageID()
	o := s.o.Hooks.Send(ctx, secrets.target(), hook.Message{ID: id, Body: body}, s.o.Now())
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return s.tested(ctx, x, w, id, o)
}

// testable returns a webhook that was not tested too often.
func (s *session) testable(ctx context.Context, r resource) (x *row, w *hookRow, err error) {
	err = s.o.DB.Read(ctx, func(ctx context.Context, tx db.Tx) (err error) {
		if x, w, err = s.needHook(ctx, tx, r); err != nil {
			return err
		}
		var n int64
		if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM deliveries WHERE webhook_id = $1 AND at > $2 AND type = $3`,
			w.id, s.o.Now().Add(-testsWithin).UnixMicro(), d6tpipe.WebhookTest).Scan(&n); err != nil {
			return err
		}
		if n >= mostTests {
			return &later{refusal(http.StatusTooManyRequests, "This webhook was tested often within the last minute; try again later."), int(testsWithin.Seconds())}
		}
		return nil
	})
	return x, w, err
}

// tested notes what came of a test.
func (s *session) tested(ctx context.Context, x *row, w *hookRow, message string, o hook.Outcome) (out json.RawMessage, err error) {
	err = s.o.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		if _, err := findHook(ctx, tx, "", w.id); err != nil {
			return err // it was removed meanwhile
		}
		d, err := s.remember(ctx, tx, attempt{hook: w.id, message: message, kind: d6tpipe.WebhookTest, number: 1}, o)
		if err != nil {
			return err
		}
		result := "arrived"
		if o.Err != nil {
			result = "failed"
		}
		if err := s.noteHook(ctx, tx, x, w, "test webhook", result); err != nil {
			return err
		}
		out, err = json.Marshal(d)
		return err
	})
	return out, err
}
