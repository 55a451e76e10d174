package server_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
)

// scaled is how often a proof repeats: small by default, full when a proof is asked
// for.
func scaled(small, full int) int {
	if os.Getenv("D6TPIPE_PROOF") != "" {
		return full
	}
	return small
}

// A world is what outlives a server: its data, and the people who use it.
type world struct {
	t       testing.TB
	config  processConfig
	root    d6tpipe.Secret // the administrator's token
	writers []*writer
	seen    time.Time // of the newest line of the audit log that was looked at
}

// newWorld makes a world with writers and a reader. The server at urls is of the same
// data; root's account exists.
func newWorld(t testing.TB, config processConfig, writers int, urls ...string) *world {
	t.Helper()
	w := &world{t: t, config: config}
	require.NoError(t, as(urls[0], "", "", func(c *d6tpipe.APIClient) (err error) {
		w.root, err = c.Login(t.Context(), "root", password+"root")
		return err
	}))
	newWriter(t, "reader", urls...)
	for i := range writers {
		w.writers = append(w.writers, newWriter(t, fmt.Sprint("w", i), urls...))
	}
	w.newLines(urls[0])
	return w
}

func createRoot(t testing.TB, c server.Config) {
	t.Helper()
	require.NoError(t, server.CreateAdmin(t.Context(), c, server.Admin{Username: "root", Email: "root@example.com", Password: password + "root"}))
}

// newLines counts the lines of the audit log that were not there the last time.
func (w *world) newLines(url string) map[string]int {
	w.t.Helper()
	var events []d6tpipe.AuditEvent
	require.NoError(w.t, as(url, w.root, "", func(c *d6tpipe.APIClient) (err error) {
		events, err = c.Audit(w.t.Context())
		return err
	}))
	require.NotEmpty(w.t, events)
	found := map[string]int{}
	for _, e := range events {
		if e.Time.After(w.seen) {
			found[line(e.Actor, e.Action, e.Kind, e.Name, e.Detail)]++
		}
	}
	oldest := events[len(events)-1].Time
	require.True(w.t, w.seen.IsZero() || !oldest.After(w.seen), "more happened than the log shows at once")
	w.seen = events[0].Time
	return found
}

// load lets all writers write until stop is called. When write returns an error it was
// its writer's last one, and the test has failed unless that is errKilled.
func (w *world) load(write func(w *writer, c *change) error) (acked *atomic.Int64, stop func()) {
	acked = &atomic.Int64{}
	var writing sync.WaitGroup
	var stopping atomic.Bool
	for _, writer := range w.writers {
		writing.Go(func() {
			for !stopping.Load() {
				change := writer.next()
				err := write(writer, change)
				if err != nil {
					if !errors.Is(err, errKilled) {
						w.t.Errorf("%s: %s: %v", writer.name, change.audit, err)
					}
					return
				}
				acked.Add(1)
			}
		})
	}
	return acked, func() { stopping.Store(true); writing.Wait() }
}

var errKilled = errors.New("the server was killed")

// check looks at everything through the API, and compares it with what was
// acknowledged.
func (w *world) check(urls ...string) (changes int) {
	w.t.Helper()
	want, maybe, pushed := map[string]int{}, map[string]int{}, map[string]int{}
	for i, seen := range w.look(urls...) {
		writer := w.writers[i]
		acked, others := writer.settle(seen)
		for _, line := range acked {
			want[line]++
			changes++
		}
		for _, line := range others {
			maybe[line]++
		}
		pushed[line(writer.name, "credentials pipes", writer.name+"-m write")] += writer.pushed
		writer.pushed = 0
	}
	found := w.newLines(urls[0])
	for keys, n := range pushed {
		require.GreaterOrEqual(w.t, found[keys], n, "keys that were handed out: %s", keys)
		delete(found, keys)
		changes += n
	}
	for _, writer := range w.writers { // who looks gets keys, too
		for _, pipe := range []string{"-m", "-a"} {
			delete(found, line(writer.name, "credentials pipes", writer.name+pipe+" read"))
		}
	}
	for line, n := range maybe {
		found[line] -= max(0, min(n, found[line]-want[line]))
		if found[line] == 0 {
			delete(found, line)
		}
	}
	require.Equal(w.t, want, found, "the audit log")
	w.checkReader(urls[len(urls)-1])
	return changes
}

