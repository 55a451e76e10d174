package transfer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/d6t/d6tpipe-go/internal/atomicfile"
)

// ackBatch is how many acknowledgements are written down at a time, at most: as many
// come again after a crash.
const ackBatch = 64

// A Consumer is who processes changes of a remote. These lie in the state folder:
//
//   - changes-NAME: the files as they were acknowledged, in the form of a manifest
//   - changes-NAME.place: which remote they are of
//   - changes-NAME.feed: the place in a feed up to which all is acknowledged
//
// The first is what counts. The place only says where to go on reading: for each key
// that its filter lets through, the consumer remembers what the feed had told when it got
// there, or something later. It is written after the acknowledgements, so that a crash
// makes a consumer read again what it knows.
type Consumer struct {
	opt    ChangesOptions
	m      *manifest
	w      *writer
	unlock func()
	inFeed feedPlace

	newer   map[string]Entry // acknowledged since w was made; one without Synced is gone
	records int              // written since then
	batch   []Entry          // acknowledged, and not written yet
	last    time.Time        // when something was written
	left    bool             // the loop was left: nothing is to be heard of what failed afterwards
}

// OpenConsumer waits until nobody else is the consumer, and loads its memory. The
// context is only for the wait.
func OpenConsumer(ctx context.Context, state string, opt ChangesOptions) (*Consumer, error) {
	opt.Batch = max(opt.Batch, 1)
	c := &Consumer{opt: opt, m: newManifest(filepath.Join(state, "changes-"+opt.Consumer)), last: time.Now()}
	held := opt.Held
	if held == nil {
		held = func() {}
	}
	var err error
	if c.unlock, err = c.m.lockTelling(ctx, held); err != nil {
		return nil, err
	}
	if err := c.open(); err != nil {
		c.unlock()
		return nil, err
	}
	c.inFeed = c.lastPlace()
	return c, nil
}

func (c *Consumer) open() (err error) {
	c.newer, c.records = map[string]Entry{}, 0
	c.w, err = c.m.writer()
	return err
}

// ready opens the memory again after something had failed.
func (c *Consumer) ready() error {
	if c.w != nil {
		return nil
	}
	return c.open()
}

// Close writes down what was acknowledged, and lets others be the consumer.
func (c *Consumer) Close() error {
	defer c.unlock()
	failed := c.flush()
	if c.w != nil {
		failed = errors.Join(failed, c.w.close())
	}
	if c.left { // who has left the loop hears nothing more, and sees the changes again
		return nil
	}
	return failed
}

// at starts over when what is remembered is of another remote.
func (c *Consumer) at(place string) error {
	if err := c.ready(); err != nil {
		return err
	}
	name := c.m.path + ".place"
	last, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && string(last) == place {
		return nil
	}
	err = errors.Join(c.flush(), c.forgetPlace(), c.w.close())
	if c.w = nil; err == nil {
		err = c.m.reset()
	}
	if err != nil {
		return err
	}
	if err := c.open(); err != nil {
		return err
	}
	return atomicfile.Write(name, []byte(place), 0o600)
}

// find returns what was acknowledged of a key.
func (c *Consumer) find(key string) (Entry, bool) {
	if e, ok := c.newer[key]; ok {
		return e, e.Synced != 0
	}
	return c.w.find(key)
}

