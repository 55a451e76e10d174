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
	cmd.Env = append(os.Environ(), envChild+"="+url)
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
			time.AfterFunc(time.Duration(rand.IntN(8000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
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
		var before [writers]int64
		writes := 0
		for range scaled(100, 1000) {
			acked := killOne(t, url)
			after := afterKill(t, url)
			for writer, n := range after {
				last := max(acked[writer], before[writer])
				require.GreaterOrEqual(t, n, last, "a committed change is lost")
				require.LessOrEqual(t, n, last+1, "more than was begun")
				writes += int(n - before[writer])
			}
			before = after
		}
		t.Log(writes, "transactions")
	})
}

// afterKill opens what a child left behind and returns the numbers in it.
func afterKill(t testing.TB, url string) (numbers [writers]int64) {
	d, err := db.Open(t.Context(), url)
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	if d.Engine() == "postgres" { // what was sent to it before the kill may still be at work
		const others = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`
		require.Eventually(t, func() bool { return number(t, d, others) == 0 }, 10*time.Second, time.Millisecond)
	}
	require.NoError(t, d.Check(t.Context()))
	var sum int64
	for writer := range numbers {
		n := number(t, d, `SELECT coalesce(sum(n), 0) FROM usage WHERE record_id = $1`, fmt.Sprint("writer", writer))
		require.Equal(t, n, number(t, d, `SELECT count(*) FROM audit WHERE actor = $1`, fmt.Sprint("writer", writer)), "half of a transaction")
		numbers[writer] = n
		sum += n
	}
	require.Equal(t, sum, number(t, d, `SELECT coalesce(sum(n), 0) FROM usage WHERE record_id = 'all'`))
	return numbers
}

var errCut = errors.New("cut")
