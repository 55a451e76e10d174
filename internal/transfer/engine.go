package transfer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// Apply carries out a plan. It waits for other Applies and removals on the same
// folder. A plan with conflicts is refused as a whole with a [*ConflictError].
// Files that fail do not stop the others; the error is a [*PartialError] then.
// When ctx ends, what is done stays done, and is recorded.
func (s *Sync) Apply(ctx context.Context, p *Plan) (*Report, error) {
	return s.carryOut(p, func(report *Report) error {
		if p.Place != s.cfg.Place {
			return fmt.Errorf("%w: the plan was made for another remote", ErrConflict)
		}
		if keys := p.Conflicts(); len(keys) > 0 {
			return &ConflictError{p.Direction, keys}
		}
		if len(p.todo()) == 0 { // an empty folder may be a mistake in its name: what was synced elsewhere stays known
			return s.Alone(ctx, func() error { return errors.Join(s.sweep(), s.sweepUploads(ctx, p.Direction), ctx.Err()) })
		}
		return s.locked(ctx, func(w *writer) error { return s.run(ctx, p, report, w) })
	})
}

// carryOut makes the report of what do does.
func (s *Sync) carryOut(p *Plan, do func(*Report) error) (*Report, error) {
	start, retries := time.Now(), s.retries.Load()
	report := newReport(p)
	err := do(report)
	if errors.Is(err, ErrConflict) { // nothing was begun
		return report, err
	}
	partial := report.finish(p, fs.ErrNotExist)
	report.Elapsed, report.Retries = time.Since(start), p.retries+int(s.retries.Load()-retries)
	s.tell(Event{Kind: Finished, Files: report.Files, Bytes: report.Bytes})
	if err != nil {
		return report, err
	}
	return report, partial
}

// Alone calls do while no sync or removal is at work on the folder, in this
// process or another. Of the Sync, do may use what does not wait for its turn, as
// Edited.
func (s *Sync) Alone(ctx context.Context, do func() error) error {
	unlock, err := s.manifest.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return do()
}

// locked calls do while nobody else changes the folder or the manifest, in this
// process or another, and takes away what dead processes left.
func (s *Sync) locked(ctx context.Context, do func(*writer) error) error {
	unlock, err := s.manifest.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.sweep(); err != nil {
		return err
	}
	if err := s.settleIn(ctx); err != nil {
		return err
	}
	w, err := s.manifest.writer()
	if err != nil {
		return err
	}
	return errors.Join(do(w), w.close())
}

// A run is one Apply at work.
type run struct {
	*Sync
	plan   *Plan
	report *Report
	book   *writer
	log    *journal
	dir    *folder
	parts  *handle // of the folder of part files
	done   chan recorded
	queue  *queue
	bytes  atomic.Int64 // moved, and what finished files weigh besides
}

func (s *Sync) run(ctx context.Context, p *Plan, report *Report, w *writer) (err error) {
	r := &run{Sync: s, plan: p, report: report, book: w, done: make(chan recorded, s.cfg.Workers)}
	if err := s.sweepUploads(ctx, p.Direction); err != nil {
		return err
	}
	if s.cfg.From == nil {
		if r.dir, err = openFolder(s.cfg.Dir, p.downloads()); err != nil {
			return err
		}
		defer r.dir.close()
	}
	parts, err := openFolder(filepath.Join(s.cfg.State, partsName), false)
	if err != nil {
		return err
	}
	defer parts.close()
	if r.parts, _, err = parts.parent(partsName, false); err != nil {
		return err
	}
	defer r.parts.Close()
	if r.log, err = openJournal(s.cfg.State); err != nil {
		return err
	}
	err = r.all(ctx, p.sizer(s.cfg.Range, s.cfg.Workers))
	recorded := err == nil || errors.Is(err, ctx.Err())
	return errors.Join(err, r.log.close(recorded))
}

// downloads reports whether the plan brings a file here.
func (p *Plan) downloads() bool {
	return slices.ContainsFunc(p.Steps, func(s Step) bool { return s.Action == Download })
}

