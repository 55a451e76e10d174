package server_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// Thousands of connections that do nothing, and hundreds that send a byte a second, in
// headers and in bodies, do not stop those who work: nobody gets an error, and nobody
// waits long. When they are gone nothing is left of them.
func TestCrowd(t *testing.T) {
	p := launch(t, processConfig{Listen: "127.0.0.1:0", Data: t.TempDir(), KeyFile: filepath.Join(t.TempDir(), "key")})
	w := newWriter(t, "me", p.url())
	require.NoError(t, w.as(w.token, func(c *d6tpipe.APIClient) error {
		for i := range 50 {
			if _, err := c.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: fmt.Sprint("p", i), Protocol: d6tpipe.ProtocolS3, Location: "b"}); err != nil {
				return err
			}
		}
		return nil
	}))
	begun := time.Second * time.Duration(scaled(1, 5))
	quiet := workFor(t, w, begun)

	idle := idleConnections(t, p.addr, scaled(1000, 10_000))
	slow := scaled(200, 500)
	ctx, leave := context.WithCancel(t.Context())
	var crowd sync.WaitGroup
	for i := range slow {
		crowd.Go(func() { crawl(ctx, p.addr, w.token, i%2 == 0) })
	}
	crowded := workFor(t, w, begun*time.Duration(scaled(2, 6))) // longer than headers may take, in full
	t.Logf("p%d of a list of 50 pipes: %v alone, %v among %d idle and %d slow connections; the server has used %d MiB",
		waits, quiet.Round(time.Millisecond), crowded.Round(time.Millisecond), len(idle), slow, peakMemory(p)>>20)
	require.Less(t, crowded, max(time.Duration(scaled(10_000, 500))*time.Millisecond, 20*quiet))
	leave()
	crowd.Wait()
	for _, c := range idle {
		_ = c.Close()
	}
	require.Eventually(t, func() bool { return openConnections(t, p.url()) < 10 }, patience, 50*time.Millisecond, "connections are left")
	p.term()
}

// waits is which percentile of times must be short: nearly all when a proof has the
// machine for itself. Otherwise it may stand still for a while.
var waits = scaled(50, 99)

// workFor lets four clients list and create for a time, and returns how long a list
// takes, as waits says.
func workFor(t *testing.T, w *writer, d time.Duration) time.Duration {
	t.Helper()
	var mu sync.Mutex
	var times []time.Duration
	var working sync.WaitGroup
	end := time.Now().Add(d)
	for i := range 4 {
		working.Go(func() {
			err := w.as(w.token, func(c *d6tpipe.APIClient) error {
				remote := d6tpipe.RemoteSettings{Name: fmt.Sprint("r", i), Protocol: d6tpipe.ProtocolS3, Location: "b"}
				for more := true; more; more = time.Now().Before(end) {
					begun := time.Now()
					if names, err := c.Pipes().Names(t.Context()); err != nil || len(names) != 50 {
						return fmt.Errorf("%d pipes: %w", len(names), err)
					}
					mu.Lock()
					times = append(times, time.Since(begun))
					mu.Unlock()
					if _, err := c.Remotes().Upsert(t.Context(), remote); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	working.Wait()
	require.NotEmpty(t, times)
	slices.Sort(times)
	return times[len(times)*waits/100]
}

// idleConnections opens so many connections, or as many as the system lets one process
// have besides what else it needs.
func idleConnections(t *testing.T, addr string, n int) (conns []net.Conn) {
	t.Helper()
	const others = 1200
	for range n {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Logf("this system lets one process have %d connections: %v", len(conns), err)
			break
		}
		t.Cleanup(func() { _ = c.Close() })
		conns = append(conns, c)
	}
	if few := len(conns) - others; len(conns) < n && few > 0 {
		for _, c := range conns[few:] {
			_ = c.Close()
		}
		conns = conns[:few]
	}
	return conns
}

// crawl sends a byte a second, of headers or of a body, and begins again when the
// server has had enough, until ctx ends.
func crawl(ctx context.Context, addr string, token d6tpipe.Secret, header bool) {
	head := "GET /v1/api/pipes/ HTTP/1.1\r\nHost: x\r\nX: "
	if !header {
		head = "POST /v1/api/pipes/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\nAuthorization: Token " + string(token) + "\r\n\r\n"
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for ctx.Err() == nil {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			_, err = io.WriteString(c, head)
		}
		for err == nil && ctx.Err() == nil {
			select {
			case <-tick.C:
				_, err = io.WriteString(c, " ")
			case <-ctx.Done():
			}
		}
		if c != nil {
			_ = c.Close()
		}
		select { // also when nobody takes the connection
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// openConnections is what the server says it has.
func openConnections(t *testing.T, url string) (n int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/metrics", nil)
	require.NoError(t, err)
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	found := regexp.MustCompile(`d6tpipe_http_connections\{state="\w+"\} (\S+)`).FindAllSubmatch(text, -1)
	require.Len(t, found, 2)
	for _, m := range found {
		x, err := strconv.ParseFloat(string(m[1]), 64)
		require.NoError(t, err)
		n += int(x)
	}
	return n
}

// peakMemory is the most that a process has had in memory, in bytes, 0 where the
// system does not say.
func peakMemory(p *process) int64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		return 0
	}
	kilobytes, _ := strconv.ParseInt(string(m[1]), 10, 64)
	return kilobytes << 10
}
