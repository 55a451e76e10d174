package remotefs

import (
	"container/list"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// maxLoads is how many blocks are on their way at a time.
const maxLoads = 8

// A cache holds blocks of objects, the most recently used ones.
type cache struct {
	ctx   context.Context // in which blocks are loaded
	block int64
	most  int64 // bytes
	slots chan struct{}

	mu     sync.Mutex
	blocks map[blockID]*block
	used   list.List // of *block that are loaded or on their way, the latest first
	bytes  int64     // of those
	closed bool
	group  sync.WaitGroup
}

// A blockID is a block of one version of an object.
type blockID struct {
	key, tag    string
	size, index int64
}

func idOf(obj storage.Object, index int64) blockID {
	tag := obj.Tag
	if tag == "" {
		tag = obj.ModTime.String()
	}
	return blockID{obj.Key, tag, obj.Size, index}
}

// A block is loaded when done is closed; then nothing of it changes any more.
type block struct {
	id   blockID
	cost int64
	at   *list.Element // nil when it is not in the cache any more
	done chan struct{}
	data []byte
	sum  string // that the remote vouches for, of the whole object
	err  error
}

func newCache(ctx context.Context, size, most int64) *cache {
	loads := min(maxLoads, most/size)
	return &cache{ctx: ctx, block: size, most: most, slots: make(chan struct{}, loads), blocks: map[blockID]*block{}}
}

// get returns a block that is there already, or begins to load it.
func (c *cache) get(store storage.Store, obj storage.Object, index int64) *block {
	id := idOf(obj, index)
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := c.blocks[id]; b != nil {
		c.used.MoveToFront(b.at)
		return b
	}
	b := &block{id: id, cost: min(c.block, obj.Size-index*c.block), done: make(chan struct{})}
	if c.closed {
		b.err = context.Canceled
		close(b.done)
		return b
	}
	c.blocks[id], b.at = b, c.used.PushFront(b)
	c.bytes += b.cost
	c.evict()
	c.group.Go(func() {
		b.data, b.sum, b.err = c.load(store, obj, index)
		c.mu.Lock()
		defer c.mu.Unlock()
		close(b.done)
		if b.err != nil {
			c.forget(b) // the next who wants it may have more luck
		}
		c.evict()
	})
	return b
}

// evict makes room of the blocks that nobody has used for longest. What is on its
// way counts, and stays.
func (c *cache) evict() {
	for at := c.used.Back(); at != nil && c.bytes > c.most; {
		b := at.Value.(*block)
		at = at.Prev()
		select {
		case <-b.done:
			c.forget(b)
		default:
		}
	}
}

func (c *cache) forget(b *block) {
	if b.at != nil {
		c.used.Remove(b.at)
		delete(c.blocks, b.id)
		c.bytes -= b.cost
		b.at = nil
	}
}

// drop forgets all blocks of an object.
func (c *cache) drop(obj storage.Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, b := range c.blocks { // not one by one: the size is what the remote claims
		if id == idOf(obj, id.index) {
			c.forget(b)
		}
	}
}

// load reads a block to its last byte. It also returns the sum that the remote
// vouches for, of the whole object.
func (c *cache) load(store storage.Store, obj storage.Object, index int64) ([]byte, string, error) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-c.ctx.Done():
		return nil, "", c.ctx.Err()
	}
	off := index * c.block
	size := min(c.block, obj.Size-off)
	r, err := store.Open(c.ctx, obj, off, size)
	if err != nil {
		return nil, "", err
	}
	defer r.Close()
	data := make([]byte, size)
	if n, err := io.ReadFull(r, data); err != nil {
		return nil, "", short(err, int64(n), size)
	}
	if n, err := io.ReadFull(r, make([]byte, 1)); err != io.EOF {
		return nil, "", short(err, size+int64(n), size)
	}
	return data, storage.SumOf(r), c.same(store, obj)
}

// same checks of an object that has no tag, as far as one can, that it is still
// the one that was listed. Some answers round times to seconds.
func (c *cache) same(store storage.Store, obj storage.Object) error {
	if obj.Tag != "" {
		return nil
	}
	now, err := store.Stat(c.ctx, obj.Key)
	if err == nil && (now.Size != obj.Size || now.ModTime.Sub(obj.ModTime).Abs() >= time.Second) {
		err = storage.ErrChanged
	}
	return err
}

// short says that a remote sent another number of bytes than was asked for.
func short(err error, got, want int64) error {
	switch err {
	case nil, io.EOF, io.ErrUnexpectedEOF:
		return fmt.Errorf("%w: the remote sent %d bytes of %d", io.ErrUnexpectedEOF, got, want)
	}
	return err
}

// wait returns the bytes of a block.
func (c *cache) wait(b *block) ([]byte, error) {
	select {
	case <-b.done:
		return b.data, b.err
	case <-c.ctx.Done():
		return nil, c.ctx.Err()
	}
}

// close drops everything. The context has ended, and with it the loads.
func (c *cache) close() {
	c.mu.Lock()
	c.closed = true
	clear(c.blocks)
	c.used.Init()
	c.bytes = 0
	c.mu.Unlock()
	c.group.Wait()
}
