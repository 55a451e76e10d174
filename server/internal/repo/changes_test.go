package repo_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/filelist"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/mem"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
	"github.com/d6t/d6tpipe-go/server/internal/feed"
	"github.com/d6t/d6tpipe-go/server/internal/listing"
	"github.com/d6t/d6tpipe-go/server/internal/repo"
)

// A shelf is a world whose pipe "p" lies in memory and is scanned.
type shelf struct {
	*world
	store   *mem.Store
	scanner *listing.Scanner
	waiters *repo.Waiters
	id      string
	stuck   chan struct{} // scans wait for it, when there is one
}

// held is a store that its owner lets go of.
type held struct{ storage.Store }

func (held) Close() error { return nil }

// serve adds a server to a shelf, which looks at the same storage.
func (s *shelf) serve(t testing.TB, d *db.DB, bytes int64) *shelf {
	t.Helper()
	other := *s
	other.waiters = repo.NewWaiters(d, nil)
	t.Cleanup(other.waiters.Close)
	var err error
	other.scanner, err = listing.New(listing.Config{
		Cache: repo.Listings{DB: d, Waiters: other.waiters, FeedBytes: bytes, Now: func() time.Time { return other.clock.Now() }},
		Open: func(ctx context.Context, id string) (listing.Source, error) {
			if other.stuck != nil {
				select {
				case <-other.stuck:
				case <-ctx.Done():
					return listing.Source{}, ctx.Err()
				}
			}
			where, err := other.repo.Where(ctx, id)
			return listing.Source{Store: held{other.store}, Where: where.Storage}, err
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, other.scanner.Close()) })
	other.world = newWorld(t, d, func(o *repo.Options) {
		o.Lister, o.Waiters, o.ListingAge = other.scanner, other.waiters, time.Hour
	})
	return &other
}

func newShelf(t testing.TB, d *db.DB, bytes int64) (*shelf, *d6tpipe.APIClient) {
	t.Helper()
	s := (&shelf{store: mem.New()}).serve(t, d, bytes)
	owner := s.user(t, "owner")
	_, err := owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p", Protocol: d6tpipe.ProtocolS3, Location: "bucket"})
	require.NoError(t, err)
	s.id = idOf(t, d, "p")
	return s, owner
}

// scan looks at the storage now.
func (s *shelf) scan(t testing.TB) {
	t.Helper()
	where, err := s.repo.Where(t.Context(), s.id)
	require.NoError(t, err)
	view, err := listing.View(where.Storage)
	require.NoError(t, err)
	l, err := s.scanner.Files(t.Context(), listing.Pipe{ID: s.id, View: view}, true)
	require.NoError(t, err)
	require.Empty(t, l.Stale)
}

func (s *shelf) plant(key, text string) { s.store.Plant(key, []byte(text)) }

// page is a page of the feed, with the changes as texts.
func (s *shelf) page(t testing.TB, cursor string, limit int) (all []string, next string, more bool) {
	t.Helper()
	page, err := s.repo.ChangePage(t.Context(), s.id, cursor, limit)
	require.NoError(t, err)
	for _, c := range page.Changes {
		all = append(all, string(c.Kind)+" "+c.Key)
	}
	return all, page.Cursor, page.More
}

