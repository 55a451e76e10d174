package transfer

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// settle lets a sizer try a remote that moves rate(workers) in a tick.
func settleSizer(z *sizer, rate func(int) float64) (seen map[int]int) {
	seen = map[int]int{}
	for range 200 {
		seen[z.tick(rate(z.workers), false)]++
	}
	return seen
}

func most(seen map[int]int) (workers int) {
	for w, n := range seen {
		if n > seen[workers] {
			workers = w
		}
	}
	return workers
}

func TestSizer(t *testing.T) {
	for name, c := range map[string]struct {
		most     int
		rate     func(n int) float64
		min, max int // where it spends most of its time
	}{
		"more is better":     {32, func(n int) float64 { return float64(n) }, 32, 32},
		"enough at 8":        {64, func(n int) float64 { return float64(min(n, 8)) }, 32, 32},
		"more hurts from 20": {64, func(n int) float64 { return float64(20 - max(n-20, 20-n)) }, 32, 32},
		"one worker":         {1, func(int) float64 { return 1 }, 1, 1},
		"nothing moves":      {32, func(int) float64 { return 0 }, 16, 32},
	} {
		t.Run(name, func(t *testing.T) {
			z := newSizer(c.most)
			seen := settleSizer(z, c.rate)
			require.GreaterOrEqual(t, most(seen), c.min, "%v", seen)
			require.LessOrEqual(t, most(seen), c.max, "%v", seen)
			for w := range seen {
				require.Positive(t, w)
				require.LessOrEqual(t, w, c.most)
			}
		})
	}
}

func TestSizerYieldsToTheRemote(t *testing.T) {
	z := newSizer(32)
	settleSizer(z, func(n int) float64 { return float64(n) })
	require.Equal(t, 32, z.workers)
	require.Equal(t, 16, z.tick(16, true))
	require.Equal(t, 8, z.tick(8, true))
	for range patience {
		require.Equal(t, 8, z.tick(8, false), "it waits before it tries again")
	}
	require.Equal(t, 12, z.tick(8, false))
	for range 10 {
		z.tick(0, true)
	}
	require.Equal(t, fewest, z.workers)
	one := newSizer(1)
	require.Equal(t, 1, one.tick(0, true))
}
