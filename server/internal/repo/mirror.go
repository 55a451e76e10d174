package repo

import (
	"context"
	"encoding/json"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/server/internal/db"
)

// mirrors lists the caller's.
func (s *session) mirrors(ctx context.Context, tx db.Tx) ([]json.RawMessage, error) {
	return nil, d6tpipe.ErrNotFound
}

// mirror makes, reads, changes, removes or runs one of the caller's.
func (s *session) mirror(ctx context.Context, tx db.Tx, verb catalog.Verb, r resource, in json.RawMessage) (json.RawMessage, error) {
	return nil, d6tpipe.ErrNotFound
}

// mirrorRuns are what runs of a mirror did, the newest first.
func (s *session) mirrorRuns(ctx context.Context, tx db.Tx, r resource, page string) ([]json.RawMessage, error) {
	return nil, d6tpipe.ErrNotFound
}
