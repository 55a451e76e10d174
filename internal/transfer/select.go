package transfer

import (
	"slices"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// refuse collects the names that must not be used: those that the listing set
// aside, and on a push those of local files that would make a remote unusable.
func (p *Plan) refuse(in states, match func(string) bool) {
	for _, e := range in.refused {
		if match(e.Key) {
			p.Refused = append(p.Refused, e)
		}
	}
	if p.Direction != Pull {
		for _, e := range append(newcomers(in), in.unfit...) {
			if match(e.Key) {
				p.Refused = append(p.Refused, e)
			}
		}
	}
	slices.SortFunc(p.Refused, func(a, b *storage.KeyError) int { return strings.Compare(a.Key, b.Key) })
	p.Refused = slices.CompactFunc(p.Refused, func(a, b *storage.KeyError) bool { return a.Key == b.Key })
}

// newcomers refuses the local files that are not on the remote yet and whose
// names collide with others. What is on the remote already stays as it is.
func newcomers(in states) (refused []*storage.KeyError) {
	keys := make([]string, 0, len(in.local)+len(in.remote))
	fresh := false
	for s := range in.each {
		if s.Remote != nil || s.Local != nil {
			keys = append(keys, s.Key)
			fresh = fresh || s.Remote == nil
		}
	}
	if !fresh {
		return nil
	}
	for _, e := range in.refused {
		if storage.CheckKey(e.Key) == nil && !in.has(e.Key) {
			keys = append(keys, e.Key)
		}
	}
	for _, e := range storage.Collisions(keys) {
		if in.has(e.Key) && !in.stored(e.Key) {
			refused = append(refused, e)
		}
	}
	return refused
}

// has reports whether there is a local file called key.
func (in states) has(key string) bool {
	_, found := slices.BinarySearchFunc(in.local, key, func(f LocalFile, key string) int { return strings.Compare(f.Key, key) })
	return found
}

// stored reports whether there is a remote file called key.
func (in states) stored(key string) bool {
	_, found := slices.BinarySearchFunc(in.remote, key, func(o storage.Object, key string) int { return strings.Compare(o.Key, key) })
	return found
}

func (p *Plan) refuses(key string) bool {
	_, found := slices.BinarySearchFunc(p.Refused, key, func(e *storage.KeyError, key string) int { return strings.Compare(e.Key, key) })
	return found
}

// recent narrows match to the newest or oldest files of the sending side.
func recent(in states, req Request, match func(string) bool) func(string) bool {
	type dated struct {
		key  string
		time Stamp
	}
	var files []dated
	for s := range in.each {
		switch {
		case !match(s.Key):
		case req.Direction == Pull && s.Remote != nil:
			files = append(files, dated{s.Key, StampOf(s.Remote.ModTime)})
		case req.Direction == Push && s.Local != nil:
			files = append(files, dated{s.Key, s.Local.ModTime})
		}
	}
	slices.SortStableFunc(files, func(a, b dated) int { return int(min(max(a.time-b.time, -1), 1)) })
	n := min(max(req.Recent, -req.Recent), len(files))
	if req.Recent > 0 {
		files = files[len(files)-n:]
	}
	chosen := make(map[string]bool, n)
	for _, f := range files[:n] {
		chosen[f.key] = true
	}
	return func(key string) bool { return chosen[key] }
}

// missing returns the requested keys that the sending side does not have, or that
// do not belong to the pipe.
func missing(in states, req Request, match func(string) bool) (keys []string) {
	for _, key := range slices.Compact(slices.Sorted(slices.Values(req.Keys))) {
		found := in.stored(key)
		if req.Direction == Push {
			found = in.has(key)
		}
		if !found || !match(key) {
			keys = append(keys, key)
		}
	}
	return keys
}
