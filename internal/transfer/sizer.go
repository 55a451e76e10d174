package transfer

import "time"

// A sizer finds out how many workers move most, by trying: it grows while that
// helps, goes back when it does not, and halves when the remote asks for less.
// More workers than a remote, a line or a processor can feed cost speed.
type sizer struct {
	most    int // never more
	workers int
	before  int     // workers before the last change; 0 when nothing is being tried
	rate    float64 // that was reached with them
	hold    int     // ticks until the next try
}

const (
	sizerTick = 250 * time.Millisecond
	fewest    = 2
	gain      = 1.03 // what a try must bring
	patience  = 12   // ticks between one that did not and the next
)

func newSizer(most int) *sizer {
	return &sizer{most: most, workers: max((most+1)/2, min(most, fewest))}
}

// tick is told what was moved since the last tick, in any unit, and whether the
// remote asked for less. It returns how many workers are to work.
func (z *sizer) tick(rate float64, throttled bool) int {
	switch {
	case throttled:
		z.workers, z.before, z.hold = max(min(z.most, fewest), z.workers/2), 0, patience
	case z.before != 0 && rate < z.rate*gain:
		z.workers, z.before, z.hold = z.before, 0, patience
	case z.hold > 0:
		z.hold--
	case z.workers == z.most:
		z.before = 0
	default:
		z.before, z.rate = z.workers, rate
		z.workers = min(z.most, z.workers+max(1, z.workers/2))
	}
	return z.workers
}
