package d6tpipe_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// calls are one call of each kind.
var calls = map[string]func(ctx context.Context, c *d6tpipe.APIClient) error{
	"list": func(ctx context.Context, c *d6tpipe.APIClient) error { _, err := c.Pipes().Names(ctx); return err },
	"get":  func(ctx context.Context, c *d6tpipe.APIClient) error { _, err := c.Pipes().Get(ctx, "a"); return err },
	"create": func(ctx context.Context, c *d6tpipe.APIClient) error {
		_, err := c.Pipes().Create(ctx, aPipe)
		return err
	},
	"replace": func(ctx context.Context, c *d6tpipe.APIClient) error {
		_, err := c.Pipes().Replace(ctx, aPipe)
		return err
	},
	"update": func(ctx context.Context, c *d6tpipe.APIClient) error {
		_, err := c.Pipes().Update(ctx, aPipe)
		return err
	},
	"delete": func(ctx context.Context, c *d6tpipe.APIClient) error { return c.Pipes().Delete(ctx, "a") },
	"login": func(ctx context.Context, c *d6tpipe.APIClient) error {
		_, err := c.Login(ctx, "me", "canary-password")
		return err
	},
	"whoami": func(ctx context.Context, c *d6tpipe.APIClient) error { _, err := c.WhoAmI(ctx); return err },
	"grant": func(ctx context.Context, c *d6tpipe.APIClient) error {
		return c.Grant(ctx, "a", d6tpipe.Permission{Username: "you", Role: d6tpipe.RoleRead})
	},
	"credentials": func(ctx context.Context, c *d6tpipe.APIClient) error {
		_, err := c.Credentials(ctx, "a", d6tpipe.RoleRead, true)
		return err
	},
}

var aPipe = d6tpipe.PipeSettings{Name: "a", Protocol: d6tpipe.ProtocolS3, Location: "b", Credentials: d6tpipe.Credentials{"secret": "canary-secret"}}

const head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

// hostile are servers that do what they can. All of them must come out as kind.
var hostile = map[string]struct {
	talk  func(ctx context.Context, conn net.Conn)
	kind  error
	blank bool // the answer is whole, only its content is wrong
}{
	"gzip bomb": {func(_ context.Context, conn net.Conn) {
		_, _ = io.WriteString(conn, head+"Content-Encoding: gzip\r\nConnection: close\r\n\r\n")
		_, _ = conn.Write(bomb())
	}, d6tpipe.ErrTooLarge, false},
	"endless body": {func(_ context.Context, conn net.Conn) {
		_, _ = io.WriteString(conn, head+"Connection: close\r\n\r\n[")
		for row := []byte(strings.Repeat(`{"name":"a"},`, 1000)); ; {
			if _, err := conn.Write(row); err != nil {
				return
			}
		}
	}, d6tpipe.ErrTooLarge, false},
	"slow trickle": {func(ctx context.Context, conn net.Conn) {
		_, _ = io.WriteString(conn, head+"Content-Length: 100000\r\n\r\n")
		for idle(ctx, 20*time.Millisecond) {
			if _, err := io.WriteString(conn, " "); err != nil {
				return
			}
		}
	}, d6tpipe.ErrUnavailable, false},
	"slow head": {func(ctx context.Context, conn net.Conn) {
		for i := 0; idle(ctx, 20*time.Millisecond); i++ {
			c := byte('X')
			if i < len(head) {
				c = head[i]
			}
			if _, err := conn.Write([]byte{c}); err != nil {
				return
			}
		}
	}, d6tpipe.ErrUnavailable, false},
	"silence": {func(ctx context.Context, _ net.Conn) { <-ctx.Done() }, d6tpipe.ErrUnavailable, false},
	"hang-up": {func(context.Context, net.Conn) {}, d6tpipe.ErrUnavailable, false},
	"reset in the body": {func(_ context.Context, conn net.Conn) {
		_, _ = io.WriteString(conn, head+"Content-Length: 1000\r\n\r\n[{\"name\":")
		_ = conn.(*net.TCPConn).SetLinger(0)
	}, d6tpipe.ErrUnavailable, false},
	"half a body":  {says(head + "Content-Length: 1000\r\n\r\n{\"token\":\"x\"}"), d6tpipe.ErrUnavailable, false},
	"half a chunk": {says(head + "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"a"), d6tpipe.ErrUnavailable, false},
	"broken gzip":  {says(head + "Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello"), d6tpipe.ErrUnavailable, false},
	"no HTTP":      {says("SSH-2.0-OpenSSH_9.2 Token " + canaryToken + "\r\n"), d6tpipe.ErrUnavailable, false},
	"HTML":         {says(head + "Content-Length: 13\r\n\r\n<html></html>"), d6tpipe.ErrUnavailable, true},
	"a number":     {says(head + "Content-Length: 2\r\n\r\n42"), d6tpipe.ErrUnavailable, true},
	"two values":   {says(head + "Content-Length: 5\r\n\r\n{} {}"), d6tpipe.ErrUnavailable, true},
	"deep JSON":    {says(head + "Content-Length: 400000\r\n\r\n" + strings.Repeat("[", 200000) + strings.Repeat("]", 200000)), d6tpipe.ErrUnavailable, true},
	"huge header": {func(_ context.Context, conn net.Conn) {
		_, _ = io.WriteString(conn, head)
		for i := range 100_000 {
			if _, err := fmt.Fprintf(conn, "X-%d: %s\r\n", i, strings.Repeat("a", 100)); err != nil {
				return
			}
		}
	}, d6tpipe.ErrUnavailable, false},
	"1xx for ever": {func(_ context.Context, conn net.Conn) {
		for {
			if _, err := io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"); err != nil {
				return
			}
		}
	}, d6tpipe.ErrUnavailable, false},
}

// bomb is 64 MiB of zeros in 64 KiB of gzip.
var bomb = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	zeros := make([]byte, 1<<20)
	for range 64 {
		_, _ = z.Write(zeros)
	}
	_ = z.Close()
	return b.Bytes()
})

