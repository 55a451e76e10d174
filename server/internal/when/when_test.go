package when_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/when"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	x, err := time.Parse(time.RFC3339, text)
	require.NoError(t, err)
	return x
}

// next are the n times after a moment.
func next(t *testing.T, s d6tpipe.Schedule, after, key string, n int) (all []string) {
	t.Helper()
	for x := at(t, after); n > 0; n-- {
		y, err := when.Next(s, x, key)
		require.NoError(t, err)
		require.True(t, y.After(x), "%s is not after %s", y, x)
		all = append(all, y.Format(time.RFC3339))
		x = y
	}
	return all
}

func TestCron(t *testing.T) {
	require.Equal(t, []string{"2026-11-27T06:00:00Z", "2026-11-30T06:00:00Z", "2026-12-01T06:00:00Z"},
		next(t, d6tpipe.Schedule{Cron: "0 6 * * 1-5"}, "2026-11-26T06:00:00Z", "a", 3))
	require.Equal(t, []string{"2026-11-27T00:00:00Z"}, next(t, d6tpipe.Schedule{Cron: "@daily"}, "2026-11-26T06:00:00Z", "a", 1))
	// In Berlin the clock is set back on October 25th: 06:00 is another time in UTC afterwards.
	berlin := d6tpipe.Schedule{Cron: "0 6 * * *", TimeZone: "Europe/Berlin"}
	require.Equal(t, []string{"2026-10-24T04:00:00Z", "2026-10-25T05:00:00Z"}, next(t, berlin, "2026-10-23T12:00:00Z", "a", 2))
	// 02:30 comes twice on that day, and not at all on March 29th.
	night := d6tpipe.Schedule{Cron: "30 2 * * *", TimeZone: "Europe/Berlin"}
	require.Equal(t, []string{"2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z"}, next(t, night, "2026-10-23T12:00:00Z", "a", 4))
	require.Equal(t, []string{"2026-03-28T01:30:00Z", "2026-03-30T00:30:00Z"}, next(t, night, "2026-03-27T12:00:00Z", "a", 2))
}

// TestEvery: each key has its own moment, which stays the same.
func TestEvery(t *testing.T) {
	seen := map[string]bool{}
	for _, key := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		times := next(t, d6tpipe.Schedule{Every: d6tpipe.Interval(15 * time.Minute)}, "2026-11-26T06:00:00Z", key, 4)
		for i := 1; i < len(times); i++ {
			require.Equal(t, 15*time.Minute, at(t, times[i]).Sub(at(t, times[i-1])))
		}
		require.LessOrEqual(t, at(t, times[0]).Sub(at(t, "2026-11-26T06:00:00Z")), 15*time.Minute)
		require.Equal(t, times, next(t, d6tpipe.Schedule{Every: d6tpipe.Interval(15 * time.Minute)}, "2026-11-26T06:00:00Z", key, 4))
		seen[times[0]] = true
	}
	require.Greater(t, len(seen), 4, "they do not all begin at once")
}

// TestJitter: each time is put off by less than the jitter, none is left out and none
// comes twice, wherever one looks from.
func TestJitter(t *testing.T) {
	s := d6tpipe.Schedule{Cron: "*/10 * * * *", Jitter: d6tpipe.Interval(9 * time.Minute)}
	times := next(t, s, "2026-11-26T06:05:00Z", "a", 200)
	offs := map[time.Duration]bool{}
	for i, text := range times {
		due := at(t, text)
		base := due.Truncate(10 * time.Minute)
		offs[due.Sub(base)] = true
		require.Less(t, due.Sub(base), 9*time.Minute)
		if i > 0 {
			require.Equal(t, base.Add(-10*time.Minute), at(t, times[i-1]).Truncate(10*time.Minute))
		}
		again, err := when.Next(s, due.Add(-time.Second), "a")
		require.NoError(t, err)
		require.Equal(t, due, again)
	}
	require.Greater(t, len(offs), 50)
}

