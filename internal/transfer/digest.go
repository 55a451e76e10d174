package transfer

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/minio/crc64nvme"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// The kinds of sums that a remote may vouch for, as an Object's Sum begins.
const (
	kindMD5    = "md5"
	kindSHA256 = "sha256"
	kindCRC    = "crc64nvme"
)

// A digest computes what is known of a stream once it has passed: its size, its
// SHA-256, its CRC-64/NVME, and its MD5 where the remote vouches for one.
type digest struct {
	size int64
	crc  uint64
	sha  hash.Hash // nil when the CRC is enough
	md5  hash.Hash // nil when nobody asks for it
}

// newDigestOf is newDigest for a file of so many bytes. Of a big one a SHA-256 is
// taken only when the remote vouches for it.
func newDigestOf(sum string, size int64) *digest {
	d := newDigest(sum)
	if size >= smallFile && !strings.HasPrefix(sum, kindSHA256) {
		d.sha = nil
	}
	return d
}

// newDigest returns one that can tell whether a stream has the sum.
func newDigest(sum string) *digest {
	d := &digest{sha: sha256.New()}
	if strings.HasPrefix(sum, kindMD5+":") {
		d.md5 = md5.New()
	}
	return d
}

func (d *digest) Write(p []byte) (int, error) {
	d.crc = crc64nvme.Update(d.crc, p)
	d.add(p)
	return len(p), nil
}

// add is Write without the CRC, for whoever has it already.
func (d *digest) add(p []byte) {
	d.size += int64(len(p))
	if d.sha != nil {
		d.sha.Write(p)
	}
	if d.md5 != nil {
		d.md5.Write(p)
	}
}

// sum is what a manifest remembers of the stream.
func (d *digest) sum() (h Hash) {
	if d.sha == nil {
		return crcHash(d.crc)
	}
	d.sha.Sum(h[:0])
	return h
}

// is reports whether the stream has the content of which h is the hash.
func (d *digest) is(h Hash) bool { return d.like(h) == h }

// like returns the stream's hash of the kind that h has.
func (d *digest) like(h Hash) Hash {
	if h.isCRC() {
		return crcHash(d.crc)
	}
	return d.sum()
}

// whole is the CRC of the stream, 0 of nil.
func (d *digest) whole() uint64 {
	if d == nil {
		return 0
	}
	return d.crc
}

// clone returns a digest that goes on from here; that of nil is nil.
func (d *digest) clone() *digest {
	if d == nil {
		return nil
	}
	c := *d
	if d.sha != nil {
		c.sha = cloned(d.sha)
	}
	if d.md5 != nil {
		c.md5 = cloned(d.md5)
	}
	return &c
}

func cloned(h hash.Hash) hash.Hash {
	c, err := h.(hash.Cloner).Clone()
	if err != nil {
		panic(err) // those of the standard library can be cloned
	}
	return c
}

// has returns the digest's sum of a kind, "" when it is not known.
func (d *digest) has(kind string) string {
	switch {
	case kind == kindSHA256 && d.sha != nil:
		return d.sum().SHA256()
	case kind == kindCRC:
		return hexCRC(d.crc)
	case kind == kindMD5 && d.md5 != nil:
		return hex.EncodeToString(d.md5.Sum(nil))
	}
	return ""
}

func hexCRC(crc uint64) string { return fmt.Sprintf("%016x", crc) }

// vouched reports whether a sum is of a kind that we can check.
func vouched(sum string) bool {
	kind, _, ok := strings.Cut(sum, ":")
	return ok && (kind == kindMD5 || kind == kindSHA256 || kind == kindCRC)
}

// check compares the stream with what the remote says of it.
func (d *digest) check(o *storage.Object) error {
	if d.size != o.Size {
		return &VerifyError{o.Key, "size", decimal(o.Size), decimal(d.size)}
	}
	kind, want, _ := strings.Cut(o.Sum, ":")
	if got := d.has(kind); got != "" && !strings.EqualFold(got, want) {
		return &VerifyError{o.Key, kind, want, got}
	}
	return nil
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// proves reports whether the stream was seen to have the object's sum, and not
// only its size.
func (d *digest) proves(o *storage.Object) bool {
	kind, _, _ := strings.Cut(o.Sum, ":")
	return d.has(kind) != "" && d.check(o) == nil
}

// copy moves a stream through a pooled buffer, and ends when ctx does.
func (s *Sync) copy(ctx context.Context, to io.Writer, from io.Reader) error {
	buf := s.buffers.Get().(*[]byte)
	defer s.buffers.Put(buf)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := from.Read(*buf)
		if n > 0 {
			if _, err := to.Write((*buf)[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// fetch reads a remote file into what begin returns: it is told the strongest sum
// that the remote vouches for.
func (s *Sync) fetch(ctx context.Context, o *storage.Object, begin func(sum string) io.Writer) error {
	r, err := s.cfg.Store.Open(ctx, *o, 0, -1)
	if err != nil {
		return err
	}
	err = s.copy(ctx, begin(strongest(r, o)), &limited{r: r, left: o.Size})
	return errors.Join(err, r.Close())
}

// strongest is what the remote says of the whole object: what a reader of it has
// learned goes before what the listing said.
func strongest(r io.Reader, o *storage.Object) string {
	if sum := storage.SumOf(r); vouched(sum) {
		return sum
	}
	return o.Sum
}

// limited fails on a stream that is longer than announced, so that it cannot fill
// the disk.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, errTooLong
	}
	return n, err
}

var errTooLong = fmt.Errorf("%w: more bytes than announced", ErrCorrupt)

// sum reads a local file and sets its Sum, of the kind of like; also gets all bytes.
// A file that is edited meanwhile, or cannot be read, keeps no Sum: it counts as
// edited.
func (s *Sync) sum(ctx context.Context, dir *folder, f *LocalFile, like Hash, also *digest) error {
	if also == nil {
		if !f.Sum.IsZero() {
			return nil
		}
		also = newDigest("")
	}
	now := StampOf(time.Now())
	file, err := dir.read(f.Key)
	if err != nil {
		return nil
	}
	defer file.Close()
	err = s.copy(ctx, also, file)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	info, statErr := file.Stat()
	if err != nil || statErr != nil {
		return nil
	}
	if after := localFile(f.Key, info); after.is(f) && also.size == f.Size {
		f.Sum, f.Checked = also.like(like), now
	}
	return nil
}
