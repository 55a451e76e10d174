package repo

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/feed"
)

// How many requests may wait for changes at a time: in all, of one account, of one
// address without an account, and of all those.
const (
	maxWaiting         = 1000
	maxWaitingOfOne    = 20
	maxWaitingUnnamed  = 200
	waitingPoll        = time.Second
	waitingAsked       = 100 // feeds in one query
	retryWhenCrowded   = 10  // seconds
	retryWhenShutdown  = 2
	accountOfNobody    = "nobody"
	crowdedText        = "Too many requests wait for changes, try again later."
	crowdedAccountText = "Too many of your requests wait for changes, try again later."
	shutdownText       = "The server is shutting down, try again in a moment."
)

// Waiters are requests that wait for a feed to grow. They hold no connection to the
// database. When this process appends to a feed, it wakes them; for what replicas append,
// one query each second looks after all that somebody waits for. Use [NewWaiters], and
// [Waiters.Close] at the end.
type Waiters struct {
	db   *db.DB
	log  *slog.Logger
	poll time.Duration

	mu      sync.Mutex
	feeds   map[string]map[*waiter]bool // by record
	of      map[string]int              // by account
	total   int
	polling bool
	ctx     context.Context // ends with Close
	stop    context.CancelFunc
	work    sync.WaitGroup
}

// A waiter waits at the end of a feed, as it knows it.
type waiter struct {
	at    feed.Cursor
	awake chan struct{}
	once  sync.Once
}

func (w *waiter) wake() { w.once.Do(func() { close(w.awake) }) }

// NewWaiters returns what nobody waits in yet.
func NewWaiters(d *db.DB, log *slog.Logger) *Waiters {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	w := &Waiters{db: d, log: log, poll: waitingPoll, feeds: map[string]map[*waiter]bool{}, of: map[string]int{}}
	w.ctx, w.stop = context.WithCancel(context.Background())
	return w
}

// Close ends all waits at once, and keeps others from waiting.
func (w *Waiters) Close() {
	w.mu.Lock()
	w.stop() // nobody begins to poll after this
	w.mu.Unlock()
	w.work.Wait()
}

var errShutdown = &later{refusal(http.StatusServiceUnavailable, shutdownText), retryWhenShutdown}

// enter takes one of the places of an account, or of an address when there is none.
func (w *Waiters) enter(account, address string) (leave func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	names := []string{account}
	if account == accountOfNobody {
		names = append(names, "at "+address)
	}
	switch {
	case w.ctx.Err() != nil:
		return nil, errShutdown
	case w.total >= maxWaiting:
		return nil, &later{refusal(http.StatusServiceUnavailable, crowdedText), retryWhenCrowded}
	}
	for _, name := range names {
		limit := maxWaitingOfOne
		if name == accountOfNobody {
			limit = maxWaitingUnnamed
		}
		if w.of[name] >= limit {
			return nil, &later{refusal(http.StatusServiceUnavailable, crowdedAccountText), retryWhenCrowded}
		}
	}
	w.total++
	for _, name := range names {
		w.of[name]++
	}
	return func() { w.leave(names) }, nil
}

func (w *Waiters) leave(names []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.total--
	for _, name := range names {
		if w.of[name]--; w.of[name] == 0 {
			delete(w.of, name)
		}
	}
}

// wait returns when the feed of a record does not end at a place any more, or when ctx
// ends, which is no error.
func (w *Waiters) wait(ctx context.Context, record string, at feed.Cursor) error {
	one := &waiter{at: at, awake: make(chan struct{})}
	if err := w.add(record, one); err != nil {
		return err
	}
	defer w.remove(record, one)
	select {
	case <-one.awake:
	case <-ctx.Done():
	case <-w.ctx.Done():
		return errShutdown
	}
	return nil
}

func (w *Waiters) add(record string, one *waiter) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx.Err() != nil {
		return errShutdown
	}
	if w.feeds[record] == nil {
		w.feeds[record] = map[*waiter]bool{}
	}
	w.feeds[record][one] = true
	if !w.polling {
		w.polling = true
		w.work.Go(w.look)
	}
	return nil
}

func (w *Waiters) remove(record string, one *waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.feeds[record], one)
	if len(w.feeds[record]) == 0 {
		delete(w.feeds, record)
	}
}

// wake wakes all who wait for a feed, which this process has changed.
func (w *Waiters) wake(record string) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for one := range w.feeds[record] {
		one.wake()
	}
}

// look looks for what replicas have appended, until nobody waits. It begins at once:
// something may have come between a look at the feed and the wait for it.
func (w *Waiters) look() {
	tick := time.NewTicker(w.poll)
	defer tick.Stop()
	for failed := false; w.goesOn(); {
		err := w.lookOnce(w.ctx)
		if err != nil && !failed && w.ctx.Err() == nil {
			w.log.Error("nobody can be told of changes that other servers see", "error", err)
		}
		failed = err != nil
		select {
		case <-tick.C:
		case <-w.ctx.Done():
		}
	}
}

// goesOn reports whether anybody waits.
func (w *Waiters) goesOn() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.polling = len(w.feeds) > 0 && w.ctx.Err() == nil
	return w.polling
}

func (w *Waiters) lookOnce(ctx context.Context) error {
	for _, records := range w.waitedFor() {
		ends, err := w.ends(ctx, records)
		if err != nil {
			return err
		}
		w.compare(records, ends)
	}
	return nil
}

// waitedFor returns the records that somebody waits for, as many at a time as a query
// takes.
func (w *Waiters) waitedFor() (all [][]string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var some []string
	for record := range w.feeds {
		if some = append(some, record); len(some) == waitingAsked {
			all, some = append(all, some), nil
		}
	}
	if len(some) > 0 {
		all = append(all, some)
	}
	return all
}

// endsQuery is one text for any number of feeds, so that it is compiled once.
var endsQuery = sync.OnceValue(func() string {
	var places strings.Builder
	for i := range waitingAsked {
		if i > 0 {
			places.WriteString(", ")
		}
		fmt.Fprintf(&places, "$%d", i+1)
	}
	return `SELECT record_id, epoch, next_seq FROM feeds WHERE record_id IN (` + places.String() + `)`
})

// ends returns where the feeds of records end.
func (w *Waiters) ends(ctx context.Context, records []string) (map[string]feed.Cursor, error) {
	args := make([]any, waitingAsked)
	for i := range args {
		args[i] = ""
		if i < len(records) {
			args[i] = records[i]
		}
	}
	var ends map[string]feed.Cursor
	err := w.db.Query(ctx, func(rows *sql.Rows) error {
		ends = map[string]feed.Cursor{}
		for rows.Next() {
			var record string
			var at feed.Cursor
			if err := rows.Scan(&record, &at.Epoch, &at.Seq); err != nil {
				return err
			}
			ends[record] = at
		}
		return nil
	}, endsQuery(), args...)
	return ends, err
}

// compare wakes who waits at another place than where a feed ends, or for one that is
// gone.
func (w *Waiters) compare(records []string, ends map[string]feed.Cursor) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, record := range records {
		end, ok := ends[record]
		for one := range w.feeds[record] {
			if !ok || end.Epoch != one.at.Epoch || end.Seq != one.at.Seq {
				one.wake()
			}
		}
	}
}

// Waiting returns how many requests wait for feeds to grow.
func (w *Waiters) Waiting() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, all := range w.feeds {
		n += len(all)
	}
	return n
}
