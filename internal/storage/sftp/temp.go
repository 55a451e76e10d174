package sftp

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"path"
	"strings"
	"sync"
)

const (
	// tempPrefix begins the names of files that are being written; a random
	// number in hexadecimal follows.
	tempPrefix = ".d6tpipe-tmp-"
	// oldPrefix begins the names of files that were moved aside. It is not
	// tempPrefix: they are somebody's data, and must not be swept.
	oldPrefix = ".d6tpipe-old-"
)

// staleAfter is when a temporary file cannot belong to a running upload any more:
// seconds, by the server's clock.
const staleAfter = 24 * 60 * 60

func isTemp(name string) bool { return strings.HasPrefix(name, tempPrefix) }

// temporary returns the key of the temporary file beside key that has this id.
func temporary(key, id string) string { return path.Join(path.Dir(key), tempPrefix+id) }

func randomID() string {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	return hex.EncodeToString(id)
}

// strays are temporary files that were seen, for the next Put to look after: a
// listing is only read. The zero value is ready.
type strays struct {
	mu   sync.Mutex
	seen map[string]uint32 // by key; when it changed, zero when it is one of our own that failed
}

// maxStrays is how many are remembered; others will be seen again.
const maxStrays = 1000

func (s *strays) note(key string, a attrs) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = map[string]uint32{}
	}
	if a.regular() && len(s.seen) < maxStrays {
		s.seen[key] = a.mtime
	}
}

// take returns those that are stale by now, the server's time.
func (s *strays) take(now uint32) (stale []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, mtime := range s.seen {
		if mtime == 0 || now > staleAfter && mtime < now-staleAfter {
			stale = append(stale, key)
		}
	}
	clear(s.seen)
	return stale
}

// sweep removes what nobody will finish, as well as it can: whether a stray goes
// is of no matter to the Put that was just done. The time of that file, written,
// is the server's clock.
func (s *Store) sweep(ctx context.Context, c *conn, written attrs) {
	for _, key := range s.strays.take(written.mtime) {
		b := c.newBatch()
		look := b.add(typeLstat, s.path(key))
		b.send()
		if a, err := look.attrs(ctx); err != nil || a.mtime >= written.mtime-staleAfter && a.mtime != 0 {
			continue
		}
		b = c.newBatch()
		b.add(typeRemove, s.path(key)).drop()
		b.send()
	}
}
