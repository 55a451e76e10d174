package jobs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/d6t/d6tpipe-go/internal/atomicfile"
	"github.com/d6t/d6tpipe-go/server/internal/db"
)

// adoptAll ends the leases of servers that are no more.
const adoptAll = `UPDATE runs SET lease_at = 0 WHERE state IN ('queued', 'running')`

// openSQLite makes the file ready. Who opens it while nobody else has it open begins
// with an empty one, whatever was in it, and knows that all runs in the database are
// those of servers that are gone.
func (j *Jobs) openSQLite(ctx context.Context) (c carrier, err error) {
	path, err := filepath.Abs(j.Queue)
	if err != nil {
		return nil, err
	}
	if err := atomicfile.MakeDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	users := usersOf(path)
	defer func() {
		if err != nil {
			err = errors.Join(err, users.Close())
		}
	}()
	if err := j.enter(ctx, users, path); err != nil {
		return nil, err
	}
	pool, err := sql.Open("sqlite", queueDSN(path))
	if err != nil {
		return nil, err
	}
	pool.SetMaxOpenConns(1) // as river asks for on SQLite
	defer func() {
		if err != nil {
			err = errors.Join(err, pool.Close())
		}
	}()
	if err := j.migrateSQLite(ctx, path, pool); err != nil {
		return nil, err
	}
	return newRiver(j, riversqlite.New(pool), "", func() error { return errors.Join(pool.Close(), users.Close()) })
}

// usersOf is the lock that every engine shares that has the file open.
func usersOf(path string) *flock.Flock {
	return flock.New(path+".lock", flock.SetPermissions(0o600))
}

// lockPoll is how often a lock is tried that somebody else holds.
const lockPoll = 5 * time.Millisecond

// enter makes this engine one of the file's users.
//
// Between the two locks somebody else may have been alone, too. That does no harm: this
// engine has begun nothing yet.
func (j *Jobs) enter(ctx context.Context, users *flock.Flock, path string) error {
	alone, err := users.TryLock()
	if err != nil {
		return err
	}
	if alone {
		err = errors.Join(removeQueue(path), j.adopt(ctx))
		if err = errors.Join(err, users.Unlock()); err != nil {
			return err
		}
	}
	_, err = users.TryRLockContext(ctx, lockPoll)
	return err
}

// removeQueue removes the file with what SQLite has put beside it.
func removeQueue(path string) error {
	for _, name := range []string{path + "-wal", path + "-shm", path + "-journal", path} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// adopt has runs taken up at once whose servers are gone.
func (j *Jobs) adopt(ctx context.Context) error {
	return j.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		_, err := tx.ExecContext(ctx, adoptAll)
		return err
	})
}

// migrateSQLite makes the tables.
func (j *Jobs) migrateSQLite(ctx context.Context, path string, pool *sql.DB) (err error) {
	unlock, err := atomicfile.Lock(ctx, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	var mode string
	if err := pool.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("the file system of %s cannot do what SQLite's write-ahead log needs", path)
	}
	return migrateRiver(ctx, j, riversqlite.New(pool), "")
}

// queueDSN is the driver's name for the file. Nothing in it must survive a power cut.
func queueDSN(path string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	query := url.Values{
		"mode":    {"rw"},
		"_txlock": {"immediate"},
		"_pragma": {"busy_timeout(5000)", "synchronous(OFF)", "foreign_keys(1)", "journal_size_limit(1048576)"},
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}).String()
}
