package httpd_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/server/internal/httpd"
)

// TestCrowd: 500 slow connections and thousands of idle ones (10,000 with
// D6TPIPE_PROOF, as far as the system's files go) do a fast client no harm, and
// nothing is left of them afterwards.
func TestCrowd(t *testing.T) {
	idle := 1000
	if proof() {
		idle = 10_000
	}
	if files := openFiles(t); files > 0 {
		idle = min(idle, int(files-1500)/2) // both ends are here
	}
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "[]")
	})
	s := start(t, httpd.Config{API: api, Limits: httpd.Limits{Connections: 11_000}})
	c := client(t, nil)
	quiet := latency(t, c, s.url, 300)

	conns := make([]net.Conn, 0, idle+500)
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	for range idle {
		conns = append(conns, dial(t, s.addr))
	}
	end := make(chan struct{})
	var drips sync.WaitGroup
	for i := range 500 {
		c := dial(t, s.addr)
		conns = append(conns, c)
		head := "GET /v1/api/ HTTP/1.1\r\nHost: x\r\n" // headers without an end
		if i%2 == 1 {
			head = "POST /v1/api/pipes/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" // a body without one
		}
		_, err := io.WriteString(c, head)
		require.NoError(t, err)
		drips.Go(func() { drip(c, end) })
	}
	crowded := latency(t, c, s.url, 300)
	close(end)
	drips.Wait()
	t.Logf("a request takes %v alone, in a crowd of %d idle and 500 slow connections %v", quiet, idle, crowded)
	limit := 5 * time.Second // who is stopped waits until the slow ones are cut
	if proof() {
		limit = 100 * time.Millisecond
	}
	require.Less(t, crowded, max(limit, 20*quiet))
}

func drip(c net.Conn, end <-chan struct{}) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-end:
			return
		case <-tick.C:
			if _, err := io.WriteString(c, "X"); err != nil {
				return
			}
		}
	}
}

// latency returns how long most of n requests take, and in a proof nearly all: the
// machine may stand still for a while.
func latency(t *testing.T, c *http.Client, url string, n int) time.Duration {
	t.Helper()
	times := make([]time.Duration, n)
	for i := range times {
		begun := time.Now()
		code, _ := get(t, c, url+"/v1/api/pipes/")
		require.Equal(t, 200, code)
		times[i] = time.Since(begun)
	}
	slices.Sort(times)
	if proof() {
		return times[n*99/100]
	}
	return times[n/2]
}

// TestCrowdOverLimit: when idle connections fill the limit, new clients still get
// in, one after the other.
func TestCrowdOverLimit(t *testing.T) {
	s := start(t, httpd.Config{API: text("api"), Limits: httpd.Limits{Connections: 50}})
	for range 200 {
		dial(t, s.addr)
	}
	require.Eventually(t, func() bool { return metric(t, s, "evicted_total")+metric(t, s, `connections{state="waiting"}`) == 200 }, patience, 5*time.Millisecond, "all are in")
	time.Sleep(150 * time.Millisecond) // none is young any more
	for i := range 20 {
		code, _ := get(t, client(t, nil), s.url+"/v1/api/")
		require.Equal(t, 200, code, "client %d", i)
	}
	_, metrics := get(t, client(t, nil), s.url+"/metrics")
	require.Regexp(t, `d6tpipe_http_evicted_total 1\d\d\n`, metrics)
	require.Regexp(t, `d6tpipe_http_connections\{state="waiting"\} [1-4]\d\n`, metrics)
}

// metric is what a metric of connections is now.
func metric(t *testing.T, s *running, name string) (n int) {
	t.Helper()
	w := httptest.NewRecorder()
	s.Metrics().ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	found := regexp.MustCompile(`(?m)^d6tpipe_http_` + regexp.QuoteMeta(name) + ` (\d+)$`).FindStringSubmatch(w.Body.String())
	require.NotNil(t, found, name)
	n, err := strconv.Atoi(found[1])
	require.NoError(t, err)
	return n
}
