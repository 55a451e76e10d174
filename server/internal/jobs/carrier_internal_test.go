package jobs

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestQuiet: river is heard once a minute with the same complaint, and with its daily
// life only by those who want to hear all.
func TestQuiet(t *testing.T) {
	t.Parallel()
	for level, lines := range map[slog.Level]int{slog.LevelInfo: 4, slog.LevelDebug: 369} {
		synctest.Test(t, func(t *testing.T) {
			var b bytes.Buffer
			log := quiet(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: level})))
			log.Info("a job was done")
			for i := range 181 { // a minute
				log.WithGroup("river").With("queue", i%3).Error("Error fetching jobs", "err", "connection refused")
				log.Warn("Error attempting to elect")
				time.Sleep(time.Minute / 180)
			}
			for range 3 {
				log.Error("Error fetching jobs")
			}
			time.Sleep(time.Minute)
			log.Error("Error fetching jobs")
			log.Info("a job was done")
			log.Debug("a job was done")
			require.Equal(t, lines, strings.Count(b.String(), "\n"), b.String())
			require.Equal(t, 4, strings.Count(b.String(), "level=WARN"))
			require.NotContains(t, b.String(), "level=ERROR")
			require.NotContains(t, b.String(), "level=INFO")
		})
	}
}
