package transfer_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/mem"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// A history is a remote, and a feed of what scans of it saw.
type history struct {
	t      *testing.T
	random *rand.Rand
	store  *mem.Store
	first  int // the oldest change that is kept
	seen   map[string]storage.Object
	told   []transfer.FeedChange
	asked  int
	fails  error // what the next question meets
}

func newHistory(t *testing.T, seed uint64) *history {
	h := &history{t: t, random: rand.New(rand.NewPCG(seed, 1)), store: mem.New(), seen: map[string]storage.Object{}}
	h.scan()
	return h
}

// scan appends what has changed since the last one, and returns what there is.
func (h *history) scan() storage.Listing {
	l, err := storage.Collect(h.t.Context(), h.store, "")
	require.NoError(h.t, err)
	now := map[string]storage.Object{}
	for o := range l.All() {
		now[o.Key] = o
		if h.seen[o.Key].Tag != o.Tag {
			h.told = append(h.told, transfer.FeedChange{Object: o})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(h.seen)) {
		if _, ok := now[key]; !ok {
			h.told = append(h.told, transfer.FeedChange{Object: storage.Object{Key: key}, Gone: true})
		}
	}
	h.seen = now
	return l
}

func (h *history) Name() string { return "history" }

func (h *history) cursor(n int) string { return "c" + strconv.Itoa(n) }

func (h *history) Next(ctx context.Context, cursor string, _ time.Duration) (p transfer.FeedPage, err error) {
	h.asked++
	if err, h.fails = h.fails, nil; err != nil {
		return p, err
	}
	from, err := strconv.Atoi(strings.TrimPrefix(cursor, "c"))
	require.NoError(h.t, err)
	if from < h.first {
		return p, transfer.ErrNoCursor
	}
	to := min(len(h.told), from+1+h.random.IntN(3))
	return transfer.FeedPage{Changes: h.told[from:to], Cursor: h.cursor(to), More: to < len(h.told)}, ctx.Err()
}

// start is a place in the feed, and a listing of a scan that begins after it.
func (h *history) start() transfer.Start {
	at := h.cursor(len(h.told))
	return transfer.Start{Place: "here", Match: func(string) bool { return true }, Cursor: at, Listing: h.scan()}
}

// A follower is a consumer of a history, and what it was told of.
type follower struct {
	*history
	sync  *transfer.Sync
	state string
	opt   transfer.ChangesOptions
	have  map[string]string // key and tag
	calls int
}

func (h *history) follower(opt transfer.ChangesOptions) *follower {
	h.t.Helper()
	f := &follower{history: h, state: h.t.TempDir(), opt: opt, have: map[string]string{}}
	var err error
	f.sync, err = transfer.Open(transfer.Config{Store: h.store, Dir: h.t.TempDir(), State: f.state, Place: "here"})
	require.NoError(h.t, err)
	return f
}

// note is the loop of the consumer.
func (f *follower) note(batch []transfer.Change) []string {
	f.calls++
	var all []string
	for _, c := range batch {
		all = append(all, string(c.Kind)+" "+c.Key)
		if c.Kind == transfer.ChangeGone {
			delete(f.have, c.Key)
			continue
		}
		f.have[c.Key] = c.Object.Tag
	}
	return all
}

// round follows the feed as far as it goes, or compares. The loop goes on as long as
// yield says so.
func (f *follower) round(yield func([]transfer.Change) bool) (err error) {
	c, err := transfer.OpenConsumer(f.t.Context(), f.state, f.opt)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	_, err = c.Follow(f.t.Context(), f, 0, yield)
	if errors.Is(err, transfer.ErrNoCursor) {
		_, err = c.Begin(f.t.Context(), f, f.start(), yield)
	}
	return err
}

// all is a round whose loop is not left.
func (f *follower) all() (told []string) {
	f.t.Helper()
	require.NoError(f.t, f.round(func(batch []transfer.Change) bool {
		told = append(told, f.note(batch)...)
		return true
	}))
	return told
}

// look compares with the remote itself.
func (f *follower) look() (told []string) {
	f.t.Helper()
	c, err := transfer.OpenConsumer(f.t.Context(), f.state, f.opt)
	require.NoError(f.t, err)
	_, err = f.sync.CompareWith(f.t.Context(), c, func(batch []transfer.Change) bool {
		told = append(told, f.note(batch)...)
		return true
	})
	require.NoError(f.t, errors.Join(err, c.Close()))
	return told
}

func (h *history) plant(keys ...string) {
	for _, key := range keys {
		h.store.Plant(key, fmt.Append(nil, h.random.Uint64()))
	}
}

func (h *history) remove(key string) { require.NoError(h.t, h.store.Remove(h.t.Context(), key)) }

func TestFollow(t *testing.T) {
	h := newHistory(t, 1)
	h.plant("a", "b")
	f := h.follower(anybody)
	require.Equal(t, []string{"new a", "new b"}, f.all())
	asked := h.asked
	require.Empty(t, f.all())
	require.Equal(t, asked+1, h.asked, "one question tells that there is nothing")
	h.plant("c", "b")
	require.Empty(t, f.all(), "nobody has scanned yet")
	h.scan()
	h.plant("b")
	h.remove("a")
	h.scan()
	require.Equal(t, []string{"gone a", "modified b", "new c"}, f.all(), "the last word on each, sorted")

	h.plant("d", "e")
	h.scan()
	require.NoError(t, f.round(func(batch []transfer.Change) bool { return batch[0].Key != "e" }))
	require.Equal(t, []string{"new e"}, f.all(), "what the loop was left at comes again, and the rest does not")

	h.fails = fs.ErrClosed
	h.plant("f")
	h.scan()
	require.ErrorIs(t, f.round(func([]transfer.Change) bool { return true }), fs.ErrClosed)
	require.Equal(t, []string{"new f"}, f.all())

	h.plant("g")
	h.scan()
	h.first = len(h.told)
	require.Equal(t, []string{"new g"}, f.all(), "all is compared when the feed has been cut")

	// Who has looked for himself knows what the feed does not: it must not take it back.
	h.plant("h")
	require.Equal(t, []string{"new h"}, f.look())
	h.remove("h")
	require.Equal(t, []string{"gone h"}, f.all(), "a file that no scan has ever seen")
}

// TestFollowFilters: what a filter leaves out is not acknowledged, and is told to who
// asks without it.
func TestFollowFilters(t *testing.T) {
	h := newHistory(t, 1)
	h.plant("a.csv", "a.txt")
	csv := transfer.ChangesOptions{Consumer: "default", Filter: "*.csv", Match: func(key string) bool { return strings.HasSuffix(key, ".csv") }}
	f := h.follower(csv)
	require.Equal(t, []string{"new a.csv"}, f.all())
	h.plant("b.csv", "b.txt")
	h.scan()
	require.Equal(t, []string{"new b.csv"}, f.all())
	asked := h.asked
	require.Empty(t, f.all())
	require.Equal(t, asked+1, h.asked, "it does not read again what it leaves out")
	f.opt = anybody
	require.Equal(t, []string{"new a.txt", "new b.txt"}, f.all())
	require.Empty(t, f.all())
	f.opt = csv
	require.Empty(t, f.all())
}

// TestFollowRefuses: not everything is gone at once, unless that is meant.
func TestFollowRefuses(t *testing.T) {
	h := newHistory(t, 1)
	h.plant("a", "b")
	f := h.follower(anybody)
	f.all()
	h.remove("a")
	h.remove("b")
	h.scan()
	for range 2 {
		require.ErrorIs(t, f.round(func([]transfer.Change) bool { return true }), transfer.ErrRefused)
	}
	h.plant("c")
	h.scan()
	require.Equal(t, []string{"gone a", "gone b", "new c"}, f.all())
	h.remove("c")
	h.scan()
	f.opt.Force = true
	require.Equal(t, []string{"gone c"}, f.all())
}

// TestFollowBatches: changes that come together are acknowledged together.
func TestFollowBatches(t *testing.T) {
	h := newHistory(t, 1)
	for i := range 25 {
		h.plant(fmt.Sprintf("f%02d", i))
	}
	f := h.follower(transfer.ChangesOptions{Consumer: "default", Batch: 10})
	var sizes []int
	require.NoError(t, f.round(func(batch []transfer.Change) bool {
		sizes = append(sizes, len(batch))
		return len(sizes) < 2
	}))
	require.Equal(t, []int{10, 10}, sizes)
	require.Len(t, f.all(), 15, "the second ten were not acknowledged")
	require.Empty(t, f.all())
}

// copyDir is a folder without folders.
func copyDir(t *testing.T, from, to string) {
	entries, err := os.ReadDir(from)
	require.NoError(t, err)
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		data, err := os.ReadFile(filepath.Join(from, e.Name()))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(to, e.Name()), data, 0o600))
	}
}

