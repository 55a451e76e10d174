package db_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
)

// inMemory puts temporary files into memory, where there is such a place.
func inMemory(t *testing.T) {
	if dir, err := os.MkdirTemp("/dev/shm", "d6tpipe-test-"); err == nil {
		t.Setenv("TMPDIR", dir)
		t.Cleanup(func() {
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Empty(t, left, "restoring leaves nothing behind")
			require.NoError(t, os.RemoveAll(dir))
		})
	}
}

// fill writes something into every table.
func fill(t testing.TB, d *db.DB) {
	require.NoError(t, write(t.Context(), d, ann, pipe, grant, counter,
		`INSERT INTO users VALUES ('u0', 'zoë', 'zoe@example.com', 'h', 'token-zoe', '', false, -9223372036854775808)`,
		`INSERT INTO grants VALUES ('r1', 'email:<b>&c@example.com', 9223372036854775807, '2026-12-31', 'u1', 4)`,
		`INSERT INTO teams VALUES ('t1', 'acme/data', 'u1', 5)`,
		`INSERT INTO members VALUES ('t1', 'user:u1', true), ('t1', 'email:x@example.com', false)`,
		`INSERT INTO audit VALUES ('a1', 1, 'ann', '127.0.0.1', 'create', 'pipe', 'sales', 'r1', 'u1', '{"a":"\u2028 \ \\ '' \" "}')`,
		`INSERT INTO listings VALUES ('r1', '"tag"', 'shows', 1, 2, 0, 2, 3, '[
			"two lines"]')`,
		`INSERT INTO meta VALUES ('B', 'x'), ('a', ''), ('_', 'ÄÖ 😀')`))
}

// backup returns the lines of a backup.
func backup(t testing.TB, d *db.DB) []byte {
	var b bytes.Buffer
	require.NoError(t, d.Backup(t.Context(), &b))
	return b.Bytes()
}

// rows is a backup without its first and last line.
func rows(t testing.TB, backup []byte) string {
	lines := strings.SplitAfter(string(backup), "\n")
	require.Greater(t, len(lines), 9)
	return strings.Join(lines[1:len(lines)-2], "")
}

// signed puts the right last line behind the lines of a backup.
func signed(lines []string) []byte {
	all := strings.Join(lines, "\n") + "\n"
	n := 0
	for _, line := range lines {
		if strings.HasPrefix(line, "[") {
			n++
		}
	}
	sum := sha256.Sum256([]byte(all))
	return []byte(all + fmt.Sprintf("{\"rows\":%d,\"sha256\":%q}\n", n, hex.EncodeToString(sum[:])))
}

// engines are an empty database of each kind.
func engines(t *testing.T) map[string]*db.DB {
	return map[string]*db.DB{"sqlite": dbtest.Open(t, dbtest.SQLite(t)), "postgres": dbtest.Open(t, dbtest.Postgres(t))}
}

// What one engine backs up, either restores, to the last byte.
func TestBackupsGoAcrossEngines(t *testing.T) {
	inMemory(t)
	dbtest.Each(t, func(t *testing.T, from *db.DB) {
		fill(t, from)
		saved := backup(t, from)
		require.Contains(t, string(saved), `"engine":"`+from.Engine()+`"`)
		for name, to := range engines(t) {
			require.NoError(t, to.Restore(t.Context(), bytes.NewReader(saved), false), name)
			require.Equal(t, rows(t, saved), rows(t, backup(t, to)), name)
			require.NoError(t, to.Check(t.Context()))
			err := write(t.Context(), to, ann)
			require.True(t, db.IsUnique(err))
			require.NoError(t, write(t.Context(), to, count, `DELETE FROM users`), "it can go on from there")
		}
	})
}

func TestRestoreReplacesOnlyWhenForced(t *testing.T) {
	inMemory(t)
	saved := backup(t, dbtest.Open(t, dbtest.SQLite(t)))
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		fill(t, d)
		before := rows(t, backup(t, d))
		require.ErrorIs(t, d.Restore(t.Context(), bytes.NewReader(saved), false), db.ErrNotEmpty)
		require.Equal(t, before, rows(t, backup(t, d)))
		require.NoError(t, d.Restore(t.Context(), bytes.NewReader(saved), true))
		require.Equal(t, rows(t, saved), rows(t, backup(t, d)))
	})
}