func says(text string) func(context.Context, net.Conn) {
	return func(_ context.Context, conn net.Conn) { _, _ = io.WriteString(conn, text) }
}

// TestHostileServer: every call ends, with the right kind of error, in bounded memory,
// and says nothing secret. Time ends only those that would not end otherwise.
func TestHostileServer(t *testing.T) {
	for name, server := range hostile {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := listen(t, server.talk)
			limits := calm
			if slices.Contains([]string{"slow trickle", "slow head", "silence"}, name) {
				limits = quick
			}
			for call, do := range calls {
				if server.blank && (call == "delete" || call == "grant") {
					continue // nobody reads these answers
				}
				t.Run(call, func(t *testing.T) {
					t.Parallel()
					ctx, cancel := context.WithTimeout(t.Context(), calm.Attempt)
					defer cancel()
					err := do(ctx, dial(t, url, limits))
					require.ErrorIs(t, err, server.kind)
					require.NotErrorIs(t, err, context.DeadlineExceeded)
					discreet(t, err)
				})
			}
		})
	}
}

// discreet requires that an error shows neither secrets nor addresses.
func discreet(t *testing.T, err error) {
	t.Helper()
	for ; err != nil; err = unwrap(err) {
		text := fmt.Sprintf("%v %+v %#v", err, err, err)
		for _, secret := range []string{"canary", "http://", "/v1/api"} {
			require.NotContains(t, err.Error(), secret)
			if secret == "canary" {
				require.NotContains(t, text, secret)
			}
		}
	}
}

func unwrap(err error) error {
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return e.Unwrap()
	case interface{ Unwrap() []error }:
		if all := e.Unwrap(); len(all) > 0 {
			return all[len(all)-1]
		}
	}
	return nil
}

// soon is a moment on a machine that does much else: half of what the server asks for.
const soon = time.Minute

// TestCancel: every call ends right after its context, with that context's error,
// wherever it is: waiting, reading, or pausing.
func TestCancel(t *testing.T) {
	busy := says("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n")
	for name, talk := range map[string]func(context.Context, net.Conn){
		"silence": hostile["silence"].talk, "slow trickle": hostile["slow trickle"].talk,
		"slow head": hostile["slow head"].talk, "pause": busy,
	} {
		url := listen(t, talk)
		for call, do := range calls {
			if name == "pause" && (call == "create" || call == "login" || call == "grant") {
				continue // not repeated, so it does not pause
			}
			t.Run(name+"/"+call, func(t *testing.T) {
				t.Parallel()
				client := dial(t, url, d6tpipe.Limits{Call: time.Hour, Attempt: 2 * soon, Pause: time.Hour})
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(50*time.Millisecond, cancel)
				start := time.Now()
				require.ErrorIs(t, do(ctx, client), context.Canceled)
				require.Less(t, time.Since(start), soon)

				ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				start = time.Now()
				err := do(ctx, client)
				require.Less(t, time.Since(start), soon)
				if name != "pause" { // a pause that outlives the context is not begun
					require.ErrorIs(t, err, context.DeadlineExceeded)
					require.NotErrorIs(t, err, d6tpipe.ErrUnavailable)
				}
			})
		}
	}
}

// TestHugeHeader: the client hangs up long before the header ends.
func TestHugeHeader(t *testing.T) {
	sent := make(chan int, 8)
	url := listen(t, func(_ context.Context, conn net.Conn) {
		n := 0
		defer func() { sent <- n }()
		_, _ = io.WriteString(conn, head)
		for line := []byte("X: " + strings.Repeat("a", 1000) + "\r\n"); n < 100_000; n++ {
			if _, err := conn.Write(line); err != nil {
				return
			}
		}
	})
	limits := calm
	limits.Retries = -1
	_, err := dial(t, url, limits).Pipes().Get(t.Context(), "a")
	require.ErrorIs(t, err, d6tpipe.ErrUnavailable)
	require.Less(t, <-sent, 50_000, "KB of header")
}

// TestHostileMemory: with the limits in size as they are by default, no answer costs
// more than 64 MiB.
func TestHostileMemory(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(20)) // what is needed, and not what other tests let lie around
	rows := []byte("[" + strings.Repeat("{},", 5_000_000) + "{}]")
	for name, h := range map[string]http.HandlerFunc{
		"gzip": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb())
		},
		"rows": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(rows) },
	} {
		client := dial(t, serve(t, h), d6tpipe.Limits{Call: calm.Call, Attempt: calm.Attempt})
		stop, peak := make(chan struct{}), make(chan uint64)
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		before := m.HeapInuse
		go func() {
			var top uint64
			var m runtime.MemStats
			for {
				select {
				case <-stop:
					peak <- top
					return
				case <-time.After(10 * time.Millisecond):
					runtime.ReadMemStats(&m)
					top = max(top, m.HeapInuse)
				}
			}
		}()
		_, err := client.Pipes().Names(t.Context())
		close(stop)
		top := <-peak
		require.ErrorIs(t, err, d6tpipe.ErrTooLarge, name)
		require.Less(t, (int64(top)-int64(before))>>20, int64(64), "%s: MiB", name)
	}
}
