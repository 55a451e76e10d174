package repo

import (
	"context"
	"encoding/json"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/server/internal/db"
)

// webhooks lists those of a pipe.
func (s *session) webhooks(ctx context.Context, tx db.Tx, r resource) ([]json.RawMessage, error) {
	return nil, d6tpipe.ErrNotFound
}

// webhook makes, reads, changes, removes or tries one of a pipe's.
func (s *session) webhook(ctx context.Context, tx db.Tx, verb catalog.Verb, r resource, in json.RawMessage) (json.RawMessage, error) {
	return nil, d6tpipe.ErrNotFound
}

// deliveries are what was sent to a webhook, the newest first.
func (s *session) deliveries(ctx context.Context, tx db.Tx, r resource, page string) ([]json.RawMessage, error) {
	return nil, d6tpipe.ErrNotFound
}

// changed tells the webhooks of a pipe that its feed has grown, in the transaction that
// made it grow.
func changed(ctx context.Context, tx db.Tx, record string) error { return nil }
