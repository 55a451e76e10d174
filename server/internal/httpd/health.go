package httpd

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// A Check asks whether something that the server needs is there.
type Check struct {
	// Name is shown to everybody: "database", "storage".
	Name string
	// Check returns nil when all is well. Its error is logged, and shown to
	// nobody. It may take checkTime.
	Check func(ctx context.Context) error
	// Advice says what to do when the check fails, and is shown to everybody.
	Advice string
}

const (
	checkTime  = 2 * time.Second // what takes longer is not ready
	answerTime = time.Second     // an answer is as good for so long
)

// readiness carries out checks, each at most once at a time.
type readiness struct {
	checks   []*check
	log      *slog.Logger
	stopping atomic.Bool
	running  inflight

	mu    sync.Mutex
	last  report
	asked time.Time
}

type check struct {
	Check
	busy atomic.Bool
	ok   bool
}

// A report is the body of /readyz.
type report struct {
	Ready    bool              `json:"ready"`
	Stopping bool              `json:"stopping,omitempty"`
	Checks   map[string]string `json:"checks"` // "ok", or "failed" and advice
}

func newReadiness(checks []Check, log *slog.Logger) *readiness {
	r := &readiness{log: log}
	for _, c := range checks {
		r.checks = append(r.checks, &check{Check: c, ok: true})
	}
	return r
}

// stop makes every further answer a no.
func (r *readiness) stop() { r.stopping.Store(true) }

// wait gives checks that run the time to notice that nobody wants them any more.
func (r *readiness) wait(d time.Duration) { r.running.wait(d) }

// report returns what the checks say, at most answerTime old. Who asks and goes
// away spoils nothing for those who wait for the same answer.
func (r *readiness) report(ctx context.Context) report {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.asked) >= answerTime {
		r.last = r.ask(context.WithoutCancel(ctx))
		r.asked = time.Now()
	}
	now := r.last
	if r.stopping.Load() {
		now.Ready, now.Stopping = false, true
	}
	return now
}

func (r *readiness) ask(ctx context.Context) report {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	results := make([]chan error, len(r.checks))
	for i, c := range r.checks {
		results[i] = make(chan error, 1)
		r.start(ctx, c, results[i])
	}
	now := report{Ready: true, Checks: map[string]string{}}
	for i, c := range r.checks {
		err := outcome(ctx, results[i])
		now.Checks[c.Name] = "ok"
		if err != nil {
			now.Ready, now.Checks[c.Name] = false, c.failed()
		}
		r.tell(c, err)
	}
	return now
}

func (c Check) failed() string {
	if c.Advice == "" {
		return "failed"
	}
	return "failed: " + c.Advice
}

// outcome waits for a result, and takes one that is there even when the time is
// over, because another check used it up.
func outcome(ctx context.Context, result <-chan error) error {
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-result:
		return err
	default:
		return ctx.Err()
	}
}

// start carries out a check, unless the last time is not over yet.
func (r *readiness) start(ctx context.Context, c *check, result chan<- error) {
	if !c.busy.CompareAndSwap(false, true) {
		result <- errors.New("the check before this one has not ended")
		return
	}
	r.running.begin()
	go func() {
		defer r.running.end()
		defer c.busy.Store(false)
		defer func() {
			if p := recover(); p != nil {
				result <- errors.New("panic: " + panicText(p))
			}
		}()
		result <- c.Check.Check(ctx)
	}()
}

// tell logs when a check turns.
func (r *readiness) tell(c *check, err error) {
	if ok := err == nil; ok != c.ok {
		c.ok = ok
		if ok {
			r.log.Info("ready again", "check", c.Name)
		} else {
			r.log.Warn("not ready", "check", c.Name, "error", err)
		}
	}
}

func (r *readiness) serve(w http.ResponseWriter, q *http.Request) {
	now := r.report(q.Context())
	status := http.StatusOK
	if !now.Ready {
		status = http.StatusServiceUnavailable
	}
	body, _ := json.Marshal(now) // strings always marshal
	w.Header().Set("Cache-Control", "no-store")
	write(w, status, "application/json", body)
}
