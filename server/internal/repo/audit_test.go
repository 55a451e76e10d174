package repo_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
)

// fill writes lines to the audit log, three at each moment, backwards from the clock's
// time, and usage beside them.
func (w *world) fill(t *testing.T, n int, owner, actor string) {
	t.Helper()
	require.NoError(t, w.db.Write(t.Context(), func(ctx context.Context, tx db.Tx) error {
		for i := range n {
			at := w.clock.Now().Add(-time.Duration(i/3) * time.Minute)
			if _, err := tx.ExecContext(ctx, `INSERT INTO audit (id, at, actor, peer, action, kind, name, record_id, owner_id, detail)
				SELECT $1, CAST($2 AS BIGINT), $3, '', 'PATCH', 'pipes', $4, '', id, $5 FROM users WHERE username = $6`,
				fmt.Sprintf("%s%06d", owner, i*7919%n), at.UnixMicro(), actor, fmt.Sprint("p", i%2), fmt.Sprint(i), owner); err != nil {
				return err
			}
		}
		return nil
	}))
}

// details are the lines that fill has written, in the order in which they come.
func details(t *testing.T, c *d6tpipe.APIClient, o d6tpipe.AuditOptions) (all []string) {
	t.Helper()
	seen := map[string]bool{}
	last := time.Time{}
	for e, err := range c.AuditLog(t.Context(), o) {
		require.NoError(t, err)
		require.False(t, seen[e.ID], "twice: %v", e)
		require.True(t, last.IsZero() || !e.Time.After(last), "%v after %v", e.Time, last)
		seen[e.ID], last = true, e.Time
		if e.Action == "PATCH" {
			all = append(all, e.Detail)
		}
	}
	return all
}

// TestAuditPages: however long the log is, one gets to its end in pages, each line once,
// and nobody sees those of others.
func TestAuditPages(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		owner, other := w.user(t, "owner"), w.user(t, "other")
		w.clock.forward(24 * time.Hour)
		const n = 1200
		w.fill(t, n, "owner", "somebody")
		w.fill(t, 10, "other", "owner") // what one does to others' records shows too
		require.Len(t, details(t, owner, d6tpipe.AuditOptions{}), n+10)
		require.Len(t, details(t, other, d6tpipe.AuditOptions{}), 10)
		require.Len(t, details(t, owner, d6tpipe.AuditOptions{Pipe: "p1"}), n/2+5)
		require.Empty(t, details(t, owner, d6tpipe.AuditOptions{Remote: "p1"}))
		now := w.clock.Now()
		require.Len(t, details(t, owner, d6tpipe.AuditOptions{Since: now.Add(-9 * time.Minute)}), 30+10)
		require.Len(t, details(t, other, d6tpipe.AuditOptions{Since: now.Add(-2 * time.Minute), Until: now.Add(time.Second)}), 9)
		require.Len(t, details(t, owner, d6tpipe.AuditOptions{Since: now.Add(-99 * time.Minute), Until: now.Add(-89 * time.Minute)}), 30)
		newest, err := owner.Audit(t.Context())
		require.NoError(t, err)
		require.Len(t, newest, 1000)
		for _, err := range owner.AuditLog(t.Context(), d6tpipe.AuditOptions{Pipe: "a", Remote: "b"}) {
			require.ErrorIs(t, err, d6tpipe.ErrInvalid)
		}
		for _, err := range w.anybody(t).AuditLog(t.Context(), d6tpipe.AuditOptions{}) {
			require.ErrorIs(t, err, d6tpipe.ErrUnauthorized)
		}
		lines := 0
		for range owner.AuditLog(t.Context(), d6tpipe.AuditOptions{}) {
			lines++
			break
		}
		require.Equal(t, 1, lines)
	})
}

// TestAuditIsBounded: who does not know of pages gets an answer of bounded size.
func TestAuditIsBounded(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, dbtest.SQLite(t)))
	owner := w.user(t, "owner")
	w.clock.forward(365 * 24 * time.Hour)
	w.fill(t, 5_000, "owner", "somebody")
	token, err := owner.Login(t.Context(), "owner", "secret-of-owner")
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/v1/api/audit/", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Token "+string(token))
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, 200, res.StatusCode)
	require.Less(t, len(body), 1<<20)
}

// TestForget: what is too old goes, in steps, and nothing else.
func TestForget(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		owner := w.user(t, "owner")
		_, err := owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
		require.NoError(t, err)
		_, err = owner.Credentials(t.Context(), "p", d6tpipe.RoleRead, false)
		require.NoError(t, err)
		w.clock.forward(100 * 24 * time.Hour)
		_, err = owner.Credentials(t.Context(), "p", d6tpipe.RoleWrite, false)
		require.NoError(t, err)
		w.fill(t, 1000, "owner", "somebody")
		n, err := w.repo.Forget(t.Context(), w.clock.Now().Add(-99*time.Minute))
		require.NoError(t, err)
		require.EqualValues(t, 1000-300+3, n, "and those of a hundred days ago")
		left := details(t, owner, d6tpipe.AuditOptions{})
		require.Len(t, left, 300)
		usage, err := owner.Analytics(t.Context(), "p")
		require.NoError(t, err)
		require.Len(t, usage, 1)
		require.Equal(t, "write", usage[0].What)
		n, err = w.repo.Forget(t.Context(), w.clock.Now().Add(-99*time.Minute))
		require.NoError(t, err)
		require.Zero(t, n)
	})
}

// TestAnalyticsPages: all of a long time of use comes, each line once.
func TestAnalyticsPages(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		owner := w.user(t, "owner")
		_, err := owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
		require.NoError(t, err)
		const days = 700
		require.NoError(t, d.Write(t.Context(), func(ctx context.Context, tx db.Tx) error {
			for i := range days {
				day := w.clock.Now().AddDate(0, 0, -i).Format(time.DateOnly)
				for _, what := range []string{"read", "url read", "write"} {
					if _, err := tx.ExecContext(ctx, `INSERT INTO usage (record_id, day, what, n) SELECT id, $1, $2, 1 FROM records WHERE name = 'p'`, day, what); err != nil {
						return err
					}
				}
			}
			return nil
		}))
		usage, err := owner.Analytics(t.Context(), "p")
		require.NoError(t, err)
		require.Len(t, usage, 3*days)
		seen := map[d6tpipe.Usage]bool{}
		for i, u := range usage {
			require.False(t, seen[u], "twice: %v", u)
			seen[u] = true
			require.True(t, i == 0 || u.Day <= usage[i-1].Day)
		}
	})
}
