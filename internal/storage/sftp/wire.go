package sftp

import (
	"encoding/binary"
	"errors"
	"math"
)

// The packets of version 3 (draft-ietf-secsh-filexfer-02) that are needed here.
const (
	typeInit     = 1
	typeVersion  = 2
	typeOpen     = 3
	typeClose    = 4
	typeRead     = 5
	typeWrite    = 6
	typeLstat    = 7
	typeFstat    = 8
	typeSetstat  = 9
	typeOpendir  = 11
	typeReaddir  = 12
	typeRemove   = 13
	typeMkdir    = 14
	typeRmdir    = 15
	typeStat     = 17
	typeRename   = 18
	typeStatus   = 101
	typeHandle   = 102
	typeData     = 103
	typeName     = 104
	typeAttrs    = 105
	typeExtended = 200
	typeReply    = 201 // to an extended request
)

// Flags of an open.
const (
	flagRead   = 0x01
	flagWrite  = 0x02
	flagCreate = 0x08
	flagExcl   = 0x20
)

// Extensions of OpenSSH, which other servers have too (its file PROTOCOL).
const (
	extRename = "posix-rename@openssh.com"
	extFsync  = "fsync@openssh.com"
	extLimits = "limits@openssh.com"
)

// maxPacket is the longest answer that is read: OpenSSH sends 256 KiB at most.
const maxPacket = 1 << 20

// safeChunk is how many bytes of a file every server takes and gives at once.
const safeChunk = 32 << 10

var errMalformed = errors.New("the server's answer makes no sense")

// Kinds of files, in the mode.
const (
	modeKind    = 0o170000
	modeRegular = 0o100000
	modeFolder  = 0o040000
)

// attrs are what a server says of a file.
type attrs struct {
	size  int64
	mode  uint32
	mtime uint32 // seconds since 1970
	whole bool   // size, kind and mtime were all there
}

func (a attrs) regular() bool { return a.mode&modeKind == modeRegular }
func (a attrs) folder() bool  { return a.mode&modeKind == modeFolder }

// enough reports whether a says what is needed: of a folder, that it is one.
func (a attrs) enough() bool { return a.whole || a.folder() }

const (
	attrSize     = 0x01
	attrOwner    = 0x02
	attrMode     = 0x04
	attrTimes    = 0x08
	attrExtended = 0x80000000
)

// entry is a file in a folder, named as the server names it.
type entry struct {
	name string
	attrs
}

// builder appends packets to a buffer.
type builder struct {
	buf   []byte
	start int // of the packet that is being built
}

func (b *builder) begin(kind byte, id uint32) {
	b.start = len(b.buf)
	b.buf = append(b.buf, 0, 0, 0, 0, kind)
	b.uint32(id)
}

// end sets the length of the packet, of which the last more bytes are not in the
// buffer yet.
func (b *builder) end(more int) {
	binary.BigEndian.PutUint32(b.buf[b.start:], uint32(len(b.buf)-b.start-4+more))
}

func (b *builder) uint32(v uint32) { b.buf = binary.BigEndian.AppendUint32(b.buf, v) }
func (b *builder) uint64(v uint64) { b.buf = binary.BigEndian.AppendUint64(b.buf, v) }

func (b *builder) string(s string) {
	b.uint32(uint32(len(s)))
	b.buf = append(b.buf, s...)
}

// parser takes apart what a server sent: after the first mistake everything is
// zero.
type parser struct {
	buf []byte
	bad bool
}

func (p *parser) take(n uint64) []byte {
	if p.bad || n > uint64(len(p.buf)) {
		p.bad = true
		return nil
	}
	taken := p.buf[:n]
	p.buf = p.buf[n:]
	return taken
}

func (p *parser) uint32() uint32 {
	if b := p.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (p *parser) uint64() uint64 {
	if b := p.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (p *parser) bytes() []byte  { return p.take(uint64(p.uint32())) }
func (p *parser) string() string { return string(p.bytes()) }

func (p *parser) attrs() (a attrs) {
	flags := p.uint32()
	if flags&attrSize != 0 {
		size := p.uint64()
		p.bad = p.bad || size > math.MaxInt64
		a.size = int64(size)
	}
	if flags&attrOwner != 0 {
		p.take(8)
	}
	if flags&attrMode != 0 {
		a.mode = p.uint32()
	}
	if flags&attrTimes != 0 {
		p.uint32()
		a.mtime = p.uint32()
	}
	if flags&attrExtended != 0 {
		for n := p.uint32(); n > 0 && !p.bad; n-- {
			p.bytes()
			p.bytes()
		}
	}
	const all = attrSize | attrMode | attrTimes
	a.whole = flags&all == all && a.mode&modeKind != 0
	return a
}

func (p *parser) entries() (all []entry) {
	for n := p.uint32(); n > 0 && !p.bad; n-- {
		name := p.string()
		p.bytes() // what ls -l would print
		all = append(all, entry{name, p.attrs()})
	}
	return all
}
