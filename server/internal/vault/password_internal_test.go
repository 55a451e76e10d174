package vault

import (
	"context"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go"
)

// cheap is for tests that do not measure.
func cheap() HasherOptions { return HasherOptions{Cost: Cost{Memory: 64, Passes: 1}} }

func newHasher(t testing.TB, o HasherOptions) *Hasher {
	h, err := NewHasher(o)
	require.NoError(t, err)
	return h
}

func hashOf(t testing.TB, h *Hasher, password d6tpipe.Secret) string {
	hash, err := h.Hash(t.Context(), password)
	require.NoError(t, err)
	return hash
}

// Every arm of a login costs the same number of hashes: one, or none for a password
// that nobody can have.
func TestLoginArms(t *testing.T) {
	h := newHasher(t, cheap())
	hash := hashOf(t, h, "right")
	long := d6tpipe.Secret(make([]byte, MaxPassword+1))
	for name, c := range map[string]struct {
		login  func(password d6tpipe.Secret) (bool, error)
		wantOK bool
		want   error
	}{
		"user":         {func(p d6tpipe.Secret) (bool, error) { return h.Verify(t.Context(), hash, p) }, true, nil},
		"nobody":       {func(p d6tpipe.Secret) (bool, error) { return false, h.VerifyNobody(t.Context(), p) }, false, nil},
		"damaged user": {func(p d6tpipe.Secret) (bool, error) { return h.Verify(t.Context(), hash[1:], p) }, false, ErrPasswordHash},
	} {
		t.Run(name, func(t *testing.T) {
			for _, password := range []d6tpipe.Secret{"right", "wrong", "righ", "right\x00", d6tpipe.Secret(make([]byte, MaxPassword))} {
				before := h.Count()
				ok, err := c.login(password)
				require.ErrorIs(t, err, c.want)
				require.Equal(t, c.wantOK && password == "right", ok)
				require.EqualValues(t, 1, h.Count()-before)
			}
			for _, password := range []d6tpipe.Secret{"", long} {
				before := h.Count()
				ok, err := c.login(password)
				require.ErrorIs(t, err, c.want)
				require.False(t, ok)
				require.EqualValues(t, 0, h.Count()-before)
			}
		})
	}
}

// A hash that asks for the machine costs what any other does, and not its memory.
func TestHostileHashes(t *testing.T) {
	h := newHasher(t, cheap())
	for name, hash := range hostile {
		var before, after runtime.MemStats
		count := h.Count()
		runtime.ReadMemStats(&before)
		ok, err := h.Verify(t.Context(), hash, "x")
		runtime.ReadMemStats(&after)
		require.ErrorIs(t, err, ErrPasswordHash, name)
		require.False(t, ok)
		require.EqualValues(t, 1, h.Count()-count, name)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20), name)
		require.True(t, h.NeedsRehash(hash), name)
	}
}

// One works and one waits; the next is told at once, and so is who will not wait.
func TestBusy(t *testing.T) {
	o := cheap()
	o.Workers, o.Queue = 1, 1
	h := newHasher(t, o)
	hash := hashOf(t, h, "right")
	count := h.Count()
	h.workers <- struct{}{} // somebody works
	h.places <- struct{}{}

	ctx, cancel := context.WithCancel(t.Context())
	waiter := func(ctx context.Context) chan error {
		result := make(chan error)
		go func() {
			ok, err := h.Verify(ctx, hash, "right")
			if err == nil && !ok {
				err = ErrPasswordHash
			}
			result <- err
		}()
		for len(h.places) < 2 {
			runtime.Gosched()
		}
		return result
	}
	first := waiter(ctx)
	_, err := h.Verify(t.Context(), hash, "right")
	require.ErrorIs(t, err, ErrBusy)
	require.ErrorIs(t, h.VerifyNobody(t.Context(), "x"), ErrBusy)
	_, err = h.Hash(t.Context(), "x")
	require.ErrorIs(t, err, ErrBusy)
	cancel()
	err = <-first
	require.ErrorIs(t, err, ErrBusy)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, count, h.Count(), "nobody has worked")

	second := waiter(t.Context()) // the place is free again
	<-h.workers
	<-h.places
	require.NoError(t, <-second)
	require.Equal(t, count+1, h.Count())
	require.Empty(t, h.places)
	require.Empty(t, h.workers)
	_, err = h.Verify(ctx, hash, "right")
	require.ErrorIs(t, err, ErrBusy)
	require.ErrorIs(t, err, context.Canceled)
}

// The time of an answer is the same for users and for nobody. Time proves little on
// a busy machine, so this is part of the long proofs; TestLoginArms counts.
func TestLoginTimes(t *testing.T) {
	if os.Getenv("D6TPIPE_PROOF") == "" {
		t.Skip("part of the proofs: D6TPIPE_PROOF")
	}
	h := newHasher(t, HasherOptions{})
	hash := hashOf(t, h, "right")
	var user, nobody []time.Duration
	for range 200 {
		start := time.Now()
		_, err := h.Verify(t.Context(), hash, "wrong")
		require.NoError(t, err)
		middle := time.Now()
		require.NoError(t, h.VerifyNobody(t.Context(), "wrong"))
		user, nobody = append(user, middle.Sub(start)), append(nobody, time.Since(middle))
	}
	slices.Sort(user)
	slices.Sort(nobody)
	ratio := float64(user[100]) / float64(nobody[100])
	require.InDelta(t, 1, ratio, 0.15)
}

func BenchmarkVerify(b *testing.B) {
	h := newHasher(b, HasherOptions{})
	hash := hashOf(b, h, "right")
	for b.Loop() {
		_, _ = h.Verify(b.Context(), hash, "right")
	}
}
