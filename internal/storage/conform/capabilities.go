package conform

import (
	"strings"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// Capabilities are what the cases have found out about a remote on their way.
type Capabilities struct {
	ConditionalPut bool // conditions of a Put are checked atomically
	Multipart      bool // it takes objects in parts
	PartSize       int64
	SerialParts    bool          // one part after the other
	Streams        bool          // reading in ranges costs more than it gains
	Sums           string        // "md5": what a listing vouches for, "" for nothing
	ReadSums       string        // the same of a reader
	ContentTags    bool          // equal content has an equal tag; otherwise each Put has its own
	TimeResolution time.Duration // of ModTime: the largest unit that divides all that were seen
	LongestKey     int           // bytes, folders and all: the longest that was tried and held
	CaseSensitive  bool          // "A" and "a" are two objects
	KeepsForms     bool          // names that differ in Unicode's normal form are two objects
	FileAndFolder  bool          // "a" and "a/b" can both be there
}

// The probes find out what a Store may do or not.
var probeCases = []Case{
	{Name: "Probe/tags", run: func(t *T, s storage.Store) {
		first, again := t.put(s, "a", []byte("same")), t.put(s, "a", []byte("same"))
		t.found.ContentTags = first.Tag == again.Tag
		t.found.ConditionalPut, t.found.Streams = atomic(s), storage.Streams(s)
	}},
	{Name: "Probe/letter case", run: func(t *T, s storage.Store) {
		t.found.CaseSensitive = t.twoNames(s, "Case.csv", "case.csv")
	}},
	{Name: "Probe/normal forms", run: func(t *T, s storage.Store) {
		t.found.KeepsForms = t.twoNames(s, "\u00e9.csv", "e\u0301.csv")
	}},
}

// twoNames reports whether the remote takes a and b for two names. Those that it
// takes for one are refused together in a listing, so this looks below it.
func (t *T) twoNames(s storage.Store, a, b string) bool {
	t.put(s, a, []byte(a))
	if _, err := put(t.ctx, s, b, b, storage.Cond{}); err != nil {
		return false
	}
	seen := map[string]bool{}
	for obj, err := range s.List(t.ctx, "") {
		t.noError(err, "list")
		seen[obj.Key] = true
	}
	return seen[a] && seen[b]
}

func algorithm(sum string) string {
	name, _, _ := strings.Cut(sum, ":")
	return name
}

// resolutions are the units that times come in.
var resolutions = []time.Duration{time.Minute, time.Second, time.Millisecond, time.Microsecond}

// resolution returns the larger unit that divides t, but no larger one than most.
func resolution(t time.Time, most time.Duration) time.Duration {
	for _, unit := range resolutions {
		if unit <= most && t.Truncate(unit).Equal(t) {
			return unit
		}
	}
	return time.Nanosecond
}
