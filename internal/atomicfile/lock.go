package atomicfile

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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
	return LockTelling(ctx, path, func() {})
}

// LockTelling is [Lock] that calls held, once, when somebody else has the lock and is
// waited for.
func LockTelling(ctx context.Context, path string, held func()) (unlock func() error, err error) {
	lock := flock.New(lockName(path), flock.SetPermissions(0o600))
	err = ctx.Err()
	taken := false
	if err == nil {
		taken, err = lock.TryLock()
	}
	if err == nil && !taken {
		held()
		_, err = lock.TryLockContext(ctx, poll)
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return lock.Unlock, nil
}

const lockPrefix = ".d6tpipe-lock-"

// Locks returns the paths in folder dir of which somebody has taken the [Lock],
// whether or not it is still held. A folder that does not exist has none.
func Locks(dir string) (paths []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, ignoreMissing(err)
	}
	for _, e := range entries {
		if name, ok := strings.CutPrefix(e.Name(), lockPrefix); ok {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	return paths, nil
}

// RemoveLock removes the lock of a path of which nobody will take it again.
func RemoveLock(path string) error { return remove(lockName(path)) }

func lockName(path string) string {
	return filepath.Join(filepath.Dir(path), lockPrefix+filepath.Base(path))
}
