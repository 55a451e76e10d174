package jobs

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/jackc/pgx/v5"

	"github.com/d6t/d6tpipe-go/internal/atomicfile"
)

// ErrInUse means that an engine works with a queue, or did a few seconds ago and was
// killed.
var ErrInUse = errors.New("a server runs on it, or was killed a few seconds ago")

// Alone calls do unless an engine has the queue open: then the error is [ErrInUse]. While
// do runs, an engine that opens a queue in a file waits; on PostgreSQL it does not.
func Alone(ctx context.Context, queue string, do func() error) error {
	if isPostgres(queue) {
		return alonePostgres(ctx, queue, do)
	}
	return aloneSQLite(queue, do)
}

func aloneSQLite(path string, do func() error) (err error) {
	if err := atomicfile.MakeDir(filepath.Dir(path)); err != nil {
		return err
	}
	users := usersOf(path)
	defer func() { err = errors.Join(err, users.Close()) }()
	alone, err := users.TryLock()
	if err != nil {
		return err
	}
	if !alone {
		return ErrInUse
	}
	return do()
}

// leads tells whether an engine says of itself that it leads the others, as one always
// does: it says so again before the time is over.
const leads = `SELECT EXISTS (SELECT 1 FROM ` + riverSchema + `.river_leader WHERE expires_at > now())`

func alonePostgres(ctx context.Context, url string, do func() error) error {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return errURL
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	var inUse bool
	err = conn.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", riverSchema+".river_leader").Scan(&inUse)
	if err == nil && inUse {
		err = conn.QueryRow(ctx, leads).Scan(&inUse)
	}
	if err = errors.Join(err, conn.Close(ctx)); err != nil {
		return err
	}
	if inUse {
		return ErrInUse
	}
	return do()
}
