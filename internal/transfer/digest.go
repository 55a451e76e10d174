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

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// bufferSize is how much of a file is held in memory.
const bufferSize = 128 << 10

const md5Prefix = "md5:"

// A digest computes what is known of a stream once it has passed: its size, its
// SHA-256, and its MD5 where the remote vouches for one.
type digest struct {
	size int64
	sha  hash.Hash
	md5  hash.Hash // nil when nobody asks for it
}

func newDigest(sum string) *digest {
	d := &digest{sha: sha256.New()}
	if strings.HasPrefix(sum, md5Prefix) {
		d.md5 = md5.New()
	}
	return d
}

func (d *digest) Write(p []byte) (int, error) {
	d.size += int64(len(p))
	d.sha.Write(p)
	if d.md5 != nil {
		d.md5.Write(p)
	}
	return len(p), nil
}

func (d *digest) sum() (h Hash) {
	d.sha.Sum(h[:0])
	return h
}

// check compares the stream with what the remote says of it.
func (d *digest) check(o *storage.Object) error {
	if d.size != o.Size {
		return &VerifyError{o.Key, "size", strconv.FormatInt(o.Size, 10), strconv.FormatInt(d.size, 10)}
	}
	want, ok := strings.CutPrefix(o.Sum, md5Prefix)
	if !ok || d.md5 == nil {
		return nil
	}
	if got := hex.EncodeToString(d.md5.Sum(nil)); !strings.EqualFold(got, want) {
		return &VerifyError{o.Key, "md5", want, got}
	}
	return nil
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

// fetch reads a remote file into w.
func (s *Sync) fetch(ctx context.Context, o *storage.Object, w io.Writer) error {
	r, err := s.cfg.Store.Open(ctx, *o, 0, -1)
	if err != nil {
		return err
	}
	err = s.copy(ctx, w, &limited{r: r, left: o.Size})
	return errors.Join(err, r.Close())
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

// sum reads a local file and sets its Sum; also gets all bytes. A file that is
// edited meanwhile, or cannot be read, keeps no Sum: it counts as edited.
func (s *Sync) sum(ctx context.Context, dir *folder, f *LocalFile, also *digest) error {
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
		f.Sum, f.Checked = also.sum(), now
	}
	return nil
}
