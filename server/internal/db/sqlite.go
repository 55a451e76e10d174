package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/d6t/d6tpipe-go/internal/atomicfile"
)

// DefaultPath is where the SQLite file lies when nobody says otherwise: in the
// user's data folder.
func DefaultPath() (string, error) {
	dir, err := dataDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "d6tpipe", "server.db"), nil
}

// dataDir is where programs keep what they must not lose.
func dataDir() (string, error) {
	switch runtime.GOOS {
	case "windows":
		return os.UserCacheDir() // %LocalAppData%
	case "darwin", "ios":
		return os.UserConfigDir() // ~/Library/Application Support
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return dir, nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".local", "share"), err
}

// sqliteDialect returns what is particular to the SQLite file at path.
func sqliteDialect(path string) dialect {
	return dialect{
		name:       "sqlite",
		goose:      goose.DialectSQLite3,
		read:       sql.TxOptions{ReadOnly: true},
		tables:     `SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite%'`,
		beginWrite: func(int) string { return "" },
		conflict:   isSQLiteConflict,
		lost:       func(error) bool { return false },
		prepare:    useLog, // while nobody else does
		lock: func(ctx context.Context) (func() error, error) {
			return atomicfile.Lock(ctx, path)
		},
		check: checkSQLite,
	}
}

// openSQLite opens a file with one connection that writes and several that read.
// In a write-ahead log they do not wait for each other.
func openSQLite(ctx context.Context, url string, schema schema) (_ *DB, err error) {
	path, err := sqlitePath(url)
	if err != nil {
		return nil, err
	}
	if err := provideFile(path, schema.existing); err != nil {
		return nil, err
	}
	writes, err := sql.Open("sqlite", sqliteDSN(path, "rw"))
	if err != nil {
		return nil, err
	}
	d := &DB{dialect: sqliteDialect(path), writes: writes, reads: writes, schema: schema}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	writes.SetMaxOpenConns(1)
	err = d.run(ctx, func(int) (again bool, err error) { // to turn the log on, SQLite waits for nobody
		err = d.makeReady(ctx)
		return d.conflict(err), err
	})
	if err != nil {
		return nil, err
	}
	reads, err := sql.Open("sqlite", sqliteDSN(path, "ro"))
	if err != nil {
		return nil, err
	}
	reads.SetMaxOpenConns(max(4, 2*runtime.GOMAXPROCS(0)))
	reads.SetMaxIdleConns(max(4, 2*runtime.GOMAXPROCS(0)))
	d.reads, d.known = reads, newStatements(reads)
	return d, nil
}

// makeReady is what happens to a file before it is used.
func (d *DB) makeReady(ctx context.Context) error {
	if err := d.recognise(ctx); err != nil { // before anything in it changes
		return err
	}
	if err := d.migrate(ctx); err != nil {
		return err
	}
	return useLog(ctx, d.writes)
}

// sqlitePath is the file that a URL or a path means.
func sqlitePath(name string) (string, error) {
	if name == "" {
		return DefaultPath()
	}
	scheme, path, isURL := strings.Cut(name, "://")
	if !isURL {
		return filepath.Abs(name)
	}
	if scheme != "sqlite" || !strings.HasPrefix(path, "/") {
		return "", errors.New(`neither "postgres://...", nor "sqlite:///path", nor a path`)
	}
	if runtime.GOOS == "windows" {
		path = strings.TrimPrefix(path, "/") // sqlite:///C:/x.db
	}
	return filepath.Abs(filepath.FromSlash(path))
}

// provideFile makes sure that there is a file, by itself unless it must exist.
func provideFile(path string, existing bool) error {
	if !existing {
		return createFile(path)
	}
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrMissing, err)
	}
	return err
}

// createFile makes sure that there is a file, and that a new one, and the log
// that SQLite puts beside it with the same permissions, are this user's alone.
func createFile(path string) error {
	if err := atomicfile.MakeDir(filepath.Dir(path)); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), atomicfile.SyncDir(filepath.Dir(path)))
}

// sqliteDSN is the driver's name for a file, with what every connection wants.
// LIKE tells upper from lower case and "x" is no text, as in PostgreSQL.
func sqliteDSN(path, mode string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	query := url.Values{
		"mode":       {mode},
		"_txlock":    {"immediate"},
		"_dqs":       {"0"},
		"_defensive": {"1"},
		"_pragma": {"busy_timeout(2000)", "synchronous(FULL)", "foreign_keys(1)", "trusted_schema(0)",
			"case_sensitive_like(1)", "journal_size_limit(67108864)"},
	}
	if mode == "ro" {
		query.Add("_pragma", "query_only(1)")
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}).String()
}

// useLog turns the write-ahead log on, which the file remembers.
func useLog(ctx context.Context, writes *sql.DB) error {
	var mode string
	if err := writes.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return errors.New("the file system cannot do what SQLite's write-ahead log needs; use a local one, or PostgreSQL")
	}
	return nil
}

func isSQLiteConflict(err error) bool {
	lite, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return false
	}
	primary := lite.Code() & 0xff
	return primary == sqlite3.SQLITE_BUSY || primary == sqlite3.SQLITE_LOCKED
}

// checkSQLite reads the whole file, and follows every reference in it.
func checkSQLite(ctx context.Context, tx Tx) error {
	found, err := column(ctx, tx, `SELECT integrity_check FROM pragma_integrity_check LIMIT 10`)
	if err != nil {
		return err
	}
	if len(found) != 1 || found[0] != "ok" {
		return fmt.Errorf("%w: %s", ErrDamaged, strings.Join(found, "; "))
	}
	found, err = column(ctx, tx, `SELECT DISTINCT "table" || ' refers to missing ' || parent FROM pragma_foreign_key_check`)
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return fmt.Errorf("%w: %s", ErrDamaged, strings.Join(found, "; "))
	}
	return nil
}
