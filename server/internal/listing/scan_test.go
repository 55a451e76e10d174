package listing_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/server/internal/listing"
)

// TestScan: it tells what there is, and whether that is new.
func TestScan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf("a", "bb")
		sc, p := scanner(t, s, listing.Config{}), s.pipe(t, time.Minute)
		scan := func() listing.Seen {
			seen, err := sc.Scan(t.Context(), "p")
			require.NoError(t, err)
			return seen
		}
		require.Equal(t, listing.Seen{Files: 2, Bytes: 3, Changed: true}, scan())
		require.Equal(t, listing.Seen{Files: 2, Bytes: 3}, scan())
		first, err := sc.Files(t.Context(), p, false)
		require.NoError(t, err)
		require.Equal(t, int64(2), s.scans.Load(), "a pull goes by it")
		s.put("ccc", "ccc")
		require.Equal(t, listing.Seen{Files: 3, Bytes: 6, Changed: true}, scan())
		second, err := sc.Files(t.Context(), p, false)
		require.NoError(t, err)
		require.NotEqual(t, first.Tag, second.Tag)
		require.Equal(t, int64(3), s.scans.Load())
		s.Store = hostile{s.Store}
		require.Equal(t, listing.Seen{Files: 3, Bytes: 6, Refused: 4, Changed: true}, scan())
		require.Equal(t, listing.Seen{Files: 3, Bytes: 6, Refused: 4}, scan(), "they are there still")
	})
}

// TestScanFails: what was listed stays, and the reason names neither host nor folder.
func TestScanFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf("a", "b")
		sc, p := scanner(t, s, listing.Config{}), s.pipe(t, 0)
		_, err := sc.Scan(t.Context(), "p")
		require.NoError(t, err)
		first, err := sc.Files(t.Context(), p, false)
		require.NoError(t, err)
		for _, broken := range []error{errors.New("CANARY at storage.internal"), fmt.Errorf("CANARY: %w", storage.ErrTemporary)} {
			s.broken = broken
			_, err = sc.Scan(t.Context(), "p")
			var failure *listing.Failure
			require.ErrorAs(t, err, &failure)
			require.ErrorIs(t, err, broken)
			require.NotContains(t, err.Error(), "CANARY")
			require.True(t, strings.HasPrefix(err.Error(), "the storage "), err.Error())
		}
		s.broken, s.openErr = nil, d6tpipe.ErrUnsupported
		_, err = sc.Scan(t.Context(), "p")
		require.EqualError(t, err, "the server cannot list such a storage")
		second, err := sc.Files(t.Context(), p, false)
		require.NoError(t, err)
		require.Equal(t, first.Tag, second.Tag)
		require.Equal(t, []string{"a", "b"}, keys(t, second))
	})
}

