package transfer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
	start := time.Now()
	report := newReport(p)
	if p.Place != s.cfg.Place {
		return report, fmt.Errorf("%w: the plan was made for another remote", ErrConflict)
	}
	if keys := p.Conflicts(); len(keys) > 0 {
		return report, &ConflictError{p.Direction, keys}
	}
	var err error
	if work, _ := p.work(); work > 0 {
		err = s.locked(ctx, func(w *writer) error { return s.run(ctx, p, report, w) })
	} else { // an empty folder may be a mistake in its name: what was synced elsewhere stays known
		err = s.Alone(ctx, func() error { return errors.Join(s.sweep(), ctx.Err()) })
	}
	partial := report.finish(p, fs.ErrNotExist)
	report.Elapsed = time.Since(start)
	s.tell(Event{Kind: Finished, Files: report.Files, Bytes: report.Bytes})
	if err != nil {
		return report, err
	}
	return report, partial
}

// Alone calls do while no sync or removal is at work on the folder, in this
// process or another. do must not use the Sync.
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
	parts  *os.Root
	done   chan recorded
	next   atomic.Int64 // step
}

func (s *Sync) run(ctx context.Context, p *Plan, report *Report, w *writer) (err error) {
	r := &run{Sync: s, plan: p, report: report, book: w, done: make(chan recorded, s.cfg.Workers)}
	work, downloads := p.work()
	if r.dir, err = openFolder(s.cfg.Dir, downloads); err != nil {
		return err
	}
	defer r.dir.close()
	if r.parts, err = os.OpenRoot(filepath.Join(s.cfg.State, partsName)); err != nil {
		return err
	}
	defer r.parts.Close()
	if r.log, err = openJournal(s.cfg.State); err != nil {
		return err
	}
	err = r.all(ctx, min(s.cfg.Workers, work))
	recorded := err == nil || errors.Is(err, ctx.Err())
	return errors.Join(err, r.log.close(recorded))
}

// work counts the steps that do something.
func (p *Plan) work() (steps int, downloads bool) {
	for i := range p.Steps {
		switch p.Steps[i].Action {
		case Download:
			downloads = true
			steps++
		case Upload, Adopt:
			steps++
		}
	}
	return steps, downloads
}

// all runs the workers, and beside them the one that records.
func (r *run) all(ctx context.Context, workers int) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var pool sync.WaitGroup
	for range workers {
		pool.Go(func() { r.worker(ctx) })
	}
	recording := make(chan error, 1)
	go func() { recording <- r.record(stop) }()
	pool.Wait()
	close(r.done)
	err := <-recording
	if err == nil && len(r.report.Keys(StatusStopped)) > 0 {
		err = ctx.Err()
	}
	return err
}

func (r *run) worker(ctx context.Context) {
	for ctx.Err() == nil {
		i := int(r.next.Add(1) - 1)
		if i >= len(r.plan.Steps) {
			return
		}
		s := &r.plan.Steps[i]
		switch s.Action {
		case Download, Upload, Adopt:
			r.step(ctx, i, s)
		}
	}
}

// step works on one file and says how it ended.
func (r *run) step(ctx context.Context, i int, s *Step) {
	r.tell(Event{Kind: Started, Key: s.Key, Action: s.Action, Bytes: s.Size})
	e, err := r.move(ctx, s)
	res := &r.report.Results[i]
	switch {
	case err == nil:
		r.done <- recorded{i, e} // the recorder says when it is done
		return
	case errors.Is(err, errElsewhere):
		res.Status, res.Reason = StatusSkipped, DoneElsewhere
		r.tell(Event{Kind: Done, Key: s.Key, Action: s.Action})
		return
	case errors.Is(err, errMeanwhile) || s.Action == Upload && errors.Is(err, storage.ErrChanged):
		res.Status, res.Reason, res.Err = StatusConflict, ChangedAfter, errors.Join(ErrConflict, err)
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
	if err := s.check(); err != nil {
		return Entry{}, err
	}
	switch s.Action {
	case Download:
		return r.download(ctx, s)
	case Upload:
		return r.upload(ctx, s)
	}
	return r.adopt(s)
}

// unchanged makes sure that the local file is what the plan saw.
func (r *run) unchanged(s *Step, now *LocalFile) error {
	e, known := r.book.find(s.Key)
	news := known && (s.Base == nil || e.Synced != s.Base.Synced)
	switch {
	case news && now != nil && e.Size == now.Size && e.ModTime == now.ModTime && r.settles(s, &e):
		return errElsewhere
	case !now.is(s.Local):
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
func (r *run) adopt(s *Step) (Entry, error) {
	now, err := r.dir.find(s.Key)
	if err != nil {
		return Entry{}, err
	}
	if err := r.unchanged(s, now); err != nil {
		return Entry{}, err
	}
	return entryOf(s.Remote, s.Local, s.Local.Sum, s.Local.Checked), nil
}

func entryOf(o *storage.Object, f *LocalFile, sum Hash, checked Stamp) Entry {
	return Entry{
		Key: f.Key, Tag: o.Tag, RemoteTime: StampOf(o.ModTime), Size: f.Size, ModTime: f.ModTime,
		Sum: sum, Checked: checked, Synced: StampOf(time.Now()),
	}
}

// A counter tells of the bytes that pass.
type counter struct {
	r *run
	s *Step
}

func (c counter) Write(p []byte) (int, error) {
	c.r.tell(Event{Kind: Moved, Key: c.s.Key, Action: c.s.Action, Bytes: int64(len(p))})
	return len(p), nil
}
