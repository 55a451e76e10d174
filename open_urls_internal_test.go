package d6tpipe

import (
	"context"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// A far server answers each request for a listing with the next answer, and with the
// last one from then on.
type far struct {
	answers []farAnswer
	asked   int
}

type farAnswer struct {
	scanned time.Duration // before now
	stale   bool
	again   string
	status  int
}

func (f *far) RoundTrip(r *http.Request) (*http.Response, error) {
	a := f.answers[min(f.asked, len(f.answers)-1)]
	f.asked++
	h := http.Header{}
	h.Set("ETag", `"t"`)
	h.Set("D6tpipe-Scanned", time.Now().Add(-a.scanned).Format(time.RFC3339Nano))
	h.Set("Age", strconv.Itoa(int(math.Ceil(a.scanned.Seconds()))))
	if a.stale {
		h.Set("D6tpipe-Stale", "the last scan was just now")
	}
	if a.again != "" {
		h.Set("Retry-After", a.again)
	}
	const document = `{"scanned_at":"2026-11-01T12:00:00Z","files":[],"refused":[],"complete":true}`
	return &http.Response{StatusCode: max(a.status, http.StatusOK), Header: h, Body: io.NopCloser(strings.NewReader(document)), Request: r}, nil
}

// TestListByURLs: who only reads waits as long as the server asks, and no longer, for a
// listing that was made after the call, whoever had it made.
func TestListByURLs(t *testing.T) {
	soon := farAnswer{scanned: 700 * time.Millisecond, stale: true, again: "90"}
	for name, row := range map[string]struct {
		answers []farAnswer
		asked   int
		took    time.Duration
		fails   bool
	}{
		"the server has looked":        {[]farAnswer{{}}, 1, 0, false},
		"one that looks again":         {[]farAnswer{soon, {}}, 2, 90 * time.Second, false},
		"somebody had it look":         {[]farAnswer{soon, {scanned: 20 * time.Second, stale: true, again: "7"}}, 2, 90 * time.Second, false},
		"that was before the call":     {[]farAnswer{soon, {scanned: 90*time.Second + 100*time.Millisecond, stale: true, again: "7"}, {}}, 3, 97 * time.Second, false},
		"it failed":                    {[]farAnswer{{stale: true}}, 1, 0, true},
		"a server that never looks":    {[]farAnswer{{scanned: time.Hour, stale: true, again: "5"}}, 4, 15 * time.Second, true},
		"one that asks for too long":   {[]farAnswer{{stale: true, again: "86400"}}, 1, 0, true},
		"too many listings are sent":   {[]farAnswer{{status: 503, again: "5"}}, 1, 0, true},
		"it fails after it has waited": {[]farAnswer{soon, {scanned: 2 * time.Hour, stale: true}}, 2, 90 * time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, f := farAway(t, row.answers...)
				start := time.Now()
				l, err := s.List(t.Context())
				require.Equal(t, row.asked, f.asked)
				require.Equal(t, row.took, time.Since(start))
				if row.fails {
					require.ErrorIs(t, err, storage.ErrTemporary)
					return
				}
				require.NoError(t, err)
				require.Zero(t, l.Len())
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		s, _ := farAway(t, soon)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.List(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		s, _ = farAway(t, farAnswer{status: 503, again: "5"})
		_, err = s.List(t.Context())
		var asks interface{ RetryAfter() time.Duration }
		require.ErrorAs(t, err, &asks)
		require.Equal(t, 5*time.Second, asks.RetryAfter())
	})
}

func farAway(t *testing.T, answers ...farAnswer) (signing, *far) {
	t.Helper()
	client, err := NewAPIClient(Config{Profile: "test", Server: "https://example.com", Tokens: MemoryTokens()})
	require.NoError(t, err)
	f := &far{answers: answers}
	client.server.client.SetTransport(f)
	return signing{client, "sales"}, f
}
