package repo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/hook"
	"github.com/d6t/d6tpipe-go/server/internal/jobs"
)

const (
	// turnMessages and turnTime are how much of a webhook's is delivered before others
	// have their turn.
	turnMessages = 20
	turnTime     = time.Minute
)

// retries are the waits before the second attempt at a message and those that follow,
// as the specification recommends them. When the last one has failed the webhook is
// disabled.
var retries = [...]time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
	10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour}

// retryWait is how long to wait after a number of attempts that have failed, up to a
// tenth longer than the table says; false is that it is over.
func retryWait(attempts int64) (time.Duration, bool) {
	if attempts > int64(len(retries)) {
		return 0, false
	}
	d := retries[attempts-1]
	return d + rand.N(d/10), true
}

// Delivery is how webhooks are delivered to, so many at a time.
func (r *Repo) Delivery(workers int) jobs.Pool {
	return jobs.Pool{Do: r.Deliver, Workers: workers, Time: deliveryTime, Backoff: deliveryBackoff}
}

// deliveryTime is how long a run may take. It ends by itself well before.
const deliveryTime = 5 * time.Minute

// deliveryBackoff is for how long a webhook is left alone when the server itself has
// failed, and not the receiver.
func deliveryBackoff(failures int) time.Duration {
	return min(5*time.Second<<min(max(failures-1, 0), 10), 5*time.Minute)
}

// Deliver sends to a webhook what it has not got: message after message, the next one
// when the last has arrived. The error says why one has not. It may be called again at
// any time, also when the process has died over it: a message of which nobody knows
// whether it has arrived is sent again, under the same id.
func (r *Repo) Deliver(ctx context.Context, job jobs.Job) (json.RawMessage, error) {
	var d d6tpipe.WebhookRun
	var err error
	for began, more := time.Now(), true; err == nil && more; {
		if d.Messages >= turnMessages || time.Since(began) > turnTime {
			err = r.wakeAt(ctx, job.Subject, r.o.Now())
			break
		}
		more, err = r.deliverNext(ctx, job.Subject, &d)
	}
	raw, jsonErr := json.Marshal(d)
	return raw, errors.Join(err, jsonErr)
}

// wakeAt has a webhook looked after at a time.
func (r *Repo) wakeAt(ctx context.Context, id string, at time.Time) error {
	return r.o.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		w, err := findHook(ctx, tx, "", id)
		if errors.Is(err, d6tpipe.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return wake(ctx, tx, w, at, jobs.Wake)
	})
}

// deliverNext delivers one message, and reports whether there may be more.
func (r *Repo) deliverNext(ctx context.Context, id string, d *d6tpipe.WebhookRun) (more bool, err error) {
	w, x, err := r.hookOf(ctx, id)
	if errors.Is(err, d6tpipe.ErrNotFound) {
		return false, jobs.ErrGone
	}
	if err != nil || w.waits() || r.o.Hooks == nil {
		return false, err
	}
	if barred, err := r.bar(ctx, w, x); barred || err != nil {
		return false, err
	}
	if w.messageID == "" {
		changes := 0
		if changes, err = r.compose(ctx, w, x); err != nil || w.messageID == "" {
			return false, err
		}
		d.Changes += changes
	}
	if w.retryAt > r.now() {
		at := timeOf(w.retryAt)
		d.Waits = &at
		return false, r.wakeAt(ctx, id, at)
	}
	o, err := r.send(ctx, w)
	if err != nil {
		return false, err
	}
	wait, err := r.settle(ctx, w, o)
	if err != nil {
		return false, err
	}
	if wait < 0 {
		r.o.Log.Warn("a webhook is disabled", "webhook", w.id, "pipe", x.name, "to", w.place, "reason", o.Err)
	}
	if o.Err != nil {
		return false, &jobs.Retry{Err: fmt.Errorf("attempt %d at message %s: %w", w.attempts+1, w.messageID, o.Err), After: wait}
	}
	d.Messages++
	return true, nil
}

// hookOf returns a webhook and its pipe's record.
func (r *Repo) hookOf(ctx context.Context, id string) (w *hookRow, x *row, err error) {
	err = r.o.DB.Read(ctx, func(ctx context.Context, tx db.Tx) (err error) {
		if w, err = findHook(ctx, tx, "", id); err == nil {
			x, err = byID(ctx, tx, w.record)
		}
		return err
	})
	return w, x, err
}

