package db

import (
	"context"
	"fmt"
)

// Ping reports whether the database answers and has the schema that this program
// knows. It is quick: a server asks it to tell whether it is ready.
func (d *DB) Ping(ctx context.Context) error {
	return d.Read(ctx, func(ctx context.Context, tx Tx) error {
		version, err := d.version(ctx, tx)
		if err != nil {
			return err
		}
		latest, err := d.latest()
		if err == nil && version < latest {
			err = fmt.Errorf("%w: its schema has version %d instead of %d", ErrDamaged, version, latest)
		}
		return err
	})
}

// Check is [DB.Ping], and on SQLite reads the whole file to tell whether it is
// sound, which takes seconds for a big one; otherwise the error matches
// [ErrDamaged]. PostgreSQL watches over its own files.
func (d *DB) Check(ctx context.Context) error {
	if err := d.Ping(ctx); err != nil {
		return fmt.Errorf("check database: %w", err)
	}
	if err := d.Read(ctx, d.check); err != nil {
		return fmt.Errorf("check database: %w", err)
	}
	return nil
}
