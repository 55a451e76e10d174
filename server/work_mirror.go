package server

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/transfer"
	"github.com/d6t/d6tpipe-go/server/internal/gateway"
	"github.com/d6t/d6tpipe-go/server/internal/jobs"
	"github.com/d6t/d6tpipe-go/server/internal/mirror"
	"github.com/d6t/d6tpipe-go/server/internal/repo"
)

const (
	// mirrorCheck is how often a run looks whether its owner may still do it.
	mirrorCheck = 30 * time.Second
	// mirrorSave is how often what it remembers is kept for other servers, before its end.
	mirrorSave = 5 * time.Minute
	// mirrorKeys is for how long keys of managed storage are used, of the hour that they
	// are good for.
	mirrorKeys = 45 * time.Minute
	// mirrorTurn is after how long a run lets others have its worker, and goes on behind them.
	mirrorTurn = 6 * time.Hour
	// endTime is how long the end of a run may take, when the server stops.
	endTime = 20 * time.Second
	// mirrorTries is how often a mirror without a schedule is tried.
	mirrorTries = 8
)

// Why a run ends before it is done.
var (
	errMirrorTurn    = errors.New("others get their turn")
	errMirrorGone    = errors.New("the mirror was removed")
	errMirrorPaused  = errors.New("the mirror was paused; the next run goes on where this one was")
	errMirrorChanged = errors.New("the mirror was changed meanwhile; the next run goes by what it is now")
	errEndMoved      = errors.New("a pipe was moved to another storage, or its filters were changed, meanwhile; the next run goes by what they are now")
)

// mirrorBackoff is how long a mirror that fails is left alone: a minute, then twice as
// long each time, up to an hour.
func mirrorBackoff(failures int) time.Duration {
	return min(time.Minute<<min(max(failures-1, 0), 6), time.Hour)
}

// mirrorFolder is where a mirror keeps what it remembers; with "" that of all.
func (s *Server) mirrorFolder(id string) string { return filepath.Join(s.config.Data, "mirrors", id) }

// mirror runs a mirror once.
func (s *Server) mirror(ctx context.Context, job jobs.Job) (json.RawMessage, error) {
	m, err := s.repo.Mirror(ctx, job.Subject)
	if err != nil {
		return nil, s.mirrorError(ctx, job, m, err)
	}
	r := &mirroring{Server: s, job: job, Mirror: m, options: m.Settings.Options()}
	if r.options.Force, err = s.repo.Forced(ctx, job); err != nil {
		return nil, s.mirrorError(ctx, job, m, err)
	}
	done, err := r.run(ctx)
	done.Cause = mirror.Cause(err)
	switch {
	case errors.Is(err, errMirrorPaused): // as somebody wanted
		done.Stopped, err = err.Error(), nil
	case errors.Is(err, errMirrorChanged), errors.Is(err, errEndMoved): // too, and force was for what it was
		done.Stopped, done.Continues, err = err.Error(), true, jobs.ErrLater
	case errors.Is(err, errMirrorTurn):
		done.Continues = true
		err = s.later(ctx, job, r.options.Force)
	}
	detail, failed := json.Marshal(done)
	if failed != nil {
		return nil, failed
	}
	return detail, s.mirrorError(ctx, job, m, err)
}

// later has a run go on behind others, by the same right.
func (s *Server) later(ctx context.Context, job jobs.Job, force bool) error {
	if force {
		if err := s.repo.ForceAgain(ctx, job); err != nil {
			return err
		}
	}
	return jobs.ErrLater
}

