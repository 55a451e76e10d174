package repo

import (
	"context"
	"encoding/json"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/db"
)

// jobs lists what the server does by itself, for its administrator.
func (s *session) jobs(ctx context.Context, tx db.Tx, page string) ([]json.RawMessage, error) {
	return nil, d6tpipe.ErrNotFound
}
