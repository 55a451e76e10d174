package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"io/fs"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

const (
	// postgresConns is how many connections one program opens at most.
	postgresConns = 16
	// migrationLock is the number of the advisory lock that migrations hold.
	migrationLock = 0x64367470697065 // "d6tpipe"
)

// postgresDialect returns what is particular to PostgreSQL.
//
// Transactions that write are serializable. Those that have failed because of
// others take a lock that shuts the others out: they come through in the end,
// however many write to the same rows. It must be taken by LOCK TABLE, which
// unlike a SELECT does not yet fix the snapshot that the transaction sees.
func postgresDialect(pool *sql.DB) dialect {
	return dialect{
		name:  "postgres",
		goose: goose.DialectPostgres,
		write: sql.TxOptions{Isolation: sql.LevelSerializable},
		read:  sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true},
		tables: `SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
			WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p', 'v', 'm', 'f')`,
		beginWrite: func(attempt int) string {
			if attempt > patience {
				return "LOCK TABLE meta IN EXCLUSIVE MODE"
			}
			return "LOCK TABLE meta IN ROW SHARE MODE"
		},
		beginBackup: "SET LOCAL idle_in_transaction_session_timeout = 0", // whoever takes the backup may be slow
		conflict:    isPostgresConflict,
		lost:        isPostgresLost,
		prepare:     preparePostgres,
		lock: func(ctx context.Context) (func() error, error) {
			return lockPostgres(ctx, pool)
		},
		check: func(context.Context, Tx) error { return nil },
	}
}

// openPostgres opens a pool of connections. What the URL does not say comes from
// the usual PG... environment variables.
func openPostgres(ctx context.Context, url string, schema schema) (_ *DB, err error) {
	config, err := postgresConfig(url)
	if err != nil {
		return nil, err
	}
	pool := stdlib.OpenDB(*config, stdlib.OptionAfterConnect(settleSession))
	defer func() {
		if err != nil {
			err = errors.Join(err, pool.Close())
		}
	}()
	pool.SetMaxOpenConns(postgresConns)
	pool.SetMaxIdleConns(postgresConns)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	pool.SetConnMaxLifetime(time.Hour)
	d := &DB{dialect: postgresDialect(pool), writes: pool, reads: pool, schema: schema}
	if err := d.recognise(ctx); err != nil {
		return nil, err
	}
	return d, d.migrate(ctx)
}

// postgresConfig reads a URL. The parser's own errors may hold parts of it, and
// so of its password.
func postgresConfig(url string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(url)
	if missing, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, missing
	}
	if err != nil {
		return nil, errors.New("the URL of PostgreSQL is malformed; it looks like " +
			"postgres://user:password@host:5432/name?sslmode=verify-full, with special characters as %XX")
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = 10 * time.Second
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "d6tpipe"
	}
	return config, nil
}

// settleSession makes commits durable where the server's settings do not, and
// keeps a program that died unseen from holding its locks for hours.
//
// It also has every row looked up in an index, as SQLite does. Our queries ask for
// a few rows by their keys; PostgreSQL takes those that are recursive, or of a table that
// it has not looked at lately, for a thousand times larger, and would read all of a table
// to join it, compile the query first, or start processes for it.
func settleSession(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `SELECT
		CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END,
		CASE current_setting('idle_in_transaction_session_timeout')
			WHEN '0' THEN set_config('idle_in_transaction_session_timeout', '60s', false) END,
		set_config('enable_hashjoin', 'off', false), set_config('enable_mergejoin', 'off', false), set_config('jit', 'off', false),
		set_config('max_parallel_workers_per_gather', '0', false)`)
	return err
}

// preparePostgres gives PostgreSQL the collation that SQLite has built in.
func preparePostgres(ctx context.Context, pool *sql.DB) error {
	_, err := pool.ExecContext(ctx, `CREATE COLLATION IF NOT EXISTS "binary" FROM "C"`)
	return err
}

// lockPostgres waits until no other program migrates the database.
func lockPostgres(ctx context.Context, pool *sql.DB) (unlock func() error, err error) {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock($1)", migrationLock); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return func() error {
		_, err := conn.ExecContext(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", migrationLock)
		if err != nil { // the connection must not go on with the lock
			_ = conn.Raw(func(any) error { return driver.ErrBadConn })
		}
		return errors.Join(err, conn.Close())
	}, nil
}

// isPostgresConflict knows serialization failures and deadlocks.
func isPostgresConflict(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pg.Code == "40001" || pg.Code == "40P01")
}

// isPostgresLost knows errors after which the connection is of no use.
func isPostgresLost(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return strings.HasPrefix(pg.Code, "08") || slices.Contains([]string{"57P01", "57P02", "57P05", "25P03"}, pg.Code)
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return true
	}
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, pgconn.ErrConnClosed) || errors.Is(err, io.ErrUnexpectedEOF)
}
