package storage

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// A Listing is what one scan of a remote saw. Only [Collect] can make one that is
// complete, so that whoever decides what is missing (and may be deleted) cannot be
// handed half a listing, or an empty struct, by mistake. Its objects, those that may
// be used, are sorted by key.
type Listing struct {
	Refused []*KeyError // hostile, colliding and doubled keys, sorted by key; each key once

	objects  packed
	complete bool
}

// Complete reports whether the scan came to a clean end, so that a key that is
// neither among the objects nor in Refused does not exist on the remote.
func (l Listing) Complete() bool { return l.complete }

// Len returns the number of objects.
func (l Listing) Len() int { return len(l.objects.at) }

// At returns object i.
func (l Listing) At(i int) Object { return l.objects.object(l.objects.at[i]) }

// All yields the objects. They are held in a third of the memory that a slice of
// them takes.
func (l Listing) All() iter.Seq[Object] {
	return func(yield func(Object) bool) {
		for _, at := range l.objects.at {
			if !yield(l.objects.object(at)) {
				return
			}
		}
	}
}

// Objects returns the objects in a slice, which is the caller's.
func (l Listing) Objects() []Object {
	if l.Len() == 0 {
		return nil
	}
	return slices.AppendSeq(make([]Object, 0, l.Len()), l.All())
}

// Find returns the object called key.
func (l Listing) Find(key string) (Object, bool) {
	i, ok := slices.BinarySearchFunc(l.objects.at, key, func(at place, key string) int { return strings.Compare(l.objects.key(at), key) })
	if !ok {
		return Object{}, false
	}
	return l.At(i), true
}

// Only returns the listing with the names that match.
func (l Listing) Only(match func(key string) bool) Listing {
	var kept []place
	for _, at := range l.objects.at {
		if match(l.objects.key(at)) {
			kept = append(kept, at)
		}
	}
	var refused []*KeyError
	for _, e := range l.Refused {
		if match(e.Key) {
			refused = append(refused, e)
		}
	}
	l.objects.at, l.Refused = kept, refused
	return l
}

// Collect lists what store has below prefix and sets aside the names that may not
// be used. When the scan fails, the listing holds what was seen until then and is
// not complete. A remote that yields what was not asked for is an error too: what
// else it says cannot be trusted.
func Collect(ctx context.Context, store Store, prefix string) (Listing, error) {
	var c collector
	err := c.collect(ctx, store, prefix)
	l := c.sortOut()
	l.complete = err == nil
	return l, err
}

// A collector parts the objects whose keys may be used from the others.
type collector struct {
	good    packer
	hostile []*KeyError
}

func (c *collector) collect(ctx context.Context, store Store, prefix string) error {
	if err := c.take(store.List(ctx, prefix), prefix); err != nil {
		return err
	}
	return ctx.Err() // a driver that just stops when the context ends has not seen everything
}

func (c *collector) take(objects iter.Seq2[Object, error], prefix string) error {
	for obj, err := range objects {
		switch {
		case err != nil:
			return err
		case !strings.HasPrefix(obj.Key, prefix):
			return fmt.Errorf("list %q: the remote also listed %q", prefix, obj.Key)
		case obj.Size < 0:
			return fmt.Errorf("list %q: the remote says that %q has %d bytes", prefix, obj.Key, obj.Size)
		}
		if reason := unsafeKey(obj.Key); reason != "" {
			c.hostile = append(c.hostile, &KeyError{obj.Key, reason})
			continue
		}
		c.good.add(&obj)
	}
	return nil
}

// sortOut takes out the keys that collide.
func (c *collector) sortOut() (l Listing) {
	l.objects = c.good.end()
	l.Refused = append(c.hostile, collide(l.Len(), func(yield func(string) bool) {
		for _, at := range l.objects.at {
			if !yield(l.objects.key(at)) {
				return
			}
		}
	})...)
	slices.SortFunc(l.Refused, func(a, b *KeyError) int { return strings.Compare(a.Key, b.Key) })
	l.Refused = slices.CompactFunc(l.Refused, func(a, b *KeyError) bool { return a.Key == b.Key })
	if len(l.Refused) > 0 {
		l.objects.at = slices.DeleteFunc(l.objects.at, func(at place) bool { return refuses(l.Refused, l.objects.key(at)) })
	}
	return l
}

func refuses(refused []*KeyError, key string) bool {
	_, ok := slices.BinarySearchFunc(refused, key, func(e *KeyError, key string) int { return strings.Compare(e.Key, key) })
	return ok
}