func TestChangePage(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, owner := newShelf(t, d, 0)
		_, before, more := s.page(t, "", 0)
		require.False(t, more)
		s.plant("a", "1")
		s.plant("b", "1")
		s.scan(t)
		all, now, _ := s.page(t, before, 0)
		require.Equal(t, []string{"new a", "new b"}, all, "who has asked before the first listing misses nothing")
		s.plant("b", "2")
		s.plant("c", "1")
		s.plant("d", "1")
		s.scan(t)
		require.NoError(t, s.store.Remove(t.Context(), "a"))
		s.plant("b", "3")
		s.scan(t)
		s.scan(t) // nothing new
		all, end, more := s.page(t, now, 0)
		require.Equal(t, []string{"modified b", "new c", "new d", "gone a", "modified b"}, all)
		require.False(t, more)
		var pages []string
		for cursor, more := before, true; more; {
			all, cursor, more = s.page(t, cursor, 2)
			require.LessOrEqual(t, len(all), 2)
			pages = append(pages, all...)
			require.Equal(t, !more, cursor == end)
		}
		require.Equal(t, []string{"new a", "new b", "modified b", "new c", "new d", "gone a", "modified b"}, pages)
		page, err := s.repo.ChangePage(t.Context(), s.id, now, 1)
		require.NoError(t, err)
		require.NotEqual(t, page.Changes[0].Before.Tag, page.Changes[0].File.Tag)

		for _, bad := range []string{"x", "1-a-0-0-0 ", end + "0000000000000000000", "1-A-0-0-0"} {
			_, err = s.repo.ChangePage(t.Context(), s.id, bad, 0)
			require.ErrorIs(t, err, d6tpipe.ErrInvalid, bad)
		}
		at, err := feed.Parse(end)
		require.NoError(t, err)
		for _, wrong := range []func(*feed.Cursor){
			func(c *feed.Cursor) { c.Epoch += "x" }, func(c *feed.Cursor) { c.Seq++ }, func(c *feed.Cursor) { c.At++ }, func(c *feed.Cursor) { c.Done = 1 },
			func(c *feed.Cursor) { c.Seq = 0 },
		} {
			one := at
			wrong(&one)
			_, err = s.repo.ChangePage(t.Context(), s.id, one.String(), 0)
			require.ErrorIs(t, err, d6tpipe.ErrCursorExpired, one)
		}

		// A pipe that shows something else has another feed, at once.
		_, err = owner.Pipes().Update(t.Context(), d6tpipe.PipeSettings{Name: "p", Options: d6tpipe.PipeOptions{Include: "b*"}})
		require.NoError(t, err)
		_, err = s.repo.ChangePage(t.Context(), s.id, now, 0)
		require.ErrorIs(t, err, d6tpipe.ErrCursorExpired, "what it was may name files that are not shown any more")
		s.scan(t)
		_, err = s.repo.ChangePage(t.Context(), s.id, end, 0)
		require.ErrorIs(t, err, d6tpipe.ErrCursorExpired)
		_, end, _ = s.page(t, "", 0)
		s.plant("b2", "1")
		s.plant("x", "1")
		s.scan(t)
		all, _, _ = s.page(t, end, 0)
		require.Equal(t, []string{"new b2"}, all)

		require.NoError(t, owner.Pipes().Delete(t.Context(), "p"))
		for _, cursor := range []string{"", end} {
			_, err = s.repo.ChangePage(t.Context(), s.id, cursor, 0)
			require.ErrorIs(t, err, d6tpipe.ErrNotFound)
		}
		require.Zero(t, count(t, d, `SELECT COUNT(*) FROM changes`))
		require.Zero(t, count(t, d, `SELECT COUNT(*) FROM feeds`))
	})
}

func count(t testing.TB, d *db.DB, query string) (n int) {
	t.Helper()
	require.NoError(t, d.Read(t.Context(), func(ctx context.Context, tx db.Tx) error {
		return tx.QueryRowContext(ctx, query).Scan(&n)
	}))
	return n
}

