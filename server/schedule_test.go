package server_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/server"
)

// A scheduled pipe is one whose listing no pull has made anew while a test runs.
type scheduled struct {
	*running
	client *d6tpipe.APIClient
	token  d6tpipe.Secret
}

func newScheduled(t *testing.T, change ...func(*server.Config)) *scheduled {
	t.Helper()
	r := start(t, append(change, func(c *server.Config) { c.ListingAge = time.Hour })...)
	s := &scheduled{running: r, client: r.user("vendor")}
	var err error
	s.token, err = s.client.Login(t.Context(), "vendor", "canary-password-vendor")
	require.NoError(t, err)
	_, err = s.client.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
	require.NoError(t, err)
	return s
}

// put stores a file without telling the server.
func (s *scheduled) put(key, text string) {
	s.t.Helper()
	where, err := s.client.Storage(s.t.Context(), "p", d6tpipe.RoleWrite, false)
	require.NoError(s.t, err)
	store, err := where.Open(d6tpipe.OpenOptions{})
	require.NoError(s.t, err)
	_, err = store.Put(s.t.Context(), key, strings.NewReader(text), int64(len(text)), storage.Cond{})
	require.NoError(s.t, err)
	require.NoError(s.t, store.Close())
}

// remove removes one in the same way.
func (s *scheduled) remove(key string) {
	s.t.Helper()
	where, err := s.client.Storage(s.t.Context(), "p", d6tpipe.RoleWrite, false)
	require.NoError(s.t, err)
	store, err := where.Open(d6tpipe.OpenOptions{})
	require.NoError(s.t, err)
	require.NoError(s.t, store.Remove(s.t.Context(), key))
	require.NoError(s.t, store.Close())
}

// get asks for something, and returns the answer with its body.
func (s *scheduled) get(path string) (*http.Response, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url+path, nil)
	require.NoError(s.t, err)
	req.Header.Set("Authorization", "Token "+string(s.token))
	res, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(s.t, err)
	return res, string(body)
}

// listing is what a pull goes by, with its tag.
func (s *scheduled) listing() (tag string, keys []string) {
	s.t.Helper()
	res, body := s.get("/v1/api/pipes/p/files/")
	require.Equal(s.t, 200, res.StatusCode, body)
	var said struct{ Files []struct{ Key string } }
	require.NoError(s.t, json.Unmarshal([]byte(body), &said))
	for _, f := range said.Files {
		keys = append(keys, f.Key)
	}
	return res.Header.Get("ETag"), keys
}

// scan sets another schedule, which begins with a scan, and waits for its end.
func (s *scheduled) scan(schedule d6tpipe.Schedule) d6tpipe.ScheduleState {
	s.t.Helper()
	was, err := s.client.SetSchedule(s.t.Context(), "p", schedule)
	require.NoError(s.t, err)
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	for {
		state, err := s.client.Schedule(ctx, "p")
		require.NoError(s.t, err)
		if state.Last != nil && !state.Running && (was.Last == nil || state.Last.ID != was.Last.ID) {
			return state
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func seen(t *testing.T, state d6tpipe.ScheduleState) (seen d6tpipe.ScanRun) {
	t.Helper()
	require.Equal(t, d6tpipe.RunDone, state.Last.State, state.Last.Error)
	require.NoError(t, json.Unmarshal(state.Last.Detail, &seen))
	return seen
}

// month is so long that no scan comes by itself while a test runs, at whatever time of it
// the pipe has its turn.
const month = 30 * 24 * time.Hour

func every(d time.Duration) d6tpipe.Schedule { return d6tpipe.Schedule{Every: d6tpipe.Interval(d)} }

// TestScheduledScans: a server finds by itself what was put past it. What it cannot list
// stays as it was known, it says why, waits longer, and goes on when it can again.
func TestScheduledScans(t *testing.T) {
	s := newScheduled(t)
	s.put("a.csv", "a")
	require.Equal(t, d6tpipe.ScanRun{Files: 1, Bytes: 1, Changed: true}, seen(t, s.scan(every(month))))
	first, keys := s.listing()
	require.Equal(t, []string{"a.csv"}, keys)
	require.Equal(t, d6tpipe.ScanRun{Files: 1, Bytes: 1}, seen(t, s.scan(every(2*month))))
	s.put("b.csv", "bb")
	tag, _ := s.listing()
	require.Equal(t, first, tag, "nobody has looked since")
	state := s.scan(every(3 * month))
	require.Equal(t, d6tpipe.ScanRun{Files: 2, Bytes: 3, Changed: true}, seen(t, state))
	require.True(t, state.Next.After(*state.Last.Ended), "and so on")
	second, keys := s.listing()
	require.Equal(t, []string{"a.csv", "b.csv"}, keys)
	require.NotEqual(t, first, second)

	folder := filepath.Join(s.config.Data, "storage")
	require.NoError(t, os.Rename(folder, folder+".away"))
	minutely := d6tpipe.Schedule{Cron: "* * * * *"}
	state = s.scan(minutely)
	require.Equal(t, d6tpipe.RunFailed, state.Last.State)
	require.Equal(t, "the storage has no such folder", state.Last.Error)
	require.Equal(t, 1, state.Failures)
	require.False(t, state.Next.Before(state.Last.Ended.Add(59*time.Second)), "%v after %v", state.Next, state.Last.Ended)
	tag, keys = s.listing()
	require.Equal(t, second, tag)
	require.Len(t, keys, 2)
	minutely.Jitter = d6tpipe.Interval(time.Second)
	require.Equal(t, 2, s.scan(minutely).Failures)

	require.NoError(t, os.Rename(folder+".away", folder))
	s.put("c.csv", "ccc")
	state = s.scan(every(month))
	require.Equal(t, d6tpipe.ScanRun{Files: 3, Bytes: 6, Changed: true}, seen(t, state))
	require.Zero(t, state.Failures)
	_, keys = s.listing()
	require.Len(t, keys, 3)
	s.put("C.csv", "some systems cannot have both")
	require.Equal(t, d6tpipe.ScanRun{Files: 2, Bytes: 3, Refused: 2, Changed: true}, seen(t, s.scan(every(2*month))))
	_, metrics := s.get("/metrics")
	require.Contains(t, metrics, "\nd6tpipe_jobs_total{")
}

// TestScansOfOtherServers: a server that is told to do nothing by itself leaves it to
// the next one on the database.
func TestScansOfOtherServers(t *testing.T) {
	dir := t.TempDir()
	here := func(c *server.Config) {
		c.Data, c.KeyFile = filepath.Join(dir, "data"), filepath.Join(dir, "keys", "key")
	}
	t.Run("idle", func(t *testing.T) {
		s := newScheduled(t, here, func(c *server.Config) { c.Jobs = -1 })
		s.put("a.csv", "a")
		_, err := s.client.SetSchedule(t.Context(), "p", every(time.Hour))
		require.NoError(t, err)
		_, metrics := s.get("/metrics")
		require.Contains(t, metrics, "\nd6tpipe_build_info{")
		require.NotContains(t, metrics, "d6tpipe_jobs")
	})
	require.NoFileExists(t, filepath.Join(dir, "data", "jobs.db"))
	t.Run("working", func(t *testing.T) {
		r := start(t, here)
		c := r.client("vendor")
		_, err := c.Login(t.Context(), "vendor", "canary-password-vendor")
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			state, err := c.Schedule(t.Context(), "p")
			return err == nil && state.Last != nil && state.Last.State == d6tpipe.RunDone
		}, patience, 20*time.Millisecond)
	})
}
