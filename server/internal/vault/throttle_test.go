package vault_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/server/internal/vault"
)

var (
	here  = netip.MustParseAddr("192.0.2.1")
	there = netip.MustParseAddr("192.0.2.2")
)

// fail is a login with a wrong password.
func fail(t testing.TB, th *vault.Throttle, account string, peer netip.Addr) error {
	a, err := th.Login(t.Context(), account, peer)
	if err != nil {
		return err
	}
	a.Fail()
	a.Done() // as the caller's defer does
	return nil
}

func succeed(t testing.TB, th *vault.Throttle, account string, peer netip.Addr) error {
	a, err := th.Login(t.Context(), account, peer)
	if err != nil {
		return err
	}
	a.Done()
	return nil
}

func requireThrottled(t testing.TB, err error, wait time.Duration) {
	require.ErrorIs(t, err, vault.ErrThrottled)
	var throttled *vault.ThrottledError
	require.ErrorAs(t, err, &throttled)
	require.Equal(t, wait, throttled.Wait)
	require.GreaterOrEqual(t, time.Duration(throttled.Seconds())*time.Second, wait)
	require.ErrorContains(t, err, fmt.Sprintf(" %d seconds", throttled.Seconds()))
}

func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := vault.NewThrottle(vault.ThrottleOptions{})
		for range 10 {
			require.NoError(t, succeed(t, th, "bob", here), "a success takes nothing back")
			require.NoError(t, fail(t, th, "bob", here))
			time.Sleep(time.Minute)
		}
		requireThrottled(t, succeed(t, th, "bob", here), 5*time.Minute) // nor does the right password help
		require.NoError(t, succeed(t, th, "bob", there), "others are not shut out")
		require.NoError(t, succeed(t, th, "eve", here))
		time.Sleep(5*time.Minute - time.Nanosecond)
		requireThrottled(t, fail(t, th, "bob", here), time.Nanosecond)
		time.Sleep(time.Nanosecond)
		require.NoError(t, fail(t, th, "bob", here))
		requireThrottled(t, fail(t, th, "bob", here), time.Minute)
		time.Sleep(time.Hour)
		require.NoError(t, fail(t, th, "bob", here))
	})
}

// One peer that tries one password with many accounts is stopped, too.
func TestThrottlePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := vault.NewThrottle(vault.ThrottleOptions{})
		for i := range 100 {
			require.NoError(t, fail(t, th, fmt.Sprint(i), here))
		}
		requireThrottled(t, succeed(t, th, "bob", here), 15*time.Minute)
		require.NoError(t, succeed(t, th, "bob", there))
		time.Sleep(15 * time.Minute)
		require.NoError(t, succeed(t, th, "bob", here))
	})
}

func TestThrottleRegistrations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := vault.NewThrottle(vault.ThrottleOptions{Registrations: 3})
		for range 3 {
			require.NoError(t, th.Register(here))
		}
		requireThrottled(t, th.Register(here), 15*time.Minute)
		require.NoError(t, th.Register(there))
		require.NoError(t, succeed(t, th, "bob", here), "logins count for themselves")
		time.Sleep(15 * time.Minute)
		require.NoError(t, th.Register(here))
	})
}

func TestThrottleWithoutLimits(t *testing.T) {
	th := vault.NewThrottle(vault.ThrottleOptions{Failures: -1, PeerFailures: -1, Registrations: -1})
	for range 1_000 {
		require.NoError(t, fail(t, th, "bob", here))
		require.NoError(t, th.Register(here))
	}
}

// What counts as one peer.
func TestThrottlePeers(t *testing.T) {
	for _, c := range []struct {
		one, other string
		same       bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"192.0.2.1", "::ffff:192.0.2.2", false},
		{"2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"fe80::1%eth0", "fe80::2%eth1", true},
		{"::1", "127.0.0.1", false},
	} {
		th := vault.NewThrottle(vault.ThrottleOptions{Failures: 1})
		require.NoError(t, fail(t, th, "bob", netip.MustParseAddr(c.one)))
		err := fail(t, th, "bob", netip.MustParseAddr(c.other))
		require.Equal(t, c.same, err != nil, "%+v", c)
	}
	th := vault.NewThrottle(vault.ThrottleOptions{Failures: 1})
	require.NoError(t, fail(t, th, "bob", netip.Addr{}), "over a socket without addresses")
	require.Error(t, fail(t, th, "bob", netip.Addr{}))
}

