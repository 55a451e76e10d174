package transfer

import "time"

// A sizer finds out how many workers move most, by trying: it goes on in a
// direction while that helps, back when it does not, and halves when the remote
// asks for less. More workers than a remote, a line or a processor can feed cost
// speed.
type sizer struct {
	most    int // never more
	workers int
	before  int     // workers before the try that is under way; 0 without one
	rate    float64 // that was reached with them
	fewer   bool    // the next try is with fewer
	hold    int     // ticks until then
	failed  int     // tries in a row that brought nothing
}

const (
	sizerTick = 250 * time.Millisecond
	fewest    = 2
	gain      = 1.03 // what a try must bring
	patience  = 12   // ticks between one that did not and the next, and more after each
	// A few streams of big files fill a processor or a line; small files have to
	// be many, because each is mostly waiting.
	fewStreams = 4
)

// newSizer begins with start workers.
func newSizer(start, most int) *sizer { return &sizer{most: most, workers: max(1, min(start, most))} }

// tick is told what was moved since the last tick, in any unit, and whether the
// remote asked for less. It returns how many workers are to work.
func (z *sizer) tick(rate float64, throttled bool) int {
	switch {
	case throttled:
		z.workers, z.before, z.hold, z.fewer = max(min(z.most, fewest), z.workers/2), 0, patience, false
	case z.before != 0 && rate < z.rate*gain:
		z.workers, z.fewer = z.before, !z.fewer
		z.wait()
	case z.hold > 0:
		z.hold--
	default:
		if z.before != 0 {
			z.failed = 0
		}
		z.try(rate)
	}
	return z.workers
}

// wait puts the next try off, the longer the less the last ones have brought.
func (z *sizer) wait() {
	z.before, z.hold = 0, patience<<min(z.failed, 3)
	z.failed++
}

// try changes the workers by half. At an end it turns round.
func (z *sizer) try(rate float64) {
	next := z.workers + max(1, z.workers/2)
	if z.fewer {
		next = z.workers - max(1, z.workers/3)
	}
	next = max(min(z.most, fewest), min(next, z.most))
	if next == z.workers {
		z.fewer = !z.fewer
		z.wait()
		return
	}
	z.before, z.rate, z.workers = z.workers, rate, next
}