// TestScanIsShared: it begins after the question, never beside another one of the pipe,
// and others share it; crowds do not keep it out.
func TestScanIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf("a")
		s.take = time.Minute
		sc, p := scanner(t, s, listing.Config{Waiting: 1}), s.pipe(t, time.Hour)
		var wg sync.WaitGroup
		scan := func(id string) {
			wg.Go(func() {
				if _, err := sc.Scan(t.Context(), id); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Go(func() {
			if _, err := sc.Files(t.Context(), p, true); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(time.Second)
		s.put("b", "after it began")
		for range 3 {
			scan("p")
		}
		for i := range 10 { // more than may wait
			scan(fmt.Sprint(i))
		}
		wg.Wait()
		require.Equal(t, int64(12), s.scans.Load(), "one for the user, one for the three, one for each other pipe")
		require.Equal(t, int64(3), s.most.Load(), "the user's, and two of schedules")
		l, err := sc.Files(t.Context(), p, false)
		require.NoError(t, err)
		require.Equal(t, []string{"a", "b"}, keys(t, l))
	})
}

// TestSchedulesKeepNobodyWaiting: while the storages of pipes with schedules hang, users
// get their listings, also of those pipes that wait for a slot of schedules; and what they
// ask for counts for them.
func TestSchedulesKeepNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs, s := newShelf("a"), newShelf("a")
		hangs.take, s.take = time.Hour, time.Second
		sc := scanner(t, s, listing.Config{Scans: 2, Scheduled: 2, Time: time.Hour, Open: func(ctx context.Context, id string) (listing.Source, error) {
			if strings.HasPrefix(id, "hangs") {
				return hangs.open(ctx, id)
			}
			return s.open(ctx, id)
		}})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		scan := func(id string) {
			wg.Go(func() {
				if _, err := sc.Scan(ctx, id); !errors.Is(err, context.Canceled) {
					t.Error(id, err)
				}
			})
		}
		for i := range 2 {
			scan(fmt.Sprint("hangs", i))
		}
		time.Sleep(time.Millisecond)
		scan("waits")
		scan("waits, too")
		time.Sleep(time.Millisecond)
		require.Equal(t, int64(2), hangs.working.Load(), "they have their slots, and no others")
		require.Zero(t, s.scans.Load())

		p := s.pipe(t, time.Hour)
		list := func(account, id string) {
			p.ID, p.Account = id, account
			began := time.Now()
			_, err := sc.Files(t.Context(), p, false)
			require.NoError(t, err)
			require.Equal(t, time.Second, time.Since(began).Truncate(time.Millisecond), id)
		}
		list("one", "p")
		cancel() // what schedules wait for is done, or given up
		wg.Wait()

		ctx, cancel = context.WithCancel(t.Context())
		scan("hangs2")
		scan("hangs3")
		time.Sleep(time.Millisecond)
		ended := make(chan error, 1)
		go func() {
			_, err := sc.Scan(t.Context(), "queued")
			ended <- err
		}()
		time.Sleep(time.Millisecond)
		s.most.Store(0)
		list("one", "queued")
		require.NoError(t, <-ended, "it is shared with the schedule")

		for i := range 2 { // pipes of schedules, and all are one account's when it asks
			wg.Go(func() {
				if _, err := sc.Scan(t.Context(), fmt.Sprint("greedy", i)); err != nil {
					t.Error(i, err)
				}
			})
		}
		time.Sleep(time.Millisecond)
		for i := range 2 {
			p := p
			p.ID, p.Account = fmt.Sprint("greedy", i), "greedy"
			wg.Go(func() {
				if _, err := sc.Files(t.Context(), p, false); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Second / 2)
		require.Equal(t, int64(1), s.working.Load())
		list("other", "q")
		cancel()
		wg.Wait()
	})
}

// TestScanIsGivenUp: a scan that nobody waits for any more ends, also one that has not
// begun, and leaves no trace; one that a user waits for goes on.
func TestScanIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf("a")
		s.take = 5 * time.Minute
		sc, p := scanner(t, s, listing.Config{Scans: 1, Time: time.Hour}), s.pipe(t, time.Hour)
		scan := func(d time.Duration) time.Duration {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			began := time.Now()
			_, err := sc.Scan(ctx, "p")
			require.ErrorIs(t, err, context.DeadlineExceeded)
			return time.Since(began)
		}
		require.Equal(t, time.Minute, scan(time.Minute))
		require.Equal(t, int64(0), s.working.Load(), "it has ended when Scan returns")

		// Nothing of that is known as a failure: who pulls gets a listing.
		var wg sync.WaitGroup
		wg.Go(func() {
			if l, err := sc.Files(t.Context(), p, false); err != nil || l.Stale != "" {
				t.Error(l.Stale, err)
			}
		})
		time.Sleep(time.Second) // the user's is at work; the next one waits, and is given up
		require.Equal(t, time.Minute, scan(time.Minute))
		wg.Wait()
		synctest.Wait()
		require.Equal(t, int64(2), s.scans.Load())

		// A user who shares it keeps it going.
		s.take = 30 * time.Second
		q := p
		q.ID = "q"
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if _, err := sc.Scan(ctx, "q"); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
		time.Sleep(time.Second)
		l, err := sc.Files(t.Context(), q, false)
		require.NoError(t, err)
		require.Equal(t, []string{"a"}, keys(t, l))
		wg.Wait()
		require.Equal(t, int64(3), s.scans.Load())
	})
}

// A rotten cache damages the bodies of listings with some tag.
type rotten struct {
	*listing.Memory
	tag  string
	lost bool // of the last one that was saved
}

func (r *rotten) Body(ctx context.Context, id, tag string) ([]byte, error) {
	body, err := r.Memory.Body(ctx, id, tag)
	if err == nil && tag == r.tag {
		body = slices.Clone(body)
		body[len(body)/2] ^= 0x10
	}
	return body, err
}

func (r *rotten) Save(ctx context.Context, id string, rec listing.Record, c listing.Changes) error {
	r.lost = c.Lost
	return r.Memory.Save(ctx, id, rec, c)
}

// TestDamaged: a listing that cannot be read is sent to nobody, and replaced by the next
// scan, also by one that sees the same.
func TestDamaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, cache := newShelf("a"), &rotten{Memory: listing.NewMemory()}
		sc, p := scanner(t, s, listing.Config{Cache: cache}), s.pipe(t, time.Hour)
		first, err := sc.Files(t.Context(), p, false)
		require.NoError(t, err)

		cache.tag = first.Tag
		s.put("b", "b")
		seen, err := sc.Scan(t.Context(), "p")
		require.NoError(t, err)
		require.True(t, seen.Changed)
		require.True(t, cache.lost, "nobody knows what has changed")
		second, err := sc.Files(t.Context(), p, false)
		require.NoError(t, err)
		require.Equal(t, []string{"a", "b"}, keys(t, second))

		cache.tag = second.Tag
		again, err := sc.Files(t.Context(), p, false)
		require.NoError(t, err)
		_, _, err = again.Body(t.Context())
		var no *d6tpipe.StatusError
		require.ErrorAs(t, err, &no)
		require.Equal(t, 503, no.Status)
		time.Sleep(time.Second)
		third, err := sc.Files(t.Context(), p, false)
		require.NoError(t, err)
		require.NotEqual(t, second.Tag, third.Tag)
		require.Equal(t, []string{"a", "b"}, keys(t, third))
	})
}
