package atomicfile

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

// poll is how often a lock is tried that somebody else holds.
const poll = 3 * time.Millisecond

// Lock waits until no other process, and nobody else in this one, holds the lock
// of path and takes it. The lock is advisory and dies with the process. Network
// file systems may not have locks at all, so what must not be lost is written
// with [Swap] besides.
func Lock(ctx context.Context, path string) (unlock func() error, err error) {
	name := filepath.Join(filepath.Dir(path), ".d6tpipe-lock-"+filepath.Base(path))
	lock := flock.New(name, flock.SetPermissions(0o600))
	if _, err := lock.TryLockContext(ctx, poll); err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return lock.Unlock, nil
}
