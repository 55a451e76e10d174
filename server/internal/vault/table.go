package vault

import "time"

// crowded is how many rows the keys share that find no row of their own.
const crowded = 4096

// table counts the failures of each key. It holds at most so many rows, and gives
// none away while it counts: the keys that find it full share the rows of the
// crowd, and with them the limits. That errs on the side of refusing, and takes
// more failures in a window than a small server can hash (at 20 a second, 18,000).
type table struct {
	limit  int
	window time.Duration
	most   int
	rows   map[uint64]*row
	crowd  []row
	swept  time.Duration
}

// row is the failures of one key that lie in the window, oldest first, and the
// attempts that have not ended.
type row struct {
	times  []time.Duration
	inside int
}

func newTable(limit int, window time.Duration, most int) *table {
	return &table{limit: limit, window: window, most: most, rows: map[uint64]*row{}, crowd: make([]row, crowded)}
}

// line is an attempt's place in a table.
type line struct {
	table *table
	key   uint64
	row   *row
}

func (t *table) line(key uint64, now time.Duration) line { return line{t, key, t.row(key, now)} }

// row returns the row of a key, for as long as the lock is held or an attempt is
// inside. A key that has failed among the crowd stays there until that is
// forgotten: a row of its own would begin at zero.
func (t *table) row(key uint64, now time.Duration) *row {
	t.sweep(now)
	if r := t.rows[key]; r != nil {
		return r
	}
	shared := &t.crowd[key%crowded]
	shared.forget(now - t.window)
	if len(t.rows) >= t.most || !shared.empty() {
		return shared
	}
	r := &row{}
	t.rows[key] = r
	return r
}

// tidy removes the row of a key that has nothing to count.
func (t *table) tidy(key uint64) {
	if r := t.rows[key]; r != nil && r.empty() {
		delete(t.rows, key)
	}
}

// sweep removes, now and then, all rows that have nothing to count any more.
func (t *table) sweep(now time.Duration) {
	if now-t.swept < t.window/16 {
		return
	}
	t.swept = now
	for key, r := range t.rows {
		r.forget(now - t.window)
		t.tidy(key)
	}
}

// blocked returns how long a row lets nobody in.
func (t *table) blocked(r *row, now time.Duration) time.Duration {
	r.forget(now - t.window)
	if t.limit < 0 || len(r.times) < t.limit {
		return 0
	}
	return r.times[len(r.times)-t.limit] + t.window - now
}

// room tells whether one more attempt keeps the limit even if all that are inside fail.
func (t *table) room(r *row) bool { return t.limit < 0 || len(r.times)+r.inside < t.limit }

// failed records a failure, if anybody is to ask for it.
func (t *table) failed(r *row, now time.Duration) {
	if t.limit >= 0 {
		r.times = append(r.times, now)
	}
}

// forget drops the failures until a time, and that time itself.
func (r *row) forget(until time.Duration) {
	n := 0
	for n < len(r.times) && r.times[n] <= until {
		n++
	}
	if n == len(r.times) {
		r.times = nil
		return
	}
	r.times = r.times[n:]
}

func (r *row) empty() bool { return len(r.times) == 0 && r.inside == 0 }
