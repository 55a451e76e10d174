package ftp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// idleLong is after how long an idle connection is asked whether it is alive: what
// lies on the way may have forgotten it without a word.
const idleLong = 20 * time.Second

// shrunkFor is how long a server's word that there are too many connections counts.
const shrunkFor = 5 * time.Minute

var errClosed = fmt.Errorf("ftp: %w", fs.ErrClosed)

// A pool keeps connections open. It grows as they are asked for, up to what the
// server bears.
type pool struct {
	dial func(context.Context) (*conn, error)
	most int

	born  time.Time
	moved atomic.Int64 // nanoseconds after born: when any connection last moved a byte

	mu      sync.Mutex
	idle    []*conn
	lent    map[*conn]struct{}
	open    int // idle, lent, and being dialled
	limit   int // most, or fewer when the server has had enough
	shrunk  time.Time
	waiting []chan *conn // first come, first served; nil means: try again
	proven  bool         // the credentials were good once
	closed  bool
}

func newPool(most int, dial func(context.Context) (*conn, error)) *pool {
	return &pool{dial: dial, most: most, limit: most, lent: map[*conn]struct{}{}, born: time.Now()}
}

func (p *pool) noteMove()           { p.moved.Store(int64(time.Since(p.born))) }
func (p *pool) lastMove() time.Time { return p.born.Add(time.Duration(p.moved.Load())) }

// get returns a connection, which put takes back. A fresh one has not been used
// before.
func (p *pool) get(ctx context.Context, fresh bool) (*conn, error) {
	for {
		c, wait, err := p.next(ctx, fresh)
		switch {
		case err != nil:
			return nil, err
		case wait != nil:
			if c, err = p.wait(ctx, wait); err != nil {
				return nil, err
			}
		case c == nil:
			if c, err = p.grow(ctx); err != nil {
				return nil, err
			}
		}
		if c == nil {
			continue
		}
		if (!fresh || !c.reused) && c.alive(ctx) {
			return c, nil
		}
		c.kill()
		p.put(c)
	}
}

// next returns an idle connection, or what to wait for, or neither when there is
// room for a new one.
func (p *pool) next(ctx context.Context, fresh bool) (*conn, chan *conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, errClosed
	}
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		if !fresh {
			p.lent[c] = struct{}{}
			return c, nil, nil
		}
		c.kill()
		return nil, nil, nil // the new one takes its place
	}
	if time.Since(p.shrunk) > shrunkFor {
		p.limit = p.most
	}
	if p.open < p.limit {
		p.open++
		return nil, nil, nil
	}
	wait := make(chan *conn, 1)
	p.waiting = append(p.waiting, wait)
	return nil, wait, nil
}

func (p *pool) wait(ctx context.Context, wait chan *conn) (*conn, error) {
	defer storage.Queue(ctx, p.lastMove)()
	select {
	case c := <-wait:
		return c, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	p.waiting = slices.DeleteFunc(p.waiting, func(w chan *conn) bool { return w == wait })
	p.mu.Unlock()
	select {
	case c := <-wait: // it came too late
		if c != nil {
			p.put(c)
		} else {
			p.wake()
		}
	default:
	}
	return nil, ctx.Err()
}

// grow dials. When the server has too many connections, it returns nil: one of
// those that are open will become free.
func (p *pool) grow(ctx context.Context) (*conn, error) {
	c, err := p.dial(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil && !p.closed {
		p.lent[c] = struct{}{}
		p.proven = true
		return c, nil
	}
	p.open--
	switch {
	case err == nil:
		c.kill()
		return nil, errClosed
	case p.open > 0 && ctx.Err() == nil && p.crowded(err):
		p.limit, p.shrunk = p.open, time.Now()
		return nil, nil
	}
	p.handOver(nil)
	return nil, err
}

// crowded reports whether the server may let in another connection once one has
// gone. Some say so with the code of a wrong password, which it cannot be.
func (p *pool) crowded(err error) bool {
	var e *replyError
	return errors.As(err, &e) && (e.code == 421 || e.code == 530 && p.proven)
}

// put takes a connection back, and forgets one that is not good any more.
func (p *pool) put(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.lent, c)
	if p.closed || !c.healthy() {
		c.kill()
		p.open--
		p.handOver(nil)
		return
	}
	c.rest()
	p.handOver(c)
}

// handOver gives c, or room for one, to who waits longest.
func (p *pool) handOver(c *conn) {
	if len(p.waiting) == 0 {
		if c != nil {
			p.idle = append(p.idle, c)
		}
		return
	}
	wait := p.waiting[0]
	p.waiting = p.waiting[1:]
	if c != nil {
		p.lent[c] = struct{}{}
	}
	wait <- c
}

func (p *pool) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handOver(nil)
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.idle {
		c.quit()
	}
	for c := range p.lent {
		c.kill()
	}
	p.idle = nil
	for len(p.waiting) > 0 {
		p.handOver(nil)
	}
}