// TestFollowAnything: whatever happens to files, to the feed and to the consumer, who
// goes on is told of the latest state of each file at last, and never of an older state
// than before.
func TestFollowAnything(t *testing.T) {
	for seed := range rounds(8, 3000) {
		h := newHistory(t, uint64(seed))
		f := h.follower(transfer.ChangesOptions{Consumer: "default", Force: true})
		version, latest := map[string]int{}, map[string]int{} // by tag, by key
		check := func(batch []transfer.Change) {
			for _, c := range batch {
				if c.Kind != transfer.ChangeGone {
					require.GreaterOrEqual(t, version[c.Object.Tag], latest[c.Key], "seed %d: %s goes back", seed, c.Key)
					latest[c.Key] = version[c.Object.Tag]
				}
			}
			f.note(batch)
		}
		for step := range 60 {
			h.happen(step, version)
			f.opt.Filter, f.opt.Match = "", nil
			if h.random.IntN(4) == 0 {
				f.opt.Filter, f.opt.Match = "even", func(key string) bool { return key[1]%2 == 0 }
			}
			switch h.random.IntN(6) {
			case 0:
				f.look()
				for key, tag := range f.have {
					latest[key] = max(latest[key], version[tag])
				}
			case 1:
				f.dies(check)
			case 2:
				h.fails = fs.ErrClosed
				err := f.round(func(batch []transfer.Change) bool { check(batch); return true })
				require.True(t, err == nil || errors.Is(err, fs.ErrClosed), err)
				h.fails = nil
			default:
				left := h.random.IntN(6)
				require.NoError(t, f.round(func(batch []transfer.Change) bool { check(batch); left--; return left != 0 }))
			}
		}
		f.opt.Filter, f.opt.Match = "", nil
		h.scan()
		require.NoError(t, f.round(func(batch []transfer.Change) bool { check(batch); return true }))
		want := map[string]string{}
		for key, o := range h.seen {
			want[key] = o.Tag
		}
		require.Equal(t, want, f.have, "seed %d", seed)
	}
}