// send makes one attempt. An error says that nobody knows what came of it.
func (r *Repo) send(ctx context.Context, w *hookRow) (hook.Outcome, error) {
	secrets, err := r.openHook(w)
	if err != nil {
		return hook.Outcome{}, err
	}
	o := r.o.Hooks.Send(ctx, secrets.target(), hook.Message{ID: w.messageID, Body: []byte(w.message)}, r.o.Now())
	if ctx.Err() != nil {
		return o, ctx.Err()
	}
	return o, nil
}

// settle notes what came of an attempt at the message of sent. After one that failed it
// returns how long to wait before the next; negative is for ever.
func (r *Repo) settle(ctx context.Context, sent *hookRow, o hook.Outcome) (wait time.Duration, err error) {
	err = r.o.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		wait = 0
		w, err := findHook(ctx, tx, "", sent.id)
		if errors.Is(err, d6tpipe.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		a := attempt{hook: w.id, message: sent.messageID, kind: d6tpipe.WebhookPipeChanged, number: sent.attempts + 1}
		if _, err := r.remember(ctx, tx, a, o); err != nil {
			return err
		}
		if w.messageID != sent.messageID {
			return nil // it was given up meanwhile: what it tells is told anew
		}
		if o.Err == nil {
			w.cursor = w.messageCursor
			w.forget()
			return w.write(ctx, tx, updateHook)
		}
		w.attempts++
		wait, err = r.failed(ctx, tx, w, o)
		return err
	})
	return wait, err
}

// failed decides when a message that was not accepted is sent again, or that it is
// not.
func (r *Repo) failed(ctx context.Context, tx db.Tx, w *hookRow, o hook.Outcome) (wait time.Duration, err error) {
	wait, again := retryWait(w.attempts)
	if again && !o.Gone() {
		wait = max(wait, o.Wait)
		w.retryAt = r.o.Now().Add(wait).UnixMicro()
		return wait, w.write(ctx, tx, updateHook)
	}
	reason := fmt.Sprintf("%d attempts at a message have failed, the last one because %v", w.attempts, o.Err)
	if o.Gone() {
		reason = o.Err.Error()
	}
	return -1, r.disable(ctx, tx, w, reason)
}

// barred is why a webhook is disabled whose address is of somebody without a say in the
// pipe.
const barred = "who made it, or last gave it an address, does not administer the pipe any more"

// bar disables a webhook whose creator does not administer the pipe any more, and
// reports whether nothing is to be sent.
func (r *Repo) bar(ctx context.Context, w *hookRow, x *row) (stop bool, err error) {
	err = r.o.DB.Read(ctx, func(ctx context.Context, tx db.Tx) (err error) {
		stop, err = r.isBarred(ctx, tx, w)
		return err
	})
	if err != nil || !stop {
		return false, err
	}
	disabled := false
	err = r.o.DB.Write(ctx, func(ctx context.Context, tx db.Tx) (err error) {
		disabled = false
		now, err := findHook(ctx, tx, "", w.id)
		if err != nil || now.waits() {
			return err
		}
		if disabled, err = r.isBarred(ctx, tx, now); err != nil || !disabled {
			return err
		}
		return r.disable(ctx, tx, now, barred)
	})
	if err == nil && disabled {
		r.o.Log.Warn("a webhook is disabled", "webhook", w.id, "pipe", x.name, "to", w.place, "reason", barred)
	}
	return true, err
}

func (r *Repo) isBarred(ctx context.Context, tx db.Tx, w *hookRow) (bool, error) {
	creator := &session{Repo: r, user: user{id: w.creatorID, name: w.creator}}
	has, err := creator.rank(ctx, tx, w.record)
	return has < administers || w.creator == "", err
}

// disable sends nothing to a webhook any more, until somebody enables it again.
func (r *Repo) disable(ctx context.Context, tx db.Tx, w *hookRow, reason string) error {
	w.retryAt, w.disabledAt, w.disabled = 0, r.now(), reason
	if err := w.write(ctx, tx, updateHook); err != nil {
		return err
	}
	x, err := byID(ctx, tx, w.record)
	if err != nil {
		return err
	}
	return r.note(ctx, tx, user{}, event{action: "disable webhook", kind: x.kind, name: x.name, record: x.id, owner: x.owner,
		detail: w.id + " to " + w.place + ": " + w.disabled})
}