// TestNextTakesWhatCheckRefuses: what a schedule means is looked at when it is set, and
// not each time that it is due.
func TestNextTakesWhatCheckRefuses(t *testing.T) {
	s := d6tpipe.Schedule{Cron: "*/10 * * * *", Jitter: d6tpipe.Interval(10 * time.Minute)}
	require.Error(t, when.Check(s))
	require.Len(t, next(t, s, "2026-11-26T06:05:00Z", "a", 5), 5)
}

func TestNever(t *testing.T) {
	due, err := when.Next(d6tpipe.Schedule{}, time.Now(), "a")
	require.NoError(t, err)
	require.Zero(t, due)
}

func TestCheck(t *testing.T) {
	minutes := func(n int) d6tpipe.Interval { return d6tpipe.Interval(time.Duration(n) * time.Minute) }
	for name, row := range map[string]struct {
		s     d6tpipe.Schedule
		field string
	}{
		"both":               {d6tpipe.Schedule{Every: minutes(5), Cron: "@daily"}, "cron"},
		"too often":          {d6tpipe.Schedule{Every: d6tpipe.Interval(time.Second)}, "every"},
		"too rare":           {d6tpipe.Schedule{Every: minutes(60 * 24 * 400)}, "every"},
		"negative":           {d6tpipe.Schedule{Every: minutes(-5)}, "every"},
		"six fields":         {d6tpipe.Schedule{Cron: "* * * * * *"}, "cron"},
		"words":              {d6tpipe.Schedule{Cron: "every day"}, "cron"},
		"@every":             {d6tpipe.Schedule{Cron: "@every 1s"}, "cron"},
		"zone in it":         {d6tpipe.Schedule{Cron: "CRON_TZ=UTC 0 6 * * *"}, "cron"},
		"never":              {d6tpipe.Schedule{Cron: "0 0 30 2 *"}, "cron"},
		"no zone":            {d6tpipe.Schedule{Cron: "@daily", TimeZone: "Europe/Atlantis"}, "time_zone"},
		"path as zone":       {d6tpipe.Schedule{Cron: "@daily", TimeZone: "../../etc/passwd"}, "time_zone"},
		"local":              {d6tpipe.Schedule{Cron: "@daily", TimeZone: "Local"}, "time_zone"},
		"zone of interval":   {d6tpipe.Schedule{Every: minutes(5), TimeZone: "UTC"}, "time_zone"},
		"jitter alone":       {d6tpipe.Schedule{Jitter: minutes(5)}, "jitter"},
		"jitter of interval": {d6tpipe.Schedule{Every: minutes(5), Jitter: minutes(5)}, "jitter"},
		"jitter of cron":     {d6tpipe.Schedule{Cron: "*/10 * * * *", Jitter: minutes(10)}, "jitter"},
		"jitter of 2 gaps":   {d6tpipe.Schedule{Cron: "0,50 * * * *", Jitter: minutes(20)}, "jitter"},
		"negative jitter":    {d6tpipe.Schedule{Every: minutes(5), Jitter: minutes(-1)}, "jitter"},
	} {
		t.Run(name, func(t *testing.T) {
			err := when.Check(row.s)
			var said *d6tpipe.FieldError
			require.ErrorAs(t, err, &said)
			require.Equal(t, row.field, said.Field)
			require.ErrorIs(t, err, d6tpipe.ErrInvalid)
		})
	}
	for _, s := range []d6tpipe.Schedule{
		{}, {Paused: true}, {Every: minutes(1)}, {Every: minutes(15), Jitter: minutes(5)}, {Cron: "*/5 * * * *", Jitter: minutes(4)},
		{Cron: "0 6 * * 1-5", TimeZone: "America/New_York"}, {Cron: "0 0 29 2 *"}, {Cron: "@weekly", Jitter: minutes(600)},
	} {
		require.NoError(t, when.Check(s))
	}
}
