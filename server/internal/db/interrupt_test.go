package db_test

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
)

// envWork tells a child what to do with its database: "migrate", or restore the backup
// in a file of this name.
const envWork = "D6TPIPE_TEST_DB_WORK"

// slowly adds a column and a table, and changes many rows in between.
const slowly = addsNote + `
UPDATE audit SET detail = 'migrated';
CREATE TABLE extra (id TEXT COLLATE "binary" NOT NULL PRIMARY KEY);
UPDATE audit SET peer = 'migrated';`

// TestInterruptedChild is not a test but what the children do.
func TestInterruptedChild(t *testing.T) {
	url, work := os.Getenv(envChild), os.Getenv(envWork)
	if work == "" {
		t.Skip("only as a child of the tests of interruptions")
	}
	if work == "migrate" {
		_, _ = fmt.Println("begins")
		d, err := db.OpenAs(t.Context(), url, withMigration(t, slowly))
		require.NoError(t, err)
		require.NoError(t, d.Close())
		return
	}
	d := dbtest.Open(t, url)
	f, err := os.Open(work)
	require.NoError(t, err)
	defer f.Close()
	_, _ = fmt.Println("begins")
	require.NoError(t, d.Restore(t.Context(), f, true))
}

// interrupt starts a child and kills it some time after it has begun, unless after is
// 0. It returns for how long it worked.
func interrupt(t *testing.T, url, work string, after time.Duration) time.Duration {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestInterruptedChild$", "-test.count=1")
	cmd.Env = append(os.Environ(), envChild+"="+url, envWork+"="+work, "PGAPPNAME=killed", "TMPDIR="+t.TempDir())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "begins\n", line)
	began := time.Now()
	if after > 0 {
		time.Sleep(after)
		_ = cmd.Process.Kill() // it may have ended
	}
	rest, err := io.ReadAll(lines)
	require.NoError(t, err)
	took := time.Since(began)
	err = cmd.Wait()
	require.True(t, err == nil || after > 0, "%s", rest)
	waitForOthers(t, url)
	return took
}

// waitForOthers waits until PostgreSQL has done with what a killed child had sent.
func waitForOthers(t *testing.T, url string) {
	t.Helper()
	if strings.HasPrefix(url, "sqlite") {
		return
	}
	raw, err := sql.Open("pgx", url)
	require.NoError(t, err)
	defer raw.Close()
	const others = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'killed'`
	require.Eventually(t, func() bool {
		n := -1
		return raw.QueryRowContext(t.Context(), others).Scan(&n) == nil && n == 0
	}, time.Minute, time.Millisecond)
}

// fillMany writes many rows.
func fillMany(t *testing.T, d *db.DB, rows int) {
	t.Helper()
	fill(t, d)
	require.NoError(t, d.Write(t.Context(), func(ctx context.Context, tx db.Tx) error {
		_, err := tx.ExecContext(ctx, `WITH RECURSIVE n (i) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < $1)
			INSERT INTO audit SELECT 'id-' || CAST(i AS TEXT), i, 'ann', '', 'create', 'pipe', 'sales', 'r1', 'u1', 'a detail' FROM n`, rows)
		return err
	}))
}

// A migration that is killed at any moment has taken place or has not.
func TestProofKilledMigrations(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		t.Parallel()
		var whole time.Duration
		var old, migrated int
		for range scaled(4, 100) {
			if whole != 0 {
				url = another(t, url)
			}
			d := openRaw(t, url)
			fillMany(t, d, scaled(2_000, 20_000))
			require.NoError(t, d.Close())
			after := rand.N(whole + whole/4 + 1)
			if whole == 0 {
				after = 0
			}
			whole = max(whole, interrupt(t, url, "migrate", after))
			if isMigrated(t, url) {
				migrated++
			} else {
				old++
			}
		}
		require.NotZero(t, migrated, "not even the one that was left alone")
		t.Logf("a migration of %v: %d times not, %d times all of it", whole.Round(time.Millisecond), old, migrated)
	})
}

// another is an empty database of the same kind.
func another(t *testing.T, url string) string {
	if strings.HasPrefix(url, "sqlite") {
		return dbtest.SQLite(t)
	}
	return dbtest.Postgres(t)
}

// isMigrated looks at a database as the old program and, when that refuses it, as the
// new one.
func isMigrated(t *testing.T, url string) bool {
	t.Helper()
	const count = `SELECT count(*) FROM audit WHERE detail = 'migrated' OR peer = 'migrated'`
	d, err := db.Open(t.Context(), url)
	migrated := errors.Is(err, db.ErrNewer)
	if migrated {
		d, err = db.OpenAs(t.Context(), url, withMigration(t, slowly))
	}
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	require.NoError(t, d.Check(t.Context()))
	if migrated {
		require.Equal(t, number(t, d, `SELECT count(*) FROM audit`), number(t, d, count))
		require.Equal(t, []string{"new", "new"}, texts(t, d, `SELECT note FROM users`))
		require.Zero(t, number(t, d, `SELECT count(*) FROM extra`))
		return true
	}
	require.Zero(t, number(t, d, count), "half of a migration")
	for _, query := range []string{`SELECT note FROM users`, `SELECT id FROM extra`} {
		require.Error(t, d.Read(t.Context(), func(ctx context.Context, tx db.Tx) error {
			rows, err := tx.QueryContext(ctx, query)
			if err == nil {
				err = rows.Close()
			}
			return err
		}), "half of a migration: %s", query)
	}
	return false
}

// A restore that is killed at any moment has replaced everything or nothing.
func TestProofKilledRestores(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		t.Parallel()
		from, d := dbtest.Open(t, dbtest.SQLite(t)), openRaw(t, url)
		fillMany(t, from, scaled(300, 5_000))
		require.NoError(t, write(t.Context(), d, ann, pipe, grant))
		before, saved := backup(t, d), backup(t, from)
		file := filepath.Join(t.TempDir(), "backup")
		require.NoError(t, os.WriteFile(file, saved, 0o600))
		var whole time.Duration
		var old, restored int
		for range scaled(5, 100) {
			require.NoError(t, d.Restore(t.Context(), bytes.NewReader(before), true))
			require.NoError(t, d.Close())
			after := rand.N(whole + whole/4 + 1)
			if whole == 0 {
				after = 0
			}
			whole = max(whole, interrupt(t, url, file, after))
			d = openRaw(t, url)
			require.NoError(t, d.Check(t.Context()))
			if rows(t, backup(t, d)) == rows(t, saved) {
				restored++
				continue
			}
			require.Equal(t, rows(t, before), rows(t, backup(t, d)), "half of a backup")
			old++
		}
		require.NoError(t, d.Close())
		require.NotZero(t, restored, "not even the one that was left alone")
		t.Logf("a restore of %v: %d times not, %d times all of it", whole.Round(time.Millisecond), old, restored)
	})
}
