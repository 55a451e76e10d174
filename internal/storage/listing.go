package storage

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// A Listing is what one scan of a remote saw. Only [Collect] can make one that is
// complete, so that whoever decides what is missing (and may be deleted) cannot be
// handed half a listing, or an empty struct, by mistake.
type Listing struct {
	Objects []Object    // that may be used, sorted by key
	Refused []*KeyError // hostile, colliding and doubled keys, sorted by key; each key once

	complete bool
}

// Complete reports whether the scan came to a clean end, so that a key that is
// neither in Objects nor in Refused does not exist on the remote.
func (l Listing) Complete() bool { return l.complete }

// Find returns the object called key.
func (l Listing) Find(key string) (Object, bool) {
	i, ok := slices.BinarySearchFunc(l.Objects, key, func(o Object, key string) int { return strings.Compare(o.Key, key) })
	if !ok {
		return Object{}, false
	}
	return l.Objects[i], true
}

// Collect lists what store has below prefix and sets aside the names that may not
// be used. When the scan fails, the listing holds what was seen until then and is
// not complete. A remote that yields what was not asked for is an error too: what
// else it says cannot be trusted.
func Collect(ctx context.Context, store Store, prefix string) (Listing, error) {
	return CollectAbout(ctx, store, prefix, 0)
}

// CollectAbout is Collect for a listing of which about so many objects are expected:
// memory for these is taken at once, and not in steps that each copy what there was.
func CollectAbout(ctx context.Context, store Store, prefix string, about int) (Listing, error) {
	seen := make([]Object, 0, about)
	err := collect(ctx, store, prefix, &seen)
	l := sortOut(seen)
	l.complete = err == nil
	return l, err
}

func collect(ctx context.Context, store Store, prefix string, seen *[]Object) error {
	for obj, err := range store.List(ctx, prefix) {
		switch {
		case err != nil:
			return err
		case !strings.HasPrefix(obj.Key, prefix):
			return fmt.Errorf("list %q: the remote also listed %q", prefix, obj.Key)
		case obj.Size < 0:
			return fmt.Errorf("list %q: the remote says that %q has %d bytes", prefix, obj.Key, obj.Size)
		}
		*seen = append(*seen, obj)
	}
	return ctx.Err() // a driver that just stops when the context ends has not seen everything
}

// sortOut parts the objects whose keys may be used from the others. It owns seen.
func sortOut(seen []Object) (l Listing) {
	var hostile []*KeyError
	good := seen[:0]
	for _, obj := range seen {
		if reason := unsafeKey(obj.Key); reason != "" {
			hostile = append(hostile, &KeyError{obj.Key, reason})
			continue
		}
		good = append(good, obj)
	}
	l.Refused = append(hostile, collide(func(yield func(string) bool) {
		for i := range good {
			if !yield(good[i].Key) {
				return
			}
		}
	})...)
	slices.SortFunc(l.Refused, func(a, b *KeyError) int { return strings.Compare(a.Key, b.Key) })
	l.Refused = slices.CompactFunc(l.Refused, func(a, b *KeyError) bool { return a.Key == b.Key })
	if byKey := func(a, b Object) int { return strings.Compare(a.Key, b.Key) }; !slices.IsSortedFunc(good, byKey) {
		slices.SortFunc(good, byKey)
	}
	l.Objects = slices.DeleteFunc(good, func(o Object) bool { return refuses(l.Refused, o.Key) })
	return l
}

func refuses(refused []*KeyError, key string) bool {
	_, ok := slices.BinarySearchFunc(refused, key, func(e *KeyError, key string) int { return strings.Compare(e.Key, key) })
	return ok
}
