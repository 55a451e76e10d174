//go:build linux || darwin

package main

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// TestChangesMeanwhile: commands that change some of a schedule or a mirror leave alone what
// somebody else changes at the same moment.
func TestChangesMeanwhile(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	serveOn(t, l, "--jobs", "0", "--mirrors", "0")
	server, err := url.Parse("http://" + l.Addr().String())
	require.NoError(t, err)
	t.Setenv("D6TPIPE_CONFIG", filepath.Join(t.TempDir(), "cfg.json"))
	api, err := d6tpipe.NewAPIClient(d6tpipe.Config{Profile: "default", Server: server.String(), Tokens: d6tpipe.MemoryTokens()})
	require.NoError(t, err)
	defer api.CloseIdleConnections()
	token, err := api.Register(t.Context(), "anna", "anna@example.com", "correct horse")
	require.NoError(t, err)
	for _, name := range []string{"from", "to"} {
		_, err = api.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: name})
		require.NoError(t, err)
	}
	hourly, daily := d6tpipe.Schedule{Every: d6tpipe.Interval(time.Hour)}, d6tpipe.Schedule{Every: d6tpipe.Interval(24 * time.Hour)}
	_, err = api.SetSchedule(t.Context(), "from", hourly)
	require.NoError(t, err)
	_, err = api.Mirrors().Create(t.Context(), d6tpipe.MirrorSettings{Name: "m", Source: "from", Target: "to", Delete: true})
	require.NoError(t, err)

	var meanwhile func() error // before the server has what a command changes
	proxy := httputil.NewSingleHostReverseProxy(server)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			if err := meanwhile(); err != nil {
				t.Error(err)
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	defer front.Close()
	t.Setenv("D6TPIPE_SERVER", front.URL)
	t.Setenv("D6TPIPE_TOKEN", string(token))
	run := func(args ...string) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		require.Zero(t, execute(t.Context(), args, nil, &stdout, &stderr), "%s", &stderr)
	}

	meanwhile = func() error { _, err := api.SetSchedule(t.Context(), "from", daily); return err }
	run("schedule", "pause", "from")
	state, err := api.Schedule(t.Context(), "from")
	require.NoError(t, err)
	daily.Paused = true
	require.Equal(t, daily, state.Schedule)
	daily.Paused = false

	meanwhile = func() error {
		_, err := api.UpdateMirror(t.Context(), "m", d6tpipe.MirrorUpdate{Include: new("*.csv"), Rate: new(int64(1 << 20))})
		return err
	}
	want := d6tpipe.MirrorSettings{Name: "m", Source: "from", Target: "to", Schedule: daily, Include: "*.csv", Rate: 1 << 20}
	for _, args := range [][]string{{"update", "m", "--every", "24h", "--delete=false"}, {"pause", "m"}} {
		run(append([]string{"mirrors"}, args...)...)
		m, err := api.Mirrors().Get(t.Context(), "m")
		require.NoError(t, err)
		m.Next, want.Paused = nil, args[0] == "pause"
		require.Equal(t, want, m)
		meanwhile = func() error {
			_, err := api.UpdateMirror(t.Context(), "m", d6tpipe.MirrorUpdate{Rate: &want.Rate})
			return err
		}
		want.Rate *= 2
	}
}
