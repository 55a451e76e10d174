package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"iter"
	"slices"
	"strings"
)

// Recall returns the listing of what somebody else's scan saw, some time ago. Names
// are set aside as [Collect] does it, whatever that scan thought of them. Such a
// listing is never complete: what it lacks may be on the remote all the same, and
// nothing may be deleted because of it. An error among objects ends it, and is
// returned.
func Recall(objects iter.Seq2[Object, error]) (Listing, error) {
	var c collector
	err := c.take(objects, "")
	if err != nil {
		return Listing{}, err
	}
	return c.sortOut(), nil
}

// The form in which a listing is kept in a file: this line, the sum of what follows
// (CRC-32C, big-endian), the names that were refused, and the objects as they are
// packed in memory. It is read again in a hundredth of the time that JSON takes.
const savedHeader = "d6tpipe listing 1\n"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errSaved says that what was to be a saved listing is none, or not whole.
var errSaved = errors.New("this is no whole listing")

// Append adds the listing to b in the form that [Restore] reads.
func (l Listing) Append(b []byte) []byte {
	b = append(b, savedHeader...)
	b = append(b, 0, 0, 0, 0)
	start := len(b)
	p := packer{buf: b}
	p.buf = binary.AppendUvarint(p.buf, uint64(len(l.Refused)))
	for _, e := range l.Refused {
		p.text(e.Key)
		p.text(e.Reason)
	}
	for obj := range l.All() {
		p.append(&obj)
	}
	binary.BigEndian.PutUint32(p.buf[start-4:], crc32.Checksum(p.buf[start:], castagnoli))
	return p.buf
}

// Restore reads what [Listing.Append] wrote. The listing is one of the past, as that
// of [Recall], and not complete.
func Restore(data []byte) (Listing, error) {
	rest, ok := bytes.CutPrefix(data, []byte(savedHeader))
	if !ok || len(rest) < 4 {
		return Listing{}, errSaved
	}
	sum, rest := binary.BigEndian.Uint32(rest), rest[4:]
	if crc32.Checksum(rest, castagnoli) != sum {
		return Listing{}, errSaved
	}
	return restore(string(rest))
}

// restore reads what has the right sum: it was written by a packer, unless somebody
// took pains to make it look so. Then it is an error too.
func restore(text string) (l Listing, err error) {
	defer func() {
		if recover() != nil { // an index beyond the end
			l, err = Listing{}, errSaved
		}
	}()
	r := reader{text, 0}
	for range r.uvarint() {
		if r.off >= len(text) {
			return Listing{}, errSaved
		}
		l.Refused = append(l.Refused, &KeyError{r.text(), r.text()})
	}
	l.objects, err = index(text, r.off)
	return l, err
}

// index finds the objects of a packed text. They must be in order, each key once.
func index(text string, off int) (packed, error) {
	all := packed{blocks: []string{text}}
	last := ""
	for r := (reader{text, off}); r.off < len(text); {
		all.at = append(all.at, place{0, uint32(r.off)})
		o := r.object() // all of it: who reads it later has nobody to catch a panic
		if o.Key <= last {
			return packed{}, errSaved
		}
		last = o.Key
	}
	return all, nil
}

// Refuse returns the listing without the names in refused, which are among Refused
// then.
func (l Listing) Refuse(refused []*KeyError) Listing {
	if len(refused) == 0 {
		return l
	}
	l.Refused = mergeRefused(l.Refused, refused)
	l.objects.at = slices.DeleteFunc(slices.Clone(l.objects.at), func(at place) bool { return refuses(l.Refused, l.objects.key(at)) })
	return l
}

// mergeRefused sorts by key; the first of those of equal keys stays.
func mergeRefused(a, b []*KeyError) []*KeyError {
	all := slices.Concat(a, b)
	slices.SortStableFunc(all, func(a, b *KeyError) int { return strings.Compare(a.Key, b.Key) })
	return slices.CompactFunc(all, func(a, b *KeyError) bool { return a.Key == b.Key })
}