// mirrorError makes of what went wrong what the owner is to read. A mirror with a schedule
// is tried again by that, less often with each failure; of others, what a person has to
// look at is not.
func (s *Server) mirrorError(ctx context.Context, job jobs.Job, m repo.Mirror, err error) error {
	if err == nil || ctx.Err() != nil || errors.Is(err, jobs.ErrLater) {
		return errors.Join(err, ctx.Err())
	}
	if now, gone := s.repo.Mirror(ctx, job.Subject); errors.Is(gone, d6tpipe.ErrNotFound) && now.ID == "" {
		return jobs.ErrGone // whatever it is that a run without its mirror fails at
	}
	var network *net.OpError
	if errors.As(err, &network) { // which the owner is not told, and all else is: the log has no names of files
		s.config.Log.Warn("a mirror did not reach a storage", "mirror", job.Subject, "error", network)
	}
	told := errors.New(mirror.Why(err))
	scheduled := m.Settings.Schedule.Every != 0 || m.Settings.Schedule.Cron != ""
	if !scheduled && (final(err) || job.Failures+1 >= mirrorTries) {
		return &jobs.Retry{Err: told, After: -1}
	}
	return told
}

// final reports whether it is of no use to try again before anything is changed.
func final(err error) bool {
	if errors.Is(err, transfer.ErrPartial) {
		return false // some of its files may pass
	}
	for _, kind := range []error{
		d6tpipe.ErrConflict, d6tpipe.ErrRefused, d6tpipe.ErrPermission, d6tpipe.ErrInvalid, d6tpipe.ErrNotFound, d6tpipe.ErrUnsupported,
	} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// A mirroring is a run of a mirror.
type mirroring struct {
	*Server
	repo.Mirror
	job     jobs.Job
	options d6tpipe.MirrorOptions
	memory  *mirror.Memory
	parts   atomic.Bool // the target takes files in parts, so that a run can end in the middle of one
	turn    atomic.Bool // it is over
	stop    context.CancelCauseFunc
	writes  bool // something may have been changed at the target
}

// run carries out the mirror, watched, and keeps what it remembers.
func (r *mirroring) run(ctx context.Context) (done d6tpipe.MirrorRun, err error) {
	if r.memory, err = mirror.Open(ctx, repo.MirrorMemories{DB: r.db}, r.ID, r.mirrorFolder(r.ID)); err != nil {
		return done, err
	}
	if err := r.memory.Forgot(); err != nil {
		r.forgot(err)
	}
	watched, stop := context.WithCancelCause(ctx)
	r.stop = stop
	var watching sync.WaitGroup
	watching.Go(func() { r.watch(watched, stop) })
	done, err = r.copy(watched)
	if cause := context.Cause(watched); err != nil && cause != nil {
		err = cause // what came of it says less
	}
	stop(nil)
	watching.Wait()
	r.end(ctx, err == nil && r.job.Attempt == 1 && done.Copied == 0 && done.Removed == 0)
	return done, err
}

// copy opens both ends and brings them together.
func (r *mirroring) copy(ctx context.Context) (done d6tpipe.MirrorRun, err error) {
	from, err := r.open(ctx, r.From, func(m repo.Mirror) repo.Whereabouts { return m.From })
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := r.open(ctx, r.To, func(m repo.Mirror) repo.Whereabouts { return m.To })
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	r.writes = true
	r.parts.Store(storage.MultipartOf(to) != nil)
	if done, err = r.bring(ctx, from, to); errors.Is(err, transfer.ErrDamaged) || errors.Is(err, transfer.ErrNewer) {
		r.forgot(err)
		if err = r.memory.Forget(); err == nil {
			done, err = r.bring(ctx, from, to)
		}
	}
	return done, err
}

// forgot tells of what a mirror remembered and that cannot be read: nothing is lost but
// time.
func (r *mirroring) forgot(err error) {
	r.config.Log.Warn("what a mirror remembers cannot be read; both sides are compared anew", "mirror", r.ID, "error", err)
}

// bring brings the files of one end to the other.
func (r *mirroring) bring(ctx context.Context, from, to storage.Store) (d6tpipe.MirrorRun, error) {
	_, report, extra, err := d6tpipe.StorageMirror{
		From: mirror.Limited(from, mirror.NewRate(r.Settings.Rate), r.rate), Source: r.From.Storage,
		To: mirror.Limited(to), Target: r.To.Storage,
		State: r.memory.State(), Progress: r.progress, Workers: mirror.Workers(r.Settings.Rate, r.config.MirrorRate/int64(r.config.Mirrors)),
	}.Run(ctx, r.options)
	return mirror.Result(report, extra), err
}

// progress ends a run whose turn is over when it has a whole file more than before: where
// a file goes in one piece, it would begin anew else, for ever.
func (r *mirroring) progress(e transfer.Event) {
	if e.Kind == transfer.Done && r.turn.Load() {
		r.stop(errMirrorTurn)
	}
}

// open opens an end. Its credentials are looked up again when they run out: a run may
// take longer than keys are good for.
func (r *mirroring) open(ctx context.Context, w repo.Whereabouts, end func(repo.Mirror) repo.Whereabouts) (storage.Store, error) {
	where, connect, err := r.reach(ctx, w)
	if err != nil {
		return nil, err
	}
	return where.OpenRenewing(d6tpipe.OpenOptions{Dial: connect}, expiryOf(w), func(ctx context.Context) (d6tpipe.Storage, time.Time, error) {
		m, err := r.repo.Mirror(ctx, r.ID)
		if err != nil {
			return d6tpipe.Storage{}, time.Time{}, err
		}
		w := end(m)
		where, _, err := r.reach(ctx, w)
		return where, expiryOf(w), err
	})
}

// expiryOf is until when credentials are used that were got just now; zero when nobody
// knows.
func expiryOf(w repo.Whereabouts) time.Time {
	if !w.Managed {
		return time.Time{}
	}
	return time.Now().Add(min(mirrorKeys, gateway.DefaultTTL))
}

// watch ends the run when its owner may not do it any more, or when the mirror is not
// what it was. Now and then it keeps what the mirror remembers.
func (r *mirroring) watch(ctx context.Context, stop context.CancelCauseFunc) {
	tick := time.NewTicker(r.config.mirrorCheck)
	defer tick.Stop()
	began := time.Now()
	for saved := began; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := r.stillGood(ctx); err != nil {
			stop(err)
			return
		}
		if time.Since(began) >= r.config.mirrorTurn {
			r.turn.Store(true)
			if r.parts.Load() {
				stop(errMirrorTurn)
				return
			}
		}
		if time.Since(saved) >= mirrorSave {
			r.save(ctx)
			saved = time.Now()
		}
	}
}

