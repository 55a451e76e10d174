package remotefs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/checksum"
)

// ErrCorrupt says that a file that was read from its beginning to its end has
// another sum than the remote vouches for.
var ErrCorrupt = errors.New("corrupt transfer")

// ahead is how many blocks beyond the one that is read are fetched meanwhile.
const ahead = 2

// A File is an open file: the version that was listed. It is safe for concurrent
// use; reads by [File.Read] take turns, those by [File.ReadAt] do not.
type File struct {
	fs      *shared
	name    string
	info    fs.FileInfo
	obj     storage.Object
	streams bool // one stream is better than blocks

	mu     sync.Mutex
	off    int64
	last   int64 // the block that Read has touched
	closed bool
	sum    *checksum.Sum // of all before hashed; nil when there is none to compare with
	hashed int64
	bad    error   // that the sum was another
	body   *stream // nil when there is none
}

var (
	_ io.ReadSeekCloser = (*File)(nil)
	_ io.ReaderAt       = (*File)(nil)
)

// Stat implements [fs.File].
func (f *File) Stat() (fs.FileInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(); err != nil {
		return nil, f.wrap("stat", err)
	}
	return f.info, nil
}

// Close implements [fs.File].
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.endStream()
	return nil
}

// check reports why nothing can be read. The caller holds the lock.
func (f *File) check() error {
	if f.closed {
		return fs.ErrClosed
	}
	return f.fs.ended()
}

func (f *File) wrap(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &fs.PathError{Op: op, Path: f.name, Err: f.fs.explain(err)}
}

// Seek implements [io.Seeker]. It makes no request.
func (f *File) Seek(offset int64, whence int) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(); err != nil {
		return 0, f.wrap("seek", err)
	}
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += f.off
	case io.SeekEnd:
		offset += f.obj.Size
	default:
		return 0, f.wrap("seek", fs.ErrInvalid)
	}
	if offset < 0 {
		return 0, f.wrap("seek", fs.ErrInvalid)
	}
	f.off = offset
	return offset, nil
}

// ReadAt implements [io.ReaderAt]. Nothing is read ahead.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	err := f.check()
	f.mu.Unlock()
	if err == nil && off < 0 {
		err = fs.ErrInvalid
	}
	if err != nil {
		return 0, f.wrap("read", err)
	}
	n := 0
	for n < len(p) && off < f.obj.Size {
		more, _, err := f.readBlock(p[n:], off)
		if err != nil {
			return n, f.wrap("read", err)
		}
		n, off = n+more, off+int64(more)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// readBlock copies from the block that off, which is before the end, lies in. When
// p goes on into the next one, that is fetched at the same time.
func (f *File) readBlock(p []byte, off int64) (int, *block, error) {
	index := off / f.fs.cfg.Block
	b := f.block(index)
	if next := (index + 1) * f.fs.cfg.Block; off+int64(len(p)) > next && next < f.obj.Size {
		f.block(index + 1)
	}
	data, err := f.fs.blocks.wait(b)
	if err != nil {
		return 0, nil, err
	}
	return copy(p, data[off-index*f.fs.cfg.Block:]), b, nil
}

func (f *File) block(index int64) *block { return f.fs.blocks.get(f.fs.store, f.obj, index) }

// Read implements [io.Reader]. Who reads on gets the next blocks ahead of time. When
// a file was read from its beginning to its end and the remote vouches for a sum,
// the last bytes are given out only if it is right; see [ErrCorrupt].
func (f *File) Read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.read(p)
	return n, f.wrap("read", err)
}

func (f *File) read(p []byte) (int, error) {
	if err := f.check(); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if f.off >= f.obj.Size {
		return 0, io.EOF
	}
	if f.bad != nil {
		return 0, f.bad
	}
	var n int
	var learned string
	var err error
	if f.streams {
		n, learned, err = f.readStream(p)
	} else {
		n, learned, err = f.readAhead(p)
	}
	if err == nil {
		err = f.verify(p[:n], learned)
	}
	if err != nil {
		f.endStream()
		return 0, err
	}
	f.off += int64(n)
	return n, nil
}

// readAhead reads from a block and, when it is the one after that of the last
// call, begins to load those that follow.
func (f *File) readAhead(p []byte) (int, string, error) {
	index := f.off / f.fs.cfg.Block
	sequential := index == f.last+1 && f.last >= 0
	f.block(index)
	for i := index + 1; sequential && i <= index+ahead && i*f.fs.cfg.Block < f.obj.Size; i++ {
		f.block(i)
	}
	f.last = index
	end := (index + 1) * f.fs.cfg.Block
	n, b, err := f.readBlock(p[:min(int64(len(p)), end-f.off)], f.off)
	if err != nil {
		return 0, "", err
	}
	return n, b.sum, nil
}

// readStream reads from one stream for as long as nobody seeks.
func (f *File) readStream(p []byte) (int, string, error) {
	if f.body == nil || f.body.off != f.off {
		f.endStream()
		body, err := f.fs.store.Open(f.fs.ctx, f.obj, f.off, -1)
		if err != nil {
			return 0, "", err
		}
		f.body = &stream{body, f.off}
	}
	p = p[:min(int64(len(p)), f.obj.Size-f.off)]
	n, err := io.ReadAtLeast(f.body.r, p, 1)
	if err != nil {
		return 0, "", short(err, f.off, f.obj.Size)
	}
	f.body.off += int64(n)
	return n, storage.SumOf(f.body.r), nil
}

// A stream is a reader of a file from off on.
type stream struct {
	r   io.ReadCloser
	off int64
}

func (f *File) endStream() {
	if f.body != nil {
		_ = f.body.r.Close() // it was only read
		f.body = nil
	}
}

// verify adds what was read at off to the sum, and checks it at the end. Learned is
// what the reader knows of the whole, which is better than what the listing says.
func (f *File) verify(p []byte, learned string) error {
	if f.off == 0 {
		f.hashed = 0
		if f.sum = checksum.For(learned); f.sum == nil {
			f.sum = checksum.For(f.obj.Sum)
		}
	}
	if f.sum == nil || f.off != f.hashed {
		f.sum = nil
		return nil
	}
	_, _ = f.sum.Write(p) // never fails
	f.hashed += int64(len(p))
	if f.hashed < f.obj.Size {
		return nil
	}
	err := f.sum.Check()
	f.sum = nil
	if err != nil {
		f.bad = fmt.Errorf("%w: %w", ErrCorrupt, err)
		f.fs.blocks.drop(f.obj)
	}
	return f.bad
}

// readAll reads the whole file.
func (f *File) readAll() ([]byte, error) {
	var buf bytes.Buffer
	buf.Grow(int(min(f.obj.Size, 64<<20)) + bytes.MinRead) // the listing may lie
	_, err := buf.ReadFrom(f)
	return buf.Bytes(), err
}
