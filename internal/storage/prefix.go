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
