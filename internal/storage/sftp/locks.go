package sftp

import (
	"context"
	"sync"
)

// locks hold one name each, so that the callers of one Store do not overwrite each
// other between the check of a condition and the rename. The zero value is ready.
type locks struct {
	mu   sync.Mutex
	held map[string]chan struct{} // closed when the name is free
}

func (l *locks) lock(ctx context.Context, name string) (unlock func(), err error) {
	for {
		wait := l.try(name)
		if wait == nil {
			return func() { l.unlock(name) }, nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// try takes the name, or returns what to wait for.
func (l *locks) try(name string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if held, ok := l.held[name]; ok {
		return held
	}
	if l.held == nil {
		l.held = map[string]chan struct{}{}
	}
	l.held[name] = make(chan struct{})
	return nil
}

func (l *locks) unlock(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.held[name])
	delete(l.held, name)
}
