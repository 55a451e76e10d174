package vault

import (
	"encoding/binary"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// clock is a time that tests set.
type clock struct{ now time.Time }

func newThrottle(rows int) (*Throttle, *clock) {
	c := &clock{time.Unix(1_000_000, 0)}
	return NewThrottle(ThrottleOptions{Rows: rows, Now: func() time.Time { return c.now }}), c
}

func guess(t testing.TB, th *Throttle, account string, peer netip.Addr) error {
	a, err := th.Login(t.Context(), account, peer)
	if err == nil {
		a.Fail()
	}
	return err
}

func addr(n int) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(n))))
}

// flood is how many names and addresses an attacker makes up.
func flood() int {
	if os.Getenv("D6TPIPE_PROOF") == "" {
		return 100_000
	}
	return 1_000_000
}

// No number of names and addresses makes the throttle forget one that it has shut
// out, be that in a row of its own or in the crowd, nor fills the memory.
func TestFlood(t *testing.T) {
	const rows = 1_000
	th, clock := newThrottle(rows)
	shut := func(account string) {
		for guess(t, th, account, addr(1)) == nil {
		}
		require.ErrorIs(t, guess(t, th, account, addr(1)), ErrThrottled)
	}
	shut("early")
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	step := 10 * time.Minute / time.Duration(flood())
	start := clock.now
	for i := range flood() {
		if i == 5*rows {
			require.Len(t, th.pairs.rows, rows, "there is no row left")
			shut("late")
		}
		clock.now = clock.now.Add(step)
		_ = guess(t, th, strconv.Itoa(i), addr(i+10))
		require.LessOrEqual(t, len(th.pairs.rows), rows)
		require.LessOrEqual(t, len(th.peers.rows), rows)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(8<<20))
	require.ErrorIs(t, guess(t, th, "early", addr(1)), ErrThrottled)
	require.ErrorIs(t, guess(t, th, "late", addr(1)), ErrThrottled)

	// Rows become free before the late one's time is up.
	clock.now = start.Add(15*time.Minute + 2*step)
	require.ErrorIs(t, guess(t, th, "late", addr(1)), ErrThrottled)
	require.Less(t, len(th.pairs.rows), rows)

	clock.now = clock.now.Add(time.Hour)
	require.NoError(t, guess(t, th, "early", addr(1)))
	require.NoError(t, guess(t, th, "late", addr(1)))
	require.Len(t, th.pairs.rows, 2, "what is over is forgotten")
	require.Len(t, th.peers.rows, 1)
}

// With the default size, a flood costs some megabytes.
func TestFloodMemory(t *testing.T) {
	th, _ := newThrottle(0)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range flood() {
		_ = guess(t, th, strconv.Itoa(i), addr(i))
		_ = th.Register(addr(i))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(48<<20))
	runtime.KeepAlive(th)
}

// Logins that succeed leave nothing behind, nor do those that are refused.
func TestNoTraces(t *testing.T) {
	th, _ := newThrottle(0)
	for i := range 1_000 {
		a, err := th.Login(t.Context(), strconv.Itoa(i), addr(i))
		require.NoError(t, err)
		require.Len(t, th.pairs.rows, 1)
		a.Done()
	}
	require.Empty(t, th.pairs.rows)
	require.Empty(t, th.peers.rows)
	for i := range 200 {
		_ = guess(t, th, strconv.Itoa(i), addr(1))
	}
	require.Len(t, th.pairs.rows, 100)
	require.Len(t, th.peers.rows, 1)
}

func BenchmarkThrottle(b *testing.B) {
	th := NewThrottle(ThrottleOptions{})
	for b.Loop() {
		a, err := th.Login(b.Context(), "bob", addr(1))
		if err != nil {
			b.Fatal(err)
		}
		a.Done()
	}
}
