package repo

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/glob"
	"github.com/d6t/d6tpipe-go/server/internal/db"
)

const (
	// messageChanges and messageBytes are how many changes a message has in full, and of
	// how many bytes: the specification wants messages below 20 KB.
	messageChanges = 100
	messageBytes   = 18 << 10
	// messagePages is how many pages of the feed one message is about.
	messagePages = 50
	feedPage     = 1000
)

// A composed is a message about changes, and how far in the feed it comes.
type composed struct {
	d6tpipe.PipeChanged
	end   string
	bytes int
}

// compose makes the next message of a webhook, and returns of how many changes it is.
// The row has none when there is nothing to tell.
func (r *Repo) compose(ctx context.Context, w *hookRow, x *row) (changes int, err error) {
	for {
		m, more, err := r.collect(ctx, w, x.name)
		if err != nil {
			return 0, err
		}
		if m.Total > 0 || m.Missed {
			return m.Total, r.begin(ctx, w, m)
		}
		if m.end != w.cursor {
			if err := r.advance(ctx, w, m.end); err != nil {
				return 0, err
			}
		}
		if !more {
			return 0, nil
		}
	}
}

// collect reads the feed from where a webhook is.
func (r *Repo) collect(ctx context.Context, w *hookRow, pipe string) (m composed, more bool, err error) {
	m.Pipe, m.Changes, m.end = pipe, []d6tpipe.Change{}, w.cursor
	match := matcher(w.settings)
	from, n := m.end, -1 // the page in which the message became full, and where in it
	for range messagePages {
		p, err := r.ChangePage(ctx, w.record, m.end, feedPage)
		if errors.Is(err, d6tpipe.ErrCursorExpired) && m.Total == 0 {
			return r.missed(ctx, w, m)
		}
		if err != nil {
			return m, false, err
		}
		for i, c := range p.Changes {
			if match(c) && m.add(c) {
				from, n = m.end, i+1
			}
		}
		m.end, more = p.Cursor, p.More
		if !more {
			break
		}
	}
	m.Cursor, m.More = m.end, m.Total > len(m.Changes)
	if !m.More {
		return m, more, nil
	}
	p, err := r.ChangePage(ctx, w.record, from, n) // the place right behind the last that is in it
	m.Cursor = p.Cursor
	return m, more, err
}

// add adds a change, and reports whether it is one of those that the message has in
// full.
func (m *composed) add(c d6tpipe.Change) bool {
	m.Total++
	raw, err := json.Marshal(c)
	if err != nil || len(m.Changes) < m.Total-1 || len(m.Changes) == messageChanges || len(m.Changes) > 0 && m.bytes+len(raw) > messageBytes {
		return false
	}
	m.bytes += len(raw)
	m.Changes = append(m.Changes, c)
	return true
}

// missed is the message that says that the feed does not reach back to where a
// webhook is.
func (r *Repo) missed(ctx context.Context, w *hookRow, m composed) (composed, bool, error) {
	p, err := r.ChangePage(ctx, w.record, "", feedPage)
	m.Missed, m.Cursor, m.end = true, p.Cursor, p.Cursor
	return m, p.More, err
}

// matcher says which changes a webhook wants to be told of.
func matcher(s d6tpipe.WebhookSettings) func(d6tpipe.Change) bool {
	keys := glob.Filter(s.Include, s.Exclude)
	return func(c d6tpipe.Change) bool {
		return (len(s.Kinds) == 0 || slices.Contains(s.Kinds, c.Kind)) && (keys == nil || keys(c.Key))
	}
}

// begin makes a message the one that is being delivered. From now on it is the same at
// each attempt, whatever becomes of this process.
func (r *Repo) begin(ctx context.Context, w *hookRow, m composed) error {
	body, err := r.event(d6tpipe.WebhookPipeChanged, m.PipeChanged)
	if err != nil {
		return err
	}
	id := newMessageID()
	return r.step(ctx, w, func(now *hookRow) {
		now.messageID, now.message, now.messageCursor, now.attempts, now.retryAt = id, string(body), m.end, 0, 0
	})
}

func newMessageID() string { return "msg_" + newID() }

// event is the payload of a message.
func (r *Repo) event(kind string, data any) ([]byte, error) {
	raw, err := json.Marshal(data)
	if err != nil {
		return nil, err
	}
	return json.Marshal(d6tpipe.WebhookEvent{Type: kind, Timestamp: r.o.Now().UTC(), Data: raw})
}

// advance notes that there was nothing to tell up to a place in the feed.
func (r *Repo) advance(ctx context.Context, w *hookRow, cursor string) error {
	return r.step(ctx, w, func(now *hookRow) { now.cursor = cursor })
}

// errOvertaken says that a webhook was changed while its next message was made.
var errOvertaken = errors.New("the webhook was changed at the same time")

// step changes a webhook that nobody has changed since it was read.
func (r *Repo) step(ctx context.Context, w *hookRow, change func(*hookRow)) error {
	return r.o.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		now, err := findHook(ctx, tx, "", w.id)
		if err != nil {
			return err
		}
		if now.cursor != w.cursor || now.messageID != w.messageID || now.updated != w.updated {
			return errOvertaken
		}
		change(now)
		if err := now.write(ctx, tx, updateHook); err != nil {
			return err
		}
		*w = *now
		return nil
	})
}
