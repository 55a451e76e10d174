package repo_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
	"github.com/d6t/d6tpipe-go/server/internal/dial"
	"github.com/d6t/d6tpipe-go/server/internal/hook"
	"github.com/d6t/d6tpipe-go/server/internal/jobs"
	"github.com/d6t/d6tpipe-go/server/internal/repo"
	"github.com/d6t/d6tpipe-go/server/internal/vault"
)

// delivererVariable makes the tests' program a deliverer that can be killed.
const delivererVariable = "D6TPIPE_TEST_DELIVERER"

// A deliverer reads this from its standard input, and ends when that does.
type delivererConfig struct{ DB, Queue, KeyFile string }

// deliver delivers to webhooks until standard input ends.
func deliver() error {
	var c delivererConfig
	in := json.NewDecoder(os.Stdin)
	if err := in.Decode(&c); err != nil {
		return err
	}
	ctx := context.Background()
	d, err := db.Open(ctx, c.DB)
	if err != nil {
		return err
	}
	check, err := repo.Meta(ctx, d, repo.KeyCheck)
	if err != nil {
		return err
	}
	keys, err := vault.Load(ctx, vault.Source{File: c.KeyFile}, check)
	if err != nil {
		return err
	}
	r := repo.New(repo.Options{DB: d, Keys: keys, Hooks: hook.New(hook.Config{Dial: dial.Policy{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, HTTP: true})})
	j, err := jobs.Open(ctx, jobs.Config{DB: d, Queue: c.Queue, Poll: 20 * time.Millisecond, Lease: 3 * time.Second, Pools: map[jobs.Kind]jobs.Pool{jobs.Webhook: r.Delivery(2)}})
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := j.Close(); err != nil {
		return err
	}
	return d.Close()
}

// startDeliverer starts one. kill ends it as a power cut would, and waits.
func startDeliverer(t *testing.T, c delivererConfig) (kill func()) {
	t.Helper()
	cmd := osexec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), delivererVariable+"=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe() // stays open until this process ends, or the other one
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = stdin.Close()
	})
	t.Cleanup(kill)
	require.NoError(t, json.NewEncoder(stdin).Encode(c))
	return kill
}

// TestDeliveryKills: wherever the server is killed, each change is told at least once,
// in order, and a message has the same id and the same body each time.
func TestDeliveryKills(t *testing.T) {
	t.Parallel()
	dbtest.EachURL(t, func(t *testing.T, url string) {
		rounds := 3
		if os.Getenv("D6TPIPE_PROOF") != "" {
			rounds = 150
		}
		h := hookedWorld(t, dbtest.Open(t, url))
		h.clock.forward(time.Since(h.clock.Now()))
		b := newInbox(t, time.Now)
		made := h.create(t, d6tpipe.WebhookSettings{URL: b.url})
		b.knows(made.Secret)
		arrived := make(chan struct{}, 1)
		b.says(func(int, d6tpipe.WebhookEvent, http.ResponseWriter) {
			select {
			case arrived <- struct{}{}:
			default:
			}
			time.Sleep(rand.N(20 * time.Millisecond)) // so that kills fall before the answer, and behind it
		})
		c := delivererConfig{DB: url, Queue: url, KeyFile: h.keyFile}
		if !strings.HasPrefix(url, "postgres") {
			c.Queue = filepath.Join(t.TempDir(), "jobs.db")
		}
		var want []string
		for round := range rounds {
			select {
			case <-arrived: // of the last round
			default:
			}
			kill := startDeliverer(t, c)
			for i := range 1 + rand.N(3) {
				key := fmt.Sprintf("%d-%d", round, i)
				want = append(want, "new "+key)
				h.grow(t, files("new", key)...)
			}
			select {
			case <-arrived:
			case <-time.After(patience):
				b.mu.Lock()
				defer b.mu.Unlock()
				t.Fatalf("round %d: nothing arrived; %+v, refused %v", round, h.get(t, made.ID), b.refused)
			}
			// A run over which the server dies ten times is given up for a while.
			if round%5 == 4 {
				requireIdle(t, h.db, made.ID)
			}
			time.Sleep(rand.N(30 * time.Millisecond))
			kill()
		}
		startDeliverer(t, c)
		require.Eventually(t, func() bool { return len(b.told(t)) >= len(want) }, patience, 20*time.Millisecond)
		require.Equal(t, want, b.told(t))
		b.mu.Lock()
		defer b.mu.Unlock()
		require.Empty(t, b.refused)
		bodies := map[string]string{}
		for _, e := range b.attempts {
			if known, again := bodies[e.ID]; again {
				require.Equal(t, known, string(e.Data))
			}
			bodies[e.ID] = string(e.Data)
		}
		t.Logf("%d rounds, %d messages in %d attempts", rounds, len(b.accepted), len(b.attempts))
	})
}

// requireIdle waits until nothing is done for a webhook.
func requireIdle(t *testing.T, d *db.DB, id string) {
	t.Helper()
	require.Eventually(t, func() bool {
		var s jobs.State
		err := d.Read(t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
			s, err = jobs.Find(ctx, tx, jobs.Webhook, id)
			return err
		})
		require.NoError(t, err)
		return !s.Running
	}, patience, 20*time.Millisecond)
}
