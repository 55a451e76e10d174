package conform

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// unit is what sizes of parts are a multiple of.
const unit = 64 << 10

// The largest parts that a run that must be cheap sends once, and in every case.
const (
	cheapOnce = 8 << 20
	cheapPart = 512 << 10
)

var multipartCases = []Case{
	{Name: "Multipart/round trip", run: func(t *T, s storage.Store) {
		m, u, data := t.begin(s, "folder/a", cheapOnce)
		parts := t.sendAll(m, u, data)
		t.holds(s, "") // nobody sees it before it is finished
		arrived, err := m.Arrived(t.ctx, u)
		t.noError(err, "arrived")
		equal(t, len(parts), len(arrived), "parts that have arrived")
		obj, err := m.Finish(t.ctx, u, parts, storage.Cond{Absent: true})
		t.noError(err, "finish")
		t.bytes(data, t.get(s, obj))
		l := t.list(s, "")
		equal(t, 1, len(l.Objects()), "objects in the listing")
		t.same(obj, l.Objects()[0])
		t.noError(m.Abort(t.ctx, u), "abort what is finished")
		t.holds(s, "", "folder/a")
		_, err = m.Arrived(t.ctx, u)
		t.errorIs(err, fs.ErrNotExist, "arrived, of what is finished")
	}},
	{Name: "Multipart/goes on", run: func(t *T, s storage.Store) {
		m, u, data := t.begin(s, "a", cheapPart)
		_, size := u.Part(0)
		first, err := m.Send(t.ctx, u, 0, bytes.NewReader(data[:size]), size)
		t.noError(err, "send")
		_, next := u.Part(1)
		_, err = m.Send(t.ctx, u, 1, io.MultiReader(bytes.NewReader(data[size:size+next/2]), broken{}), next)
		t.isError(err, "send from a reader that fails")
		m = storage.MultipartOf(s)
		arrived, err := m.Arrived(t.ctx, u)
		t.noError(err, "arrived")
		t.that(slices.Equal(numbers(arrived), []int{0}), "wanted part 0 to have arrived, got %v", numbers(arrived))
		equal(t, size, arrived[0].Size, "size of the part")
		parts := t.sendAll(m, u, data, first)
		obj, err := m.Finish(t.ctx, u, parts, storage.Cond{})
		t.noError(err, "finish")
		t.bytes(data, t.get(s, obj))
	}},
	{Name: "Multipart/a part is replaced", run: func(t *T, s storage.Store) {
		m, u, data := t.begin(s, "a", cheapPart)
		_, size := u.Part(0)
		_, err := m.Send(t.ctx, u, 0, bytes.NewReader(Bytes(8, int(size))), size)
		t.noError(err, "send")
		obj, err := m.Finish(t.ctx, u, t.sendAll(m, u, data), storage.Cond{})
		t.noError(err, "finish")
		t.bytes(data, t.get(s, obj))
	}},
	{Name: "Multipart/a reader that is wrong", run: func(t *T, s storage.Store) {
		m, u, data := t.begin(s, "a", cheapPart)
		_, size := u.Part(0)
		_, err := m.Send(t.ctx, u, 0, bytes.NewReader(data[:size-1]), size)
		t.isError(err, "send from a reader that ends early")
		_, err = m.Send(t.ctx, u, 0, broken{}, size)
		t.errorIs(err, errReader, "send from a reader that fails")
		arrived, err := m.Arrived(t.ctx, u)
		t.noError(err, "arrived")
		equal(t, 0, len(arrived), "parts that have arrived")
		t.noError(m.Abort(t.ctx, u), "abort")
		t.holds(s, "")
	}},
	{Name: "Multipart/aborted", run: func(t *T, s storage.Store) {
		m, u, data := t.begin(s, "folder/a", cheapPart)
		parts := t.sendAll(m, u, data)
		t.noError(m.Abort(t.ctx, u), "abort")
		t.noError(m.Abort(t.ctx, u), "abort again")
		_, err := m.Arrived(t.ctx, u)
		t.errorIs(err, fs.ErrNotExist, "arrived")
		_, err = m.Finish(t.ctx, u, parts, storage.Cond{})
		t.isError(err, "finish what was aborted")
		t.holds(s, "")
	}},
	{Name: "Multipart/condition", run: func(t *T, s storage.Store) {
		m, u, data := t.begin(s, "a", cheapPart)
		old := t.put(s, "a", []byte("old"))
		parts := t.sendAll(m, u, data)
		_, err := m.Finish(t.ctx, u, parts, storage.Cond{Absent: true})
		t.errorIs(err, storage.ErrChanged, "finish to a name that is taken")
		equal(t, "old", string(t.get(s, old)), "content")
		obj, err := m.Finish(t.ctx, u, parts, storage.Cond{Tag: old.Tag})
		if errors.Is(err, fs.ErrNotExist) { // some remotes forget an upload that they refused
			equal(t, "old", string(t.get(s, old)), "content")
			return
		}
		t.noError(err, "finish over the version that is there")
		t.bytes(data, t.get(s, obj))
	}},
	{Name: "Multipart/two uploads", run: func(t *T, s storage.Store) {
		m, u, data := t.begin(s, "a", cheapPart)
		m2, u2, data2 := t.begin(s, "a", cheapPart)
		data2 = append(data2[1:], 'x')
		parts, parts2 := t.sendAll(m, u, data), t.sendAll(m2, u2, data2)
		_, err := m.Finish(t.ctx, u, parts, storage.Cond{})
		t.noError(err, "finish the first")
		obj, err := m2.Finish(t.ctx, u2, parts2, storage.Cond{})
		t.noError(err, "finish the second")
		t.bytes(data2, t.get(s, obj))
		t.holds(s, "", "a")
	}},
	{Name: "Multipart/unsafe name", run: func(t *T, s storage.Store) {
		m := t.multipart(s)
		u, err := m.Begin(t.ctx, "a", 10, unit)
		t.noError(err, "begin")
		t.noError(m.Abort(t.ctx, u), "abort")
		_, err = m.Begin(t.ctx, "../a", 10, unit)
		t.errorIs(err, storage.ErrKey, "begin")
		u.Key = "../a"
		_, err = m.Finish(t.ctx, u, nil, storage.Cond{})
		t.isError(err, "finish")
		_, err = m.Send(t.ctx, u, 0, bytes.NewReader([]byte("x")), 1)
		t.isError(err, "send")
	}},
}

