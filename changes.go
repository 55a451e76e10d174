package d6tpipe

import (
	"context"
	"errors"
	"iter"
	"os"

	"github.com/d6t/d6tpipe-go/internal/glob"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// ChangesOptions say which changes to tell of, and to whom. The zero value tells the
// consumer "default" of all.
type ChangesOptions struct {
	// Consumer names who processes the changes: each has its own memory of what it
	// has acknowledged. Letters, digits and hyphens; "default" when empty.
	Consumer string
	// Include and Exclude are filters beside the pipe's own. What they leave out is
	// not acknowledged.
	Include, Exclude string
	// Force believes that everything is gone when the remote is empty.
	Force bool
	// Fresh looks at the storage itself, whatever a server knows of it.
	Fresh bool
	// Held is called, once, when another loop is the consumer, in this process or another
	// one, and is waited for; nil tells nobody.
	Held func()
}

// A Change is what became of one file of the remote since the consumer has
// acknowledged it.
type Change struct {
	Key  string     `json:"key"`
	Kind ChangeKind `json:"kind"`
	// File is the file as it is now; only its Key is set when it is gone.
	File File `json:"file"`
	// Before is the file as it was acknowledged; nil when it is new.
	Before *File `json:"before,omitempty"`
}

// A ChangeKind is what happened to a file.
type ChangeKind string

// The kinds of changes.
const (
	ChangeNew      ChangeKind = "new"
	ChangeModified ChangeKind = "modified"
	ChangeGone     ChangeKind = "gone"
)

// Changes goes through what is new, modified or gone on the remote since the
// consumer has acknowledged it, sorted by key, for programs that process what has
// arrived.
//
//	for c, err := range pipe.Changes(ctx, d6tpipe.ChangesOptions{}) {
//		if err != nil {
//			return err
//		}
//		if err := process(c); err != nil {
//			return err // c comes again
//		}
//	}
//
// A change is acknowledged when the loop asks for the next one. One at which the loop
// was left, by break, return or panic, comes again the next time; after a crash of
// the program, so do those of its last second, 64 at most. So each change is seen at
// least once.
//
// Where a server keeps a change feed of the pipe, it is asked what has changed since the
// last time, and the storage is not listed. What was changed on the storage past d6tpipe
// is seen as late as the server looks, after 30 seconds unless it was told otherwise;
// o.Fresh looks at the storage itself. Only the last state of a file is told, however
// often it has changed since.
//
// Nothing is pulled. A file is gone only when a complete listing lacks it, and when
// the remote is empty although files were known the error is [ErrRefused], unless
// o.Force is set. An error comes last; names that cannot be used are [ErrPartial],
// after all changes. Loops of one consumer wait for each other, also those of other
// processes, and o.Held is told.
func (p *Pipe) Changes(ctx context.Context, o ChangesOptions) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		left := false
		err := p.consume(ctx, o, 1, func(c *transfer.Consumer) error {
			w := watching{pipe: p, consumer: c, fresh: o.Fresh, feed: p.feed(false), yield: single(yield)}
			_, err := w.round(ctx, 0)
			left = w.left
			return err
		})
		if err != nil && !left {
			yield(Change{}, err)
		}
	}
}

// single hands on changes one at a time.
func single(yield func(Change, error) bool) func([]transfer.Change) bool {
	return func(batch []transfer.Change) bool { return yield(newChange(batch[0]), nil) }
}

// consume lets do work as the consumer, who is told of a number of changes at a time.
func (p *Pipe) consume(ctx context.Context, o ChangesOptions, batch int, do func(*transfer.Consumer) error) (err error) {
	opt, err := o.options()
	if err == nil {
		opt.Batch = batch
		err = p.asConsumer(ctx, opt, do)
	}
	return p.explain(changesOp, err)
}

const changesOp = "look for changes of"

func (p *Pipe) asConsumer(ctx context.Context, opt transfer.ChangesOptions, do func(*transfer.Consumer) error) (err error) {
	if err := os.MkdirAll(p.state, 0o700); err != nil {
		return err
	}
	c, err := transfer.OpenConsumer(ctx, p.state, opt)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }() // also when the loop panics
	return do(c)
}

func (o ChangesOptions) options() (transfer.ChangesOptions, error) {
	if o.Consumer == "" {
		o.Consumer = "default"
	}
	out := transfer.ChangesOptions{Consumer: o.Consumer, Match: glob.Filter(o.Include, o.Exclude), Force: o.Force, Held: o.Held}
	if o.Include != "" || o.Exclude != "" {
		raw, err := encodeJSON([]string{o.Include, o.Exclude})
		if err != nil {
			return out, err
		}
		out.Filter = string(raw)
	}
	return out, checkName("consumer", o.Consumer)
}

func newChange(c transfer.Change) Change {
	out := Change{Key: c.Key, Kind: ChangeKind(c.Kind), File: File{Key: c.Key, Size: c.Object.Size, ModTime: c.Object.ModTime, Tag: c.Object.Tag}}
	if c.Before.Key != "" {
		out.Before = &File{Key: c.Key, Size: c.Before.Size, ModTime: c.Before.RemoteTime.Time(), Tag: c.Before.Tag}
	}
	return out
}