// look returns what one sees of each writer's, on any of the servers.
func (w *world) look(urls ...string) []facts {
	w.t.Helper()
	seen, errs := make([]facts, len(w.writers)), make([]error, len(w.writers))
	var looking sync.WaitGroup
	for i, writer := range w.writers {
		looking.Go(func() { seen[i], errs[i] = writer.look(w.t.Context(), rand.IntN(len(urls))) })
	}
	looking.Wait()
	require.NoError(w.t, errors.Join(errs...))
	return seen
}

// checkReader compares what the reader sees with what was granted.
func (w *world) checkReader(url string) {
	w.t.Helper()
	want, seen := facts{}, facts{}
	for _, writer := range w.writers {
		for _, pipe := range []string{"-a", "-m", "-child"} {
			role := writer.facts["grant "+writer.name+pipe]
			if pipe == "-child" && writer.has("pipes "+writer.name+pipe) {
				role = writer.facts["grant "+writer.name+"-a"] // it reaches down
			}
			if role != "" {
				want[writer.name+pipe] = role
			}
		}
	}
	require.NoError(w.t, as(url, "", "", func(c *d6tpipe.APIClient) error {
		if _, err := c.Login(w.t.Context(), "reader", password+"reader"); err != nil {
			return err
		}
		for p, err := range c.Pipes().All(w.t.Context()) {
			if err != nil {
				return err
			}
			seen[p.Name] = string(p.Role)
		}
		return nil
	}))
	require.Equal(w.t, want, seen, "what the reader sees")
}

// A server that is killed at any moment, under eight writers, takes nothing with it
// that it has acknowledged, leaves nothing half done, and starts again.
func TestProofKills(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		t.Parallel()
		const rounds = 100 // in one world; then the next begins
		total := scaled(5, 1000)
		changes := 0
		for done := 0; done < total; done += rounds {
			if done > 0 {
				url = another(t, url)
			}
			changes += killRounds(t, url, min(rounds, total-done))
		}
		t.Logf("%d kills, %d changes", total, changes)
	})
}

// another is an empty database of the same kind.
func another(t *testing.T, url string) string {
	if isPostgres(url) {
		return dbtest.Postgres(t)
	}
	return dbtest.SQLite(t)
}

func isPostgres(url string) bool { return url[0] == 'p' }

func killRounds(t *testing.T, url string, rounds int) (changes int) {
	config := processConfig{Listen: "127.0.0.1:0", Data: t.TempDir(), Database: url, KeyFile: filepath.Join(t.TempDir(), "key")}
	createRoot(t, config.server())
	p := launch(t, config)
	config.Listen = p.addr // for all that follow
	w := newWorld(t, config, 8, p.url())
	for round := range rounds {
		var killing atomic.Bool
		ctx, cancel := context.WithCancel(t.Context())
		acked, stop := w.load(func(w *writer, c *change) error {
			err := w.act(ctx, c)
			if err != nil && killing.Load() {
				err = errKilled
			}
			return err
		})
		require.Eventually(t, func() bool { return acked.Load() > int64(len(w.writers)) || t.Failed() }, patience, time.Millisecond)
		time.Sleep(rand.N(300 * time.Millisecond))
		killing.Store(true)
		p.kill()
		cancel()
		stop()
		w.waitForBackends()
		p = launch(t, config)
		changes += w.check(p.url())
		w.checkDatabase()
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	p.term()
	return changes
}

// waitForBackends waits until PostgreSQL has done with what the killed server had sent.
func (w *world) waitForBackends() {
	w.t.Helper()
	if !isPostgres(w.config.Database) {
		return
	}
	d, err := sql.Open("pgx", w.config.Database)
	require.NoError(w.t, err)
	defer d.Close()
	const others = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'`
	require.Eventually(w.t, func() bool {
		n := -1
		require.NoError(w.t, d.QueryRowContext(w.t.Context(), others).Scan(&n))
		return n == 0
	}, patience, time.Millisecond)
}

// checkDatabase reads all of the database, below the server.
func (w *world) checkDatabase() {
	w.t.Helper()
	d, err := db.Open(w.t.Context(), w.config.Database)
	require.NoError(w.t, err)
	require.NoError(w.t, d.Check(w.t.Context()))
	require.NoError(w.t, d.Close())
}
