// Package dbtest gives tests real databases: SQLite files, and a PostgreSQL that
// the test process starts once, from Debian's package, and stops at its end.
package dbtest

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/d6t/d6tpipe-go/internal/leaktest"
	"github.com/d6t/d6tpipe-go/server/internal/db"
)

// Each runs a test on a database of either engine with all its tables and nothing in
// them, as subtests "sqlite" and "postgres". The latter is skipped where there is no
// PostgreSQL.
func Each(t *testing.T, test func(t *testing.T, d *db.DB)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, Open(t, madeSQLite(t))) })
	t.Run("postgres", func(t *testing.T) { test(t, Open(t, server.url(server.copied(t)))) })
}

// EachURL is [Each] for tests that open the database themselves, more than once
// or in other processes. It has no tables yet.
func EachURL(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, SQLite(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, Postgres(t)) })
}

// Open opens a database until the test ends.
func Open(t testing.TB, url string) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

// SQLite returns the URL of a file that does not exist yet.
func SQLite(t testing.TB) string {
	return "sqlite://" + filepath.ToSlash(filepath.Join(t.TempDir(), "server.db"))
}

// made is an SQLite file with all tables: to make them takes longer than to copy it.
var made struct {
	sync.Mutex
	file []byte
}

// madeSQLite is [SQLite] with all tables.
func madeSQLite(t testing.TB) string {
	t.Helper()
	url := SQLite(t)
	path := strings.TrimPrefix(url, "sqlite://")
	made.Lock()
	defer made.Unlock()
	if made.file == nil {
		d, err := db.Open(t.Context(), url)
		require.NoError(t, err)
		require.NoError(t, d.Close())
		made.file, err = os.ReadFile(path)
		require.NoError(t, err)
		return url
	}
	require.NoError(t, os.WriteFile(path, made.file, 0o600))
	return url
}

// Postgres returns the URL of an empty database. The test is skipped where
// there is no PostgreSQL.
func Postgres(t testing.TB) string {
	t.Helper()
	return server.url(server.database(t, ""))
}

// Main is what a package's TestMain calls: it runs the tests, stops PostgreSQL
// and sees to it that no goroutine is left.
func Main(m *testing.M, ignore ...goleak.Option) {
	leaktest.Main(withPostgres{m}, ignore...)
}

// withPostgres runs tests and stops what they started.
type withPostgres struct{ m *testing.M }

// Run implements [goleak.TestingM].
func (w withPostgres) Run() int {
	code := w.m.Run()
	if err := server.stop(); err != nil {
		_, _ = os.Stderr.WriteString("stop PostgreSQL: " + err.Error() + "\n")
		return max(code, 1)
	}
	return code
}
