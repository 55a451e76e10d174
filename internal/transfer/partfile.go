package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// A part file is a download that goes on where the last one was broken off, in
// another process if need be. Beside it lies a record of the blocks that it has,
// each with the sum of its bytes: after a power cut the record may tell of bytes
// that never reached the disk, and the sum finds out.
//
// Both files are named after the version that they are of, so that bytes of two
// versions never meet. Two processes that write the same part file, on a file
// system without locks, write the same bytes to the same places.
const (
	bigPrefix = "big-"
	recSuffix = ".rec"
	// forgotten is when nobody will come back for a part file or an upload.
	forgotten = 7 * 24 * time.Hour
)

// partHead is the first line of a record.
type partHead struct {
	Version int    `json:"version"`
	Key     string `json:"key"`
	Tag     string `json:"tag"`
	Size    int64  `json:"size"`
	Block   int64  `json:"block"`
}

const partVersion = 1

// mostInPart is more than any file has, and as many blocks as a record can count.
const mostInPart = math.MaxInt32 * int64(blockSize)

// A block's record is its number (4), the sum of its bytes (8) and a check of
// these 12 (4), in little-endian order.
const blockRecord = 16

type partFile struct {
	parts *os.Root
	name  string
	size  int64
	data  *os.File
	sums  *ordered

	mu  sync.Mutex
	rec *os.File
}

// partName returns the name of the part file of one version of a file, and how
// those of its other versions begin.
func partName(place string, o *storage.Object) (name, others string) {
	key := sha256.Sum256([]byte(place + "\x00" + o.Key))
	version := sha256.Sum256(fmt.Appendf(nil, "%d %s", o.Size, o.Tag))
	others = bigPrefix + hex.EncodeToString(key[:12]) + "-"
	return others + hex.EncodeToString(version[:12]), others
}

// openPart opens the part file of a version, with what an earlier pull left of it.
func (r *run) openPart(ctx context.Context, o *storage.Object) (p *partFile, err error) {
	if o.Size > mostInPart {
		return nil, fmt.Errorf("download %q: the remote says that it has %d bytes, which no file can hold", o.Key, o.Size)
	}
	name, others := partName(r.cfg.Place, o)
	if err := r.dropParts(others, name); err != nil {
		return nil, err
	}
	p = &partFile{parts: r.parts.Root, name: name, size: o.Size}
	if p.data, err = r.parts.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o666); err != nil {
		return nil, err
	}
	p.sums = newOrdered(p.data, o.Size)
	if p.rec, err = r.parts.OpenFile(name+recSuffix, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600); err == nil {
		err = p.recall(ctx, partHead{partVersion, o.Key, o.Tag, o.Size, blockSize})
	}
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// recall reads the record. What cannot be read, or is not so, counts for nothing.
func (p *partFile) recall(ctx context.Context, head partHead) error {
	line, err := json.Marshal(head)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	info, err := p.rec.Stat()
	if err != nil {
		return err
	}
	data := make([]byte, info.Size())
	if _, err := p.rec.ReadAt(data, 0); err != nil && info.Size() > 0 {
		return err
	}
	records, ok := bytes.CutPrefix(data, line)
	if !ok {
		return p.restart(line)
	}
	valid := len(records) / blockRecord * blockRecord
	if err := p.rec.Truncate(int64(len(line) + valid)); err != nil { // a torn record
		return err
	}
	buf := make([]byte, blockSize)
	for ; len(records) >= blockRecord; records = records[blockRecord:] {
		if err := ctx.Err(); err != nil {
			return err
		}
		if i, crc, ok := readBlockRecord(records[:blockRecord]); ok && i < blocks(p.size) && p.holds(i, crc, buf) {
			p.sums.note(i, crc)
		}
	}
	return nil
}

func (p *partFile) restart(head []byte) error {
	if err := errors.Join(p.data.Truncate(0), p.rec.Truncate(0)); err != nil {
		return err
	}
	_, err := p.rec.Write(head)
	return err
}

// holds reports whether block i is in the file as it was recorded.
func (p *partFile) holds(i int, crc uint64, buf []byte) bool {
	off, end := blockSpan(i, p.size)
	_, err := p.data.ReadAt(buf[:end-off], off)
	return err == nil && crcOf(buf[:end-off]) == crc
}

func blockRecordOf(i int, crc uint64) []byte {
	rec := binary.LittleEndian.AppendUint32(make([]byte, 0, blockRecord), uint32(i))
	rec = binary.LittleEndian.AppendUint64(rec, crc)
	return binary.LittleEndian.AppendUint32(rec, uint32(crcOf(rec)))
}

func readBlockRecord(rec []byte) (i int, crc uint64, ok bool) {
	ok = binary.LittleEndian.Uint32(rec[12:]) == uint32(crcOf(rec[:12]))
	return int(binary.LittleEndian.Uint32(rec)), binary.LittleEndian.Uint64(rec[4:]), ok
}

// write adds blocks from i on. They are recorded once the file has them.
func (p *partFile) write(i int, data []byte) error {
	off, _ := blockSpan(i, p.size)
	if _, err := p.data.WriteAt(data, off); err != nil {
		return err
	}
	var sums []uint64
	var records []byte
	for block := range slices.Chunk(data, blockSize) {
		crc := crcOf(block)
		records = append(records, blockRecordOf(i+len(sums), crc)...)
		sums = append(sums, crc)
	}
	p.mu.Lock()
	_, err := p.rec.Write(records)
	p.mu.Unlock()
	if err != nil {
		return err
	}
	for n, crc := range sums {
		block := data[n*blockSize : min((n+1)*blockSize, len(data))]
		if err := p.sums.add(i+n, block, crc); err != nil {
			return err
		}
	}
	return nil
}

func (p *partFile) close() error {
	err := p.data.Close()
	if p.rec != nil {
		err = errors.Join(err, p.rec.Close())
	}
	return err
}

// drop removes the part file and its record; what is not there was moved.
func (p *partFile) drop() error {
	return errors.Join(p.close(), ignoreMissing(p.parts.Remove(p.name)), ignoreMissing(p.parts.Remove(p.name+recSuffix)))
}

// dropParts removes the part files of a file's other versions.
func (r *run) dropParts(prefix, but string) error {
	entries, err := readDir(r.parts.Root)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) && strings.TrimSuffix(e.Name(), recSuffix) != but {
			err = errors.Join(err, ignoreMissing(r.parts.Remove(e.Name())))
		}
	}
	return err
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Unfinished counts the part files in a state folder and tells when the newest of
// them was last written. They are of downloads that run or were interrupted.
func Unfinished(state string) (files int, newest time.Time, err error) {
	entries, err := os.ReadDir(filepath.Join(state, partsName))
	if err != nil {
		return 0, newest, ignoreMissing(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || strings.HasSuffix(e.Name(), recSuffix) {
			continue // it was finished meanwhile, or is a part file's record
		}
		files++
		if info.ModTime().After(newest) {
			newest = info.ModTime()
		}
	}
	return files, newest, nil
}
