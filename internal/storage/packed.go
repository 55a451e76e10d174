package storage

import (
	"encoding/binary"
	"slices"
	"strings"
	"time"
)

// packed holds objects in texts of many each: a million Objects with strings of
// their own are three times as much memory, and a garbage collector has to look at
// each. What is taken out shares the text, so that it costs nothing.
type packed struct {
	blocks []string
	at     []place // in the order of the objects
}

// A place is where an object begins.
type place struct{ block, off uint32 }

// blockSize is about how long a block becomes, in bytes.
const blockSize = 64 << 10

// How an object's Tag and Sum are kept, at the end of the rest.
const (
	tagOnly   = iota // Tag; there is no Sum
	tagInSum         // Sum, "md5:" and the Tag
	tagIsSum         // Tag, which is the Sum too
	tagAndSum        // both
)

// A packer packs objects in the order in which they come.
type packer struct {
	blocks []string
	buf    []byte // what becomes the next block
	count  int
}

func (p *packer) add(o *Object) {
	p.count++
	p.append(o)
	if len(p.buf) >= blockSize {
		p.cut()
	}
}

func (p *packer) append(o *Object) {
	p.text(o.Key)
	p.buf = binary.AppendUvarint(p.buf, uint64(o.Size))
	p.buf = binary.AppendVarint(p.buf, o.ModTime.Unix())
	p.buf = binary.AppendUvarint(p.buf, uint64(o.ModTime.Nanosecond()))
	switch tag, md5 := strings.CutPrefix(o.Sum, "md5:"); {
	case o.Sum == "":
		p.buf = append(p.buf, tagOnly)
		p.text(o.Tag)
	case md5 && tag == o.Tag:
		p.buf = append(p.buf, tagInSum)
		p.text(o.Sum)
	case o.Sum == o.Tag:
		p.buf = append(p.buf, tagIsSum)
		p.text(o.Tag)
	default:
		p.buf = append(p.buf, tagAndSum)
		p.text(o.Tag)
		p.text(o.Sum)
	}
}

func (p *packer) text(s string) {
	p.buf = binary.AppendUvarint(p.buf, uint64(len(s)))
	p.buf = append(p.buf, s...)
}

func (p *packer) cut() {
	p.blocks = append(p.blocks, string(p.buf))
	p.buf = p.buf[:0]
}

// end returns what was packed, sorted by key. Most remotes sort it themselves.
func (p *packer) end() packed {
	if len(p.buf) > 0 {
		p.cut()
	}
	all := packed{blocks: p.blocks, at: make([]place, 0, p.count)}
	last, sorted := "", true
	for i, block := range p.blocks {
		for r := (reader{block, 0}); r.off < len(block); {
			all.at = append(all.at, place{uint32(i), uint32(r.off)})
			o := r.object()
			sorted = sorted && last <= o.Key
			last = o.Key
		}
	}
	if !sorted {
		all.sort()
	}
	*p = packer{}
	return all
}

func (p *packed) sort() {
	type named struct {
		key string
		at  place
	}
	names := make([]named, len(p.at)) // to read a key again and again is slow
	for i, at := range p.at {
		names[i] = named{p.key(at), at}
	}
	slices.SortFunc(names, func(a, b named) int { return strings.Compare(a.key, b.key) })
	for i := range names {
		p.at[i] = names[i].at
	}
}

func (p *packed) object(at place) Object {
	r := reader{p.blocks[at.block], int(at.off)}
	return r.object()
}

func (p *packed) key(at place) string {
	r := reader{p.blocks[at.block], int(at.off)}
	return r.text()
}

// A reader reads what a packer has written: it need not doubt it.
type reader struct {
	block string
	off   int
}

func (r *reader) object() (o Object) {
	o.Key = r.text()
	o.Size = int64(r.uvarint())
	sec := r.uvarint()
	o.ModTime = time.Unix(int64(sec>>1)^-int64(sec&1), int64(r.uvarint())).UTC()
	kind := r.block[r.off]
	r.off++
	switch first := r.text(); kind {
	case tagOnly:
		o.Tag = first
	case tagInSum:
		o.Tag, o.Sum = first[len("md5:"):], first
	case tagIsSum:
		o.Tag, o.Sum = first, first
	default:
		o.Tag, o.Sum = first, r.text()
	}
	return o
}

func (r *reader) text() string {
	n := int(r.uvarint())
	r.off += n
	return r.block[r.off-n : r.off]
}

// uvarint is binary.Uvarint for a string.
func (r *reader) uvarint() (v uint64) {
	for shift := 0; ; shift += 7 {
		b := r.block[r.off]
		r.off++
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
}