// TestFeedBounds: a feed is pruned by age and by size, and who is too late is told.
func TestFeedBounds(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, _ := newShelf(t, d, 4000)
		s.scan(t)
		_, first, _ := s.page(t, "", 0)
		var cursors []string
		grow := func(n int) {
			for range n {
				s.plant(fmt.Sprintf("f%d", len(cursors)), "1")
				s.clock.forward(time.Hour)
				s.scan(t)
				_, cursor, _ := s.page(t, "", 0)
				cursors = append(cursors, cursor)
			}
		}
		grow(10)
		n, err := s.repo.ForgetChanges(t.Context(), s.clock.Now().Add(-4*time.Hour-time.Minute))
		require.NoError(t, err)
		require.EqualValues(t, 5, n)
		_, err = s.repo.ChangePage(t.Context(), s.id, first, 0)
		require.ErrorIs(t, err, d6tpipe.ErrCursorExpired)
		_, err = s.repo.ChangePage(t.Context(), s.id, cursors[3], 0)
		require.ErrorIs(t, err, d6tpipe.ErrCursorExpired)
		all, _, _ := s.page(t, cursors[4], 0)
		require.Equal(t, []string{"new f5", "new f6", "new f7", "new f8", "new f9"}, all, "the cursor of the last row that went is still good")

		grow(40)
		require.LessOrEqual(t, count(t, d, `SELECT SUM(bytes) FROM changes`), 4000)
		require.Equal(t, count(t, d, `SELECT SUM(bytes) FROM changes`), count(t, d, `SELECT bytes FROM feeds`))
		_, err = s.repo.ChangePage(t.Context(), s.id, cursors[4], 0)
		require.ErrorIs(t, err, d6tpipe.ErrCursorExpired)
		all, _, _ = s.page(t, cursors[48], 0)
		require.Equal(t, []string{"new f49"}, all)

		n, err = s.repo.ForgetChanges(t.Context(), s.clock.Now().Add(time.Hour))
		require.NoError(t, err)
		require.Positive(t, n)
		all, _, _ = s.page(t, cursors[49], 0)
		require.Empty(t, all, "who has seen all has seen all")
		_, err = s.repo.ChangePage(t.Context(), s.id, cursors[48], 0)
		require.ErrorIs(t, err, d6tpipe.ErrCursorExpired)
		s.plant("late", "1")
		s.scan(t)
		all, _, _ = s.page(t, cursors[49], 0)
		require.Equal(t, []string{"new late"}, all)
	})
}

