// Package mem is a remote in memory: a whole driver, and the one that tests of
// other packages use. It behaves as a strict S3 would: a Tag and a Sum for
// every object, atomic conditions, listings in no order.
package mem

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// A Store is a [storage.Store] in memory. Use [New].
type Store struct {
	mu      sync.RWMutex
	objects map[string]stored // nil after Close
	uploads map[string]*upload
	begun   int // uploads
}

// stored is never changed once it is in the map, so that readers need no lock.
type stored struct {
	storage.Object
	data []byte
}

var (
	_ storage.Store       = (*Store)(nil)
	_ storage.Conditional = (*Store)(nil)
)

// New returns an empty store.
func New() *Store { return &Store{objects: map[string]stored{}, uploads: map[string]*upload{}} }

// Plant stores data under key as another program would: whatever the name is.
func (s *Store) Plant(key string, data []byte) storage.Object {
	obj := entry(key, bytes.Clone(data))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects != nil {
		s.objects[key] = obj
	}
	return obj.Object
}

// Lie makes the store vouch for another sum of what lies under key.
func (s *Store) Lie(key, sum string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if obj, ok := s.objects[key]; ok {
		obj.Sum = sum
		s.objects[key] = obj
	}
}

// ConditionalPut says that conditions are checked atomically.
func (s *Store) ConditionalPut() bool { return true }

// List implements [storage.Store]. It yields what there was when it began.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		objects, err := s.snapshot(prefix)
		for _, obj := range objects {
			if ctx.Err() != nil {
				break
			}
			if !yield(obj, nil) {
				return
			}
		}
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		if err != nil {
			yield(storage.Object{}, err)
		}
	}
}

func (s *Store) snapshot(prefix string) (objects []storage.Object, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.objects == nil {
		return nil, &fs.PathError{Op: "list", Path: prefix, Err: fs.ErrClosed}
	}
	for key, obj := range s.objects { // a map's order is as arbitrary as it gets
		if strings.HasPrefix(key, prefix) {
			objects = append(objects, obj.Object)
		}
	}
	return objects, nil
}

// Stat implements [storage.Store].
func (s *Store) Stat(ctx context.Context, key string) (storage.Object, error) {
	if err := storage.CheckKey(key); err != nil {
		return storage.Object{}, err
	}
	obj, err := s.find(ctx, "stat", key)
	return obj.Object, err
}

// Open implements [storage.Store].
func (s *Store) Open(ctx context.Context, obj storage.Object, off, n int64) (io.ReadCloser, error) {
	if err := storage.CheckOpen(obj.Key, off); err != nil {
		return nil, err
	}
	got, err := s.find(ctx, "open", obj.Key)
	if err != nil {
		return nil, err
	}
	if obj.Tag != "" && obj.Tag != got.Tag {
		return nil, &fs.PathError{Op: "open", Path: obj.Key, Err: storage.ErrChanged}
	}
	rest := got.data[min(off, got.Size):]
	if n >= 0 {
		rest = rest[:min(n, int64(len(rest)))]
	}
	return &reader{ctx: ctx, r: bytes.NewReader(rest)}, nil
}

// Put implements [storage.Store].
func (s *Store) Put(ctx context.Context, key string, r io.Reader, size int64, cond storage.Cond) (storage.Object, error) {
	if err := storage.CheckPut(key, size, cond); err != nil {
		return storage.Object{}, err
	}
	data, err := io.ReadAll(storage.Exactly(ctx, r, size))
	if err != nil {
		return storage.Object{}, fmt.Errorf("put %s: %w", key, err)
	}
	obj := entry(key, data)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects == nil {
		return storage.Object{}, &fs.PathError{Op: "put", Path: key, Err: fs.ErrClosed}
	}
	old, exists := s.objects[key]
	if cond.Absent && exists || cond.Tag != "" && old.Tag != cond.Tag {
		return storage.Object{}, &fs.PathError{Op: "put", Path: key, Err: storage.ErrChanged}
	}
	if err := ctx.Err(); err != nil {
		return storage.Object{}, err
	}
	s.objects[key] = obj
	return obj.Object, nil
}

// Remove implements [storage.Store].
func (s *Store) Remove(ctx context.Context, key string) error {
	if err := storage.CheckKey(key); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects == nil {
		return &fs.PathError{Op: "remove", Path: key, Err: fs.ErrClosed}
	}
	delete(s.objects, key)
	return nil
}

// Close drops everything that is stored.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects = nil
	return nil
}

func (s *Store) find(ctx context.Context, op, key string) (stored, error) {
	if err := ctx.Err(); err != nil {
		return stored{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.objects == nil {
		return stored{}, &fs.PathError{Op: op, Path: key, Err: fs.ErrClosed}
	}
	obj, ok := s.objects[key]
	if !ok {
		return stored{}, &fs.PathError{Op: op, Path: key, Err: fs.ErrNotExist}
	}
	return obj, nil
}

func entry(key string, data []byte) stored {
	sum := md5.Sum(data)
	tag := hex.EncodeToString(sum[:])
	return stored{storage.Object{
		Key: key, Size: int64(len(data)), ModTime: time.Now().UTC(), Tag: tag, Sum: "md5:" + tag,
	}, data}
}

// reader ends with its context.
type reader struct {
	ctx    context.Context
	r      io.Reader
	closed bool
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if r.closed {
		return 0, fs.ErrClosed
	}
	return r.r.Read(p)
}

func (r *reader) Close() error { r.closed = true; return nil }
