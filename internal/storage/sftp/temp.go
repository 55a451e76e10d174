package sftp

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"maps"
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
	seen map[string]uint32 // by key; when it changed, or ours
}

// ours stands for the time of a file that this Store gave up: it is stale at once.
const ours = 0

// maxStrays is how many are remembered; others will be seen again.
const maxStrays = 1000

func (s *strays) note(key string, mtime uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = map[string]uint32{}
	}
	if before, ok := s.seen[key]; ok && before == ours || !ok && len(s.seen) >= maxStrays {
		return
	}
	s.seen[key] = mtime
}

// take returns those that may be stale by now, the server's time.
func (s *strays) take(now uint32) map[string]uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	stale := s.seen
	s.seen = nil
	maps.DeleteFunc(stale, func(_ string, mtime uint32) bool { return !old(mtime, now) })
	return stale
}

func old(mtime, now uint32) bool {
	return mtime == ours || int64(mtime) < int64(now)-staleAfter
}

// sweep removes what nobody will finish, as well as it can: whether a stray goes
// is of no matter to the Put that was just done. The time of that file, written,
// is the server's clock.
func (s *Store) sweep(ctx context.Context, c *conn, written attrs) {
	for key, mtime := range s.strays.take(written.mtime) {
		b := c.newBatch()
		look := b.add(typeLstat, s.path(key))
		b.send()
		a, err := look.attrs(ctx)
		if err != nil || !a.regular() || mtime != ours && !old(a.mtime, written.mtime) {
			continue // somebody goes on with it
		}
		b = c.newBatch()
		r := b.add(typeRemove, s.path(key))
		b.send()
		_ = r.status(ctx)
	}
}
