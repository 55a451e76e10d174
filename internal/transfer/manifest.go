package transfer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/d6t/d6tpipe-go/internal/atomicfile"
)

const manifestName = "manifest"

// A manifest is the file that remembers the last sync. Anybody may load it;
// whoever holds its lock may write.
type manifest struct {
	path string

	mu      sync.Mutex
	seen    fs.FileInfo // of what entries was read from; nil before
	entries []Entry     // sorted by key, never changed in place
	records int         // in the file, superseded ones included
	valid   int64       // bytes of the file without a torn tail
}

func newManifest(path string) *manifest { return &manifest{path: path} }

// load returns the entries, sorted by key. Callers must not change them. The file
// is read only when it is not the one of the last load.
func (m *manifest) load() ([]Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	info, err := os.Stat(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		m.seen, m.entries, m.records, m.valid = nil, nil, 0, 0
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if m.seen != nil && os.SameFile(m.seen, info) && m.seen.Size() == info.Size() && m.seen.ModTime().Equal(info.ModTime()) {
		return m.entries, nil
	}
	return m.read(info)
}

// read decodes the file of which info was seen.
func (m *manifest) read(info fs.FileInfo) ([]Entry, error) {
	data, err := os.ReadFile(m.path)
	if err != nil {
		return nil, err
	}
	log, err := decodeLog(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; reset the pipe to start over, its files stay", m.path, err)
	}
	m.seen, m.entries, m.records, m.valid = info, log.entries(), len(log.changes), int64(log.valid)
	if int64(len(data)) != info.Size() {
		m.seen = nil // it grew while it was read
	}
	return m.entries, nil
}

// lock keeps other processes from changing the folder or the manifest. It dies
// with the process, so that there is nothing to do when unlocking fails.
func (m *manifest) lock(ctx context.Context) (unlock func(), err error) {
	return m.lockTelling(ctx, func() {})
}

// lockTelling is lock that calls held when somebody else is waited for.
func (m *manifest) lockTelling(ctx context.Context, held func()) (unlock func(), err error) {
	release, err := atomicfile.LockTelling(ctx, m.path, held)
	if err != nil {
		return nil, err
	}
	return func() { _ = release() }, nil
}

// A writer appends batches to a manifest, under its lock.
type writer struct {
	m       *manifest
	f       *os.File
	entries []Entry // as they were when the writer was made
}

// writer makes the manifest ready for appending: it is created when missing, and
// a batch that a crash tore is cut off.
func (m *manifest) writer() (*writer, error) {
	entries, err := m.load()
	if err != nil {
		return nil, err
	}
	if err := atomicfile.Sweep(m.path); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.seen == nil && m.valid == 0 {
		if err := atomicfile.Write(m.path, []byte(manifestHeader), 0o600); err != nil {
			return nil, err
		}
		m.valid = int64(len(manifestHeader))
	}
	f, err := os.OpenFile(m.path, os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(m.valid); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := f.Seek(m.valid, 0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &writer{m: m, f: f, entries: entries}, nil
}

// find returns what the manifest knew of key when the writer was made.
func (w *writer) find(key string) (Entry, bool) {
	i, ok := slices.BinarySearchFunc(w.entries, key, func(e Entry, key string) int { return strings.Compare(e.Key, key) })
	if !ok {
		return Entry{}, false
	}
	return w.entries[i], true
}

// append adds one batch; when it returns nil the batch survives a power cut. An
// Entry without Synced forgets the key.
func (w *writer) append(batch []Entry) error {
	if len(batch) == 0 {
		return nil
	}
	if _, err := w.f.Write(appendBatch(nil, batch)); err != nil {
		return err
	}
	return w.f.Sync()
}

// close lets go of the file, and rewrites it when most of it is out of date.
func (w *writer) close() error {
	if err := w.f.Close(); err != nil {
		return err
	}
	entries, err := w.m.load()
	if err != nil {
		return err
	}
	if w.m.records <= len(entries)+len(entries)/2+1000 {
		return nil
	}
	return atomicfile.Write(w.m.path, encodeLog(entries), 0o600)
}

// reset forgets everything, also what is damaged.
func (m *manifest) reset() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen = nil
	return atomicfile.Write(m.path, []byte(manifestHeader), 0o600)
}
