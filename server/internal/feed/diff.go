package feed

import (
	"iter"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/storage"
)

// Diff yields what became of files from one listing to the next, sorted by key.
//
// A name that is refused is there all the same: it is not gone, and when nothing keeps
// it from being used any more, it is new, whatever it was before.
func Diff(old, now storage.Listing) iter.Seq[d6tpipe.Change] {
	return func(yield func(d6tpipe.Change) bool) {
		a, b := known(old), known(now)
		defer a.stop()
		defer b.stop()
		for a.ok || b.ok {
			c, changed := step(&a, &b)
			if changed && !yield(c) {
				return
			}
		}
	}
}

// step passes over the name that comes next, and tells what became of it.
func step(a, b *names) (c d6tpipe.Change, changed bool) {
	switch {
	case !b.ok || a.ok && a.obj.Key < b.obj.Key:
		c, changed = gone(a.name), !a.hostile()
		a.move()
	case !a.ok || b.obj.Key < a.obj.Key:
		c, changed = d6tpipe.Change{Key: b.obj.Key, Kind: d6tpipe.ChangeNew, File: file(b.obj)}, !b.refused
		b.move()
	default:
		c, changed = became(a.name, b.name)
		a.move()
		b.move()
	}
	return c, changed
}

func gone(was name) d6tpipe.Change {
	c := d6tpipe.Change{Key: was.obj.Key, Kind: d6tpipe.ChangeGone, File: d6tpipe.File{Key: was.obj.Key}}
	if !was.refused {
		before := file(was.obj)
		c.Before = &before
	}
	return c
}

// became tells of a name that both listings have.
func became(was, is name) (c d6tpipe.Change, changed bool) {
	c = d6tpipe.Change{Key: is.obj.Key, Kind: d6tpipe.ChangeNew, File: file(is.obj)}
	switch {
	case is.refused:
		return c, false
	case was.refused:
		return c, true
	}
	before := file(was.obj)
	c.Kind, c.Before = d6tpipe.ChangeModified, &before
	return c, !same(&was.obj, &is.obj)
}

// same is by which rule a client tells versions apart, too.
func same(a, b *storage.Object) bool {
	if a.Tag != "" || b.Tag != "" {
		return a.Tag == b.Tag
	}
	return a.Size == b.Size && a.ModTime.Equal(b.ModTime)
}

func file(o storage.Object) d6tpipe.File {
	f := d6tpipe.File{Key: o.Key, Size: o.Size, ModTime: o.ModTime.UTC(), Tag: o.Tag}
	if year := f.ModTime.Year(); year < 0 || year > 9999 { // RFC 3339 has no others
		f.ModTime = time.Time{}
	}
	return f
}

// A name is a file of a listing, or one that cannot be used.
type name struct {
	obj     storage.Object
	refused bool
}

// hostile reports whether nobody was ever told of the name.
func (n name) hostile() bool { return n.refused && storage.CheckKey(n.obj.Key) != nil }

// names goes through the names of a listing, those that are refused too, by key.
type names struct {
	name
	ok   bool
	next func() (name, bool)
	stop func()
}

func known(l storage.Listing) names {
	next, stop := iter.Pull(all(l))
	n := names{next: next, stop: stop}
	n.move()
	return n
}

func (n *names) move() { n.name, n.ok = n.next() }

func all(l storage.Listing) iter.Seq[name] {
	return func(yield func(name) bool) {
		refused := l.Refused
		for obj := range l.All() {
			for len(refused) > 0 && refused[0].Key < obj.Key {
				if !yield(name{storage.Object{Key: refused[0].Key}, true}) {
					return
				}
				refused = refused[1:]
			}
			if !yield(name{obj, false}) {
				return
			}
		}
		for _, e := range refused {
			if !yield(name{storage.Object{Key: e.Key}, true}) {
				return
			}
		}
	}
}