// A backup that ends too early is refused wherever it ends, and so is one with
// something behind it, and nothing changes.
func TestRestoreRefusesWhatIsCut(t *testing.T) {
	inMemory(t)
	from, to := dbtest.Open(t, dbtest.SQLite(t)), dbtest.Open(t, dbtest.SQLite(t))
	require.NoError(t, write(t.Context(), from, ann, pipe, grant))
	require.NoError(t, write(t.Context(), to, counter))
	saved := backup(t, from)
	cuts := 0
	for n := range saved {
		atEnd := n > 0 && saved[n-1] == '\n' || saved[n] == '\n' || n > len(saved)-10
		if !atEnd && n%scaled(29, 1) != 0 {
			continue
		}
		cuts++
		require.ErrorIs(t, to.Restore(t.Context(), bytes.NewReader(saved[:n]), true), db.ErrDamaged, "cut at %d", n)
	}
	require.Greater(t, cuts, 40)
	for _, tail := range []string{"\n", " ", "[]\n", string(saved)} {
		require.ErrorIs(t, to.Restore(t.Context(), strings.NewReader(string(saved)+tail), true), db.ErrDamaged, tail)
	}
	require.EqualValues(t, 0, number(t, to, howMany))
	require.EqualValues(t, 1, number(t, to, `SELECT count(*) FROM usage`))
	require.NoError(t, to.Restore(t.Context(), bytes.NewReader(saved), true), "it was the cuts")
}

// No bit of a backup can flip unseen.
func TestRestoreRefusesWhatIsChanged(t *testing.T) {
	inMemory(t)
	from, to := dbtest.Open(t, dbtest.SQLite(t)), dbtest.Open(t, dbtest.SQLite(t))
	fill(t, from)
	saved := backup(t, from)
	for range scaled(60, 3000) {
		damaged := bytes.Clone(saved)
		at, bit := rand.IntN(len(damaged)), rand.IntN(8)
		damaged[at] ^= 1 << bit
		err := to.Restore(t.Context(), bytes.NewReader(damaged), false)
		require.Error(t, err, "bit %d of byte %d", bit, at)
		require.True(t, errors.Is(err, db.ErrDamaged) || errors.Is(err, db.ErrNewer), err)
	}
	require.Zero(t, number(t, to, howMany))
}