func (t *T) multipart(s storage.Store) storage.Multipart {
	m := storage.MultipartOf(s)
	if m == nil {
		panic(notApplicable("this store takes objects in one piece only"))
	}
	return m
}

// begin begins an upload of three parts and a bit; in a run that must be cheap of
// one and a bit, when the parts are not larger than most.
func (t *T) begin(s storage.Store, key string, most int64) (storage.Multipart, storage.Upload, []byte) {
	m := t.multipart(s)
	probe, err := m.Begin(t.ctx, key, 1, unit)
	t.noError(err, "begin")
	t.noError(m.Abort(t.ctx, probe), "abort")
	t.found.Multipart, t.found.PartSize, t.found.SerialParts = true, probe.PartSize, probe.Serial
	if !t.full && probe.PartSize > most {
		panic(notApplicable(fmt.Sprintf("its parts of %d MiB are too much for a cheap run", probe.PartSize>>20)))
	}
	data := Bytes(3, t.many(3, 1)*int(probe.PartSize)+5)
	u, err := m.Begin(t.ctx, key, int64(len(data)), unit)
	t.noError(err, "begin")
	equal(t, key, u.Key, "key of the upload")
	equal(t, 0, u.PartSize%unit, "size of parts %d modulo %d", u.PartSize, unit)
	t.that(u.Parts() >= 2, "wanted more than a part for %d bytes, got %d", len(data), u.Parts())
	return m, u, data
}

// sendAll sends the parts that are not in have.
func (t *T) sendAll(m storage.Multipart, u storage.Upload, data []byte, have ...storage.Part) []storage.Part {
	for n := len(have); n < u.Parts(); n++ {
		off, size := u.Part(n)
		part, err := m.Send(t.ctx, u, n, bytes.NewReader(data[off:off+size]), size)
		t.noError(err, "send part %d", n)
		equal(t, n, part.Number, "number of the part")
		equal(t, size, part.Size, "size of the part")
		have = append(have, part)
	}
	return have
}

func numbers(parts []storage.Part) (all []int) {
	for _, p := range parts {
		all = append(all, p.Number)
	}
	return all
}