// entries are all that was acknowledged, sorted by key.
func (c *Consumer) entries() []Entry {
	if len(c.newer) == 0 {
		return c.w.entries
	}
	all := slices.DeleteFunc(slices.Clone(c.w.entries), func(e Entry) bool {
		_, ok := c.newer[e.Key]
		return ok
	})
	for _, e := range c.newer {
		if e.Synced != 0 {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	return all
}

// acknowledge remembers a change that the consumer is done with.
func (c *Consumer) acknowledge(e Entry) error {
	c.newer[e.Key] = e
	c.batch = append(c.batch, e)
	if len(c.batch) < ackBatch && time.Since(c.last) < batchTime {
		return nil
	}
	return c.flush()
}

func (c *Consumer) flush() error {
	batch := c.batch
	c.batch, c.last = nil, time.Now()
	if c.w == nil {
		return nil
	}
	c.records += len(batch)
	return c.w.append(batch)
}

// tidy writes down what was acknowledged, and keeps the file of a consumer that goes on
// for ever from growing for ever.
func (c *Consumer) tidy() error {
	if err := c.flush(); err != nil {
		return err
	}
	if c.records <= len(c.w.entries)/2+1000 {
		return nil
	}
	err := c.w.close()
	c.w = nil
	if err != nil {
		return err
	}
	return c.open()
}

// telling tells the consumer of changes.
func (c *Consumer) telling(ctx context.Context, yield func([]Change) bool) *telling {
	return &telling{c: c, ctx: ctx, yield: yield}
}

// A telling hands changes to a loop, some at a time, and acknowledges those that the
// loop is done with.
type telling struct {
	c     *Consumer
	ctx   context.Context
	yield func([]Change) bool
	batch []Change
}

// add hands on a change, when there are enough of them. It is false when the loop was
// left.
func (t *telling) add(change Change) (on bool, err error) {
	if t.batch = append(t.batch, change); len(t.batch) < t.c.opt.Batch {
		return true, nil
	}
	return t.hand()
}

// end hands on what is left, and writes the acknowledgements down.
func (t *telling) end() (on bool, err error) {
	if on, err := t.hand(); !on || err != nil {
		return on, err
	}
	return true, t.c.tidy()
}

func (t *telling) hand() (on bool, err error) {
	batch := t.batch
	t.batch = nil
	if len(batch) == 0 {
		return true, nil
	}
	if err := t.ctx.Err(); err != nil {
		return true, err
	}
	t.c.left = true
	if !t.yield(batch) {
		return false, nil
	}
	t.c.left = false
	for _, change := range batch {
		if err := t.c.acknowledge(change.acknowledge()); err != nil {
			return true, err
		}
	}
	return true, nil
}

// A feedPlace is where a consumer goes on reading.
type feedPlace struct {
	Feed   string `json:"feed"`   // whose
	Filter string `json:"filter"` // of the keys for which it is good
	Cursor string `json:"cursor"`
}

func (c *Consumer) placeName() string { return c.m.path + ".feed" }

// lastPlace returns the place, an empty one when there is none that can be used.
func (c *Consumer) lastPlace() (p feedPlace) {
	raw, err := os.ReadFile(c.placeName())
	if err != nil || json.Unmarshal(raw, &p) != nil || p.Filter != c.opt.Filter {
		return feedPlace{}
	}
	return p
}

// keepPlace remembers a place up to which all was acknowledged.
func (c *Consumer) keepPlace(feed, cursor string) error {
	p := feedPlace{Feed: feed, Filter: c.opt.Filter, Cursor: cursor}
	if p == c.inFeed {
		return nil
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(c.placeName(), raw, 0o600); err != nil {
		return err
	}
	c.inFeed = p
	return nil
}

// forgetPlace makes sure that nobody goes on from the place.
func (c *Consumer) forgetPlace() error {
	c.inFeed = feedPlace{}
	err := os.Remove(c.placeName())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = atomicfile.SyncDir(filepath.Dir(c.placeName()))
	}
	return err
}

// guard refuses to say that everything is gone.
func (c *Consumer) guard(match func(string) bool, pending map[string]Change) error {
	knew, left := 0, 0
	if !slices.ContainsFunc(slices.Collect(maps.Values(pending)), func(change Change) bool { return change.Kind == ChangeGone }) {
		return nil
	}
	for _, e := range c.entries() {
		knew += one(match(e.Key))
	}
	left = knew
	for _, change := range pending {
		switch change.Kind {
		case ChangeGone:
			left--
		case ChangeNew:
			left++
		}
	}
	return refuseNone(knew, left, c.opt.Force)
}

// sorted returns changes by their keys.
func sorted(pending map[string]Change) []Change {
	return slices.SortedFunc(maps.Values(pending), func(a, b Change) int { return cmp.Compare(a.Key, b.Key) })
}