// Backups that are whole but cannot be: the sum is right, what it stands for not.
func TestRestoreRefusesWhatCannotBe(t *testing.T) {
	inMemory(t)
	from, to := dbtest.Open(t, dbtest.SQLite(t)), dbtest.Open(t, dbtest.SQLite(t))
	require.NoError(t, write(t.Context(), from, ann, pipe))
	lines := strings.Split(strings.TrimSpace(string(backup(t, from))), "\n")
	lines = lines[:len(lines)-1]
	edited := func(old, new string) []byte {
		all := strings.Join(lines, "\n")
		require.Contains(t, all, old)
		return signed(strings.Split(strings.Replace(all, old, new, 1), "\n"))
	}
	schema := regexp.MustCompile(`"schema":\d+`).FindString(lines[0])
	for name, c := range map[string]struct {
		saved []byte
		kind  error
	}{
		"newer schema":      {edited(schema, `"schema":99`), db.ErrNewer},
		"newer format":      {edited(`"format":1`, `"format":2`), db.ErrNewer},
		"no schema":         {edited(schema, `"schema":0`), db.ErrDamaged},
		"no format":         {edited(`"format":1`, `"format":-1`), db.ErrDamaged},
		"another program":   {edited(`"d6tpipe"`, `"other"`), db.ErrDamaged},
		"unknown column":    {edited(`"username"`, `"usrname"`), db.ErrDamaged},
		"another type":      {edited(`"boolean"`, `"integer"`), db.ErrDamaged},
		"another table":     {edited(`"table":"users"`, `"table":"d6tpipe_schema"`), db.ErrDamaged},
		"a missing table":   {edited(lines[len(lines)-1], `{}`), db.ErrDamaged},
		"too few values":    {edited(`["u1","ann",`, `["u1",`), db.ErrDamaged},
		"too many values":   {edited(`["u1","ann",`, `["u1","ann","ann",`), db.ErrDamaged},
		"a null":            {edited(`"ann"`, `null`), db.ErrDamaged},
		"a number as text":  {edited(`"ann"`, `7`), db.ErrDamaged},
		"half a number":     {edited(`true,1]`, `true,1.5]`), db.ErrDamaged},
		"a large number":    {edited(`true,1]`, `true,9223372036854775808]`), db.ErrDamaged},
		"a NUL":             {edited(`"ann"`, `"a\u0000n"`), db.ErrDamaged},
		"an empty line":     {edited("\n", "\n\n"), db.ErrDamaged},
		"a missing user":    {edited(`["u1","ann"`, `["u9","ann"`), db.ErrDamaged},
		"a row twice":       {edited(lines[2], lines[2]+"\n"+lines[2]), db.ErrDamaged},
		"a row as object":   {edited(lines[2], `{"id":"u1"}`), db.ErrDamaged},
		"nothing":           {nil, db.ErrDamaged},
		"an empty backup":   {signed(lines[:1]), db.ErrDamaged},
		"something else":    {[]byte("CREATE TABLE users;\n"), db.ErrDamaged},
		"a SQLite database": {[]byte("SQLite format 3\x00\n"), db.ErrDamaged},
	} {
		err := to.Restore(t.Context(), bytes.NewReader(c.saved), false)
		require.ErrorIs(t, err, c.kind, name)
	}
	require.Zero(t, number(t, to, howMany))
	require.NoError(t, to.Restore(t.Context(), bytes.NewReader(signed(lines)), false), "it was the edits")
}

// Reading that fails half-way and a context that ends leave what was there.
func TestRestoreThatIsInterrupted(t *testing.T) {
	inMemory(t)
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		fill(t, d)
		saved := backup(t, d)
		require.NoError(t, write(t.Context(), d, count))
		before := rows(t, backup(t, d))
		err := d.Restore(t.Context(), io.MultiReader(bytes.NewReader(saved[:len(saved)/2]), iotest.ErrReader(errCut)), true)
		require.ErrorIs(t, err, errCut)
		ctx, cancel := context.WithCancel(t.Context())
		end := readerFunc(func([]byte) (int, error) { cancel(); return 0, io.EOF })
		err = d.Restore(ctx, io.MultiReader(bytes.NewReader(saved), end), true)
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, before, rows(t, backup(t, d)))
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A backup of an older program goes through the migrations that came since; one
// of a newer program is refused.
func TestRestoreOfAnotherVersion(t *testing.T) {
	inMemory(t)
	saved := backup(t, filled(t))
	dbtest.EachURL(t, func(t *testing.T, url string) {
		newer, err := db.OpenAs(t.Context(), url, withMigration(t, addsNote+
			"\nCREATE TABLE extra (id TEXT COLLATE \"binary\" NOT NULL PRIMARY KEY);"+
			"\nUPDATE users SET note = username;"))
		require.NoError(t, err)
		defer newer.Close()
		require.NoError(t, newer.Restore(t.Context(), bytes.NewReader(saved), false))
		require.Equal(t, []string{"ann", "zoë"}, texts(t, newer, `SELECT note FROM users ORDER BY note`))

		older := dbtest.Open(t, dbtest.SQLite(t))
		err = older.Restore(t.Context(), bytes.NewReader(backup(t, newer)), false)
		require.ErrorIs(t, err, db.ErrNewer)
		require.ErrorContains(t, err, "schema 99")
		require.Zero(t, number(t, older, howMany))
	})
}

func filled(t *testing.T) *db.DB {
	d := dbtest.Open(t, dbtest.SQLite(t))
	fill(t, d)
	return d
}

