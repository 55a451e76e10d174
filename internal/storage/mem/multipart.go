package mem

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strconv"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// partSize is small, so that tests have many parts.
const partSize = 64 << 10

// parts are the uploads that were begun.
type parts Store

// upload is what has arrived of one.
type upload struct {
	storage.Upload
	parts map[int][]byte
}

// Multipart implements [storage.Multiparter].
func (s *Store) Multipart() storage.Multipart { return (*parts)(s) }

// Uploads is how many uploads were begun and neither finished nor aborted.
func (s *Store) Uploads() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.uploads)
}

func (p *parts) Begin(ctx context.Context, key string, size, unit int64) (storage.Upload, error) {
	if err := storage.CheckPut(key, size, storage.Cond{}); err != nil {
		return storage.Upload{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.check(ctx, "begin", key); err != nil {
		return storage.Upload{}, err
	}
	p.begun++
	u := storage.Upload{Key: key, ID: strconv.Itoa(p.begun), Size: size, PartSize: max(unit, partSize/unit*unit)}
	p.uploads[u.ID] = &upload{u, map[int][]byte{}}
	return u, nil
}

func (p *parts) check(ctx context.Context, op, key string) error {
	if p.objects == nil {
		return &fs.PathError{Op: op, Path: key, Err: fs.ErrClosed}
	}
	return ctx.Err()
}

// find returns an upload; the caller holds the lock.
func (p *parts) find(ctx context.Context, op string, u storage.Upload) (*upload, error) {
	if err := p.check(ctx, op, u.Key); err != nil {
		return nil, err
	}
	up, ok := p.uploads[u.ID]
	if !ok || up.Key != u.Key {
		return nil, &fs.PathError{Op: op, Path: u.Key, Err: fs.ErrNotExist}
	}
	return up, nil
}

func (p *parts) Arrived(ctx context.Context, u storage.Upload) (arrived []storage.Part, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	up, err := p.find(ctx, "arrived", u)
	if err != nil {
		return nil, err
	}
	for _, n := range slices.Sorted(maps.Keys(up.parts)) {
		arrived = append(arrived, part(n, up.parts[n]))
	}
	return arrived, nil
}

func (p *parts) Send(ctx context.Context, u storage.Upload, n int, r io.Reader, size int64) (storage.Part, error) {
	data, err := io.ReadAll(storage.Exactly(ctx, r, size))
	if err != nil {
		return storage.Part{}, fmt.Errorf("send part %d of %s: %w", n, u.Key, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	up, err := p.find(ctx, "send", u)
	if err != nil {
		return storage.Part{}, err
	}
	up.parts[n] = data
	return part(n, data), nil
}

func (p *parts) Finish(ctx context.Context, u storage.Upload, arrived []storage.Part, cond storage.Cond) (storage.Object, error) {
	p.mu.Lock()
	up, err := p.find(ctx, "finish", u)
	p.mu.Unlock()
	if err != nil {
		return storage.Object{}, err
	}
	var whole bytes.Buffer
	for i, a := range arrived {
		if a.Number != i || part(i, up.parts[i]) != a {
			return storage.Object{}, &fs.PathError{Op: "finish", Path: u.Key, Err: fs.ErrInvalid}
		}
		whole.Write(up.parts[i])
	}
	obj, err := (*Store)(p).Put(ctx, u.Key, &whole, u.Size, cond)
	if err == nil {
		err = p.Abort(ctx, u)
	}
	return obj, err
}

func (p *parts) Abort(ctx context.Context, u storage.Upload) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.check(ctx, "abort", u.Key); err != nil {
		return err
	}
	delete(p.uploads, u.ID)
	return nil
}

func part(n int, data []byte) storage.Part {
	e := entry("", data)
	return storage.Part{Number: n, Size: e.Size, Tag: e.Tag, Sum: e.Sum}
}

// Forget drops all uploads that are not finished, as a remote may after a while.
func (s *Store) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.uploads)
}