// stillGood returns why the run has to end.
func (r *mirroring) stillGood(ctx context.Context) error {
	now, err := r.repo.Mirror(ctx, r.ID)
	switch {
	case errors.Is(err, d6tpipe.ErrNotFound) && now.ID == "":
		return errMirrorGone
	case now.ID != "" && now.Revision != r.Revision && now.Settings.Paused:
		return errMirrorPaused
	case errors.Is(err, d6tpipe.ErrPermission), errors.Is(err, d6tpipe.ErrInvalid):
		return err
	case err != nil: // of the database: who holds the run finds out
		return nil
	case now.Revision != r.Revision:
		return errMirrorChanged
	case !samePlace(now.From, r.From), !samePlace(now.To, r.To):
		return errEndMoved
	}
	return nil
}

// samePlace reports whether two storages share their files, as their pipes show them.
func samePlace(a, b repo.Whereabouts) bool {
	placeA, errA := a.Place()
	placeB, errB := b.Place()
	return errA == nil && errB == nil && placeA == placeB && slices.Equal(a.Filters, b.Filters)
}

// end keeps what the run has learned, also when the server stops, and says that the
// target has changed.
func (r *mirroring) end(ctx context.Context, nothing bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	r.save(ctx)
	if !r.writes || nothing || r.Listed.View == "" {
		return
	}
	if _, err := r.scanner.Changed(ctx, r.Listed); err != nil {
		r.config.Log.Warn("the target of a mirror is not known to have changed", "mirror", r.ID, "error", err)
	}
}

// save keeps what the mirror remembers. Without it nothing is lost but time.
func (r *mirroring) save(ctx context.Context) {
	if err := r.memory.Save(ctx); err != nil && !errors.Is(err, mirror.ErrLost) && ctx.Err() == nil {
		r.config.Log.Warn("what a mirror remembers is on this server only", "mirror", r.ID, "error", err)
	}
}
