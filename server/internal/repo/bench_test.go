package repo_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/wire"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
	"github.com/d6t/d6tpipe-go/server/internal/repo"
	"github.com/d6t/d6tpipe-go/server/internal/vault"
)

// listed is how many pipes each of the viewers sees.
const listed = 50

// BenchmarkList is the list of somebody's 50 pipes: of one who owns them, was granted
// each, was granted the parent of the others, belongs to a team that was, or was invited
// by address. "crowd" is the same with 100,000 pipes and 1,000,000 permissions of others,
// and "x-alone" is how many times longer that takes (its median).
func BenchmarkList(b *testing.B) {
	eachEngine(b, func(b *testing.B, d *db.DB) {
		w := newWorld(b, d)
		viewers := w.viewers(b)
		alone := map[string]time.Duration{}
		b.Run("alone", func(b *testing.B) {
			for _, v := range viewers {
				b.Run(v.name, func(b *testing.B) { alone[v.name] = w.lists(b, v.token) })
			}
		})
		b.Run("crowd", func(b *testing.B) {
			crowd(b, d)
			for _, v := range viewers {
				b.Run(v.name, func(b *testing.B) {
					took := w.lists(b, v.token)
					if before := alone[v.name]; before > 0 {
						b.ReportMetric(float64(took)/float64(before), "x-alone")
					}
				})
			}
		})
	})
}

