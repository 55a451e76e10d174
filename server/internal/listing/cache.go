package listing

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"time"

	"github.com/d6t/d6tpipe-go/server/internal/feed"
)

// A Record is the listing of one pipe as it is kept. Times are in UTC and in
// microseconds.
type Record struct {
	Tag     string    // "" is a pipe that has no listing yet
	View    string    // of [View]
	Seen    time.Time // when a scan first saw exactly this
	Scanned time.Time // when the last scan that saw it began
	Changed time.Time // when somebody last said that files have changed; zero is never
	Files   int
	Bytes   int64 // all files together
	Size    int64 // of Body, or a few bytes more; whoever saves need not tell
	Body    []byte
}

// Changes are what a listing has that the one before had not.
type Changes struct {
	Since   string     // the tag of the one before; "" is none, and then Rows are all files
	Rows    []feed.Row // in the order of keys
	Lost    bool       // nobody knows them: the one before shows something else, or they are too many
	Refused int        // how many names of the new one cannot be used
}

// ErrReplaced says that a listing was replaced by another one meanwhile.
var ErrReplaced = errors.New("the listing was replaced meanwhile")

// ErrDamaged says that what is kept of a listing is not what was saved.
var ErrDamaged = errors.New("the listing is damaged")

// A Cache keeps the last listing of each pipe, whose record has the id. It is safe for
// concurrent use, also by several processes: each method is one transaction.
type Cache interface {
	// Head returns the record without Body; an empty one when there is none.
	Head(ctx context.Context, id string) (Record, error)
	// Body returns the body of the record with this tag, or [fs.ErrNotExist] when that
	// was replaced, or [ErrDamaged] when it can tell that it is not what was saved.
	Body(ctx context.Context, id, tag string) ([]byte, error)
	// Save puts all but Changed in the place of what there is, unless that was scanned
	// later than r: a replica may be slow. A pipe that is gone is no error. What is there
	// must have the tag that c counts from, or be none when that is empty; otherwise
	// nothing is saved and the error is [ErrReplaced].
	Save(ctx context.Context, id string, r Record, c Changes) error
	// Confirm sets Scanned of the record with this tag, unless it is later already.
	Confirm(ctx context.Context, id, tag string, scanned time.Time) error
	// Changed sets Changed, unless it is later already, of a pipe without a listing too.
	Changed(ctx context.Context, id string, at time.Time) error
}

// Memory is a [Cache] of one process.
type Memory struct {
	mu      sync.Mutex
	records map[string]Record
}

// NewMemory returns an empty cache.
func NewMemory() *Memory { return &Memory{records: map[string]Record{}} }

// Head implements [Cache].
func (m *Memory) Head(_ context.Context, id string) (Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.records[id]
	r.Size, r.Body = int64(len(r.Body)), nil
	return r, nil
}

// Body implements [Cache].
func (m *Memory) Body(_ context.Context, id, tag string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.records[id]; r.Tag == tag {
		return r.Body, nil
	}
	return nil, fs.ErrNotExist
}

// Save implements [Cache].
func (m *Memory) Save(_ context.Context, id string, r Record, c Changes) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.records[id]
	switch {
	case old.Scanned.After(r.Scanned):
		return nil
	case old.Tag != c.Since:
		return ErrReplaced
	}
	r.Changed = old.Changed
	m.records[id] = r
	return nil
}

// Confirm implements [Cache].
func (m *Memory) Confirm(_ context.Context, id, tag string, scanned time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.records[id]; r.Tag == tag && r.Scanned.Before(scanned) {
		r.Scanned = scanned
		m.records[id] = r
	}
	return nil
}

// Changed implements [Cache].
func (m *Memory) Changed(_ context.Context, id string, at time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.records[id]; r.Changed.Before(at) {
		r.Changed = at
		m.records[id] = r
	}
	return nil
}
