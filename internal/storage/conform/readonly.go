package conform

import (
	"cmp"
	"context"
	"io/fs"
	"slices"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/checksum"
)

// ReadOnlyCases returns what can be checked of a Store without writing to it, on
// what is there.
func ReadOnlyCases() []Case { return slices.Clone(readOnlyCases) }

// Of what is there, the cases read this much at most.
const (
	samples    = 5
	sampleSize = 1 << 20
)

var readOnlyCases = []Case{
	{Name: "Read/what Stat says", run: func(t *T, s storage.Store) {
		for _, obj := range t.samples(s) {
			stat, err := s.Stat(t.ctx, obj.Key)
			t.noError(err, "stat %q", obj.Key)
			t.same(obj, stat, "%q", obj.Key)
		}
	}},
	{Name: "Read/whole", run: func(t *T, s storage.Store) {
		for _, obj := range t.samples(s) {
			data, learned, err := readSum(t.ctx, s, obj, 0, -1)
			t.noError(err, "read %q", obj.Key)
			equal(t, obj.Size, int64(len(data)), "bytes of %q", obj.Key)
			for _, sum := range []string{obj.Sum, learned} {
				if name := algorithm(sum); name != "" {
					equal(t, checksum.Of(name, data), sum, "sum of %q", obj.Key)
				}
			}
			t.found.Sums, t.found.ReadSums = algorithm(obj.Sum), algorithm(learned)
		}
	}},
	{Name: "Read/ranges", run: func(t *T, s storage.Store) {
		for _, obj := range t.samples(s) {
			size := obj.Size
			t.ranges(s, obj, t.get(s, obj), [][2]int64{{0, 1}, {size / 2, 10}, {size / 3, -1}, {size, -1}, {size + 10, 5}, {size / 2, 0}})
		}
	}},
	{Name: "Read/a version that is gone", run: func(t *T, s storage.Store) {
		obj := t.samples(s)[0]
		if obj.Tag == "" {
			panic(notApplicable("its objects have no tags"))
		}
		obj.Tag = "0-no-such-tag"
		_, err := read(t.ctx, s, obj, 0, -1)
		t.errorIs(err, storage.ErrChanged, "read of a version that never was")
	}},
	{Name: "Read/missing", run: func(t *T, s storage.Store) {
		const key = "d6tpipe-check-no-such-file"
		t.gone(s, key)
		_, err := read(t.ctx, s, storage.Object{Key: key}, 0, -1)
		t.errorIs(err, fs.ErrNotExist, "read")
	}},
	{Name: "Read/negative offset", run: func(t *T, s storage.Store) {
		_, err := s.Open(t.ctx, t.samples(s)[0], -1, -1)
		t.errorIs(err, fs.ErrInvalid, "open")
	}},
	{Name: "Read/canceled", run: func(t *T, s storage.Store) {
		obj := t.samples(s)[0]
		ctx, cancel := context.WithCancel(t.ctx)
		cancel()
		_, err := read(ctx, s, obj, 0, -1)
		t.errorIs(err, context.Canceled, "read")
		_, err = s.Stat(ctx, obj.Key)
		t.errorIs(err, context.Canceled, "stat")
		_, err = storage.Collect(ctx, s, "")
		t.errorIs(err, context.Canceled, "list")
	}},
	{Name: "Read/hostile names", run: func(t *T, s storage.Store) {
		for _, key := range HostileKeys() {
			t.refuses(s, key, false)
		}
		t.hostilePrefixes(s)
	}},
}

// samples returns some small objects of what is there, at least one.
func (t *T) samples(s storage.Store) []storage.Object {
	if len(*t.objects) > 0 {
		return *t.objects
	}
	l, err := storage.Collect(t.ctx, s, "")
	t.noError(err, "list")
	objects := slices.DeleteFunc(slices.Clone(l.Objects()), func(o storage.Object) bool { return o.Size > sampleSize })
	slices.SortStableFunc(objects, func(a, b storage.Object) int { return cmp.Compare(b.Size, a.Size) })
	if len(objects) == 0 {
		panic(notApplicable("there is no file of at most 1 MiB"))
	}
	*t.objects = objects[:min(len(objects), samples)]
	return *t.objects
}
