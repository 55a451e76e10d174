package db_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
)

// envChild tells a child, another process of the test's binary, its database.
const envChild = "D6TPIPE_TEST_DB_URL"

// writers is how many goroutines a child has.
const writers = 4

// step counts a writer's number up, notes that it did, and counts the sum of all.
// It returns the new number.
func step(ctx context.Context, d *db.DB, writer int) (n int64, err error) {
	const up = `INSERT INTO usage VALUES ($1, '', '', 1) ON CONFLICT (record_id, day, what) DO UPDATE SET n = usage.n + 1 RETURNING n`
	return n, d.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		if err := tx.QueryRowContext(ctx, up, fmt.Sprint("writer", writer)).Scan(&n); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO audit VALUES ($1, 1, $2, '', '', '', '', '', '', '')`,
			fmt.Sprintf("%d-%d", writer, n), fmt.Sprint("writer", writer))
		if err != nil {
			return err
		}
		var sum int64
		return tx.QueryRowContext(ctx, up, "all").Scan(&sum)
	})
}

// TestKilledChild is not a test but what the children do: write until they are
// killed, and say what is committed.
func TestKilledChild(t *testing.T) {
	url := os.Getenv(envChild)
	if url == "" {
		t.Skip("only as a child of TestProofKills")
	}
	d := dbtest.Open(t, url)
	var wg sync.WaitGroup
	for writer := range writers {
		wg.Go(func() {
			for {
				n, err := step(t.Context(), d, writer)
				if err != nil {
					panic(err)
				}
				_, _ = fmt.Fprintf(os.Stdout, "%d %d\n", writer, n)
			}
		})
	}
	wg.Wait()
}

// killOne starts a child and kills it. It returns the last number of each writer
// that is acknowledged, 0 for none.
func killOne(t testing.TB, url string) (acked [writers]int64) {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestKilledChild$", "-test.count=1")
	cmd.Env = append(os.Environ(), envChild+"="+url, "PGAPPNAME=killed")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var once sync.Once
	for lines := bufio.NewReader(out); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			require.ErrorIs(t, err, io.EOF)
			break
		}
		var writer, n int64
		_, err = fmt.Sscan(line, &writer, &n)
		require.NoError(t, err, line)
		acked[writer] = n
		once.Do(func() { // it is at work: some time of the next few commits
			time.AfterFunc(time.Duration(rand.IntN(20000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
		})
	}
	require.Error(t, cmd.Wait(), "it does not end by itself")
	return acked
}

// A program that is killed at any instant takes nothing with it that was
// committed, and leaves no half of a transaction.
func TestProofKills(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		t.Parallel()
		d := openRaw(t, url)
		defer func() { require.NoError(t, d.Close()) }()
		reopen := d.Engine() == "sqlite" // where opening it is what repairs it
		var before, after [writers]int64
		for range scaled(40, 1000) {
			if reopen {
				require.NoError(t, d.Close())
			}
			acked := killOne(t, url)
			if reopen {
				d = openRaw(t, url)
			}
			before, after = after, afterKill(t, d)
			for writer, n := range after {
				last := max(acked[writer], before[writer])
				require.GreaterOrEqual(t, n, last, "a committed change is lost")
				require.LessOrEqual(t, n, last+1, "more than was begun")
			}
		}
		t.Log(after, "transactions")
	})
}

// openRaw opens a database that the test closes.
func openRaw(t testing.TB, url string) *db.DB {
	d, err := db.Open(t.Context(), url)
	require.NoError(t, err)
	return d
}

// afterKill returns the numbers in what a child left behind.
func afterKill(t testing.TB, d *db.DB) (numbers [writers]int64) {
	if d.Engine() == "postgres" { // what was sent to it before the kill may still be at work
		const others = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'killed'`
		require.Eventually(t, func() bool { return number(t, d, others) == 0 }, time.Minute, time.Millisecond)
	}
	require.NoError(t, d.Check(t.Context()))
	found := map[string]int64{}
	var audited map[string]int64
	require.NoError(t, d.Read(t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
		if found, err = counts(ctx, tx, `SELECT record_id, n FROM usage`); err == nil {
			audited, err = counts(ctx, tx, `SELECT actor, count(*) FROM audit GROUP BY actor`)
		}
		return err
	}))
	for writer := range numbers {
		numbers[writer] = found[fmt.Sprint("writer", writer)]
		found["all"] -= numbers[writer]
	}
	require.Zero(t, found["all"], "half of a transaction")
	delete(found, "all")
	require.Equal(t, found, audited, "half of a transaction")
	return numbers
}

// counts is what a query for names and numbers finds.
func counts(ctx context.Context, tx db.Tx, query string) (map[string]int64, error) {
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[string]int64{}
	for rows.Next() {
		var name string
		var n int64
		if err := rows.Scan(&name, &n); err != nil {
			return nil, err
		}
		found[name] = n
	}
	return found, rows.Err()
}

var errCut = errors.New("cut")
