package sftp

import (
	"context"
	"slices"
	"sync"
	"time"
)

// busy is how many calls share a connection before another one is opened: each is
// a process on the server, and a core of either side for its cipher.
const busy = 3

// restTime is how long no further connection is tried after one was refused while
// others work.
const restTime = time.Minute

// pool keeps the connections of a Store. It opens them when they are needed, one
// at a time: sshd turns away those who knock too often at once (MaxStartups).
type pool struct {
	most int
	dial func(context.Context) (*conn, error)

	wg sync.WaitGroup // attempts

	mu     sync.Mutex
	conns  []*conn
	trying *attempt
	rest   time.Time // until then no further connection
	closed bool
}

// attempt is a connection that is being opened.
type attempt struct {
	done    chan struct{}
	cancel  context.CancelFunc
	waiting int  // calls; when the last one leaves, the attempt ends
	extra   bool // it is a further connection that nobody waits for
	err     error
}

// get returns the connection that has least to do. The caller puts it back.
func (p *pool) get(ctx context.Context) (*conn, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c, a, err := p.pick()
		if c != nil || err != nil {
			return c, err
		}
		select {
		case <-a.done:
		case <-ctx.Done():
		}
		if err := p.leave(a); err != nil && ctx.Err() == nil {
			return nil, err
		}
	}
}

func (p *pool) put(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.inUse--
}

// pick returns a connection, or an attempt to wait for.
func (p *pool) pick() (*conn, *attempt, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, errClosed
	}
	p.conns = slices.DeleteFunc(p.conns, (*conn).dead)
	if len(p.conns) == 0 {
		if p.trying == nil {
			p.try(false)
		}
		p.trying.waiting++
		return nil, p.trying, nil
	}
	c := slices.MinFunc(p.conns, func(a, b *conn) int { return a.inUse - b.inUse })
	if c.inUse >= busy && len(p.conns) < p.most && p.trying == nil && time.Now().After(p.rest) {
		p.try(true)
	}
	c.inUse++
	return c, nil, nil
}

// try begins an attempt; the caller holds the lock.
func (p *pool) try(extra bool) {
	ctx, cancel := context.WithCancel(context.Background())
	a := &attempt{done: make(chan struct{}), cancel: cancel, extra: extra}
	p.trying = a
	p.wg.Go(func() {
		defer cancel()
		c, err := p.dial(ctx)
		p.tried(a, c, err)
	})
}

func (p *pool) tried(a *attempt, c *conn, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer close(a.done)
	if a.err = err; p.trying == a {
		p.trying = nil
	}
	switch {
	case err != nil && a.extra:
		p.rest = time.Now().Add(restTime) // what there is must do
	case err == nil && p.closed:
		c.fail(errClosed)
	case err == nil:
		p.conns = append(p.conns, c)
	}
}

// leave ends the wait for an attempt, and returns why it failed.
func (p *pool) leave(a *attempt) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errClosed
	}
	select {
	case <-a.done:
		return a.err
	default:
	}
	if a.waiting--; a.waiting == 0 && !a.extra && p.trying == a {
		p.trying = nil // whoever comes now gets one that is not dying
		a.cancel()
	}
	return nil
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	conns := p.conns
	p.conns = nil
	if p.trying != nil {
		p.trying.cancel()
	}
	p.mu.Unlock()
	p.wg.Wait()
	for _, c := range conns {
		c.close(errClosed)
	}
}
