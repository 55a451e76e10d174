package db_test

import (
	"bytes"
	"database/sql"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
)

// behindItsBack changes a database as another program would.
func behindItsBack(t testing.TB, url string, statements string) {
	t.Helper()
	driver := "pgx"
	if path, ok := strings.CutPrefix(url, "sqlite://"); ok {
		driver, url = "sqlite", path
	}
	raw, err := sql.Open(driver, url)
	require.NoError(t, err)
	defer raw.Close()
	raw.SetMaxOpenConns(1)
	_, err = raw.ExecContext(t.Context(), statements)
	require.NoError(t, err)
}

func lastIndex(content []byte, s string) int { return bytes.LastIndex(content, []byte(s)) }

// scaled is how often a proof repeats: small by default, full when a proof is
// asked for.
func scaled(small, full int) int {
	if os.Getenv("D6TPIPE_PROOF") != "" {
		return full
	}
	return small
}

// openBoth opens a database twice, as two programs do.
func openBoth(t testing.TB, url string) (a, b *db.DB) {
	return dbtest.Open(t, url), dbtest.Open(t, url)
}
