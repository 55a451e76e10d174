package storage

import (
	"context"
	"fmt"
	"io"
	"iter"
	"strings"
)

// Prefix returns the folder called dir of store as a store of its own: keys are
// relative to it. The folder need not exist, and then its listing is empty; the
// remote must. An empty dir is the whole of store. The error is a [*KeyError].
func Prefix(store Store, dir string) (Store, error) {
	if dir == "" {
		return store, nil
	}
	dir = strings.TrimSuffix(dir, "/")
	if err := CheckKey(dir); err != nil {
		return nil, err
	}
	return &prefixed{store, dir + "/"}, nil
}

type prefixed struct {
	Store
	dir string // with a slash at its end, so that "data" is not a part of "data2"
}

// full returns the name of key in the store below.
func (p *prefixed) full(key string) (string, error) {
	if err := CheckKey(key); err != nil {
		return "", err
	}
	if reason := unsafeKey(p.dir + key); reason != "" {
		return "", &KeyError{Key: key, Reason: reason + " together with its folder"}
	}
	return p.dir + key, nil
}

func (p *prefixed) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for obj, err := range p.Store.List(ctx, p.dir+prefix) {
			key, ok := strings.CutPrefix(obj.Key, p.dir)
			if err == nil && !ok {
				err = fmt.Errorf("list %q: the remote also listed %q", p.dir, obj.Key)
			}
			if err != nil {
				yield(Object{}, err)
				return
			}
			obj.Key = key
			if !yield(obj, nil) {
				return
			}
		}
	}
}

func (p *prefixed) Stat(ctx context.Context, key string) (Object, error) {
	full, err := p.full(key)
	if err != nil {
		return Object{}, err
	}
	obj, err := p.Store.Stat(ctx, full)
	return rename(obj, key, err)
}

func (p *prefixed) Open(ctx context.Context, obj Object, off, n int64) (io.ReadCloser, error) {
	full, err := p.full(obj.Key)
	if err != nil {
		return nil, err
	}
	obj.Key = full
	return p.Store.Open(ctx, obj, off, n)
}

func (p *prefixed) Put(ctx context.Context, key string, r io.Reader, size int64, cond Cond) (Object, error) {
	full, err := p.full(key)
	if err != nil {
		return Object{}, err
	}
	obj, err := p.Store.Put(ctx, full, r, size, cond)
	return rename(obj, key, err)
}

func (p *prefixed) Remove(ctx context.Context, key string) error {
	full, err := p.full(key)
	if err != nil {
		return err
	}
	return p.Store.Remove(ctx, full)
}

func (p *prefixed) ConditionalPut() bool { return conditional(p.Store) }
func (p *prefixed) Streams() bool        { return Streams(p.Store) }

func (p *prefixed) Multipart() Multipart {
	if m := MultipartOf(p.Store); m != nil {
		return &prefixedParts{m, p}
	}
	return nil
}

// prefixedParts keeps the names of the store below out of an Upload, which may
// lie in a file: where the folder is belongs to the settings.
type prefixedParts struct {
	Multipart
	p *prefixed
}

func (m *prefixedParts) below(u Upload) (Upload, error) {
	key, err := m.p.full(u.Key)
	u.Key = key
	return u, err
}

func (m *prefixedParts) Begin(ctx context.Context, key string, size, unit int64) (Upload, error) {
	full, err := m.p.full(key)
	if err != nil {
		return Upload{}, err
	}
	u, err := m.Multipart.Begin(ctx, full, size, unit)
	u.Key = key
	return u, err
}

func (m *prefixedParts) Arrived(ctx context.Context, u Upload) ([]Part, error) {
	u, err := m.below(u)
	if err != nil {
		return nil, err
	}
	return m.Multipart.Arrived(ctx, u)
}

func (m *prefixedParts) Send(ctx context.Context, u Upload, n int, r io.Reader, size int64) (Part, error) {
	u, err := m.below(u)
	if err != nil {
		return Part{}, err
	}
	return m.Multipart.Send(ctx, u, n, r, size)
}

func (m *prefixedParts) Finish(ctx context.Context, u Upload, parts []Part, cond Cond) (Object, error) {
	full, err := m.below(u)
	if err != nil {
		return Object{}, err
	}
	obj, err := m.Multipart.Finish(ctx, full, parts, cond)
	return rename(obj, u.Key, err)
}

func (m *prefixedParts) Abort(ctx context.Context, u Upload) error {
	u, err := m.below(u)
	if err != nil {
		return err
	}
	return m.Multipart.Abort(ctx, u)
}

// conditional asks store for a decorator of it: embedding a Store hides what else
// the driver can do.
func conditional(store Store) bool {
	c, ok := store.(Conditional)
	return ok && c.ConditionalPut()
}

func rename(obj Object, key string, err error) (Object, error) {
	if err != nil {
		return Object{}, err
	}
	obj.Key = key
	return obj, nil
}