// TestSetBack: a database of yesterday's has another feed than the one that was read
// since, although it has rows of the same numbers.
func TestSetBack(t *testing.T) {
	d := dbtest.Open(t, dbtest.SQLite(t))
	s, _ := newShelf(t, d, 0)
	s.scan(t)
	s.plant("a", "1")
	s.scan(t)
	kept := map[string]string{}
	for _, column := range []string{"next_seq", "last_at", "bytes"} {
		kept[column] = fmt.Sprint(count(t, d, `SELECT `+column+` FROM feeds`))
	}
	_, good, _ := s.page(t, "", 0)
	s.plant("b", "1")
	s.clock.forward(time.Minute)
	s.scan(t)
	_, lost, _ := s.page(t, "", 0)
	require.NoError(t, d.Write(t.Context(), func(ctx context.Context, tx db.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM changes WHERE seq >= `+kept["next_seq"])
		if err == nil {
			_, err = tx.ExecContext(ctx, `UPDATE feeds SET next_seq = `+kept["next_seq"]+`, last_at = `+kept["last_at"]+`, bytes = `+kept["bytes"])
		}
		return err
	}))
	_, err := s.repo.ChangePage(t.Context(), s.id, lost, 0)
	require.ErrorIs(t, err, d6tpipe.ErrCursorExpired)
	s.plant("c", "1")
	s.clock.forward(time.Minute)
	s.scan(t)
	_, err = s.repo.ChangePage(t.Context(), s.id, lost, 0)
	require.ErrorIs(t, err, d6tpipe.ErrCursorExpired)
	all, _, _ := s.page(t, good, 0)
	require.Equal(t, []string{"new c"}, all)
}

// A follower follows a feed, dies, and goes on from the cursor that it has kept.
type follower struct {
	cursor string
	files  map[string]string // key and tag
}

// restart has all files as they are listed, and a cursor of before that.
func (r *follower) restart(t *testing.T, s *shelf) {
	page, err := s.repo.ChangePage(t.Context(), s.id, "", 0)
	require.NoError(t, err)
	r.cursor, r.files = page.Cursor, s.listed(t)
}

// step reads a page, or dies after some of it.
func (r *follower) step(t *testing.T, s *shelf, random *rand.Rand) (more bool) {
	page, err := s.repo.ChangePage(t.Context(), s.id, r.cursor, 1+random.IntN(4))
	if errors.Is(err, d6tpipe.ErrCursorExpired) {
		r.restart(t, s)
		return true
	}
	require.NoError(t, err)
	dies := random.IntN(4) == 0
	for i, c := range page.Changes {
		if dies && i == len(page.Changes)/2 {
			return true // what it has done stays done, the cursor is the old one
		}
		if c.Kind == d6tpipe.ChangeGone {
			delete(r.files, c.Key)
			continue
		}
		r.files[c.Key] = c.File.Tag
	}
	if !dies {
		r.cursor = page.Cursor
	}
	return page.More || dies
}

// listed are the files of the last listing.
func (s *shelf) listed(t *testing.T) map[string]string {
	where, err := s.repo.Where(t.Context(), s.id)
	require.NoError(t, err)
	view, err := listing.View(where.Storage)
	require.NoError(t, err)
	l, err := s.scanner.Files(t.Context(), listing.Pipe{ID: s.id, View: view}, false)
	require.NoError(t, err)
	body, done, err := l.Body(t.Context())
	require.NoError(t, err)
	if done != nil {
		defer done()
	}
	zip, err := gzip.NewReader(bytes.NewReader(body))
	require.NoError(t, err)
	doc, err := filelist.Read(zip, filelist.Limits{})
	require.NoError(t, err)
	files := map[string]string{}
	for o := range doc.Listing.All() {
		files[o.Key] = o.Tag
	}
	return files
}

// TestFollow: whatever happens to the files and to readers, and whatever of the feed
// expires, who reads to the end has the listing.
func TestFollow(t *testing.T) {
	rounds := 60
	if os.Getenv("D6TPIPE_PROOF") != "" {
		rounds = 3000
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		random := rand.New(rand.NewPCG(7, 7))
		s, _ := newShelf(t, d, 3000)
		s.scan(t)
		readers := make([]follower, 4)
		for i := range readers {
			readers[i].restart(t, s)
		}
		for range rounds {
			for range random.IntN(5) {
				key := fmt.Sprintf("f%d", random.IntN(12))
				if _, err := s.store.Stat(t.Context(), key); err == nil && random.IntN(2) == 0 {
					require.NoError(t, s.store.Remove(t.Context(), key))
					continue
				}
				s.plant(key, fmt.Sprint(random.Uint64()))
			}
			s.clock.forward(time.Minute)
			s.scan(t)
			if random.IntN(15) == 0 {
				_, err := s.repo.ForgetChanges(t.Context(), s.clock.Now().Add(-time.Duration(random.IntN(5))*time.Minute))
				require.NoError(t, err)
			}
			for i := range readers {
				if random.IntN(3) > 0 {
					readers[i].step(t, s, random)
				}
			}
		}
		want := s.listed(t)
		for i := range readers {
			for readers[i].step(t, s, random) {
			}
			require.Equal(t, want, readers[i].files)
		}
	})
}

// ask sends a request for changes.
func (s *shelf) ask(t testing.TB, who *d6tpipe.APIClient, o d6tpipe.FeedOptions) (d6tpipe.ChangePage, error) {
	t.Helper()
	return who.ChangeFeed(t.Context(), "p", o)
}

// TestWaitForChanges: a request is answered when there is something, and also when it
// was another server that saw it.
func TestWaitForChanges(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		one, owner := newShelf(t, d, 0)
		two := one.serve(t, d, 0) // has the same database, and its own clients
		two.id = one.id
		now, err := one.ask(t, owner, d6tpipe.FeedOptions{})
		require.NoError(t, err)
		require.Empty(t, now.Changes)
		quick, err := one.ask(t, owner, d6tpipe.FeedOptions{Cursor: now.Cursor, Wait: time.Second})
		require.NoError(t, err)
		require.Equal(t, now.Cursor, quick.Cursor)

		for i, by := range []*shelf{one, two} {
			got := make(chan d6tpipe.ChangePage, 5)
			var all sync.WaitGroup
			for range 5 {
				all.Go(func() {
					page, err := one.ask(t, owner, d6tpipe.FeedOptions{Cursor: now.Cursor, Wait: time.Minute})
					if err != nil {
						t.Error(err)
					}
					got <- page
				})
			}
			require.Eventually(t, func() bool { return one.waiters.Waiting() == 5 }, patience, 10*time.Millisecond)
			by.plant(fmt.Sprintf("file-%d", i), "1")
			by.scan(t)
			for range 5 {
				page := <-got
				require.Len(t, page.Changes, 1)
				require.Equal(t, fmt.Sprintf("file-%d", i), page.Changes[0].Key)
				now.Cursor = page.Cursor
			}
			all.Wait()
			require.Eventually(t, func() bool { return one.waiters.Waiting() == 0 }, patience, 10*time.Millisecond)
		}
	})
}

// TestWaitLooks: who waits has the storage looked at, when it was not for a while, and a
// scan that takes longer than the wait goes on.
func TestWaitLooks(t *testing.T) {
	s, owner := newShelf(t, dbtest.Open(t, dbtest.SQLite(t)), 0)
	now, err := s.ask(t, owner, d6tpipe.FeedOptions{})
	require.NoError(t, err)
	s.plant("a", "1")
	page, err := s.ask(t, owner, d6tpipe.FeedOptions{Cursor: now.Cursor})
	require.NoError(t, err)
	require.Empty(t, page.Changes, "the listing is young")
	require.NoError(t, owner.FilesChanged(t.Context(), "p"))
	page, err = s.ask(t, owner, d6tpipe.FeedOptions{Cursor: now.Cursor})
	require.NoError(t, err)
	require.Len(t, page.Changes, 1, "but it is known to be out of date")

	s.plant("b", "1")
	s.stuck = make(chan struct{})
	require.NoError(t, owner.FilesChanged(t.Context(), "p"))
	late, err := s.ask(t, owner, d6tpipe.FeedOptions{Cursor: page.Cursor, Wait: 100 * time.Millisecond})
	require.NoError(t, err)
	require.Empty(t, late.Changes)
	close(s.stuck)
	late, err = s.ask(t, owner, d6tpipe.FeedOptions{Cursor: page.Cursor, Wait: time.Minute})
	require.NoError(t, err)
	require.Len(t, late.Changes, 1)
}

// TestRightsAfterWait: what changed is for whom may see it when he is told.
func TestRightsAfterWait(t *testing.T) {
	s, owner := newShelf(t, dbtest.Open(t, dbtest.SQLite(t)), 0)
	for name, end := range map[string]func(reader *d6tpipe.APIClient) error{
		"revoked": func(*d6tpipe.APIClient) error {
			return owner.Grant(t.Context(), "p", d6tpipe.Permission{Username: "revoked", Role: d6tpipe.RoleRevoke})
		},
		"reset": func(c *d6tpipe.APIClient) error {
			return s.db.Write(t.Context(), func(ctx context.Context, tx db.Tx) error {
				_, err := tx.ExecContext(ctx, `UPDATE users SET token_hash = 'another' WHERE username = 'reset'`)
				return err
			})
		},
		"closed": func(c *d6tpipe.APIClient) error { return c.Unregister(t.Context(), "closed") },
	} {
		reader := s.user(t, name)
		require.NoError(t, owner.Grant(t.Context(), "p", d6tpipe.Permission{Username: name, Role: d6tpipe.RoleRead}))
		now, err := s.ask(t, reader, d6tpipe.FeedOptions{})
		require.NoError(t, err)
		failed := make(chan error, 1)
		go func() {
			_, err := s.ask(t, reader, d6tpipe.FeedOptions{Cursor: now.Cursor, Wait: time.Minute})
			failed <- err
		}()
		require.Eventually(t, func() bool { return s.waiters.Waiting() == 1 }, patience, 10*time.Millisecond)
		require.NoError(t, end(reader))
		s.plant("secret-"+name, "1")
		s.scan(t)
		err = <-failed
		require.Error(t, err, name)
		require.True(t, errors.Is(err, d6tpipe.ErrPermission) || errors.Is(err, d6tpipe.ErrUnauthorized), "%s: %v", name, err)
	}
}

// TestCrowdOfWaiters: one account cannot take all places, and the end of the server is
// the end of all waits.
func TestCrowdOfWaiters(t *testing.T) {
	s, owner := newShelf(t, dbtest.Open(t, dbtest.SQLite(t)), 0)
	require.NoError(t, owner.Grant(t.Context(), "p", d6tpipe.Permission{Username: "public", Role: d6tpipe.RoleRead}))
	now, err := s.ask(t, owner, d6tpipe.FeedOptions{})
	require.NoError(t, err)
	impatient := d6tpipe.Limits{Retries: -1}
	client := func(name string) *d6tpipe.APIClient {
		c, err := d6tpipe.NewAPIClient(d6tpipe.Config{Profile: name, Server: s.url, Tokens: d6tpipe.MemoryTokens()})
		require.NoError(t, err)
		t.Cleanup(c.CloseIdleConnections)
		return c.WithLimits(impatient)
	}
	mine, nobody := client("owner"), client("nobody")
	_, err = mine.Login(t.Context(), "owner", "secret-of-owner")
	require.NoError(t, err)
	var all sync.WaitGroup
	ended := make(chan error, 40)
	wait := d6tpipe.FeedOptions{Cursor: now.Cursor, Wait: time.Minute}
	for range 20 {
		for _, who := range []*d6tpipe.APIClient{mine, nobody} {
			all.Go(func() {
				_, err := s.ask(t, who, wait)
				ended <- err
			})
		}
	}
	require.Eventually(t, func() bool { return s.waiters.Waiting() == 40 }, patience, 10*time.Millisecond)
	for _, who := range []*d6tpipe.APIClient{mine, nobody} {
		_, err = s.ask(t, who, wait)
		require.ErrorIs(t, err, d6tpipe.ErrUnavailable)
		require.ErrorContains(t, err, "Too many of your requests")
		_, err = s.ask(t, who, d6tpipe.FeedOptions{Cursor: now.Cursor})
		require.NoError(t, err, "who does not wait is no crowd")
	}
	s.waiters.Close()
	for range 40 {
		require.ErrorContains(t, <-ended, "shutting down")
	}
	all.Wait()
	_, err = s.ask(t, mine, wait)
	require.ErrorContains(t, err, "shutting down")
}

// TestBadQueries: what cannot be meant is said.
func TestBadQueries(t *testing.T) {
	s, owner := newShelf(t, dbtest.Open(t, dbtest.SQLite(t)), 0)
	now, err := s.ask(t, owner, d6tpipe.FeedOptions{})
	require.NoError(t, err)
	require.NoError(t, owner.Grant(t.Context(), "p", d6tpipe.Permission{Username: "public", Role: d6tpipe.RoleRead}))
	for query, want := range map[string]int{
		"": 200, "?cursor=" + now.Cursor: 200, "?cursor=" + now.Cursor + "&wait=0&limit=1": 200, "?limit=1000": 200,
		"?cursor=x": 400, "?wait=61s": 400, "?wait=-1s": 400, "?wait=soon": 400, "?limit=0": 400, "?limit=1001": 400, "?limit=many": 400,
		"?cursor=1-abc-0-0-0": 410,
	} {
		resp, err := http.Get(s.url + "/v1/api/pipes/p/changes/" + query)
		require.NoError(t, err)
		var said map[string]any
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&said))
		require.NoError(t, resp.Body.Close())
		require.Equal(t, want, resp.StatusCode, "%s: %v", query, said)
		if want == 200 {
			require.Equal(t, []any{}, said["changes"])
		}
	}
}
