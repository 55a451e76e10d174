package db_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// write carries out statements in one transaction.
func write(ctx context.Context, d *db.DB, statements ...string) error {
	return d.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		for _, s := range statements {
			if _, err := tx.ExecContext(ctx, s); err != nil {
				return err
			}
		}
		return nil
	})
}

// number is what a query for one number finds.
func number(t testing.TB, d *db.DB, query string, args ...any) (n int64) {
	t.Helper()
	require.NoError(t, d.Read(t.Context(), func(ctx context.Context, tx db.Tx) error {
		return tx.QueryRowContext(ctx, query, args...).Scan(&n)
	}))
	return n
}

// texts are what a query for texts finds.
func texts(t testing.TB, d *db.DB, query string, args ...any) (found []string) {
	t.Helper()
	require.NoError(t, d.Read(t.Context(), func(ctx context.Context, tx db.Tx) error {
		found = nil
		rows, err := tx.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var s string
			if err := rows.Scan(&s); err != nil {
				return err
			}
			found = append(found, s)
		}
		return rows.Err()
	}))
	return found
}

const (
	ann      = `INSERT INTO users VALUES ('u1', 'ann', 'ann@example.com', 'hash', 'token-ann', 'sealed', true, 1)`
	pipe     = `INSERT INTO records VALUES ('r1', 'pipe', 'sales', 'u1', '', false, '{}', '', '{}', 1, 2, 3)`
	grant    = `INSERT INTO grants VALUES ('r1', 'public', 1, '', 'u1', 4)`
	counter  = `INSERT INTO usage VALUES ('r1', '2026-11-25', 'pull', 0)`
	count    = `UPDATE usage SET n = n + 1 WHERE record_id = 'r1'`
	counted  = `SELECT n FROM usage WHERE record_id = 'r1'`
	howMany  = `SELECT count(*) FROM users`
	annsName = `SELECT username FROM users`
)

func TestOpenCreatesAPrivateFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b ?#%41", "server.db")
	d, err := db.Open(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, write(t.Context(), d, ann))
	require.Equal(t, "sqlite", d.Engine())
	for name, perm := range map[string]os.FileMode{"": 0o700, "server.db": 0o600, "server.db-wal": 0o600, "server.db-shm": 0o600} {
		info, err := os.Stat(filepath.Join(filepath.Dir(path), name))
		require.NoError(t, err)
		require.Equal(t, perm, info.Mode().Perm(), name)
	}
	require.NoError(t, d.Close())
	require.NoFileExists(t, path+"-wal")
	d = dbtest.Open(t, "sqlite://"+path)
	require.Equal(t, []string{"ann"}, texts(t, d, annsName))
}

func TestOpenWithoutNameIsInTheUsersDataFolder(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	path, err := db.DefaultPath()
	require.NoError(t, err)
	require.Equal(t, filepath.Join(os.Getenv("XDG_DATA_HOME"), "d6tpipe", "server.db"), path)
	require.NoError(t, dbtest.Open(t, "").Ping(t.Context()))
	require.FileExists(t, path)
	t.Setenv("XDG_DATA_HOME", "")
	t.Setenv("HOME", "/home/ann")
	path, err = db.DefaultPath()
	require.NoError(t, err)
	require.Equal(t, "/home/ann/.local/share/d6tpipe/server.db", path)
}

func TestOpenRefusesOtherURLs(t *testing.T) {
	for _, url := range []string{"mysql://localhost/x", "sqlite://x.db", "sqlite:// /x"} {
		_, err := db.Open(t.Context(), url)
		require.ErrorContains(t, err, "nor a path", url)
	}
}

// No error shows the password, whether it is malformed or nobody answers.
func TestOpenErrorsHideThePassword(t *testing.T) {
	for _, url := range []string{
		"postgres://ann:canary@127.0.0.1:1/x?connect_timeout=2",
		"postgres://ann:canary%zz@host/x",
		"postgres://ann:can@ary@host:port/canary",
		"postgresql://ann:canary@host/x?sslmode=canary",
		"postgres://host/x?password=canary&connect_timeout=canary",
		"postgres://ann:canary@host/x?sslmode=verify-full&sslrootcert=/missing",
	} {
		_, err := db.Open(t.Context(), url)
		require.Error(t, err, url)
		require.NotContains(t, err.Error(), "ary", url)
	}
}

func TestOpenAgainKeepsEverything(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		d, err := db.Open(t.Context(), url)
		require.NoError(t, err)
		require.NoError(t, write(t.Context(), d, ann))
		require.NoError(t, d.Close())
		d = dbtest.Open(t, url)
		require.EqualValues(t, 1, number(t, d, howMany))
		require.NoError(t, d.Check(t.Context()))
	})
}

// Programs that start at the same time migrate once, and each finds it done.
func TestOpenAtTheSameTime(t *testing.T) {
	for name, c := range map[string]struct {
		fresh  func(testing.TB) string
		rounds int
	}{"sqlite": {dbtest.SQLite, scaled(6, 100)}, "postgres": {dbtest.Postgres, scaled(2, 20)}} {
		t.Run(name, func(t *testing.T) {
			for range c.rounds {
				url := c.fresh(t)
				start, errs := make(chan struct{}), make(chan error)
				for range 6 {
					go func() {
						<-start
						d, err := db.Open(t.Context(), url)
						if err == nil {
							err = errors.Join(d.Ping(t.Context()), d.Close())
						}
						errs <- err
					}()
				}
				close(start)
				var all error
				for range 6 {
					all = errors.Join(all, <-errs)
				}
				require.NoError(t, all)
			}
		})
	}
}

