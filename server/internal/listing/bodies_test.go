package listing_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/listing"
)

// A heavy cache has a listing of any pipe, of so many bytes, and counts who loads one.
type heavy struct {
	listing.Cache
	size  int
	took  time.Duration
	loads atomic.Int64
	err   error
}

func (h *heavy) Head(_ context.Context, id string) (listing.Record, error) {
	return listing.Record{Tag: "t-" + id, View: "v", Scanned: time.Now(), Size: int64(h.size)}, nil
}

func (h *heavy) Body(ctx context.Context, id, _ string) ([]byte, error) {
	h.loads.Add(1)
	select {
	case <-time.After(h.took):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var body bytes.Buffer
	zip := gzip.NewWriter(&body)
	zip.Name = id
	err := errors.Join(h.err, zip.Close())
	return body.Bytes(), err
}

// nameOf is the pipe that a body is of.
func nameOf(body []byte) string {
	zip, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return err.Error()
	}
	return zip.Name
}

// TestBodies: what clients are sent is in memory once, as long as one of them reads, and
// there is no more of it than a limit allows, also for one account.
func TestBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &heavy{size: 100, took: time.Millisecond}
		sc := scanner(t, newShelf(), listing.Config{Cache: h, Bodies: 450, BodiesOne: 250, WaitBody: time.Second})
		get := func(ctx context.Context, account, id string) ([]byte, func(), error) {
			l, err := sc.Files(t.Context(), listing.Pipe{ID: id, View: "v", MaxAge: time.Hour, Account: account}, false)
			require.NoError(t, err)
			return l.Body(ctx)
		}
		full := func(account, id string) {
			t.Helper()
			start := time.Now()
			_, _, err := get(t.Context(), account, id)
			said := new(d6tpipe.StatusError)
			require.ErrorAs(t, err, &said)
			require.Equal(t, http.StatusServiceUnavailable, said.Status)
			var wait interface{ Seconds() int }
			require.ErrorAs(t, err, &wait)
			require.Positive(t, wait.Seconds())
			require.Equal(t, time.Second, time.Since(start))
		}
		var mu sync.Mutex
		held := map[string][]func(){}
		hold := func(account, id string) {
			t.Helper()
			body, done, err := get(t.Context(), account, id)
			if err != nil {
				t.Error(err)
				return
			}
			if nameOf(body) != id {
				t.Errorf("%s got another listing", id)
			}
			mu.Lock()
			defer mu.Unlock()
			held[account+" "+id] = append(held[account+" "+id], done)
		}
		end := func(what string) {
			mu.Lock()
			defer mu.Unlock()
			for _, done := range held[what] {
				done()
				done() // counts once
			}
			delete(held, what)
		}

		var all sync.WaitGroup
		for range 40 { // slow readers of one listing
			all.Go(func() { hold("a", "1") })
		}
		all.Wait()
		require.Equal(t, int64(1), h.loads.Load())
		hold("a", "2")
		full("a", "3")
		hold("b", "1") // has it from the others
		hold("", "1")
		require.Equal(t, int64(2), h.loads.Load())
		hold("b", "3")
		full("b", "4")
		full("c", "4") // there is no room to load it
		end("a 2")
		hold("c", "4")
		end("a 1")
		hold("b", "1") // still there
		require.Equal(t, int64(4), h.loads.Load(), "1, 2, 3 and 4")

		// Whoever waits gets the room that another one leaves, and nobody waits for ever.
		time.AfterFunc(time.Second/2, func() { end("b 3") })
		start := time.Now()
		hold("a", "5")
		require.Less(t, time.Since(start), time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, _, err := get(ctx, "d", "6")
		require.ErrorIs(t, err, context.DeadlineExceeded)

		// Who is to load it for others and goes away leaves it to them.
		for _, what := range []string{"c 4", "a 5", "b 1", " 1"} {
			end(what)
		}
		require.Empty(t, held)
		before := h.loads.Load()
		h.took = 100 * time.Millisecond
		ctx, cancel = context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		all.Go(func() {
			if _, _, err := get(ctx, "a", "7"); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
		time.Sleep(time.Millisecond)
		for i := range 10 {
			all.Go(func() { hold(fmt.Sprint("a", i%2), "7") })
		}
		all.Wait()
		require.Equal(t, before+2, h.loads.Load(), "the one that was given up, and another")
		end("a0 7")
		end("a1 7")

		// What fails takes no room, and what is larger than all takes all.
		h.err = errors.New("broken")
		for range 10 {
			_, _, err := get(t.Context(), "a", "8")
			require.ErrorIs(t, err, h.err)
		}
		h.err, h.size = nil, 10_000
		hold("a", "9")
		full("b", "10")
		end("a 9")
		hold("b", "10")
		end("b 10")
		h.size = 100
		hold("a", "1")
		hold("b", "2")
	})
}
