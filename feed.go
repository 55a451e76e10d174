package d6tpipe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// A ChangePage is a part of a server's change feed of a pipe: what its scans saw that
// the last ones had not seen. A file comes once for each scan that saw it change, in the
// order of the scans, and as new again when its name could not be used for a while.
type ChangePage struct {
	Changes []Change `json:"changes"`
	// Cursor is the place after the last change.
	Cursor string `json:"cursor"`
	// More says that there is more after Cursor already.
	More bool `json:"more"`
	// Refused is how many names of the last scan cannot be used: nothing tells what
	// becomes of those.
	Refused int `json:"refused,omitempty"`
	// Stale says why the server could not look at the storage when it should have; empty
	// when it could.
	Stale string `json:"stale,omitempty"`
}

// FeedOptions say which part of a change feed to read. The zero value asks for the cursor
// of now.
type FeedOptions struct {
	// Cursor is a place: that of the last [ChangePage]. Empty is the end of the feed.
	Cursor string
	// Wait is for how long the server keeps the answer back while there is no change, a
	// minute at most; 0 does not wait.
	Wait time.Duration
	// Limit is how many changes to return, at most; 0 stands for 1,000, which is the most.
	Limit int
}

// ChangeFeed returns what a server saw change of a pipe's files after a cursor. Most
// programs are better off with [Pipe.Changes] and [Pipe.Watch], which remember what they
// have told, and see changes that the feed does not reach back to.
//
// A cursor that the feed does not reach back to is [ErrCursorExpired]: ask without one
// for the cursor of now, and after that for [APIClient.ListFiles]. A server that has no
// feed of the pipe is [ErrNotFound].
func (c *APIClient) ChangeFeed(ctx context.Context, pipe string, o FeedOptions) (page ChangePage, err error) {
	defer explain(&err, "follow changes of pipe", pipe)
	return c.changeFeed(ctx, pipe, o)
}

func (c *APIClient) changeFeed(ctx context.Context, pipe string, o FeedOptions) (page ChangePage, err error) {
	if err := checkName("pipe", pipe); err != nil {
		return page, err
	}
	query, err := o.query()
	if err != nil {
		return page, err
	}
	r := request{method: http.MethodGet, url: c.server.url("pipes", pipe, "changes"), wait: o.Wait}
	if len(query) > 0 {
		r.url += "?" + query.Encode()
	}
	raw, err := c.server.send(ctx, r)
	if err != nil {
		return page, err
	}
	if page, err = decodeChangePage(raw); err != nil {
		return ChangePage{}, badAnswer(err)
	}
	return page, nil
}

// maxFeedWait is how long a server keeps an answer back.
const maxFeedWait = time.Minute

func (o FeedOptions) query() (url.Values, error) {
	query := url.Values{}
	if o.Wait < 0 || o.Wait > maxFeedWait {
		return nil, &FieldError{Field: "wait", Reason: "A server waits for a minute at most."}
	}
	if o.Limit < 0 {
		return nil, &FieldError{Field: "limit", Reason: "It cannot be negative."}
	}
	if o.Cursor != "" {
		query.Set("cursor", o.Cursor)
	}
	if o.Wait > 0 {
		query.Set("wait", o.Wait.String())
	}
	if o.Limit > 0 {
		query.Set("limit", strconv.Itoa(o.Limit))
	}
	return query, nil
}

// maxCursor is how long a server's cursor may be, in bytes.
const maxCursor = 1 << 10

// decodeChangePage reads a page, of which nothing is believed.
func decodeChangePage(raw []byte) (page ChangePage, err error) {
	if err := decodeJSON(raw, &page); err != nil {
		return page, err
	}
	switch {
	case page.Cursor == "" || len(page.Cursor) > maxCursor:
		return page, errors.New("the page of changes has no cursor")
	case page.More && len(page.Changes) == 0:
		return page, errors.New("the page of changes says that there are more, and has none")
	case page.Refused < 0:
		return page, errors.New("the page of changes counts wrong")
	}
	page.Stale = clean(page.Stale, maxMessage, nil)
	for i := range page.Changes {
		if err := page.Changes[i].check(); err != nil {
			return page, err
		}
	}
	return page, nil
}

// check makes sure that a change of a server's can be believed as far as one of a scan
// can.
func (c *Change) check() error {
	if err := storage.CheckKey(c.Key); err != nil {
		return err
	}
	if c.Before != nil {
		c.Before.Key = c.Key
	}
	switch {
	case c.Kind == ChangeGone:
		c.File = File{}
	case c.Kind != ChangeNew && c.Kind != ChangeModified:
		return fmt.Errorf("%.64q is no kind of change", string(c.Kind))
	case c.File.Size < 0, c.Before != nil && c.Before.Size < 0:
		return fmt.Errorf("the size of %q is negative", c.Key)
	}
	c.File.Key = c.Key
	return nil
}
