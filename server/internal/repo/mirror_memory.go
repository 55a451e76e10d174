package repo

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/d6t/d6tpipe-go/server/internal/db"
	copying "github.com/d6t/d6tpipe-go/server/internal/mirror"
)

// A MirrorMemories is a [copying.Keeper] in the database.
type MirrorMemories struct{ DB *db.DB }

var _ copying.Keeper = MirrorMemories{}

// Holder implements [copying.Keeper].
func (m MirrorMemories) Holder(ctx context.Context, id string) (holder string, err error) {
	err = m.DB.Read(ctx, func(ctx context.Context, tx db.Tx) (err error) {
		holder, err = lookup(ctx, tx, `SELECT holder FROM mirror_memory WHERE mirror_id = $1`, id)
		return err
	})
	return holder, err
}

// Claim implements [copying.Keeper].
func (m MirrorMemories) Claim(ctx context.Context, id, was, now string) error {
	if was == "" {
		return m.write(ctx, `INSERT INTO mirror_memory (mirror_id, holder, body) SELECT id, $2, '' FROM mirrors WHERE id = $1 ON CONFLICT DO NOTHING`, id, now)
	}
	return m.write(ctx, `UPDATE mirror_memory SET holder = $3 WHERE mirror_id = $1 AND holder = $2`, id, was, now)
}

// Load implements [copying.Keeper].
func (m MirrorMemories) Load(ctx context.Context, id string) (archive []byte, err error) {
	err = m.DB.Read(ctx, func(ctx context.Context, tx db.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT body FROM mirror_memory WHERE mirror_id = $1`, id).Scan((*decoded)(&archive))
	})
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil
	case errors.Is(err, errNoBase64):
		return nil, fmt.Errorf("%w: %w", copying.ErrDamaged, err)
	}
	return archive, err
}

// Save implements [copying.Keeper].
func (m MirrorMemories) Save(ctx context.Context, id, holder string, archive []byte) error {
	return m.write(ctx, `UPDATE mirror_memory SET body = $3 WHERE mirror_id = $1 AND holder = $2`, id, holder, base64.StdEncoding.EncodeToString(archive))
}

// write carries out a statement that writes one row, if nobody else has the mirror.
func (m MirrorMemories) write(ctx context.Context, query string, args ...any) error {
	return m.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		result, err := tx.ExecContext(ctx, query, args...)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		if err == nil && n == 0 {
			err = copying.ErrLost
		}
		return err
	})
}
