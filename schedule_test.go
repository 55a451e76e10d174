package d6tpipe_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

func TestInterval(t *testing.T) {
	for text, want := range map[string]struct {
		d    time.Duration
		text string
	}{
		"90s": {90 * time.Second, "1m30s"}, "15m": {15 * time.Minute, "15m"}, "12h": {12 * time.Hour, "12h"}, "1h30m": {90 * time.Minute, "1h30m"},
		"24h": {24 * time.Hour, "1d"}, "7d": {7 * 24 * time.Hour, "7d"}, "0s": {0, "0s"}, "25h": {25 * time.Hour, "25h"}, "1h0m5s": {time.Hour + 5*time.Second, "1h0m5s"},
		"365d": {365 * 24 * time.Hour, "365d"}, "250ms": {250 * time.Millisecond, "250ms"},
	} {
		i, err := d6tpipe.ParseInterval(text)
		require.NoError(t, err, text)
		require.Equal(t, want.d, time.Duration(i), text)
		require.Equal(t, want.text, i.String())
		again, err := d6tpipe.ParseInterval(i.String())
		require.NoError(t, err)
		require.Equal(t, i, again)
	}
	for _, text := range []string{"", "15", "d", "-1d", "-15m", "1.5d", "999999d", "15 minutes", "1d12h", "Inf"} {
		_, err := d6tpipe.ParseInterval(text)
		require.ErrorIs(t, err, d6tpipe.ErrInvalid, text)
		require.ErrorContains(t, err, "7d", "it says what it could be")
	}
}

// TestScheduleJSON: what is not set is not there, and times are text.
func TestScheduleJSON(t *testing.T) {
	raw, err := json.Marshal(d6tpipe.Schedule{Every: d6tpipe.Interval(15 * time.Minute), Jitter: d6tpipe.Interval(time.Minute)})
	require.NoError(t, err)
	require.JSONEq(t, `{"every":"15m","jitter":"1m"}`, string(raw))
	raw, err = json.Marshal(d6tpipe.ScheduleState{Schedule: d6tpipe.Schedule{Cron: "@daily", Paused: true}, Name: "sales"})
	require.NoError(t, err)
	require.JSONEq(t, `{"cron":"@daily","paused":true,"name":"sales"}`, string(raw))
	var s d6tpipe.ScheduleState
	require.NoError(t, json.Unmarshal([]byte(`{"every":"1d","name":"sales","last":{"id":"x","kind":"scan","name":"sales","state":"failed","due":"2026-11-26T06:00:00Z"}}`), &s))
	require.Equal(t, 24*time.Hour, time.Duration(s.Every))
	require.Equal(t, d6tpipe.RunFailed, s.Last.State)
}
