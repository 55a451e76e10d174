package d6tpipe

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/d6t/d6tpipe-go/internal/catalog"
)

// Records are some records in memory, and the rules that every catalogue has: what a
// request makes of a record, what is shown of it, and which credentials answer for it.
// They are for the project's own server, which gives them the records that a request is
// about and keeps what comes out. Programs use [APILocal] or [APIClient].
type Records struct {
	mu    sync.Mutex
	state *localState
}

// NewRecords holds records as [Records.Stored] returned them.
func NewRecords(remotes, pipes []json.RawMessage) (*Records, error) {
	s := newLocalState()
	for i, rows := range [][]json.RawMessage{remotes, pipes} {
		for _, raw := range rows {
			row, err := decodeRow(localKinds[i], raw)
			if err != nil {
				return nil, err
			}
			s.put(row)
		}
	}
	return &Records{state: s}, nil
}

// List is [catalog.Backend]'s.
func (r *Records) List(ctx context.Context, path, page string) ([]json.RawMessage, string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.list(ctx, path, page)
}

// Do is [catalog.Backend]'s. After an error everything is as it was.
func (r *Records) Do(_ context.Context, verb catalog.Verb, path, name string, in json.RawMessage) (json.RawMessage, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.do(verb, path, name, in)
}

// Stored returns a record as it is to be kept, with its credentials, nil when there is
// none of that name. It may be that credentials are encrypted by a client.
func (r *Records) Stored(path, name string) (json.RawMessage, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.state.tables[path]
	if !ok {
		return nil, noResource(path)
	}
	row, ok := t.rows[name]
	if !ok {
		return nil, nil
	}
	return row.fields.MarshalJSON()
}

// Storage is that of [API]: where the files of a pipe lie, with the credentials that are
// stored for a role.
func (r *Records) Storage(ctx context.Context, pipe string, role Role) (Storage, error) {
	return catalogue{r, hide(Config{})}.Storage(ctx, pipe, role, false)
}
