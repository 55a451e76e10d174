package jobs

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/d6t/d6tpipe-go/server/internal/db"
)

// Config is what an engine needs.
type Config struct {
	// DB is our own database. It must stay open until [Jobs.Close] has returned.
	DB *db.DB
	// Queue is where river keeps what is on its way to a worker: the URL of a PostgreSQL
	// database, where it has a schema of its own, d6tpipe_jobs; or the path of a SQLite
	// file, which is made anew when nobody else has it open. It is PostgreSQL if and only
	// if DB is.
	Queue string
	// Pools is how each kind of task is done. A kind that has none is left alone.
	Pools map[Kind]Pool
	// Now is the clock of the schedules, [time.Now] when nil.
	Now func() time.Time
	// Poll is how often it is looked for what is due, 1 s when zero.
	Poll time.Duration
	// Lease is for how long a run belongs to a server that does not say any more that it
	// lives, 30 s when zero. The clocks of servers that share a database must agree to a
	// fourth of that.
	Lease time.Duration
	// Log is silent when nil. It never gets what a run was about, nor why it failed.
	Log *slog.Logger
	// Registry gets the metrics; nobody does when it is nil.
	Registry prometheus.Registerer
}

func (c Config) withDefaults() Config {
	c.Poll = cmp.Or(c.Poll, time.Second)
	c.Lease = cmp.Or(c.Lease, 30*time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c Config) validate() error {
	if c.DB == nil || c.Queue == "" || len(c.Pools) == 0 {
		return errors.New("a database, a queue and a pool are needed")
	}
	if (c.DB.Engine() == "postgres") != isPostgres(c.Queue) {
		return errors.New("the database and the queue must be of the same engine")
	}
	for kind, p := range c.Pools {
		if !slices.Contains(kinds[:], kind) || p.Do == nil || p.Workers < 1 || p.Backoff == nil {
			return fmt.Errorf("the pool of %q needs a known kind, a work, a worker and a backoff", kind)
		}
	}
	return nil
}

// Jobs is the engine: it sees to it that what is due is done. Its methods may be called
// by several goroutines at once.
type Jobs struct {
	Config
	name    string // of this engine, for the others: nobody has it but once
	kinds   []Kind // of the pools, sorted
	peek    string // the query that [Jobs.look] asks
	carrier carrier
	metrics *metrics
	kick    chan struct{}
	mine    holdings

	stop    context.CancelFunc // what looks for work
	release context.CancelFunc // what keeps the leases
	looking sync.WaitGroup
	keeping sync.WaitGroup
}

// Open makes the queue ready and starts the engine. What it starts ends with
// [Jobs.Close], and not with ctx.
func Open(ctx context.Context, c Config) (*Jobs, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("open jobs: %w", err)
	}
	j := &Jobs{Config: c, name: newName(), kinds: slices.Sorted(maps.Keys(c.Pools)), kick: make(chan struct{}, 1)}
	j.peek = peekQuery(j.kinds)
	if err := j.open(ctx); err != nil {
		return nil, fmt.Errorf("open jobs: %w", err)
	}
	return j, nil
}

func (j *Jobs) open(ctx context.Context) (err error) {
	if j.metrics, err = newMetrics(j.Registry, j.Pools); err != nil {
		return err
	}
	if j.carrier, err = j.openCarrier(ctx); err != nil {
		j.metrics.unregister(j.Registry)
		return err
	}
	background := context.WithoutCancel(ctx)
	looking, stop := context.WithCancel(background)
	keeping, release := context.WithCancel(background)
	j.stop, j.release = stop, release
	if err = j.carrier.start(background); err != nil {
		stop()
		release()
		j.metrics.unregister(j.Registry)
		return errors.Join(err, j.carrier.close())
	}
	j.keeping.Go(func() { j.keep(keeping) })
	j.looking.Go(func() { j.dispatch(looking) })
	return nil
}

// Kick has the engine look at once for what is due, instead of at its next look.
func (j *Jobs) Kick() {
	select {
	case j.kick <- struct{}{}:
	default: // it is about to look anyway
	}
}

// Close takes nothing up any more, cancels what runs, and waits for it. What was
// cancelled so waits in the database for the next server.
func (j *Jobs) Close() error {
	j.stop()
	j.looking.Wait()
	err := j.carrier.stop()
	err = errors.Join(err, j.leaveQueued())
	j.release()
	j.keeping.Wait()
	j.metrics.unregister(j.Registry)
	return errors.Join(err, j.carrier.close())
}

// newName is the machine's name, with something that tells its engines apart.
func newName() string {
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails
	host, err := os.Hostname()
	if err != nil {
		host = "server"
	}
	return host + "-" + hex.EncodeToString(random[:])
}

// pause waits, and reports false when ctx ends before.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
