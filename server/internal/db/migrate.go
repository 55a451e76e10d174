package db

import (
	"cmp"
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// versions is the table by which a database of ours is known. It holds a row for
// each migration that took place.
const versions = "d6tpipe_schema"

type gooseDialect = goose.Dialect

// recognise refuses a database that holds something else, or is too new.
func (d *DB) recognise(ctx context.Context) error {
	tables, err := column(ctx, d.writes, d.tables)
	if err != nil {
		return err
	}
	if len(tables) > 0 && !slices.Contains(tables, versions) {
		slices.Sort(tables)
		return fmt.Errorf("%w: it has %s", ErrForeign, strings.Join(tables[:min(3, len(tables))], ", "))
	}
	version, err := d.version(ctx, d.writes)
	if err == nil && version == 0 && d.existing {
		err = ErrMissing
	}
	return err
}

// version is that of the schema, 0 if there is none yet. A newer one than this
// program's is an error.
func (d *DB) version(ctx context.Context, q querier) (int64, error) {
	tables, err := column(ctx, q, d.tables)
	if err != nil || !slices.Contains(tables, versions) {
		return 0, err
	}
	var version int64
	err = scanRow(ctx, q, "SELECT coalesce(max(version_id), 0) FROM "+versions+" WHERE is_applied", &version)
	if err != nil {
		return 0, err
	}
	latest, err := d.latest()
	if err == nil && version > latest {
		err = fmt.Errorf("%w: its schema has version %d, this one knows %d", ErrNewer, version, latest)
	}
	return version, err
}

// latest is the newest version of the schema that this program knows.
func (d *DB) latest() (int64, error) {
	p, err := d.provider()
	if err != nil {
		return 0, err
	}
	sources := p.ListSources()
	return sources[len(sources)-1].Version, nil
}

func (d *DB) provider() (*goose.Provider, error) {
	return goose.NewProvider(d.goose, d.writes, d.migrations,
		goose.WithTableName(versions), goose.WithDisableGlobalRegistry(true))
}

// migrate brings the schema up to date. Others who do the same wait, and find it
// done.
func (d *DB) migrate(ctx context.Context) (err error) {
	if behind, err := d.isBehind(ctx); err != nil || !behind {
		return err
	}
	unlock, err := d.lock(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if behind, err := d.isBehind(ctx); err != nil || !behind {
		return err // somebody was faster
	}
	if err := d.prepare(ctx, d.writes); err != nil {
		return err
	}
	p, err := d.provider()
	if err != nil {
		return err
	}
	if d.target > 0 {
		_, err = p.UpTo(ctx, d.target)
	} else {
		_, err = p.Up(ctx)
	}
	return err
}

// isBehind reports whether the schema lacks a migration.
func (d *DB) isBehind(ctx context.Context) (bool, error) {
	latest, err := d.latest()
	if err != nil {
		return false, err
	}
	version, err := d.version(ctx, d.writes)
	return version < cmp.Or(d.target, latest), err
}

// querier is a [Tx] or a [sql.DB].
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// column returns the texts that a query finds.
func column(ctx context.Context, q querier, query string, args ...any) (values []string, err error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var value string
		if err := rows.Scan(&value); err != nil {
			return nil, err
		}
		values = append(values, value)
	}
	return values, rows.Err()
}

// scanRow reads the one row that a query finds.
func scanRow(ctx context.Context, q querier, query string, into ...any) error {
	rows, err := q.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	if !rows.Next() {
		return errors.Join(rows.Err(), sql.ErrNoRows)
	}
	return errors.Join(rows.Scan(into...), rows.Close())
}
