package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivermigrate"
)

// A carrier brings ids of runs to workers, of this engine or of another one. It may
// bring one more than once, late, or never.
type carrier interface {
	start(ctx context.Context) error
	carry(ctx context.Context, kind Kind, runs []string) error
	stop() error // cancels what runs, and waits for it
	close() error
}

func (j *Jobs) openCarrier(ctx context.Context) (carrier, error) {
	if isPostgres(j.Queue) {
		return j.openPostgres(ctx)
	}
	return j.openSQLite(ctx)
}

// mostTime is how long river lets a run go on, and how old what it carries may become;
// a limit of our own comes before that.
const mostTime = 30 * 24 * time.Hour

// kept is for how long river remembers what it has brought.
const kept = time.Minute

// parcel is what river carries.
type parcel struct {
	Run string `json:"run"`
}

// Kind names parcels, for river.
func (parcel) Kind() string { return "run" }

// receiver takes parcels.
type receiver struct {
	river.WorkerDefaults[parcel]
	work func(ctx context.Context, run string)
}

// Work does what a parcel wants. It never fails, for river.
func (r *receiver) Work(ctx context.Context, job *river.Job[parcel]) error {
	r.work(ctx, job.Args.Run)
	return nil
}

// riverCarrier is a carrier on either engine.
type riverCarrier[T any] struct {
	client  *river.Client[T]
	release func() error
}

// newRiver makes a carrier on a database that [migrateRiver] has made ready.
func newRiver[T any](j *Jobs, driver riverdriver.Driver[T], schema string, release func() error) (carrier, error) {
	workers := river.NewWorkers()
	if err := river.AddWorkerSafely(workers, &receiver{work: j.work}); err != nil {
		return nil, err
	}
	queues := map[string]river.QueueConfig{}
	for kind, p := range j.Pools {
		queues[string(kind)] = river.QueueConfig{MaxWorkers: p.Workers}
	}
	client, err := river.NewClient(driver, &river.Config{
		ID: j.name, Schema: schema, Queues: queues, Workers: workers, Logger: quiet(j.Log),
		// Within a cooldown after one message river sends no other, and what comes in it waits
		// for the next poll. The shortest is less than it takes to make two runs.
		FetchCooldown: river.FetchCooldownMin, FetchPollInterval: time.Second,
		MaxAttempts: 1, JobTimeout: mostTime, RescueStuckJobsAfter: mostTime + time.Hour,
		CancelledJobRetentionPeriod: kept, CompletedJobRetentionPeriod: kept, DiscardedJobRetentionPeriod: kept,
	})
	if err != nil {
		return nil, fmt.Errorf("river: %w", err)
	}
	return &riverCarrier[T]{client, release}, nil
}

// migrateRiver makes river's tables. One does it at a time.
func migrateRiver[T any](ctx context.Context, j *Jobs, driver riverdriver.Driver[T], schema string) error {
	m, err := rivermigrate.New(driver, &rivermigrate.Config{Schema: schema, Logger: quiet(j.Log)})
	if err == nil {
		_, err = m.Migrate(ctx, rivermigrate.DirectionUp, nil)
	}
	if err != nil {
		return fmt.Errorf("make the tables of river: %w", err)
	}
	return nil
}

func (c *riverCarrier[T]) start(ctx context.Context) error { return c.client.Start(ctx) }

func (c *riverCarrier[T]) carry(ctx context.Context, kind Kind, runs []string) error {
	parcels := make([]river.InsertManyParams, len(runs))
	for i, run := range runs {
		parcels[i] = river.InsertManyParams{Args: parcel{Run: run}, InsertOpts: &river.InsertOpts{Queue: string(kind)}}
	}
	if _, err := c.client.InsertManyFast(ctx, parcels); err != nil {
		return fmt.Errorf("send runs to workers: %w", err)
	}
	return nil
}

func (c *riverCarrier[T]) stop() error { return c.client.StopAndCancel(context.Background()) }

func (c *riverCarrier[T]) close() error { return c.release() }

// quiet is a log for river: what it tells of its daily life is for those who look for
// faults, and so is a complaint that was made a short time ago. None is more than a
// warning: what river does not bring, it is given again.
func quiet(log *slog.Logger) *slog.Logger {
	return slog.New(quieter{log.Handler(), &complaints{last: map[string]time.Time{}}})
}

// sameAgain is for how long river is not heard that complains of the same again. While a
// database is away it does so several times a second.
const sameAgain = time.Minute

// complaints are what river's log said last, and when. Its messages are few: what differs
// is in their attributes.
type complaints struct {
	mu   sync.Mutex
	last map[string]time.Time
}

// isNew notes a complaint, unless it was made a short time ago.
func (c *complaints) isNew(message string, at time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last, ok := c.last[message]; ok && at.Sub(last) < sameAgain {
		return false
	}
	c.last[message] = at
	return true
}

type quieter struct {
	slog.Handler
	said *complaints
}

func (q quieter) lower(level slog.Level) slog.Level {
	if level < slog.LevelWarn {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// Enabled implements [slog.Handler].
func (q quieter) Enabled(ctx context.Context, level slog.Level) bool {
	return q.Handler.Enabled(ctx, q.lower(level))
}

// Handle implements [slog.Handler].
func (q quieter) Handle(ctx context.Context, r slog.Record) error {
	r.Level = q.lower(r.Level)
	if r.Level >= slog.LevelWarn && !q.said.isNew(r.Message, r.Time) {
		if r.Level = slog.LevelDebug; !q.Handler.Enabled(ctx, r.Level) {
			return nil
		}
	}
	return q.Handler.Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (q quieter) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quieter{q.Handler.WithAttrs(attrs), q.said}
}

// WithGroup implements [slog.Handler].
func (q quieter) WithGroup(name string) slog.Handler {
	return quieter{q.Handler.WithGroup(name), q.said}
}