// happen changes some files, and maybe the feed.
func (h *history) happen(step int, version map[string]int) {
	for range h.random.IntN(4) {
		key := fmt.Sprintf("f%d", h.random.IntN(6))
		if _, err := h.store.Stat(h.t.Context(), key); err == nil && h.random.IntN(3) == 0 {
			h.remove(key)
			continue
		}
		h.plant(key)
		o, err := h.store.Stat(h.t.Context(), key)
		require.NoError(h.t, err)
		version[o.Tag] = step*10 + len(version)
	}
	if h.random.IntN(2) == 0 {
		h.scan()
	}
	if h.random.IntN(12) == 0 {
		h.first = h.random.IntN(len(h.told) + 1)
	}
}

// dies is a round of a process that is killed at some change: all that it finds when it
// is back is what lay on the disk then.
func (f *follower) dies(check func([]transfer.Change)) {
	at, kept := f.random.IntN(4), f.t.TempDir()
	killed := false
	require.NoError(f.t, f.round(func(batch []transfer.Change) bool {
		check(batch)
		if at--; at == 0 {
			copyDir(f.t, f.state, kept)
			killed = true
		}
		return !killed
	}))
	if !killed {
		return
	}
	entries, err := os.ReadDir(f.state)
	require.NoError(f.t, err)
	for _, e := range entries {
		if e.Type().IsRegular() {
			require.NoError(f.t, os.Remove(filepath.Join(f.state, e.Name())))
		}
	}
	copyDir(f.t, kept, f.state)
}
