package repo

import (
	"context"
	"encoding/json"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/server/internal/db"
)

// schedule is the schedule of a pipe's scans.
func (s *session) schedule(ctx context.Context, tx db.Tx, verb catalog.Verb, r resource, in json.RawMessage) (json.RawMessage, error) {
	return nil, d6tpipe.ErrNotFound
}

// schedules lists those of the pipes that the caller may read.
func (s *session) schedules(ctx context.Context, tx db.Tx) ([]json.RawMessage, error) {
	return nil, d6tpipe.ErrNotFound
}
