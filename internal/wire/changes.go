package wire

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
)

// Feed is a Session of a service that keeps a feed of what changed of the files of
// pipes. It is optional, as [Files] is. [Session.Authorize] was asked before, for Get of
// "pipes/<name>/changes".
type Feed interface {
	// Changes returns what changed after a cursor, or the cursor of now without one. It
	// looks at the storage before when the last scan is too old, as [Files] does. When
	// there is nothing, it waits for something; whether the caller may have it is looked
	// at again after that.
	Changes(ctx context.Context, pipe string, q ChangesQuery) (d6tpipe.ChangePage, error)
}

// MaxWait is how long a request may wait for changes.
const MaxWait = 60 * time.Second

// MaxChanges is how many changes one answer may have.
const MaxChanges = 1000

// ChangesQuery says what of a feed is asked for.
type ChangesQuery struct {
	Cursor string        // "" asks for the cursor of now
	Wait   time.Duration // 0 does not wait; [MaxWait] at most
	Limit  int           // 1 to [MaxChanges]
}

// changes answers with a page of the feed.
func (t target) changes(ctx context.Context) (answer, error) {
	s, err := t.open(ctx, t.r)
	if err != nil {
		return answer{}, err
	}
	keeper, ok := s.(Feed)
	if !ok {
		return answer{}, d6tpipe.ErrNotFound
	}
	if err := s.Authorize(ctx, catalog.Get, t.path, ""); err != nil {
		return answer{}, err
	}
	q, err := changesQuery(t.r.URL.Query())
	if err != nil {
		return answer{}, err
	}
	page, err := keeper.Changes(ctx, t.name, q)
	if err != nil {
		return answer{}, err
	}
	if page.Changes == nil {
		page.Changes = []d6tpipe.Change{}
	}
	body, err := json.Marshal(page)
	return answer{status: http.StatusOK, body: body}, err
}

// changesQuery reads ?cursor=...&wait=30s&limit=1000. A wait without a unit is in
// seconds.
func changesQuery(query url.Values) (q ChangesQuery, err error) {
	q = ChangesQuery{Cursor: query.Get("cursor"), Limit: MaxChanges}
	if text := query.Get("wait"); text != "" {
		seconds, err := strconv.ParseUint(text, 10, 16)
		if q.Wait = time.Duration(seconds) * time.Second; err != nil {
			q.Wait, err = time.ParseDuration(text)
		}
		if err != nil || q.Wait < 0 || q.Wait > MaxWait {
			return q, &d6tpipe.FieldError{Field: "wait", Reason: "It is a time such as 30s, of 60s at most."}
		}
	}
	if text := query.Get("limit"); text != "" {
		if q.Limit, err = strconv.Atoi(text); err != nil || q.Limit < 1 || q.Limit > MaxChanges {
			return q, &d6tpipe.FieldError{Field: "limit", Reason: "It is a number from 1 to 1000."}
		}
	}
	return q, nil
}
