package transfer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
)

// The manifest is a header line and a log of batches. A batch is
//
//	"d6tb"  payload's length (4)  payload's CRC-32C (4)  CRC-32C of these 12 bytes (4)  payload
//
// in little-endian order; its payload is records one after the other. Each batch
// is synced before the next one is written, so that only the last one can be torn.
const (
	manifestMagic   = "d6tpipe-manifest "
	manifestVersion = 1
	manifestHeader  = manifestMagic + "1\n"

	batchMagic  = "d6tb"
	batchHeader = 16
	batchMost   = 1 << 14 // records in one batch of a rewritten file
)

// The kinds of records.
const (
	recordPut    = 1
	recordForget = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A manifestLog is a decoded file. An Entry without Synced forgets a key.
type manifestLog struct {
	changes []Entry
	valid   int // bytes without a torn tail
}

// entries returns what holds after all changes, sorted by key.
func (l *manifestLog) entries() []Entry {
	byKey := func(a, b Entry) int { return strings.Compare(a.Key, b.Key) }
	all := l.changes
	if !slices.IsSortedFunc(all, byKey) {
		all = slices.Clone(all)
		slices.SortStableFunc(all, byKey)
	}
	kept := all[:0]
	for i, e := range all {
		if (i+1 == len(all) || all[i+1].Key != e.Key) && e.Synced != 0 {
			kept = append(kept, e)
		}
	}
	if len(kept) < len(all)*3/4 {
		kept = slices.Clone(kept) // what was superseded need not be kept
	}
	return kept
}

// encodeLog returns a file that holds entries and nothing else.
func encodeLog(entries []Entry) []byte {
	data := append(make([]byte, 0, len(manifestHeader)+len(entries)*160), manifestHeader...)
	for batch := range slices.Chunk(entries, batchMost) {
		data = appendBatch(data, batch)
	}
	return data
}

func appendBatch(data []byte, batch []Entry) []byte {
	start := len(data)
	data = append(data, make([]byte, batchHeader)...)
	for i := range batch {
		data = appendRecord(data, &batch[i])
	}
	head, payload := data[start:start+batchHeader], data[start+batchHeader:]
	copy(head, batchMagic)
	binary.LittleEndian.PutUint32(head[4:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(head[8:], crc32.Checksum(payload, castagnoli))
	binary.LittleEndian.PutUint32(head[12:], crc32.Checksum(head[:12], castagnoli))
	return data
}

func appendRecord(data []byte, e *Entry) []byte {
	if e.Synced == 0 {
		return appendString(append(data, recordForget), e.Key)
	}
	data = appendString(append(data, recordPut), e.Key)
	data = appendString(data, e.Tag)
	for _, n := range []int64{int64(e.RemoteTime), e.Size, int64(e.ModTime), int64(e.Checked), int64(e.Synced)} {
		data = binary.AppendVarint(data, n)
	}
	return append(data, e.Sum[:]...)
}

func appendString(data []byte, s string) []byte {
	return append(binary.AppendUvarint(data, uint64(len(s))), s...)
}

// decodeLog reads a manifest. What a crash left of the last batch is dropped; any
// other damage is ErrDamaged.
func decodeLog(data []byte) (*manifestLog, error) {
	start, err := checkHeader(data)
	if err != nil {
		return nil, err
	}
	l := &manifestLog{valid: start, changes: make([]Entry, 0, len(data)/recordGuess)}
	for l.valid < len(data) {
		payload, ok := nextBatch(data[l.valid:])
		if !ok {
			if batchAfter(data[l.valid+1:]) {
				return nil, fmt.Errorf("%w: bad checksum at byte %d", ErrDamaged, l.valid)
			}
			return l, nil // torn
		}
		if l.changes, ok = readRecords(l.changes, string(payload)); !ok {
			return nil, fmt.Errorf("%w: bad record in the batch at byte %d", ErrDamaged, l.valid)
		}
		l.valid += batchHeader + len(payload)
	}
	return l, nil
}

func checkHeader(data []byte) (int, error) {
	rest, ok := bytes.CutPrefix(data, []byte(manifestMagic))
	line, _, complete := bytes.Cut(rest[:min(len(rest), 20)], []byte("\n"))
	version, err := strconv.Atoi(string(line))
	switch {
	case !ok || !complete || err != nil || version < 1:
		return 0, fmt.Errorf("%w: no header", ErrDamaged)
	case version > manifestVersion:
		return 0, fmt.Errorf("%w: version %d", ErrNewer, version)
	}
	return len(manifestMagic) + len(line) + 1, nil
}

// nextBatch returns the payload of the batch with which data begins.
func nextBatch(data []byte) ([]byte, bool) {
	if len(data) < batchHeader || string(data[:4]) != batchMagic ||
		crc32.Checksum(data[:12], castagnoli) != binary.LittleEndian.Uint32(data[12:]) {
		return nil, false
	}
	size := int64(binary.LittleEndian.Uint32(data[4:]))
	if size > int64(len(data)-batchHeader) {
		return nil, false
	}
	payload := data[batchHeader : batchHeader+size]
	return payload, crc32.Checksum(payload, castagnoli) == binary.LittleEndian.Uint32(data[8:])
}

// batchAfter reports whether a whole batch follows somewhere.
func batchAfter(data []byte) bool {
	for {
		i := bytes.Index(data, []byte(batchMagic))
		if i < 0 {
			return false
		}
		if _, ok := nextBatch(data[i:]); ok {
			return true
		}
		data = data[i+1:]
	}
}

// readRecords appends the records of a payload.
func readRecords(to []Entry, payload string) ([]Entry, bool) {
	before := len(to)
	to, ok := decodeRecords(slices.Grow(to, len(payload)/recordGuess), payload)
	if ok {
		pack(to[before:])
	}
	return to, ok
}

// recordGuess is about how many bytes a record has.
const recordGuess = 110

// pack moves the texts of entries into one, so that the payload in which they were
// need not be kept.
func pack(entries []Entry) {
	size := 0
	for i := range entries {
		size += len(entries[i].Key) + len(entries[i].Tag)
	}
	var all strings.Builder
	all.Grow(size)
	for i := range entries {
		all.WriteString(entries[i].Key)
		all.WriteString(entries[i].Tag)
	}
	rest := all.String()
	for i := range entries {
		e := &entries[i]
		e.Key, rest = rest[:len(e.Key)], rest[len(e.Key):]
		e.Tag, rest = rest[:len(e.Tag)], rest[len(e.Tag):]
	}
}

// decodeRecords is readRecords with strings that share the payload's memory.
func decodeRecords(to []Entry, payload string) ([]Entry, bool) {
	d := decoder{rest: payload}
	for d.rest != "" && !d.bad {
		var e Entry
		kind := d.take(1)
		e.Key = d.take(d.length())
		if kind == string(rune(recordPut)) {
			e.Tag = d.take(d.length())
			e.RemoteTime, e.Size = Stamp(d.varint()), d.varint()
			e.ModTime, e.Checked, e.Synced = Stamp(d.varint()), Stamp(d.varint()), Stamp(d.varint())
			copy(e.Sum[:], d.take(uint64(len(e.Sum))))
			d.bad = d.bad || e.Synced == 0 || e.Size < 0
		} else if kind != string(rune(recordForget)) {
			d.bad = true
		}
		d.bad = d.bad || e.Key == ""
		if !d.bad {
			to = append(to, e)
		}
	}
	return to, !d.bad
}

// A decoder takes values off a string; bad says that there were too few bytes.
type decoder struct {
	rest string
	bad  bool
}

func (d *decoder) take(n uint64) string {
	if d.bad || n > uint64(len(d.rest)) {
		d.bad = true
		return ""
	}
	s := d.rest[:n]
	d.rest = d.rest[n:]
	return s
}

func (d *decoder) length() (n uint64) {
	for shift := 0; shift < 64; shift += 7 {
		b := d.take(1)
		if d.bad {
			return 0
		}
		n |= uint64(b[0]&0x7f) << shift
		if b[0] < 0x80 {
			return n
		}
	}
	d.bad = true
	return 0
}

func (d *decoder) varint() int64 {
	n := d.length() // zigzag, as binary.AppendVarint writes it
	return int64(n>>1) ^ -int64(n&1)
}
