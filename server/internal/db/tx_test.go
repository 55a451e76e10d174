package db_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
)

var errOurs = errors.New("ours")

func TestWriteIsAllOrNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		require.NoError(t, write(ctx, d, ann, pipe))
		require.Error(t, write(ctx, d, counter, `INSERT INTO nowhere VALUES (1)`))
		require.ErrorIs(t, d.Write(ctx, func(ctx context.Context, tx db.Tx) error {
			_, err := tx.ExecContext(ctx, counter)
			return errors.Join(err, errOurs)
		}), errOurs)
		require.PanicsWithValue(t, "ours", func() {
			_ = d.Write(ctx, func(ctx context.Context, tx db.Tx) error {
				_, _ = tx.ExecContext(ctx, counter)
				panic("ours")
			})
		})
		require.Zero(t, number(t, d, `SELECT count(*) FROM usage`))
		require.EqualValues(t, 1, number(t, d, howMany))
	})
}

func TestReadCannotWrite(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, statement := range []string{ann, `DELETE FROM users`, `CREATE TABLE x (y BIGINT)`} {
			require.Error(t, d.Read(t.Context(), func(ctx context.Context, tx db.Tx) error {
				_, err := tx.ExecContext(ctx, statement)
				return err
			}), statement)
		}
		require.Zero(t, number(t, d, howMany))
	})
}

// Who reads does not wait for an open transaction that writes, sees nothing of
// it, and goes on seeing what it saw when it is committed.
func TestReadsDoNotWaitAndSeeOneSnapshot(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		require.NoError(t, write(t.Context(), d, counter))
		reading, written := make(chan struct{}), make(chan struct{})
		var seen [2]int64
		var wg sync.WaitGroup
		var readErr error
		wg.Go(func() {
			readErr = d.Read(t.Context(), func(ctx context.Context, tx db.Tx) error {
				err := tx.QueryRowContext(ctx, counted).Scan(&seen[0])
				close(reading)
				<-written
				return errors.Join(err, tx.QueryRowContext(ctx, counted).Scan(&seen[1]))
			})
		})
		<-reading
		require.NoError(t, d.Write(t.Context(), func(ctx context.Context, tx db.Tx) error {
			if _, err := tx.ExecContext(ctx, count); err != nil {
				return err
			}
			require.Zero(t, number(t, d, counted), "it is not committed")
			return nil
		}))
		require.EqualValues(t, 1, number(t, d, counted), "it is committed")
		close(written)
		wg.Wait()
		require.NoError(t, readErr)
		require.Equal(t, [2]int64{0, 0}, seen)
	})
}

// PostgreSQL does so by itself; on SQLite, too, nobody commits half of it.
func TestAFailedStatementEndsTheTransaction(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		require.NoError(t, write(ctx, d, ann))
		for name, fail := range map[string]func(context.Context, db.Tx){
			"exec":  func(ctx context.Context, tx db.Tx) { _, _ = tx.ExecContext(ctx, ann) },
			"query": func(ctx context.Context, tx db.Tx) { _, _ = tx.QueryContext(ctx, ann+` RETURNING id`) },
			"row": func(ctx context.Context, tx db.Tx) {
				_ = tx.QueryRowContext(ctx, ann+` RETURNING id`).Scan(new(string))
			},
		} {
			err := d.Write(ctx, func(ctx context.Context, tx db.Tx) error {
				_, err := tx.ExecContext(ctx, counter)
				fail(ctx, tx)
				return err
			})
			require.True(t, db.IsUnique(err), name)
			require.Zero(t, number(t, d, `SELECT count(*) FROM usage`), name)
		}
		require.NoError(t, write(ctx, d, ann+` ON CONFLICT DO NOTHING`, counter))
		require.EqualValues(t, 1, number(t, d, `SELECT count(*) FROM usage`))
	})
}

func TestTransactionsDoNotNest(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		a, b := openBoth(t, url)
		nothing := func(context.Context, db.Tx) error { return nil }
		var inner context.Context
		require.NoError(t, a.Write(t.Context(), func(ctx context.Context, _ db.Tx) error {
			inner = ctx
			require.ErrorIs(t, a.Write(ctx, nothing), db.ErrNested)
			require.ErrorIs(t, a.Read(ctx, nothing), db.ErrNested)
			require.ErrorIs(t, a.Ping(ctx), db.ErrNested)
			return b.Read(ctx, func(ctx context.Context, _ db.Tx) error {
				require.ErrorIs(t, a.Write(ctx, nothing), db.ErrNested)
				return nil
			})
		}))
		require.NoError(t, a.Write(inner, nothing), "it is over")
	})
}

