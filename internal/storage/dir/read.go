package dir

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// Open implements [storage.Store]. The version is checked when the file is opened
// and again when its last byte has been read: a program that writes into the file
// meanwhile changes its time.
func (s *Store) Open(ctx context.Context, obj storage.Object, off, n int64) (io.ReadCloser, error) {
	if err := storage.CheckOpen(obj.Key, off); err != nil {
		return nil, err
	}
	name, err := storage.LocalPath(obj.Key)
	if err != nil {
		return nil, err
	}
	root, err := s.root(ctx)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	info, err := lstat(root, name)
	if err != nil {
		return nil, err
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	r := &reader{ctx: ctx, f: f, tag: obj.Tag}
	if err := r.begin(info, off, n); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return r, nil
}

type reader struct {
	ctx context.Context
	f   *os.File
	r   io.Reader // the range of f
	tag string    // "" when any version will do
}

// begin makes sure that f is the file that info is about.
func (r *reader) begin(info fs.FileInfo, off, n int64) error {
	now, err := r.f.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(info, now) {
		return r.changed()
	}
	if n < 0 {
		n = 1<<63 - 1 - off
	}
	r.r = io.NewSectionReader(r.f, off, n)
	return r.check()
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.r.Read(p)
	if err == io.EOF {
		if changed := r.check(); changed != nil {
			return 0, changed
		}
	}
	return n, err
}

func (r *reader) Close() error { return r.f.Close() }

func (r *reader) check() error {
	if r.tag == "" {
		return nil
	}
	info, err := r.f.Stat()
	if err == nil && tag(info) != r.tag {
		err = r.changed()
	}
	return err
}

func (r *reader) changed() error {
	return &fs.PathError{Op: "read", Path: r.f.Name(), Err: storage.ErrChanged}
}
