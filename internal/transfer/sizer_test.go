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
		start, most int
		rate        func(n int) float64
		min, max    int // where it spends most of its time
	}{
		"more is better":          {16, 32, func(n int) float64 { return float64(n) }, 32, 32},
		"more is better than few": {4, 32, func(n int) float64 { return float64(n) }, 32, 32},
		"fewer are better":        {16, 32, func(n int) float64 { return 1 / float64(n) }, 2, 2},
		"enough at 8":             {4, 64, func(n int) float64 { return float64(min(n, 8)) }, 8, 12},
		"more hurts from 20":      {4, 64, func(n int) float64 { return float64(20 - max(n-20, 20-n)) }, 16, 24},
		"less helps until 20":     {64, 64, func(n int) float64 { return 1 / float64(1+max(n-20, 20-n)) }, 16, 24},
		"one worker":              {1, 1, func(int) float64 { return 1 }, 1, 1},
		"fewer than the start":    {16, 3, func(n int) float64 { return float64(n) }, 3, 3},
		"all the same":            {16, 32, func(int) float64 { return 1 }, 16, 16},
	} {
		t.Run(name, func(t *testing.T) {
			z := newSizer(c.start, c.most)
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

// TestSizerTriesLessOften: a try that brings nothing costs what it moves less.
func TestSizerTriesLessOften(t *testing.T) {
	z, tries := newSizer(8, 32), 0
	for range 1000 {
		if z.tick(1, false) != 8 {
			tries++
		}
	}
	require.Greater(t, tries, 5)
	require.Less(t, tries, 20)
}

func TestSizerYieldsToTheRemote(t *testing.T) {
	z := newSizer(16, 32)
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
	one := newSizer(1, 1)
	require.Equal(t, 1, one.tick(0, true))
}

// TestStart: big files begin with few streams, small ones with many.
func TestStart(t *testing.T) {
	start := func(way Direction, files int, size int64) (workers, most int) {
		p := &Plan{Direction: way, Files: files, Bytes: int64(files) * size}
		for range files {
			p.Steps = append(p.Steps, Step{Action: Download, Size: size})
		}
		z := p.sizer(16<<20, 32)
		return z.workers, z.most
	}
	for _, c := range []struct {
		files         int
		size          int64
		workers, most int
	}{
		{1000, 10 << 10, 16, 32}, {1000, 1 << 20, 16, 32}, {4, 512 << 20, 4, 32}, {1, 1 << 40, 4, 32},
		{1, 10, 1, 1}, {1, 20 << 20, 2, 2},
	} {
		workers, most := start(Pull, c.files, c.size)
		require.Equal(t, [2]int{c.workers, c.most}, [2]int{workers, most}, "%d files of %d", c.files, c.size)
	}
	workers, _ := start(Push, 4, 512<<20)
	require.Equal(t, 16, workers)
}