func TestOpenHonoursTheContext(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := db.Open(ctx, url)
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestUniqueNames(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		require.NoError(t, write(ctx, d, ann, pipe, grant, `INSERT INTO teams VALUES ('t1', 'acme/data', 'u1', 5)`))
		for statement, name := range map[string]string{
			`INSERT INTO users VALUES ('u1', 'bob', 'b', 'h', 'tb', 's', false, 1)`:                          "users_pkey",
			`INSERT INTO users VALUES ('u2', 'ann', 'b', 'h', 'tb', 's', false, 1)`:                          "users_username",
			`INSERT INTO users VALUES ('u2', 'bob', 'ann@example.com', 'h', 'tb', 's', false, 1)`:            "users_email",
			`INSERT INTO users VALUES ('u2', 'bob', 'b', 'h', 'token-ann', 's', false, 1)`:                   "users_token_hash",
			`INSERT INTO records VALUES ('r2', 'pipe', 'sales', 'u1', '', false, '', '', '', 1, 2, 3)`:       "records_kind_name",
			`INSERT INTO grants VALUES ('r1', 'public', 2, '', 'u1', 4)`:                                     "grants_pkey",
			`INSERT INTO teams VALUES ('t2', 'acme/data', 'u1', 5)`:                                          "teams_name",
			`INSERT INTO grants VALUES ('r9', 'public', 2, '', 'u1', 4)`:                                     "",
			`INSERT INTO users VALUES ('u2', 'bob', 'UNIQUE constraint failed: x (2067)', 'h', 't', 's', 2)`: "",
		} {
			err := write(ctx, d, statement)
			require.Error(t, err, statement)
			require.Equal(t, name, db.UniqueName(err), statement)
			require.Equal(t, name != "", db.IsUnique(err), statement)
		}
		err := write(ctx, d, `INSERT INTO grants VALUES ('r9', 'public', 2, '', 'u1', 4)`)
		require.True(t, db.IsForeignKey(err))
		require.False(t, db.IsForeignKey(errors.New("foreign key")))
		require.False(t, db.IsUnique(nil))
	})
}

// What a user owns goes with the user.
func TestDeletingCascades(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		require.NoError(t, write(t.Context(), d, ann, pipe, grant,
			`INSERT INTO teams VALUES ('t1', 'acme/data', 'u1', 5)`,
			`INSERT INTO members VALUES ('t1', 'user:u1', true)`))
		require.NoError(t, write(t.Context(), d, `DELETE FROM users`))
		for _, table := range []string{"records", "grants", "teams", "members"} {
			require.Zero(t, number(t, d, `SELECT count(*) FROM `+table), table)
		}
	})
}

// Texts sort and compare as bytes, whatever the locale of the database.
func TestTextsAreBytes(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		require.NoError(t, write(t.Context(), d, `INSERT INTO meta VALUES ('b', ''), ('B', ''), ('a-b', ''), ('ab', ''), ('_', ''), ('é', '')`))
		require.Equal(t, []string{"B", "_", "a-b", "ab", "b", "é"}, texts(t, d, `SELECT key FROM meta ORDER BY key`))
		require.Equal(t, []string{"b"}, texts(t, d, `SELECT key FROM meta WHERE key LIKE 'b%'`))
		require.Equal(t, []string{"b"}, texts(t, d, `SELECT key FROM meta WHERE key = $1`, "b"))
	})
}

func TestCheckSeesMissingReferences(t *testing.T) {
	url := dbtest.SQLite(t)
	d := dbtest.Open(t, url)
	require.NoError(t, write(t.Context(), d, ann, pipe, grant))
	require.NoError(t, d.Check(t.Context()))
	behindItsBack(t, url, `PRAGMA foreign_keys = 0; DELETE FROM users`)
	err := d.Check(t.Context())
	require.ErrorIs(t, err, db.ErrDamaged)
	require.ErrorContains(t, err, "records refers to missing users")
}

func TestCheckSeesFlippedBytes(t *testing.T) {
	url := dbtest.SQLite(t)
	d, err := db.Open(t.Context(), url)
	require.NoError(t, err)
	require.NoError(t, write(t.Context(), d, ann, pipe, grant))
	require.NoError(t, d.Close())
	path := url[len("sqlite://"):]
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	at := lastIndex(content, "ann@example.com") // in the index of addresses or in the table
	content[at] ^= 1
	require.NoError(t, os.WriteFile(path, content, 0o600))
	err = dbtest.Open(t, url).Check(t.Context())
	require.ErrorIs(t, err, db.ErrDamaged)
}

func TestPing(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		d := dbtest.Open(t, url)
		require.NoError(t, d.Ping(t.Context()))
		behindItsBack(t, url, `INSERT INTO d6tpipe_schema (version_id, is_applied) VALUES (99, true)`)
		require.ErrorIs(t, d.Ping(t.Context()), db.ErrNewer)
		behindItsBack(t, url, `DELETE FROM d6tpipe_schema`)
		require.ErrorIs(t, d.Ping(t.Context()), db.ErrDamaged)
		require.ErrorIs(t, d.Check(t.Context()), db.ErrDamaged)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, d.Ping(ctx), context.Canceled)
	})
}
