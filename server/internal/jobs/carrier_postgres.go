package jobs

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

const (
	// riverSchema is where river's tables are on PostgreSQL, away from ours.
	riverSchema = "d6tpipe_jobs"
	// riverConns is how many connections one engine opens for river at most.
	riverConns = 4
	// riverLock is the number of the advisory lock that who makes the tables holds.
	riverLock = 0x6436746a6f6273 // "d6tjobs"
)

var errURL = errors.New("the URL of the queue's PostgreSQL is malformed")

func isPostgres(url string) bool {
	return strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://")
}

// openPostgres makes the schema ready.
func (j *Jobs) openPostgres(ctx context.Context) (c carrier, err error) {
	config, err := pgxpool.ParseConfig(j.Queue)
	if err != nil { // its text may hold parts of the URL, and so of the password
		return nil, errURL
	}
	config.MaxConns = riverConns
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = "d6tpipe"
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			pool.Close()
		}
	}()
	if err := j.migratePostgres(ctx, pool); err != nil {
		return nil, err
	}
	return newRiver(j, riverpgxv5.New(pool), riverSchema, func() error { pool.Close(); return nil })
}

// migratePostgres makes the schema and its tables, while others that do the same wait.
func (j *Jobs) migratePostgres(ctx context.Context, pool *pgxpool.Pool) (err error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", riverLock); err != nil {
		return err
	}
	defer func() {
		_, unlock := conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", riverLock)
		if unlock != nil { // the connection must not go on with the lock
			unlock = errors.Join(unlock, conn.Conn().Close(context.WithoutCancel(ctx)))
		}
		err = errors.Join(err, unlock)
	}()
	var there bool
	if err := conn.QueryRow(ctx, "SELECT to_regnamespace($1) IS NOT NULL", riverSchema).Scan(&there); err != nil {
		return err
	}
	if !there { // also IF NOT EXISTS wants the right to make one
		if _, err := conn.Exec(ctx, "CREATE SCHEMA "+riverSchema); err != nil {
			return fmt.Errorf("the user of the database must be let make a schema in it, or have one called %s: %w", riverSchema, err)
		}
	}
	return migrateRiver(ctx, j, riverpgxv5.New(pool), riverSchema)
}
