package jobs_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
	"github.com/d6t/d6tpipe-go/server/internal/jobs"
	"github.com/d6t/d6tpipe-go/server/internal/when"
)

// scaled is how often a proof repeats: small by default, full when a proof is
// asked for.
func scaled(small, full int) int {
	if os.Getenv("D6TPIPE_PROOF") != "" {
		return full
	}
	return small
}

// fast is a clock that goes 600 times as fast as others, from the start of the tests
// on: what is due each minute is due ten times in a second.
func fast(since time.Time) func() time.Time {
	return func() time.Time { return start.Add(600 * time.Since(since)) }
}

// manyTasks are six, of three owners.
func manyTasks() (tasks []jobs.Task) {
	for i, owner := range []string{"ann", "bob", "eve", "ann", "bob", "eve"} {
		every := d6tpipe.Interval(time.Duration(1+i%3) * time.Minute)
		tasks = append(tasks, jobs.Task{Kind: jobs.Scan, Subject: fmt.Sprint("p", i), Owner: owner, Schedule: d6tpipe.Schedule{Every: every}})
	}
	return tasks
}

// history is all that was ever seen of the runs of some tasks.
type history struct {
	*scene
	tasks []jobs.Task
	runs  map[string]jobs.Run
}

// look notes what there is. It must be called before much of it is pruned.
func (h *history) look() {
	h.Helper()
	for _, r := range runs(h, h.d, jobs.Query{Limit: 1000}) {
		if before, ok := h.runs[r.ID]; ok && !before.Ended.IsZero() {
			require.Equal(h, before, r, "what has ended does not change")
		}
		h.runs[r.ID] = r
	}
}

// made is when a run was made, by the schedules' clock.
func made(t testing.TB, r jobs.Run) time.Time {
	micros, err := strconv.ParseInt(r.ID[:14], 16, 64)
	require.NoError(t, err)
	return time.UnixMicro(micros)
}

// check proves that each tick of each task has one run, its own or that of an earlier one
// that could not begin before it.
func (h *history) check() {
	h.Helper()
	for _, task := range h.tasks {
		all := slices.SortedFunc(maps.Values(h.runs), func(a, b jobs.Run) int { return cmp.Compare(a.ID, b.ID) })
		all = slices.DeleteFunc(all, func(r jobs.Run) bool { return r.Subject != task.Subject })
		require.NotEmpty(h, all)
		after := start
		for _, r := range all {
			due, err := when.Next(task.Schedule, after, task.Subject)
			require.NoError(h, err)
			require.Equal(h, due, r.Tick, "a tick is lost, or has two runs")
			if after = made(h, r); r.Tick.After(after) {
				after = r.Tick
			}
		}
	}
}

// settled waits until all that was due until now has ended well.
func (h *history) settled(now time.Time) {
	h.Helper()
	h.await("all is done", func() bool {
		time.Sleep(100 * time.Millisecond) // a look costs more than most of what it looks at
		h.look()
		newest := map[string]time.Time{}
		for _, r := range h.runs {
			if r.Tick.Before(now) && r.Ended.IsZero() {
				return false
			}
			if r.Tick.After(newest[r.Subject]) {
				newest[r.Subject] = r.Tick
			}
		}
		return !slices.ContainsFunc(h.tasks, func(t jobs.Task) bool { return newest[t.Subject].Before(now) })
	})
	for _, r := range h.runs {
		require.NotEqual(h, d6tpipe.RunFailed, r.State, r.Error)
	}
}

// Two engines on one database do each tick once.
func TestProofTicksOnce(t *testing.T) {
	t.Parallel()
	dbtest.EachURL(t, func(t *testing.T, url string) {
		t.Parallel()
		s := newScene(t, url)
		h := &history{scene: s, tasks: manyTasks(), runs: map[string]jobs.Run{}}
		for _, task := range h.tasks {
			set(t, s.d, task, start)
		}
		var mu sync.Mutex
		begun, at := map[string]int{}, map[string]int{}
		now := fast(time.Now())
		p := pool(func(_ context.Context, job jobs.Job) (json.RawMessage, error) {
			count := func(n int) int {
				mu.Lock()
				defer mu.Unlock()
				at[job.Subject] += n
				begun[job.RunID] += max(n, 0)
				return at[job.Subject]
			}
			defer count(-1)
			if n := count(1); n != 1 {
				t.Error("two at once:", job)
			}
			time.Sleep(150 * time.Millisecond) // longer than it takes until some are due again
			return nil, nil
		})
		p.Workers = 8 // not for want of one does a task wait for its former run
		c := s.config(p)
		c.Now, c.Lease, c.Poll, c.Log = now, 30*time.Second, 50*time.Millisecond, nil
		ends := make([]func(), 2)
		for i := range ends { // both at once, on what is empty
			c.DB = dbtest.Open(t, url)
			_, ends[i] = s.open(c)
		}
		servers := map[string]int{}
		for n := 0; n < scaled(2, 60) || len(servers) < len(ends); n++ { // until both have done something
			require.Less(t, n, 1000)
			h.settled(now())
			h.check()
			for _, r := range h.runs {
				servers[r.Server]++
			}
			delete(servers, "")
		}
		for _, end := range ends {
			end()
		}
		mu.Lock()
		defer mu.Unlock()
		for id, r := range h.runs {
			if !r.Ended.IsZero() {
				require.Equal(t, 1, begun[id], "a run was begun twice")
				require.Equal(t, 1, r.Attempt)
			}
		}
		t.Log(servers)
	})
}