// BenchmarkLogin is a login at the cost that passwords have on a server.
func BenchmarkLogin(b *testing.B) {
	eachEngine(b, func(b *testing.B, d *db.DB) {
		w := newWorld(b, d, func(o *repo.Options) {
			hasher, err := vault.NewHasher(vault.HasherOptions{})
			require.NoError(b, err)
			o.Hasher = hasher
		})
		_, err := w.repo.Register(b.Context(), wire.Registration{Username: "alice", Email: "alice@example.com", Password: "secret"})
		require.NoError(b, err)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := w.repo.Login(b.Context(), "alice", "secret"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func eachEngine(b *testing.B, bench func(*testing.B, *db.DB)) {
	b.Run("sqlite", func(b *testing.B) { bench(b, dbtest.Open(b, dbtest.SQLite(b))) })
	b.Run("postgres", func(b *testing.B) { bench(b, dbtest.Open(b, dbtest.Postgres(b))) })
}

// lists asks for the list of pipes again and again, and returns the median of how long
// that took: what else a machine does spoils a mean.
func (w *world) lists(b *testing.B, token string) time.Duration {
	api := wire.New(w.repo, wire.Options{})
	request := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/v1/api/pipes/", nil)
	request.Header.Set("Authorization", "Token "+token)
	var all []json.RawMessage
	answer := httptest.NewRecorder()
	api.ServeHTTP(answer, request)
	require.NoError(b, json.Unmarshal(answer.Body.Bytes(), &all))
	require.Len(b, all, listed)
	b.ReportAllocs()
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		answer := httptest.NewRecorder()
		api.ServeHTTP(answer, request)
		if answer.Code != http.StatusOK {
			b.Fatal(answer.Body.String())
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// A viewer sees 50 pipes, in one way or another.
type viewer struct{ name, token string }

// viewers makes an account and 50 pipes for each way of seeing some.
func (w *world) viewers(b *testing.B) (all []viewer) {
	ctx := b.Context()
	owner, keeper := w.user(b, "owner"), w.user(b, "keeper")
	require.NoError(b, keeper.CreateGroup(ctx, "bench/team"))
	for _, name := range []string{"granted", "inherited", "member"} {
		w.user(b, name)
	}
	require.NoError(b, keeper.SetMember(ctx, "bench/team", d6tpipe.Member{Username: "member"}))
	for i := range listed {
		makePipe(b, owner, fmt.Sprintf("owned-%02d", i), "")
		makePipe(b, keeper, fmt.Sprintf("granted-%02d", i), "", d6tpipe.Permission{Username: "granted", Role: d6tpipe.RoleRead})
		makePipe(b, keeper, fmt.Sprintf("team-%02d", i), "", d6tpipe.Permission{Group: "bench/team", Role: d6tpipe.RoleWrite})
		makePipe(b, keeper, fmt.Sprintf("invited-%02d", i), "", d6tpipe.Permission{Email: "invited@example.com", Role: d6tpipe.RoleRead})
		if i == 0 {
			makePipe(b, keeper, "parent", "", d6tpipe.Permission{Username: "inherited", Role: d6tpipe.RoleRead})
		} else {
			makePipe(b, keeper, fmt.Sprintf("child-%02d", i), "parent")
		}
	}
	w.user(b, "invited") // whose the invitations are now
	for _, name := range []string{"owner", "granted", "inherited", "member", "invited"} {
		token, err := w.repo.Login(ctx, name, "secret-of-"+name)
		require.NoError(b, err)
		all = append(all, viewer{name, token})
	}
	return all
}

func makePipe(b *testing.B, owner *d6tpipe.APIClient, name, parent string, granted ...d6tpipe.Permission) {
	b.Helper()
	p := d6tpipe.PipeSettings{Name: name, Parent: parent, Options: d6tpipe.PipeOptions{Include: "*.csv"}}
	_, err := owner.Pipes().Create(b.Context(), p)
	require.NoError(b, err)
	for _, g := range granted {
		require.NoError(b, owner.Grant(b.Context(), name, g))
	}
}

// crowd makes 100,000 pipes of 10,000 users, a third of them below others. On each are
// ten permissions: seven of users, two of teams and one of an address.
func crowd(b *testing.B, d *db.DB) {
	b.Helper()
	const numbers = `WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < $1 - 1) `
	require.NoError(b, d.Write(b.Context(), func(ctx context.Context, tx db.Tx) error {
		if d.Engine() == "postgres" { // references are right, and to look each up would take minutes
			if _, err := tx.ExecContext(ctx, `SET LOCAL session_replication_role = replica`); err != nil {
				return err
			}
		}
		for _, insert := range []struct {
			rows  int
			query string
		}{
			{10_000, `INSERT INTO users (id, username, email, password, token_hash, token_sealed, is_admin, created_at)
				` + numbers + `SELECT 'u' || i, 'user-' || i, i || '@example.org', '', 'hash-' || i, '', false, 0 FROM n`},
			{1_000, `INSERT INTO teams (id, name, owner_id, created_at)
				` + numbers + `SELECT 't' || i, 'crowd/' || i, 'u' || i, 0 FROM n`},
			{10_000, `INSERT INTO members (team_id, member, is_admin)
				` + numbers + `SELECT 't' || (i % 1000), 'user:u' || i, false FROM n`},
			{100_000, `INSERT INTO records (id, kind, name, owner_id, parent_id, managed, body, shown, revision, created_at, updated_at)
				` + numbers + `SELECT 'r' || i, 'pipes', 'pipe-' || i, 'u' || (i * 7919 % 10000), CASE WHEN i % 3 = 0 AND i > 0 THEN 'r' || (i / 3 * 2 - 1) ELSE '' END,
					true, '{"name":"pipe-' || i || '"}', '{"name":"pipe-' || i || '","options":{"include":"*.csv"},"schema":{}}', 1, 0, 0 FROM n`},
			{1_000_000, `INSERT INTO grants (record_id, grantee, role, granted_by, created_at)
				` + numbers + `SELECT 'r' || (i / 10), CASE WHEN i % 10 < 7 THEN 'user:u' || (i * 31 % 10007 % 10000)
					WHEN i % 10 < 9 THEN 'group:t' || (i * 31 % 997) ELSE 'email:' || (i / 10 % 50000) || '@example.net' END, 1 + i % 3, '', 0 FROM n`},
		} {
			if _, err := tx.ExecContext(ctx, insert.query, insert.rows); err != nil {
				return fmt.Errorf("%d rows: %w", insert.rows, err)
			}
		}
		return nil
	}))
}
