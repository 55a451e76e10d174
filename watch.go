package d6tpipe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// WatchOptions say what to watch for, and how. The zero value tells the consumer
// "default" of all changes, for ever.
type WatchOptions struct {
	ChangesOptions
	// Interval is how often the storage is looked at where no server keeps a change
	// feed; a minute.
	Interval time.Duration
	// Once ends after what there is now, as [Pipe.Changes] does.
	Once bool
	// Trouble is told of errors after which the watch goes on, and when; nil tells nobody.
	Trouble func(err error, again time.Duration)
}

const (
	defaultInterval = time.Minute
	feedWait        = 30 * time.Second // for which a server holds an answer back
	minRound        = time.Second      // of a server that answers at once with nothing
	maxBatch        = 1000
	firstPause      = time.Second
	longestPause    = time.Minute
)

// Watch is [Pipe.Changes] for ever: it yields changes as they come.
//
//	for c, err := range pipe.Watch(ctx, d6tpipe.WatchOptions{}) {
//		if err != nil {
//			return err
//		}
//		if err := process(c); err != nil {
//			return err // c comes again
//		}
//	}
//
// A server's change feed tells within a moment what the server knows, and a server that
// cannot be reached is tried again, less and less often; so is a storage. Without a feed,
// the storage is looked at each o.Interval. The end of ctx ends the loop, and is no error.
// What does not pass by itself ends it with the error: the pipe is gone, or not the
// caller's any more ([ErrNotFound], [ErrPermission], [ErrUnauthorized]), or all files are
// ([ErrRefused], see [ChangesOptions]). Names that cannot be used do not, and o.Trouble
// is told, once as long as they are the same, or as many where a server tells of them.
//
// Changes of one look are sorted by key. Nobody else is the consumer meanwhile: a second
// loop waits until the first one has ended, and its o.Held is told.
func (p *Pipe) Watch(ctx context.Context, o WatchOptions) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		if left, err := p.watch(ctx, o, 1, single(yield)); err != nil && !left {
			yield(Change{}, err)
		}
	}
}

// WatchBatches is [Pipe.Watch] with the changes that came together in one slice, 1,000 at
// most. All of them are acknowledged when the loop asks for the next ones, and none when
// it is left.
func (p *Pipe) WatchBatches(ctx context.Context, o WatchOptions) iter.Seq2[[]Change, error] {
	return func(yield func([]Change, error) bool) {
		left, err := p.watch(ctx, o, maxBatch, func(batch []transfer.Change) bool {
			changes := make([]Change, len(batch))
			for i, c := range batch {
				changes[i] = newChange(c)
			}
			return yield(changes, nil)
		})
		if err != nil && !left {
			yield(nil, err)
		}
	}
}

func (p *Pipe) watch(ctx context.Context, o WatchOptions, batch int, yield func([]transfer.Change) bool) (left bool, err error) {
	w := watching{pipe: p, fresh: o.Fresh, feed: p.feed(!o.Once), yield: yield}
	err = p.consume(ctx, o.ChangesOptions, batch, func(c *transfer.Consumer) error {
		w.consumer = c
		if o.Once {
			_, err := w.round(ctx, 0)
			return err
		}
		return w.forever(ctx, o)
	})
	if !o.Once && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil
	}
	return w.left, err
}

// watching is a consumer at work.
type watching struct {
	pipe     *Pipe
	consumer *transfer.Consumer
	feed     *pipeFeed // nil when there is none
	fresh    bool      // do not go by it
	yield    func([]transfer.Change) bool
	left     bool   // the loop was left
	told     bool   // the last round told of something
	partial  string // what the last round said of names that cannot be used
}

// isNews reports whether the watcher is to be told of what a round ended with. Names that
// cannot be used are there in each round, and are told of when they are others.
func (w *watching) isNews(err error) bool {
	was := w.partial
	w.partial = ""
	if errors.Is(err, ErrPartial) || errors.Is(err, transfer.ErrPartial) {
		w.partial = err.Error()
	}
	return err != nil && (w.partial == "" || w.partial != was)
}

// round tells of what has changed, and waits for something if there is a feed to wait
// for. It reports whether a feed was gone by.
func (w *watching) round(ctx context.Context, wait time.Duration) (fed bool, err error) {
	w.told = false
	yield := func(batch []transfer.Change) bool {
		w.told = true
		return w.yield(batch)
	}
	if w.feed != nil && !w.fresh {
		w.left, err = w.consumer.Follow(ctx, w.feed, wait, yield)
		if errors.Is(err, transfer.ErrNoCursor) {
			w.left, err = w.begin(ctx, yield)
		}
		if !errors.Is(err, errNoFeed) {
			return true, w.leftOut(err)
		}
	}
	return false, w.look(ctx, yield)
}

// leftOut is the error of a round that went by the feed, which goes on without names that
// cannot be used, and counts them.
func (w *watching) leftOut(err error) error {
	if n := w.feed.refused; n > 0 && !w.left && (err == nil || errors.Is(err, transfer.ErrPartial)) {
		return fmt.Errorf("%w: names of the remote that cannot be used, and are left out: %d", ErrPartial, n)
	}
	return err
}

// begin compares with the server's listing, from which on the feed can be followed.
func (w *watching) begin(ctx context.Context, yield func([]transfer.Change) bool) (left bool, err error) {
	start, err := w.feed.start(ctx, w.consumer.Knows())
	if err != nil {
		return false, err
	}
	return w.consumer.Begin(ctx, w.feed, start, yield)
}

// look compares with the storage itself.
func (w *watching) look(ctx context.Context, yield func([]transfer.Change) bool) error {
	s, closeAll, err := w.pipe.open(ctx, RoleRead)
	if err != nil {
		return err
	}
	w.left, err = s.CompareWith(ctx, w.consumer, yield)
	return errors.Join(err, closeAll())
}

// forever makes rounds until the loop is left, ctx ends or something does not pass.
func (w *watching) forever(ctx context.Context, o WatchOptions) error {
	if o.Interval <= 0 {
		o.Interval = defaultInterval
	}
	failures := 0
	for {
		began := time.Now()
		fed, err := w.round(ctx, feedWait)
		var pause time.Duration
		switch {
		case w.left || ctx.Err() != nil:
			return err
		case err != nil && !goesOn(err):
			return err
		case err != nil && !errors.Is(err, ErrPartial) && !errors.Is(err, transfer.ErrPartial):
			failures++
			pause = backoff(failures, err)
		case !fed:
			failures, pause = 0, o.Interval
		default:
			failures = 0
			if !w.told {
				pause = max(0, minRound-time.Since(began))
			}
		}
		if o.Trouble != nil && w.isNews(err) {
			o.Trouble(w.pipe.explain(changesOp, err), pause)
		}
		if sleep(ctx, pause) != nil {
			return nil
		}
	}
}

// goesOn reports whether a watch goes on after an error.
func goesOn(err error) bool {
	err = withKind(err)
	return passes(err) || errors.Is(err, ErrPartial)
}

// backoff is the pause after so many failures in a row: what the server asks for, or
// longer each time.
func backoff(failures int, err error) time.Duration {
	pause := min(firstPause<<min(failures-1, 10), longestPause)
	pause = pause/2 + rand.N(pause/2)
	var asks interface{ RetryAfter() time.Duration }
	if errors.As(err, &asks) {
		pause = cmp.Or(min(asks.RetryAfter(), longestPause), pause)
	}
	return pause
}
