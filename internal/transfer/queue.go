package transfer

import (
	"context"
	"sync"
)

// A queue hands work to the workers of a run: the steps of the plan one after the
// other, and the pieces of files that are moved in several. Whole files come first,
// because one stream a file costs least; pieces of the files at work go to those
// who would have nothing else to do.
type queue struct {
	steps []int // of the plan, still to be taken

	mu     sync.Mutex
	room   sync.Cond // for those who are too many
	more   sync.Cond // for those who have nothing to do yet
	limit  int       // workers that may work at a time
	active int       // that do
	jobs   []*job
	over   bool // the run was stopped
}

// A job is a file that is moved in pieces, by all workers who find the time.
type job struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	width  int // workers that may be at work on it at a time; 0 is all
	move   func(ctx context.Context, p piece) error
	finish func(err error) // once all pieces went through, or one failed

	pieces []piece // spans of the file that nobody has taken yet
	most   int64   // bytes of a span that are taken at a time; 0 is all of it
	inside int     // workers at work on it
	err    error   // of the first piece that failed
}

// A piece is n bytes of a file from off on.
type piece struct {
	number int // of an upload's part
	off, n int64
}

func newQueue(steps []int, limit int) *queue {
	q := &queue{steps: steps, limit: limit}
	q.room.L, q.more.L = &q.mu, &q.mu
	return q
}

// stop lets nobody take work any more.
func (q *queue) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.over = true
	q.wake()
}

// resize lets so many workers work at a time.
func (q *queue) resize(limit int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limit = limit
	q.room.Broadcast()
}

func (q *queue) wake() {
	q.room.Broadcast()
	q.more.Broadcast()
}

// take waits for something to do: a step, or a job to join. Without either there
// will be nothing more.
func (q *queue) take() (step int, j *job, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		switch {
		case q.over:
			return 0, nil, false
		case q.active >= q.limit:
			q.room.Wait()
		case len(q.steps) > 0:
			step, q.steps = q.steps[0], q.steps[1:]
			q.active++
			return step, nil, true
		default:
			if j := q.help(); j != nil {
				j.inside++
				q.active++
				return 0, j, true
			}
			if q.active == 0 {
				q.wake()
				return 0, nil, false
			}
			q.more.Wait()
		}
	}
}

// help returns the job that has most left to do.
func (q *queue) help() (most *job) {
	for _, j := range q.jobs {
		if len(j.pieces) > 0 && j.roomy() && (most == nil || j.left() > most.left()) {
			most = j
		}
	}
	return most
}

// roomy reports whether one more worker may join.
func (j *job) roomy() bool { return j.width == 0 || j.inside < j.width }

// width is that of a job, which may be one for a single worker at a time.
func width(serial bool) int {
	if serial {
		return 1
	}
	return 0
}

// left is how many bytes nobody has taken yet.
func (j *job) left() (n int64) {
	for _, p := range j.pieces {
		n += p.n
	}
	return n
}

// release says that a worker is done with what it took.
func (q *queue) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.active--
	if len(q.steps) == 0 {
		q.more.Broadcast()
	}
}

// start offers a job to the workers, and works on it.
func (q *queue) start(j *job) {
	q.mu.Lock()
	q.jobs = append(q.jobs, j)
	j.inside++
	q.more.Broadcast()
	q.mu.Unlock()
	q.work(j)
}

// work moves pieces of j, in which the caller is counted, until there are none
// left. The last one to leave finishes it.
func (q *queue) work(j *job) {
	for {
		p, ok := q.piece(j)
		if !ok {
			break
		}
		if err := j.move(j.ctx, p); err != nil {
			q.fail(j, err)
		}
	}
	if q.leave(j) {
		j.finish(j.err)
		j.cancel(nil)
	}
}

func (q *queue) piece(j *job) (p piece, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(j.pieces) == 0 || j.err != nil {
		return p, false
	}
	if err := j.ctx.Err(); err != nil {
		j.err = err
		return p, false
	}
	return j.cut(), true
}

// cut takes the first piece. A file has as many as its remote says, so that they are
// not made before somebody takes them.
func (j *job) cut() (p piece) {
	p = j.pieces[0]
	if j.most == 0 || p.n <= j.most {
		j.pieces = j.pieces[1:]
		return p
	}
	j.pieces[0] = piece{number: p.number + 1, off: p.off + j.most, n: p.n - j.most}
	p.n = j.most
	return p
}

func (q *queue) fail(j *job, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if j.err == nil {
		j.err = err
		j.pieces = nil
		j.cancel(err)
	}
}

// leave reports whether the caller was the last one.
func (q *queue) leave(j *job) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if j.inside--; j.inside > 0 {
		return false
	}
	for i := range q.jobs {
		if q.jobs[i] == j {
			q.jobs = append(q.jobs[:i], q.jobs[i+1:]...)
			break
		}
	}
	return true
}