// sizer begins with half of the workers, and with few when files come that are mostly so
// big that they are moved in pieces: only who sends waits for the remote after each. It
// never takes more than there are steps and pieces; of those of one file, more than there
// are workers make no difference.
func (p *Plan) sizer(pieces int64, workers int) *sizer {
	todo := p.todo()
	work := len(todo)
	for _, i := range todo {
		work += int(min(p.Steps[i].Size/pieces, int64(workers)))
	}
	start := (workers + 1) / 2
	if p.Direction == Pull && p.Bytes/int64(max(1, p.Files)) > pieces {
		start = min(start, fewStreams)
	}
	return newSizer(start, min(workers, work))
}

// all runs the workers, beside them the one that records, and the one that finds
// out how many workers it takes.
func (r *run) all(ctx context.Context, size *sizer) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	r.queue = newQueue(r.plan.todo(), size.workers)
	defer context.AfterFunc(ctx, r.queue.stop)()
	var pool sync.WaitGroup
	for range size.most {
		pool.Go(func() { r.worker(ctx) })
	}
	recording, sizing := make(chan error, 1), make(chan struct{})
	go func() { recording <- r.record(stop) }()
	over := make(chan struct{})
	go func() { defer close(sizing); r.measure(size, over) }()
	pool.Wait()
	close(over)
	<-sizing
	close(r.done)
	err := <-recording
	if err == nil && len(r.report.Keys(StatusStopped)) > 0 {
		err = ctx.Err()
	}
	return err
}

// todo are the steps that do something.
func (p *Plan) todo() (steps []int) {
	for i := range p.Steps {
		switch p.Steps[i].Action {
		case Download, Upload, Adopt:
			steps = append(steps, i)
		}
	}
	return steps
}

// fileWeight is what a file counts for beside its bytes when it is measured how
// much is moved.
const fileWeight = 64 << 10

// measure sizes the pool until over.
func (r *run) measure(size *sizer, over <-chan struct{}) {
	tick := time.NewTicker(sizerTick)
	defer tick.Stop()
	last, retries := int64(0), r.retries.Load()
	for {
		select {
		case <-over:
			return
		case <-tick.C:
		}
		moved, again := r.bytes.Load(), r.retries.Load()
		r.queue.resize(size.tick(float64(moved-last), again > retries))
		last, retries = moved, again
	}
}

func (r *run) worker(ctx context.Context) {
	for {
		i, j, ok := r.queue.take()
		if !ok {
			return
		}
		if j != nil {
			r.queue.work(j)
		} else {
			r.step(ctx, i, &r.plan.Steps[i])
		}
		r.queue.release()
	}
}

// step works on one file. A big one is moved in pieces, and whoever moves the last
// of them says how it ended.
func (r *run) step(ctx context.Context, i int, s *Step) {
	r.tell(Event{Kind: Started, Key: s.Key, Action: s.Action, Bytes: s.Size})
	err := s.check()
	if err == nil {
		err = r.stillThere(ctx, s)
	}
	switch {
	case err != nil:
	case s.Action == Upload && r.cfg.From != nil:
		r.relay(ctx, i, s)
		return
	case s.Action == Download && r.inPieces(s.Remote):
		r.receive(ctx, i, s, false)
		return
	case s.Action == Upload && r.sendsInParts(s.Local.Size):
		r.send(ctx, i, s, condition(s), false)
		return
	}
	var e Entry
	if err == nil {
		e, err = r.move(ctx, s)
	}
	r.ended(ctx, i, s, e, err)
}

