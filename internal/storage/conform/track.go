package conform

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// A log remembers what was put, so that it can be removed, and what was seen on
// the way.
type log struct {
	mu      sync.Mutex
	keys    map[string]bool
	uploads map[string]storage.Upload
	unit    time.Duration // that divides all times seen; 0 when there was none
}

func newLog() *log {
	return &log{keys: map[string]bool{}, uploads: map[string]storage.Upload{}}
}

func (l *log) put(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keys[key] = true
}

func (l *log) seen(t time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.IsZero() || l.unit == time.Nanosecond {
		return
	}
	if l.unit == 0 {
		l.unit = resolutions[0]
	}
	l.unit = resolution(t, l.unit)
}

// remove takes away all that was put and returns the keys that it could not.
func (l *log) remove(ctx context.Context, store storage.Store) (left []string) {
	l.mu.Lock()
	keys, uploads := slices.Sorted(maps.Keys(l.keys)), slices.Collect(maps.Values(l.uploads))
	l.mu.Unlock()
	m := storage.MultipartOf(store)
	for _, u := range uploads {
		if err := m.Abort(ctx, u); err != nil && !errors.Is(err, fs.ErrNotExist) {
			left = append(left, u.Key)
		}
	}
	const workers = 4
	failed := make([][]string, workers)
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			for i := worker; i < len(keys); i += workers {
				if err := store.Remove(ctx, keys[i]); err != nil {
					failed[worker] = append(failed[worker], keys[i])
				}
			}
		})
	}
	group.Wait()
	return append(left, slices.Concat(failed...)...)
}

func sortedSet(keys []string) []string { return slices.Compact(slices.Sorted(slices.Values(keys))) }

// tracked is a store that writes to a log what is put through it. A key counts as
// put when the call begins: a Put that fails may have left something.
type tracked struct {
	storage.Store
	log *log
}

func (t *tracked) ConditionalPut() bool { return atomic(t.Store) }
func (t *tracked) Streams() bool        { return storage.Streams(t.Store) }

func (t *tracked) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		for obj, err := range t.Store.List(ctx, prefix) {
			t.log.seen(obj.ModTime)
			if !yield(obj, err) {
				return
			}
		}
	}
}

func (t *tracked) Put(ctx context.Context, key string, r io.Reader, size int64, cond storage.Cond) (storage.Object, error) {
	t.log.put(key)
	return t.Store.Put(ctx, key, r, size, cond)
}

func (t *tracked) Multipart() storage.Multipart {
	if m := storage.MultipartOf(t.Store); m != nil {
		return &trackedParts{m, t.log}
	}
	return nil
}

type trackedParts struct {
	storage.Multipart
	log *log
}

func (m *trackedParts) Begin(ctx context.Context, key string, size, unit int64) (storage.Upload, error) {
	u, err := m.Multipart.Begin(ctx, key, size, unit)
	if err == nil {
		m.log.mu.Lock()
		defer m.log.mu.Unlock()
		m.log.uploads[u.ID] = u
		m.log.keys[key] = true
	}
	return u, err
}