// However many guesses are made at once, ten are heard.
func TestThrottleAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := vault.NewThrottle(vault.ThrottleOptions{})
		var heard, refused atomic.Int32
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				a, err := th.Login(t.Context(), "bob", here)
				if errors.Is(err, vault.ErrThrottled) {
					refused.Add(1)
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				defer a.Done()
				time.Sleep(50 * time.Millisecond) // the hash
				heard.Add(1)
				a.Fail()
			})
		}
		wg.Wait()
		require.EqualValues(t, 10, heard.Load())
		require.EqualValues(t, 190, refused.Load())
	})
}

// A fleet that starts at the same time, with the right password and from one
// address, gets in, ten at a time.
func TestThrottleFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := vault.NewThrottle(vault.ThrottleOptions{})
		require.NoError(t, fail(t, th, "bob", here))
		start := time.Now()
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				a, err := th.Login(t.Context(), "bob", here)
				if err != nil {
					t.Error(err)
					return
				}
				defer a.Done()
				time.Sleep(50 * time.Millisecond)
			})
		}
		wg.Wait()
		require.Equal(t, 23*50*time.Millisecond, time.Since(start), "nine at a time")
		require.NoError(t, succeed(t, th, "bob", here))
	})
}

// Who waits can leave, and not too many wait.
func TestThrottleWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := vault.NewThrottle(vault.ThrottleOptions{Failures: 1, Waiting: 2})
		inside, err := th.Login(t.Context(), "bob", here)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var left, in atomic.Int32
		var wg sync.WaitGroup
		for _, ctx := range []context.Context{ctx, t.Context()} {
			wg.Go(func() {
				a, err := th.Login(ctx, "bob", here)
				switch {
				case err == nil:
					in.Add(1)
					a.Done()
				case errors.Is(err, vault.ErrBusy) && errors.Is(err, context.DeadlineExceeded):
					left.Add(1)
				}
			})
		}
		synctest.Wait()
		require.ErrorIs(t, succeed(t, th, "bob", here), vault.ErrBusy)
		require.NoError(t, succeed(t, th, "eve", here), "who need not wait is not busy")
		time.Sleep(2 * time.Second)
		require.EqualValues(t, 1, left.Load())
		require.EqualValues(t, 0, in.Load())
		inside.Done()
		inside.Done()
		inside.Fail() // too late to count
		wg.Wait()
		require.EqualValues(t, 1, in.Load())
		require.NoError(t, succeed(t, th, "bob", here))
	})
}

// try is a login as the model remembers it.
type try struct {
	account string
	peer    netip.Addr
	at      time.Time
}

// TestThrottleModel compares with the plain rule, read off the list of all failures.
func TestThrottleModel(t *testing.T) {
	const failures, perPeer, window = 3, 8, time.Minute
	now := time.Unix(1_000_000, 0)
	th := vault.NewThrottle(vault.ThrottleOptions{Window: window, Failures: failures, PeerFailures: perPeer, Now: func() time.Time { return now }})
	var list []try
	wait := func(limit int, counts func(try) bool) time.Duration {
		var times []time.Time
		for _, f := range list {
			if counts(f) && now.Sub(f.at) < window {
				times = append(times, f.at)
			}
		}
		if len(times) < limit {
			return 0
		}
		return times[len(times)-limit].Add(window).Sub(now)
	}
	random := rand.New(rand.NewPCG(1, 2))
	refused := 0
	for range proofs(50_000, 500_000) {
		now = now.Add(time.Duration(random.IntN(4)) * time.Second)
		list = slices.DeleteFunc(list, func(f try) bool { return now.Sub(f.at) > 2*window })
		this := try{fmt.Sprint(random.IntN(4)), netip.AddrFrom4([4]byte{byte(random.IntN(3))}), now}
		want := max(
			wait(failures, func(f try) bool { return f.account == this.account && f.peer == this.peer }),
			wait(perPeer, func(f try) bool { return f.peer == this.peer }),
		)
		var err error
		if random.IntN(4) == 0 {
			err = succeed(t, th, this.account, this.peer)
		} else if err = fail(t, th, this.account, this.peer); err == nil {
			list = append(list, this)
		}
		if want == 0 {
			require.NoError(t, err)
			continue
		}
		refused++
		requireThrottled(t, err, want)
	}
	require.Greater(t, refused, 1_000)
}