// Both engines store the same for an argument, and refuse the same.
func TestArguments(t *testing.T) {
	type named string
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for want, arg := range map[string]any{
			"text":       "text",
			"named":      named("named"),
			`{"raw": 1}`: json.RawMessage(`{"raw": 1}`),
			"bytes":      []byte("bytes"),
			"null":       sql.NullString{String: "null", Valid: true},
			"":           "",
		} {
			require.NoError(t, d.Write(t.Context(), func(ctx context.Context, tx db.Tx) error {
				_, err := tx.ExecContext(ctx, `INSERT INTO meta (value, key) VALUES ($2, $1)`, "k"+want, arg)
				return err
			}))
			require.Equal(t, []string{want}, texts(t, d, `SELECT value FROM meta WHERE key = $1 OR value = 'x' || $1`, "k"+want))
			require.EqualValues(t, 1, number(t, d, `SELECT count(*) FROM meta WHERE key = $1 AND value LIKE $2`, "k"+want, want), "stored as a text")
		}
		for _, arg := range []any{"a\x00b", "\xff", []byte{0xff}, time.Now(), sql.NullTime{Time: time.Now(), Valid: true}, 1i, uint64(1) << 63} {
			err := d.Write(t.Context(), func(ctx context.Context, tx db.Tx) error {
				_, err := tx.ExecContext(ctx, `INSERT INTO meta VALUES ('bad', $1)`, arg)
				return err
			})
			require.ErrorIs(t, err, db.ErrArgument, "%v", arg)
			err = d.Read(t.Context(), func(ctx context.Context, tx db.Tx) error {
				return tx.QueryRowContext(ctx, `SELECT key FROM meta WHERE key = $1`, arg).Scan(new(string))
			})
			require.ErrorIs(t, err, db.ErrArgument, "%v", arg)
		}
		for _, text := range []any{"a\x00b", "\xff", []byte{0xff}} {
			err := d.Write(t.Context(), func(ctx context.Context, tx db.Tx) error {
				_, err := tx.ExecContext(ctx, `INSERT INTO meta VALUES ('bad', $1)`, text)
				return err
			})
			require.Equal(t, 400, d6tpipe.HTTPStatus(err), "who sent it hears of it")
		}
		require.Error(t, d.Write(t.Context(), func(ctx context.Context, tx db.Tx) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO meta VALUES ('null', $1)`, nil)
			return err
		}))
		require.Error(t, d.Write(t.Context(), func(ctx context.Context, tx db.Tx) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO meta VALUES ("null", '')`)
			return err
		}), "in double quotes is the name of a column")
	})
}

func TestIntegersAndBooleans(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		require.NoError(t, d.Write(t.Context(), func(ctx context.Context, tx db.Tx) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO users VALUES ('u1', 'a', 'a@example.com', '', '', '', $1, $2)`, true, int64(-1<<63))
			if err != nil {
				return err
			}
			_, err = tx.ExecContext(ctx, `INSERT INTO usage VALUES ('r1', '', '', $1), ('r2', '', '', $2)`, 7, uint32(1<<31))
			return err
		}))
		require.NoError(t, d.Read(t.Context(), func(ctx context.Context, tx db.Tx) error {
			var at, many int64
			var few int
			var admin bool
			err := tx.QueryRowContext(ctx, `SELECT u.created_at, u.is_admin, a.n, b.n FROM users u, usage a, usage b WHERE u.is_admin AND a.n = $1 AND b.n <> $1`, 7).
				Scan(&at, &admin, &few, &many)
			require.Equal(t, []any{int64(-1 << 63), true, 7, int64(1 << 31)}, []any{at, admin, few, many})
			return err
		}))
	})
}

// A transaction that another one got in the way of is run again: in between it
// read what is no longer so.
func TestWriteIsTriedAgain(t *testing.T) {
	a, b := openBoth(t, dbtest.Postgres(t))
	require.NoError(t, write(t.Context(), a, counter))
	tries := 0
	require.NoError(t, a.Write(t.Context(), func(ctx context.Context, tx db.Tx) error {
		tries++
		var n int64
		if err := tx.QueryRowContext(ctx, counted).Scan(&n); err != nil {
			return err
		}
		if tries == 1 {
			require.NoError(t, write(t.Context(), b, count))
		}
		_, err := tx.ExecContext(ctx, `UPDATE usage SET n = $1`, n+1)
		if err != nil {
			return fmt.Errorf("%w: its cause is hidden", errOurs)
		}
		return nil
	}))
	require.Equal(t, 2, tries)
	require.EqualValues(t, 2, number(t, a, counted))
}

// The same on SQLite, where others get in the way only by being slow.
func TestWriteIsTriedAgainWhenTheFileIsLocked(t *testing.T) {
	url := dbtest.SQLite(t)
	d := dbtest.Open(t, url)
	other, err := sql.Open("sqlite", strings.TrimPrefix(url, "sqlite://")+"?_pragma=busy_timeout(0)")
	require.NoError(t, err)
	defer other.Close()
	tries := 0
	require.NoError(t, d.Write(t.Context(), func(ctx context.Context, tx db.Tx) error {
		if tries++; tries == 1 {
			_, err := other.ExecContext(ctx, "BEGIN IMMEDIATE") // what we would get if the other one were first
			require.Error(t, err)
			return err
		}
		_, err := tx.ExecContext(ctx, counter)
		return err
	}))
	require.Equal(t, 2, tries)
	require.Zero(t, number(t, d, counted))
}

func TestWriteGivesUp(t *testing.T) {
	d := dbtest.Open(t, dbtest.Postgres(t))
	tries := 0
	err := d.Write(t.Context(), func(ctx context.Context, tx db.Tx) error {
		tries++
		_, err := tx.ExecContext(ctx, `DO $$ BEGIN RAISE EXCEPTION 'no luck' USING ERRCODE = '40001'; END $$`)
		return err
	})
	require.ErrorIs(t, err, db.ErrBusy)
	require.ErrorContains(t, err, "no luck")
	require.Equal(t, db.Attempts, tries)
}

// A transaction whose connection broke before its end is run again.
func TestALostConnectionIsNoError(t *testing.T) {
	a, b := openBoth(t, dbtest.Postgres(t))
	for name, run := range map[string]func(context.Context, func(context.Context, db.Tx) error) error{"read": a.Read, "write": a.Write} {
		tries := 0
		require.NoError(t, run(t.Context(), func(ctx context.Context, tx db.Tx) error {
			var pid int64
			if err := tx.QueryRowContext(ctx, `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
				return err
			}
			if tries++; tries == 1 {
				require.EqualValues(t, 1, number(t, b, `SELECT count(*) FROM (SELECT pg_terminate_backend($1::int, 5000)) x`, pid))
			}
			return tx.QueryRowContext(ctx, `SELECT 1`).Scan(&pid)
		}), name)
		require.Equal(t, 2, tries, name)
	}
}

