package repo

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/jobs"
)

// changed tells the webhooks of a pipe that its feed has grown, in the transaction that
// made it grow. One whose message waits for its next attempt goes on waiting.
func changed(ctx context.Context, tx db.Tx, record string, now time.Time) error {
	rows, err := hooksOf(ctx, tx, record)
	if err != nil {
		return err
	}
	for _, w := range rows {
		if w.waits() {
			continue
		}
		if err := wake(ctx, tx, w, now, jobs.Wake); err != nil {
			return err
		}
	}
	return nil
}

// wake makes a webhook due at a time, as [jobs.Wake] or [jobs.Due] do.
func wake(ctx context.Context, tx db.Tx, w *hookRow, at time.Time, how func(context.Context, db.Tx, jobs.Kind, string, time.Time) error) error {
	owner, err := lookup(ctx, tx, `SELECT owner_id FROM records WHERE id = $1`, w.record)
	if err != nil {
		return err
	}
	if err := jobs.Set(ctx, tx, jobs.Task{Kind: jobs.Webhook, Subject: w.id, Owner: owner}, at); err != nil {
		return err
	}
	return how(ctx, tx, jobs.Webhook, w.id, at)
}

// removeHooks removes the tasks of the webhooks that are about to be removed with
// their records.
func removeHooks(ctx context.Context, tx db.Tx, where, arg string) error {
	ids, err := texts(ctx, tx, `SELECT w.id FROM records r JOIN webhooks w ON w.record_id = r.id WHERE `+where, arg)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := jobs.Remove(ctx, tx, jobs.Webhook, id); err != nil {
			return err
		}
	}
	return nil
}

// giveHooks makes the tasks of a record's webhooks those of its new owner.
func giveHooks(ctx context.Context, tx db.Tx, record, owner string, now time.Time) error {
	rows, err := hooksOf(ctx, tx, record)
	if err != nil {
		return err
	}
	for _, w := range rows {
		if err := jobs.Set(ctx, tx, jobs.Task{Kind: jobs.Webhook, Subject: w.id, Owner: owner}, now); err != nil {
			return err
		}
	}
	return nil
}

// texts returns the texts of one column.
func texts(ctx context.Context, tx db.Tx, query string, args ...any) (all []string, err error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	return all, rows.Err()
}

// mostNotices is of how many webhooks a user is told at a time.
const mostNotices = 3

// notice tells the owner of pipes which webhooks the server has disabled, "" if there
// are none.
func notice(ctx context.Context, tx db.Tx, owner string) (string, error) {
	rows, err := tx.QueryContext(ctx, `SELECT w.id, w.place, w.disabled, w.disabled_at, r.name FROM webhooks w CROSS JOIN records r
		WHERE w.disabled > '' AND r.id = w.record_id AND r.owner_id = $1 ORDER BY w.disabled_at DESC, w.id LIMIT $2`, owner, mostNotices+1)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var told []string
	for rows.Next() {
		var id, place, why, pipe string
		var at int64
		if err := rows.Scan(&id, &place, &why, &at, &pipe); err != nil {
			return "", err
		}
		told = append(told, fmt.Sprintf("Webhook %s of pipe %s to %s is disabled since %s: %s. Enable it again, or remove it.",
			id, pipe, place, timeOf(at).Format(time.DateTime)+" UTC", why))
	}
	if len(told) > mostNotices {
		told[mostNotices] = "There are more of them."
	}
	return strings.Join(told, "\n"), rows.Err()
}

// messageFor is what a user reads when they connect: the administrator's words, and
// what the server has to tell of their own.
func (s *session) messageFor(ctx context.Context) (message string, err error) {
	err = s.o.DB.Read(ctx, func(ctx context.Context, tx db.Tx) (err error) {
		message, err = notice(ctx, tx, s.user.id)
		return err
	})
	if message != "" && s.o.Message != "" {
		message = s.o.Message + "\n" + message
	}
	return cmp.Or(message, s.o.Message), err
}

// wakeHook has a webhook go on that was changed.
func (s *session) wakeHook(ctx context.Context, tx db.Tx, w *hookRow) error {
	if w.waits() || w.retryAt > s.now() {
		return nil
	}
	return wake(ctx, tx, w, s.o.Now(), jobs.Due)
}

// enable lets the server send again: from where it had stopped, if the feed still
// reaches back to there. The notice says that it does not.
func (w *hookRow) enable(at spot) (notice string) {
	w.disabled, w.disabledAt, w.attempts, w.retryAt = "", 0, 0, 0
	if !at.lost {
		return ""
	}
	w.forget()
	w.cursor = at.now
	return "The changes since it was disabled are forgotten; it goes on with what changes from now on."
}
