package conform

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// A Remote is what [Run] checks.
type Remote struct {
	// Open connects to it. It is called once, and once more for each case that
	// must close its store.
	Open func(ctx context.Context) (storage.Store, error)
	// Dir is the scratch folder, in which there must be nothing. It is made, and
	// goes away again with what lies in it where the remote has no empty folders.
	// In a run that only reads it is the folder to look at.
	Dir string
	// ReadOnly says to check only what can be checked without writing.
	ReadOnly bool
	// Progress, when set, is told of each case as it ends.
	Progress func(Result)
}

// A Report is what a run came to.
type Report struct {
	Results []Result
	Found   Capabilities
	// Left are the keys, Dir and all, that are still there and should not be.
	Left     []string
	Duration time.Duration
}

// cleanTime is how long a run may take to clean up behind itself after its context
// has ended.
const cleanTime = 30 * time.Second

// Run runs all cases on a remote, one after the other, each in a folder of its own
// below r.Dir, and removes what they put there, also when they fail or ctx ends;
// it removes nothing that it did not put there itself. An error means that the
// report is not complete: the remote could not be opened or listed, a case hangs,
// or ctx has ended. That cases have failed, or that something was left behind, is
// no error.
func Run(ctx context.Context, r Remote, o Options) (report Report, err error) {
	start := time.Now()
	store, err := r.Open(ctx)
	if err != nil {
		return report, err
	}
	run := &run{remote: r, opts: o, log: newLog(), report: &report}
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTime)
		defer cancel()
		if !r.ReadOnly && !errors.Is(err, errNotEmpty) {
			report.Left = run.clean(clean, store)
		}
		report.Duration = time.Since(start)
		err = errors.Join(err, store.Close())
	}()
	if err := run.begin(ctx, store); err != nil {
		return report, err
	}
	err = run.all(ctx, store)
	run.log.mu.Lock()
	defer run.log.mu.Unlock()
	if !errors.Is(err, errHangs) { // what hangs may write to it
		report.Found = run.found
		report.Found.TimeResolution = run.log.unit
	}
	return report, err
}

type run struct {
	remote  Remote
	opts    Options
	log     *log
	found   Capabilities
	objects []storage.Object
	report  *Report
}

var errNotEmpty = errors.New("the scratch folder is not empty")

// begin lists once, so that what is wrong with the remote as a whole is told once.
func (r *run) begin(ctx context.Context, store storage.Store) error {
	folder, err := storage.Prefix(store, r.remote.Dir)
	if err != nil {
		return err
	}
	l, err := storage.Collect(ctx, folder, "")
	if err == nil && !r.remote.ReadOnly && len(l.Objects())+len(l.Refused) > 0 {
		err = fmt.Errorf("%w: %s", errNotEmpty, r.remote.Dir)
	}
	return err
}

func (r *run) all(ctx context.Context, store storage.Store) error {
	cases := Cases()
	if r.remote.ReadOnly {
		cases = ReadOnlyCases()
	}
	for i, c := range cases {
		if err := ctx.Err(); err != nil {
			return err
		}
		result, err := r.one(ctx, c, i, store)
		if ctx.Err() != nil && !errors.Is(err, errHangs) {
			return ctx.Err() // and it may be why the case has failed
		}
		r.report.Results = append(r.report.Results, result)
		if r.remote.Progress != nil {
			r.remote.Progress(result)
		}
		if err != nil {
			return fmt.Errorf("case %s: %w", c.Name, err)
		}
	}
	return nil
}

// one runs a case in its folder and removes what it put there.
func (r *run) one(ctx context.Context, c Case, number int, store storage.Store) (result Result, err error) {
	if c.closes {
		if store, err = r.remote.Open(ctx); err != nil {
			return Result{Case: c.Name, Outcome: Failed, Reason: fmt.Sprintf("the remote opens no second time: %v", err), Err: err}, nil
		}
	}
	dir := r.remote.Dir
	if !r.remote.ReadOnly {
		dir = path.Join(dir, fmt.Sprintf("%02d", number))
	}
	folder, err := storage.Prefix(&tracked{store, r.log}, dir)
	if err != nil {
		return Result{}, err
	}
	result, err = c.try(ctx, folder, r.opts, &shared{&r.found, &r.objects, len(dir) + 1})
	if err == nil && c.closes {
		_ = store.Close() // that it can be closed again is what the case is about
	}
	return result, err
}

// clean removes what the cases put and returns what is left.
func (r *run) clean(ctx context.Context, store storage.Store) (left []string) {
	left = r.log.remove(ctx, store)
	folder, err := storage.Prefix(store, r.remote.Dir)
	if err != nil {
		return left
	}
	for obj, err := range folder.List(ctx, "") {
		if err != nil {
			return left
		}
		left = append(left, path.Join(r.remote.Dir, obj.Key))
	}
	return sortedSet(left)
}
