package wire_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/wire"
)

// feedKeeper also keeps a feed.
type feedKeeper struct {
	*keeper
	page  d6tpipe.ChangePage
	asked []wire.ChangesQuery
	err   error
}

func (k *feedKeeper) Changes(_ context.Context, _ string, q wire.ChangesQuery) (d6tpipe.ChangePage, error) {
	k.asked = append(k.asked, q)
	return k.page, k.err
}

const changes = "/v1/api/pipes/p/changes/"

func TestChanges(t *testing.T) {
	k := &feedKeeper{keeper: newKeeper(), page: d6tpipe.ChangePage{Cursor: "1-abc-2-0-3"}}
	h := listed(t, k)
	w := ask(t, h, "reader", changes)
	require.Equal(t, 200, w.Code)
	require.Equal(t, `{"changes":[],"cursor":"1-abc-2-0-3","more":false}`, w.Body.String())
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))

	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	k.page = d6tpipe.ChangePage{More: true, Cursor: "c", Refused: 2, Stale: "the storage failed", Changes: []d6tpipe.Change{
		{Key: "a", Kind: d6tpipe.ChangeModified, File: d6tpipe.File{Key: "a", Size: 2, ModTime: at, Tag: "t2"}, Before: &d6tpipe.File{Key: "a", Size: 1, ModTime: at, Tag: "t1"}},
		{Key: "b", Kind: d6tpipe.ChangeGone, File: d6tpipe.File{Key: "b"}},
	}}
	for query, want := range map[string]wire.ChangesQuery{
		"":                              {Limit: 1000},
		"?cursor=x&wait=30s&limit=7":    {Cursor: "x", Wait: 30 * time.Second, Limit: 7},
		"?wait=60&limit=1000":           {Wait: time.Minute, Limit: 1000},
		"?wait=0&limit=1&cursor=1-a-1-": {Cursor: "1-a-1-", Limit: 1},
		"?wait=1500ms":                  {Wait: 1500 * time.Millisecond, Limit: 1000},
	} {
		w := ask(t, h, "me", changes+query)
		require.Equal(t, 200, w.Code, query)
		require.JSONEq(t, `{"changes":[
			{"key":"a","kind":"modified","file":{"key":"a","size":2,"modified_at":"2026-11-01T12:00:00Z","tag":"t2"},"before":{"key":"a","size":1,"modified_at":"2026-11-01T12:00:00Z","tag":"t1"}},
			{"key":"b","kind":"gone","file":{"key":"b","size":0,"modified_at":"0001-01-01T00:00:00Z"}}],
			"cursor":"c","more":true,"refused":2,"stale":"the storage failed"}`, w.Body.String())
		require.Equal(t, want, k.asked[len(k.asked)-1], query)
	}
	n := len(k.asked)
	for _, query := range []string{"?wait=61", "?wait=60.1s", "?wait=-1s", "?wait=x", "?wait=99999999999999999999", "?limit=0", "?limit=-1", "?limit=1001", "?limit=1e3"} {
		require.Equal(t, 400, ask(t, h, "me", changes+query).Code, query)
	}
	require.Equal(t, 403, ask(t, h, "other", changes).Code)
	require.Equal(t, 403, ask(t, h, "other", changes+"?limit=0").Code, "who may not read learns nothing of what is valid")
	require.Equal(t, 401, say(t, h, "GET", changes, "").Code)
	require.Equal(t, 405, say(t, h, "POST", changes, "{}").Code)
	require.Len(t, k.asked, n)
	k.err = d6tpipe.ErrCursorExpired
	w = ask(t, h, "me", changes+"?cursor=x")
	require.Equal(t, 410, w.Code)
	require.JSONEq(t, `{"detail":"The cursor has expired: begin without one."}`, w.Body.String())
}

// TestNoFeed: who keeps listings need not keep a feed.
func TestNoFeed(t *testing.T) {
	require.Equal(t, 404, ask(t, listed(t, newKeeper()), "me", changes).Code)
	require.Equal(t, 404, ask(t, listed(t, &feedKeeper{keeper: newKeeper()}), "me", "/v1/api/remotes/p/changes/").Code)
}
