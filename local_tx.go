package d6tpipe

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"github.com/d6t/d6tpipe-go/internal/catalog"
)

// localTx is the catalogue within a transaction.
type localTx struct {
	mu    sync.Mutex
	state *localState // nil when the transaction is over
}

var errTxOver = errors.New("the transaction is over")

func (t *localTx) List(ctx context.Context, path, page string) ([]json.RawMessage, string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.usable(ctx); err != nil {
		return nil, "", err
	}
	return t.state.list(ctx, path, page)
}

func (t *localTx) Do(ctx context.Context, verb catalog.Verb, path, name string, in json.RawMessage) (json.RawMessage, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.usable(ctx); err != nil {
		return nil, err
	}
	return t.state.do(verb, path, name, in)
}

func (t *localTx) usable(ctx context.Context) error {
	if t.state == nil {
		return errTxOver
	}
	return ctx.Err()
}

func (t *localTx) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state = nil
}