// Backups that are taken while others write show one moment: what is moved from
// one row to another is in neither twice nor missing. They restore into both
// engines.
func TestBackupUnderLoad(t *testing.T) {
	inMemory(t)
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		require.NoError(t, d.Write(t.Context(), func(ctx context.Context, tx db.Tx) error {
			for i := range 100 {
				if _, err := tx.ExecContext(ctx, `INSERT INTO usage VALUES ($1, '', '', 1000)`, fmt.Sprint(i)); err != nil {
					return err
				}
			}
			return nil
		}))
		backups := backupsUnderLoad(t, d, scaled(10, 200))
		moved := []int64{0}
		for name, to := range engines(t) {
			for i := 0; i < len(backups); i += scaled(3, 1) {
				require.NoError(t, to.Restore(t.Context(), bytes.NewReader(backups[i]), true), name)
				require.EqualValues(t, 100_000, number(t, to, `SELECT sum(n) FROM usage`))
				moved = append(moved, number(t, to, `SELECT count(*) FROM audit`))
				require.EqualValues(t, moved[len(moved)-1], number(t, to, `SELECT sum(n) FROM usage WHERE record_id = '0'`)-1000)
			}
		}
		slices.Sort(moved)
		require.Greater(t, len(slices.Compact(moved)), 3, "they did write in between")
	})
}

// backupsUnderLoad takes n backups while three others write.
func backupsUnderLoad(t *testing.T, d *db.DB, n int) (backups [][]byte) {
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	errs := make([]error, 3)
	moved := make(chan bool, 1)
	for i := range errs {
		wg.Go(func() {
			for n := 0; errs[i] == nil; n++ {
				errs[i] = move(ctx, d, fmt.Sprint(i, "-", n))
				select {
				case moved <- true:
				default:
				}
			}
		})
	}
	for range n {
		<-moved
		<-moved // the first one may be from before the last backup
		backups = append(backups, backup(t, d))
	}
	stop()
	wg.Wait()
	for _, err := range errs {
		require.ErrorIs(t, err, context.Canceled)
	}
	return backups
}

// move takes one from a row, gives it to row 0, and notes it.
func move(ctx context.Context, d *db.DB, id string) error {
	return d.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		if _, err := tx.ExecContext(ctx, `UPDATE usage SET n = n - 1 WHERE record_id = $1`, fmt.Sprint(1+rand.IntN(99))); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE usage SET n = n + 1 WHERE record_id = '0'`); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO audit VALUES ($1, 1, '', '', '', '', '', '', '', '')`, id)
		return err
	})
}

func TestBackupFile(t *testing.T) {
	d := filled(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "backup.jsonl")
	for range 2 { // the second takes the place of the first
		require.NoError(t, d.BackupFile(t.Context(), path))
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, rows(t, backup(t, d)), rows(t, content))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, d.BackupFile(ctx, path), context.Canceled)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1)
	again, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, content, again)
	require.Error(t, d.BackupFile(t.Context(), filepath.Join(dir, "missing", "backup")))
}

// An error of the writer is the error of the backup.
func TestBackupToAFullDisk(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		fill(t, d)
		require.ErrorIs(t, d.Backup(t.Context(), fullDisk{}), errCut)
		require.NoError(t, d.Ping(t.Context()))
	})
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errCut }

// Many rows and a large one go in pieces.
func TestBackupOfManyRows(t *testing.T) {
	inMemory(t)
	d := dbtest.Open(t, dbtest.SQLite(t))
	many := scaled(3_333, 333_333)
	require.NoError(t, d.Write(t.Context(), func(ctx context.Context, tx db.Tx) error {
		_, err := tx.ExecContext(ctx, `WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < $1)
			INSERT INTO meta SELECT 'key' || i, 'value' FROM c`, many)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO meta VALUES ('large', $1)`, strings.Repeat("ü", 5<<20))
		return err
	}))
	saved := backup(t, d)
	to := dbtest.Open(t, dbtest.Postgres(t))
	require.NoError(t, to.Restore(t.Context(), bytes.NewReader(saved), false))
	require.EqualValues(t, many+1, number(t, to, `SELECT count(*) FROM meta`))
	require.Equal(t, rows(t, saved), rows(t, backup(t, to)))
}