// ended says how a step ended.
func (r *run) ended(ctx context.Context, i int, s *Step, e Entry, err error) {
	r.bytes.Add(fileWeight)
	res := &r.report.Results[i]
	switch {
	case err == nil:
		r.done <- recorded{i, e} // the recorder says when it is done
		return
	case errors.Is(err, errElsewhere):
		res.Status, res.Reason = StatusSkipped, DoneElsewhere
		r.tell(Event{Kind: Done, Key: s.Key, Action: s.Action})
		return
	case errors.Is(err, errMeanwhile) || r.outdated(err) || s.Action == Upload && errors.Is(err, storage.ErrChanged):
		res.Status, res.Reason, res.Err = StatusConflict, ChangedAfter, fmt.Errorf("%w: %w", ErrConflict, err)
	case ctx.Err() != nil:
		err = ctx.Err() // stopped: not the file's fault
	default:
		res.Status, res.Err = StatusFailed, err
	}
	r.tell(Event{Kind: Failed, Key: s.Key, Action: s.Action, Err: err})
}

var (
	errElsewhere = errors.New("done by another process")
	// errMeanwhile is a conflict that came up after the plan was made.
	errMeanwhile = fmt.Errorf("%w since the plan was made", ErrEdited)
)

// check makes sure that a step is one of ours: a plan may come from a file.
func (s *Step) check() error {
	here, there := s.Local != nil, s.Remote != nil
	switch {
	case here && s.Local.Key != s.Key, there && s.Remote.Key != s.Key,
		s.Action == Download && !there, s.Action == Upload && !here,
		s.Action == Adopt && (!here || !there || s.Local.Sum.IsZero()):
		return fmt.Errorf("transfer: the plan's step %q does not hold together", s.Key)
	}
	return storage.CheckKey(s.Key)
}

func (r *run) move(ctx context.Context, s *Step) (Entry, error) {
	switch s.Action {
	case Download:
		return r.download(ctx, s)
	case Upload:
		return r.upload(ctx, s)
	}
	return r.adopt(ctx, s)
}

// unchanged makes sure that the local file is what the plan saw.
func (r *run) unchanged(s *Step, now *LocalFile) error {
	e, known := r.book.find(s.Key)
	news := known && (s.Base == nil || e.Synced != s.Base.Synced)
	switch {
	case news && now != nil && e.Size == now.Size && e.ModTime == now.ModTime && r.settles(s, &e):
		return errElsewhere
	case !now.is(s.Local), r.plan.decoded && !s.basedOn(&e, known):
		return errMeanwhile
	}
	return nil
}

// settles reports whether an entry that another process wrote is what the step
// was to bring about.
func (r *run) settles(s *Step, e *Entry) bool {
	return s.Action != Download || e.there(s.Remote)
}

// adopt records that both sides are equal.
func (r *run) adopt(ctx context.Context, s *Step) (Entry, error) {
	if r.cfg.From != nil {
		return entryOf(s.Remote, s.Local, s.Local.Sum, s.Local.Checked), nil
	}
	now, err := r.dir.find(s.Key)
	if err != nil {
		return Entry{}, err
	}
	if err := r.unchanged(s, now); err != nil {
		return Entry{}, err
	}
	if r.plan.decoded || now.Changed != s.Local.Changed { // another file may have the same size and time
		return r.proveEqual(ctx, s)
	}
	return entryOf(s.Remote, s.Local, s.Local.Sum, s.Local.Checked), nil
}

func entryOf(o *storage.Object, f *LocalFile, sum Hash, checked Stamp) Entry {
	return Entry{
		Key: f.Key, Tag: o.Tag, RemoteTime: StampOf(o.ModTime), Size: f.Size, ModTime: f.ModTime,
		Sum: sum, Checked: checked, Synced: StampOf(time.Now()),
	}
}

// moved counts bytes of a step that were moved, or negative ones that have to be
// moved again.
func (r *run) moved(s *Step, n int64) {
	if n == 0 {
		return
	}
	r.bytes.Add(n)
	r.tell(Event{Kind: Moved, Key: s.Key, Action: s.Action, Bytes: n})
}

// A counter is a writer that tells of the bytes that pass.
type counter struct {
	r *run
	s *Step
}

func (c counter) Write(p []byte) (int, error) {
	c.r.moved(c.s, int64(len(p)))
	return len(p), nil
}
