package transfer

import (
	"context"
	"sync"
)

// A turn goes from part to part of a file of which all are read from one stream, in
// order. Who has read a part hands the stream on, while the remote that the part goes
// to has still to answer.
type turn struct {
	mu     sync.Mutex
	at     int64         // where the part begins whose turn it is
	passed chan struct{} // is closed when that changes
}

func newTurn(at int64) *turn { return &turn{at: at, passed: make(chan struct{})} }

// wait waits for the turn of the part that begins at off.
func (t *turn) wait(ctx context.Context, off int64) error {
	for {
		t.mu.Lock()
		at, passed := t.at, t.passed
		t.mu.Unlock()
		if at == off {
			return nil
		}
		select {
		case <-passed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pass gives the turn to the part that begins at off.
func (t *turn) pass(off int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at = off
	close(t.passed)
	t.passed = make(chan struct{})
}
