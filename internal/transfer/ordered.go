package transfer

import (
	"errors"
	"io"
	"slices"
	"sync"
)

// blockSize is how much of a file is held in memory at a time, and the unit in
// which files that are moved in pieces are accounted for.
const blockSize = 256 << 10

// blocks is how many blocks a file of so many bytes has.
func blocks(size int64) int {
	n := size / blockSize
	if size%blockSize != 0 {
		n++
	}
	return int(n)
}

// blockSpan returns where block i of a file of so many bytes begins and ends.
func blockSpan(i int, size int64) (off, end int64) {
	off = int64(i) * blockSize
	return off, off + min(blockSize, size-off)
}

// errUnlike says that a block is not what it was when it was seen before.
var errUnlike = errors.New("the file has changed while it was moved")

// ordered takes the sums of a file whose blocks come in any order. A SHA-256 can
// only be taken from the beginning to the end: the block that is next is taken as
// it comes, and those that came before their turn are read from the file, by
// whoever brought the one that was missing.
//
// The size may be what a remote claims: memory is taken as blocks arrive.
type ordered struct {
	file  io.ReaderAt
	size  int64
	total int // blocks

	mu   sync.Mutex
	here []bool   // blocks that the file has, up to the last that has arrived
	crc  []uint64 // of these
	next int      // the first block that d does not have
	busy bool     // somebody takes sums
	d    *digest
}

func newOrdered(file io.ReaderAt, size int64) *ordered {
	return &ordered{file: file, size: size, total: blocks(size)}
}

// begin says which sums to take; the first call counts.
func (o *ordered) begin(sum string) error { return o.beginWith(newDigestOf(sum, o.size)) }

func (o *ordered) beginWith(d *digest) error {
	o.mu.Lock()
	if o.d != nil {
		o.mu.Unlock()
		return nil
	}
	o.d = d
	if o.d.sha == nil && o.d.md5 == nil { // the CRC comes of those of the blocks
		o.d.size, o.next = o.size, o.total
	}
	o.mu.Unlock()
	return o.catchUp(0, nil)
}

// add says that the file has block i, that data is what it holds, and crc the sum
// of it. A block may be added again when it is the same.
func (o *ordered) add(i int, data []byte, crc uint64) error {
	o.mu.Lock()
	if i < len(o.here) && o.here[i] && o.crc[i] != crc {
		o.mu.Unlock()
		return errUnlike
	}
	o.note(i, crc)
	mine := i == o.next && o.d != nil && !o.busy
	o.mu.Unlock()
	if !mine {
		return nil
	}
	return o.catchUp(i, data)
}

// note remembers that block i is here.
func (o *ordered) note(i int, crc uint64) {
	if more := i + 1 - len(o.here); more > 0 {
		o.here, o.crc = append(o.here, make([]bool, more)...), append(o.crc, make([]uint64, more)...)
	}
	o.here[i], o.crc[i] = true, crc
}

// catchUp takes the sums of all blocks whose turn has come. known, when not nil, is
// what block n holds.
func (o *ordered) catchUp(n int, known []byte) error {
	var buf []byte
	for {
		i, ok := o.claim()
		if !ok {
			return nil
		}
		data := known
		if known == nil || i != n { // somebody else was faster, and it is another one's turn
			if buf == nil {
				buf = make([]byte, blockSize)
			}
			var err error
			if data, err = o.reread(i, buf); err != nil {
				o.release(false)
				return err
			}
		}
		o.d.add(data)
		o.release(true)
	}
}

// reread reads a block that came before its turn.
func (o *ordered) reread(i int, buf []byte) ([]byte, error) {
	off, end := blockSpan(i, o.size)
	data := buf[:end-off]
	if _, err := o.file.ReadAt(data, off); err != nil {
		return nil, err
	}
	o.mu.Lock()
	crc := o.crc[i]
	o.mu.Unlock()
	if crcOf(data) != crc {
		return nil, errUnlike
	}
	return data, nil
}

// claim returns the block whose turn it is, if it is here and nobody else is at it.
func (o *ordered) claim() (int, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.busy || o.next >= len(o.here) || !o.here[o.next] {
		return 0, false
	}
	o.busy = true
	return o.next, true
}

func (o *ordered) release(done bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.busy = false
	if done {
		o.next++
	}
}

// finish returns the sums of the whole file, whose blocks are all here.
func (o *ordered) finish(sum string) (*digest, error) {
	if err := o.begin(sum); err != nil {
		return nil, err
	}
	if err := o.catchUp(0, nil); err != nil {
		return nil, err
	}
	if o.next != o.total || len(o.here) != o.total || slices.Contains(o.here, false) {
		return nil, io.ErrUnexpectedEOF
	}
	o.d.crc = 0
	for i, crc := range o.crc {
		off, end := blockSpan(i, o.size)
		o.d.crc = crcJoin(o.d.crc, crc, end-off)
	}
	return o.d, nil
}

// missing are the spans of blocks that are not here.
func (o *ordered) missing() (spans []piece) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := 0; i < o.total; {
		if i < len(o.here) && o.here[i] {
			i++
			continue
		}
		end := o.total
		if i < len(o.here) {
			if n := slices.Index(o.here[i:], true); n > 0 {
				end = i + n
			}
		}
		off, _ := blockSpan(i, o.size)
		_, to := blockSpan(end-1, o.size)
		spans, i = append(spans, piece{off: off, n: to - off}), end
	}
	return spans
}

// bytesHere is how much of the file is here.
func (o *ordered) bytesHere() (n int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, here := range o.here {
		if off, end := blockSpan(i, o.size); here {
			n += end - off
		}
	}
	return n
}
