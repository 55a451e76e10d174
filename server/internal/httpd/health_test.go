package httpd_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/server/internal/httpd"
)

// ready asks /readyz.
func ready(t *testing.T, s *httpd.Server) (code int, checks map[string]string) {
	t.Helper()
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
	var body struct {
		Ready  bool
		Checks map[string]string
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
	require.Equal(t, body.Ready, w.Code == 200)
	require.NotContains(t, w.Body.String(), "canary")
	return w.Code, body.Checks
}

// TestReady turns with its checks, which are asked once a second at most, and
// says nothing of why.
func TestReady(t *testing.T) {
	var broken atomic.Bool
	var asked atomic.Int64
	c := httpd.Config{API: text("api"), Checks: []httpd.Check{
		{Name: "database", Check: func(context.Context) error {
			asked.Add(1)
			if broken.Load() {
				return errors.New("dial postgres://u:canary@db: refused")
			}
			return nil
		}},
		{Name: "storage", Check: func(context.Context) error { return nil }},
	}}
	s := start(t, c)
	begun := time.Now()
	for range 50 {
		code, checks := ready(t, s.Server)
		require.Equal(t, 200, code)
		require.Equal(t, map[string]string{"database": "ok", "storage": "ok"}, checks)
	}
	require.LessOrEqual(t, asked.Load(), int64(time.Since(begun)/time.Second)+1)
	broken.Store(true)
	require.Eventually(t, func() bool {
		code, checks := ready(t, s.Server)
		return code == 503 && checks["database"] == "failed" && checks["storage"] == "ok"
	}, patience, 20*time.Millisecond)
	code, body := get(t, client(t, nil), s.url+"/healthz")
	require.Equal(t, 200, code)
	require.Equal(t, "ok\n", body)
	broken.Store(false)
	require.Eventually(t, func() bool {
		code, _ := ready(t, s.Server)
		return code == 200
	}, patience, 20*time.Millisecond)
	require.Contains(t, s.log.String(), `"ready again"`)
}

// TestReadyHangs: a check that hangs, or panics, is a failed one; it is not
// started again while it hangs, and the others are asked all the same.
func TestReadyHangs(t *testing.T) {
	var started atomic.Int64
	release := make(chan struct{})
	s, err := httpd.New(httpd.Config{API: text("api"), Checks: []httpd.Check{
		{Name: "hangs", Check: func(context.Context) error {
			started.Add(1)
			<-release // does not listen to its context
			return nil
		}},
		{Name: "panics", Check: func(context.Context) error { panic("canary") }},
		{Name: "fine", Check: func(context.Context) error { return nil }},
	}})
	require.NoError(t, err)
	want := map[string]string{"hangs": "failed", "panics": "failed", "fine": "ok"}
	for range 2 {
		code, checks := ready(t, s)
		require.Equal(t, 503, code)
		require.Equal(t, want, checks)
		time.Sleep(1100 * time.Millisecond)
	}
	require.Equal(t, int64(1), started.Load())
	close(release)
	require.Eventually(t, func() bool {
		_, checks := ready(t, s)
		return checks["hangs"] == "ok"
	}, patience, 50*time.Millisecond)
}

// TestReadyImpatient: who asks and goes away spoils nothing for others.
func TestReadyImpatient(t *testing.T) {
	s, err := httpd.New(httpd.Config{API: text("api"), Checks: []httpd.Check{{Name: "slow", Check: func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
			return nil
		}
	}}}})
	require.NoError(t, err)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	s.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/readyz", nil).WithContext(gone))
	code, _ := ready(t, s)
	require.Equal(t, 200, code)
}
