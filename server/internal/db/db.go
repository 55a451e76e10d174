// Package db is the server's database: SQLite in a file, or PostgreSQL. It owns
// the connections, the transactions and the schema; what the rows mean is its
// callers' business.
//
// Both engines get the same SQL text, with $1, $2 for arguments, and behave alike
// as far as callers can see: what is read in one transaction is one snapshot,
// what is written in one is all there or not at all, transactions that write act
// as if they ran one after the other, texts compare byte by byte, a statement
// that fails ends its transaction. Times are int64 Unix microseconds, ids are
// texts.
package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// DB is an open database. Its methods may be called by several goroutines at
// once.
type DB struct {
	dialect
	writes *sql.DB     // the one connection that writes on SQLite
	reads  *sql.DB     // the same as writes on PostgreSQL
	known  *statements // of reads; nil on PostgreSQL
	schema
}

// schema is what the tables are to look like.
type schema struct {
	migrations fs.FS
	target     int64 // the version that is wanted, 0 for the latest
	existing   bool  // it must be there in some version
}

// dialect is what differs between the engines.
type dialect struct {
	name   string
	goose  gooseDialect
	write  sql.TxOptions
	read   sql.TxOptions
	tables string // a query for the names of all tables and views

	beginWrite  func(attempt int) string                    // a statement that begins each transaction that writes, or ""
	beginBackup string                                      // a statement that begins a long transaction that reads, or ""
	conflict    func(error) bool                            // whether a transaction failed because of others, and was rolled back
	lost        func(error) bool                            // whether the connection is gone
	prepare     func(context.Context, *sql.DB) error        // what a migration needs
	lock        func(context.Context) (func() error, error) // keeps others from migrating at the same time
	check       func(context.Context, Tx) error             // whether what is stored is sound
}

// Open opens the database at url and brings its schema up to date. "postgres://"
// and "postgresql://" URLs are PostgreSQL, where several programs may open one
// database at the same time. A path, or a URL such as "sqlite:///var/lib/x.db",
// is a SQLite file, which is created, readable by this user alone, when it is
// missing; "" is the one at [DefaultPath].
//
// A database that a newer program has migrated is refused with [ErrNewer], and
// one that holds something else with [ErrForeign]; both stay as they are.
func Open(ctx context.Context, url string) (*DB, error) {
	latest, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	return open(ctx, url, schema{migrations: latest})
}

// OpenExisting is [Open] for a database that is there. One that is not, or has no
// tables yet, is refused with [ErrMissing], and nothing is made.
func OpenExisting(ctx context.Context, url string) (*DB, error) {
	latest, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	return open(ctx, url, schema{migrations: latest, existing: true})
}

// open opens with a schema that may be another one than this program's.
func open(ctx context.Context, url string, schema schema) (*DB, error) {
	openEngine := openSQLite
	if isPostgres(url) {
		openEngine = openPostgres
	}
	d, err := openEngine(ctx, url, schema)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return d, nil
}

func isPostgres(url string) bool {
	return strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://")
}

// Engine is "sqlite" or "postgres".
func (d *DB) Engine() string { return d.name }

// Close waits until nobody uses a connection any more and closes them all.
func (d *DB) Close() error {
	if d.reads == d.writes {
		return d.writes.Close()
	}
	// The last to leave empties SQLite's log, which only a writer can.
	return errors.Join(d.reads.Close(), d.writes.Close())
}
