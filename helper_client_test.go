package d6tpipe_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

const canaryToken = "canary0token0123456789"

// tokens is a TokenStore in memory that can be told to fail.
type tokens struct {
	mu   sync.Mutex
	held map[d6tpipe.TokenKey]d6tpipe.Secret
	asks int
	fail error
}

func (s *tokens) Token(_ context.Context, key d6tpipe.TokenKey) (d6tpipe.Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asks++
	if token, ok := s.held[key]; ok || s.fail != nil {
		return token, s.fail
	}
	return "", d6tpipe.ErrNotFound
}

func (s *tokens) SetToken(_ context.Context, key d6tpipe.TokenKey, token d6tpipe.Secret) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail == nil {
		s.held[key] = token
	}
	return s.fail
}

func (s *tokens) DeleteToken(_ context.Context, key d6tpipe.TokenKey) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, key)
	return s.fail
}

// holding is a store with a token for every server that a test starts.
func holding(t *testing.T, server string, token d6tpipe.Secret) *tokens {
	t.Helper()
	origin, err := d6tpipe.Origin(server)
	require.NoError(t, err)
	return &tokens{held: map[d6tpipe.TokenKey]d6tpipe.Secret{{Profile: "test", Origin: origin}: token}}
}

// calm are limits in time that nobody reaches who answers, on however slow a machine,
// and small ones otherwise. quick are for servers that do not answer.
var (
	calm  = d6tpipe.Limits{Call: 10 * time.Minute, Attempt: 5 * time.Minute, Retries: 1, Backoff: time.Millisecond, Answer: 1 << 20}
	quick = d6tpipe.Limits{Call: 2 * time.Second, Attempt: 300 * time.Millisecond, Retries: 1, Backoff: time.Millisecond, Answer: 1 << 20}
)

// dial returns a client with a token, and with limits.
func dial(t *testing.T, server string, limits d6tpipe.Limits) *d6tpipe.APIClient {
	t.Helper()
	client, err := d6tpipe.NewAPIClient(d6tpipe.Config{Profile: "test", Server: server, Tokens: holding(t, server, canaryToken)})
	require.NoError(t, err)
	t.Cleanup(client.CloseIdleConnections)
	return client.WithLimits(limits)
}

// serve starts an HTTP server.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

// listen starts a TCP server: talk gets each connection after the head and the
// body of a request were read from it. ctx ends with the test.
func listen(t *testing.T, talk func(ctx context.Context, conn net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		_ = listener.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
				defer stop()
				defer conn.Close()
				if req, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					_, _ = io.Copy(io.Discard, req.Body)
					talk(ctx, conn)
				}
			})
		}
	})
	return "http://" + listener.Addr().String()
}

// idle waits for d or the end of ctx, and reports whether to go on.
func idle(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
