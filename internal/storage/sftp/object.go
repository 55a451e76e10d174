package sftp

import (
	"fmt"
	"math"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

func object(key string, a attrs) storage.Object {
	return storage.Object{Key: key, Size: a.size, ModTime: time.Unix(int64(a.mtime), 0).UTC(), Tag: tag(a)}
}

func tag(a attrs) string { return fmt.Sprintf("%d-%d", a.size, a.mtime) }

// tagSize returns the size of the version that has this tag, and false when there
// can be no such version here.
func tagSize(t string) (int64, bool) {
	var a attrs
	n, err := fmt.Sscanf(t, "%d-%d", &a.size, &a.mtime)
	return a.size, err == nil && n == 2 && tag(a) == t && a.size >= 0
}

// rangeEnd returns where n bytes from off on end in a file of this size; n < 0
// means all.
func rangeEnd(off, n, size int64) int64 {
	if n < 0 || n > math.MaxInt64-off {
		return size
	}
	return min(off+n, size)
}
