package db_test

import (
	"database/sql"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
)

// withMigration is this program's schema and one more.
func withMigration(t testing.TB, text string) fs.FS {
	all := fstest.MapFS{"0099_next.sql": {Data: []byte("-- +goose Up\n" + text)}}
	names, err := fs.Glob(db.Migrations(), "*.sql")
	require.NoError(t, err)
	for _, name := range names {
		content, err := fs.ReadFile(db.Migrations(), name)
		require.NoError(t, err)
		all[name] = &fstest.MapFile{Data: content}
	}
	return all
}

const addsNote = `ALTER TABLE users ADD COLUMN note TEXT COLLATE "binary" NOT NULL DEFAULT 'new';`

// A program refuses what a newer one has migrated, and leaves it as it is.
func TestANewerDatabaseIsRefused(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		d := dbtest.Open(t, url)
		require.NoError(t, write(t.Context(), d, ann))
		newer, err := db.OpenAs(t.Context(), url, withMigration(t, addsNote))
		require.NoError(t, err)
		require.Equal(t, []string{"new"}, texts(t, newer, `SELECT note FROM users`))
		require.NoError(t, newer.Close())

		_, err = db.Open(t.Context(), url)
		require.ErrorIs(t, err, db.ErrNewer)
		require.ErrorContains(t, err, "version 99")
		require.Regexp(t, `its schema has version 99, this one knows \d+$`, err.Error())
		require.ErrorIs(t, d.Ping(t.Context()), db.ErrNewer, "one that was open already says so, too")
		newer, err = db.OpenAs(t.Context(), url, withMigration(t, addsNote))
		require.NoError(t, err)
		require.NoError(t, newer.Close())
	})
}

// A migration that fails leaves the version before it.
func TestAFailedMigrationChangesNothing(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		d := dbtest.Open(t, url)
		require.NoError(t, write(t.Context(), d, ann))
		_, err := db.OpenAs(t.Context(), url, withMigration(t, addsNote+"\nDROP TABLE nowhere;"))
		require.ErrorContains(t, err, "nowhere")
		require.NoError(t, d.Ping(t.Context()))
		require.NoError(t, dbtest.Open(t, url).Check(t.Context()))
	})
}

func TestAForeignDatabaseIsRefused(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		behindItsBack(t, url, `CREATE TABLE theirs (x BIGINT); INSERT INTO theirs VALUES (7)`)
		before := bytesOf(t, url)
		_, err := db.Open(t.Context(), url)
		require.ErrorIs(t, err, db.ErrForeign)
		require.ErrorContains(t, err, "theirs")
		require.Equal(t, before, bytesOf(t, url))
		behindItsBack(t, url, `DROP TABLE theirs`)
		dbtest.Open(t, url)
	})
}

// bytesOf is the file of a SQLite database, nothing for PostgreSQL.
func bytesOf(t testing.TB, url string) []byte {
	path, ok := strings.CutPrefix(url, "sqlite://")
	if !ok {
		return nil
	}
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return content
}

func TestAFileThatIsNoDatabaseIsRefused(t *testing.T) {
	url := dbtest.SQLite(t)
	path := strings.TrimPrefix(url, "sqlite://")
	content := []byte(strings.Repeat("my only copy of a novel\n", 100))
	require.NoError(t, os.WriteFile(path, content, 0o600))
	_, err := db.Open(t.Context(), url)
	require.ErrorContains(t, err, "not a database")
	require.Equal(t, content, bytesOf(t, url))
}

// A backup has all tables, in an order in which they can be filled.
func TestBackupsKnowAllTables(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		query := `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'`
		if d.Engine() == "postgres" {
			query = `SELECT tablename FROM pg_tables WHERE schemaname = current_schema()`
		}
		found := slices.DeleteFunc(texts(t, d, query), func(name string) bool { return name == "d6tpipe_schema" })
		require.ElementsMatch(t, db.Tables(), found)
	})
}

// Every text has the collation that makes both engines compare alike.
func TestEveryTextIsBinary(t *testing.T) {
	url := dbtest.Postgres(t)
	dbtest.Open(t, url)
	raw, err := sql.Open("pgx", url)
	require.NoError(t, err)
	defer raw.Close()
	var with, without int
	require.NoError(t, raw.QueryRowContext(t.Context(), `
		SELECT count(*) FILTER (WHERE l.collname = 'binary'), count(*) FILTER (WHERE l.collname <> 'binary')
		FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_collation l ON l.oid = a.attcollation
		WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'`).Scan(&with, &without))
	require.Zero(t, without)
	require.Greater(t, with, 35)
}