// Who waits for another one's transaction stops when told to.
func TestWriteHonoursTheContext(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		a, b := openBoth(t, url)
		require.NoError(t, write(t.Context(), a, counter))
		require.NoError(t, a.Write(t.Context(), func(ctx context.Context, tx db.Tx) error {
			if _, err := tx.ExecContext(ctx, count); err != nil {
				return err
			}
			for _, d := range []*db.DB{a, b} { // another program, and another goroutine of this one
				stops := func() bool {
					waiting, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
					defer cancel()
					started := time.Now()
					require.ErrorIs(t, write(waiting, d, count), context.DeadlineExceeded)
					return time.Since(started) < time.Second
				}
				for try := 1; !stops(); try++ { // in time once, also where the machine stands still now and then
					require.Less(t, try, 5)
				}
			}
			return nil
		}))
		require.EqualValues(t, 1, number(t, a, counted))
		ctx, cancel := context.WithCancel(t.Context())
		require.ErrorIs(t, a.Write(ctx, func(ctx context.Context, tx db.Tx) error {
			_, err := tx.ExecContext(ctx, count)
			cancel()
			return err
		}), context.Canceled)
		require.EqualValues(t, 1, number(t, b, counted))
	})
}

// Two programs with several goroutines each read a number and write the next one,
// all at the same row. Each of them comes through, and each change is there.
func TestContendedWritesLoseNothing(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		a, b := openBoth(t, url)
		require.NoError(t, write(t.Context(), a, counter))
		const writers = 6
		each := scaled(15, 200)
		var tries [2 * writers]int
		var errs [2 * writers]error
		var wg sync.WaitGroup
		for i := range tries {
			d := []*db.DB{a, b}[i%2]
			wg.Go(func() {
				for range each {
					errs[i] = errors.Join(errs[i], d.Write(t.Context(), func(ctx context.Context, tx db.Tx) error {
						tries[i]++
						var n int64
						if err := tx.QueryRowContext(ctx, counted).Scan(&n); err != nil {
							return err
						}
						_, err := tx.ExecContext(ctx, `UPDATE usage SET n = $1`, n+1)
						return err
					}))
				}
			})
		}
		wg.Wait()
		require.NoError(t, errors.Join(errs[:]...))
		require.EqualValues(t, 2*writers*each, number(t, b, counted))
		all := 0
		for _, n := range tries {
			all += n
		}
		if a.Engine() == "postgres" {
			require.Greater(t, all, 2*writers*each, "they did meet")
		}
	})
}

// Who is alone waits for those who were there before, and those who come later see
// what it wrote.
func TestWriteAlone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		var order []string
		var mu sync.Mutex
		say := func(what string) {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, what)
		}
		begun := make(chan struct{}, 10)
		release := make(chan struct{})
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			if err := d.Write(t.Context(), func(ctx context.Context, tx db.Tx) error {
				_, err := tx.ExecContext(ctx, `INSERT INTO meta VALUES ('before', '')`)
				begun <- struct{}{}
				<-release
				say("before")
				return err
			}); err != nil {
				t.Error(err)
			}
		})
		<-begun
		wg.Go(func() {
			if err := d.WriteAlone(t.Context(), func(ctx context.Context, tx db.Tx) error {
				say("alone")
				_, err := tx.ExecContext(ctx, `INSERT INTO meta VALUES ('alone', '')`)
				return err
			}); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(50 * time.Millisecond) // the longer, the more could go wrong
		close(release)
		wg.Wait()
		require.Equal(t, []string{"before", "alone"}, order)
	})
}
