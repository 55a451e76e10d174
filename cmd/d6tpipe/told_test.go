package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// TestNotices: what a server tells users in several lines is printed so, and nothing in
// it moves the cursor.
func TestNotices(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"username":"anna","message":"one\ntwo\u001b[31m"}`)
	}))
	defer s.Close()
	t.Setenv("D6TPIPE_CONFIG", filepath.Join(t.TempDir(), "cfg.json"))
	t.Setenv("D6TPIPE_SERVER", s.URL)
	t.Setenv("D6TPIPE_TOKEN", "token")
	var stdout, stderr bytes.Buffer
	require.Zero(t, execute(t.Context(), []string{"whoami"}, nil, &stdout, &stderr), stderr.String())
	require.Contains(t, stderr.String(), "one\ntwo")
	require.NotContains(t, stderr.String(), "\x1b")
}

// TestRunTexts: what runs of webhooks and scans did is told in words.
func TestRunTexts(t *testing.T) {
	run := func(detail string) string {
		return runText(d6tpipe.Run{Kind: "webhook", State: d6tpipe.RunDone, Detail: json.RawMessage(detail)})
	}
	scan := func(detail string) string {
		return runText(d6tpipe.Run{Kind: "scan", State: d6tpipe.RunDone, Detail: json.RawMessage(detail)})
	}
	require.Equal(t, "1 file, 11 B, changed", scan(`{"files":1,"bytes":11,"changed":true}`))
	require.Equal(t, "2 files, 11 B, 3 more names that cannot be used", scan(`{"files":2,"bytes":11,"refused":3,"changed":false}`))
	require.Equal(t, "1 message, 3 changes", run(`{"messages":1,"changes":3}`))
	at := time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC)
	require.Equal(t, "0 messages, 1 change, next attempt "+moment(&at), run(`{"messages":0,"changes":1,"waits":"2026-11-26T08:00:00Z"}`))
}
