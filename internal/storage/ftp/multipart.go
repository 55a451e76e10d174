package ftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// multipart is an upload in parts: a temporary file in the object's folder that
// grows at its end. Its ID is the file's name.
type multipart struct{ s *Store }

// Multipart implements [storage.Multiparter].
func (s *Store) Multipart() storage.Multipart { return multipart{s} }

func (m multipart) Begin(ctx context.Context, key string, size, unit int64) (storage.Upload, error) {
	if err := storage.CheckPut(key, size, storage.Cond{}); err != nil {
		return storage.Upload{}, err
	}
	if size == 0 || unit <= 0 {
		return storage.Upload{}, &fs.PathError{Op: "begin", Path: key, Err: fs.ErrInvalid}
	}
	u := storage.Upload{Key: key, ID: tempName(), Size: size, PartSize: max(unit, m.s.opts.PartSize/unit*unit), Serial: true}
	err := m.s.with(ctx, "begin", key, func(c *conn) error {
		empty := &upload{key: key, path: m.s.path(key), temp: m.temp(u)}
		return empty.store(c, strings.NewReader(""))
	})
	if err != nil {
		return storage.Upload{}, err
	}
	return u, nil
}

func (m multipart) temp(u storage.Upload) string {
	return path.Join(path.Dir(m.s.path(u.Key)), u.ID)
}

// check refuses an upload that Begin cannot have made: it may come from a file.
func (m multipart) check(op string, u storage.Upload) error {
	if err := storage.CheckPut(u.Key, u.Size, storage.Cond{}); err != nil {
		return err
	}
	if !isTemp(u.ID) || u.Size == 0 || u.PartSize <= 0 {
		return &fs.PathError{Op: op, Path: u.Key, Err: fs.ErrInvalid}
	}
	return nil
}

// Arrived returns the whole parts that the file's size proves.
func (m multipart) Arrived(ctx context.Context, u storage.Upload) (parts []storage.Part, err error) {
	if err := m.check("arrived", u); err != nil {
		return nil, err
	}
	err = m.s.with(ctx, "arrived", u.Key, func(c *conn) error {
		e, err := c.file(m.temp(u))
		if err == nil && e.size > u.Size {
			return c.forget(u, m.temp(u), e.size)
		}
		for n := 0; err == nil && n < u.Parts(); n++ {
			off, size := u.Part(n)
			if off+size > e.size {
				break
			}
			parts = append(parts, storage.Part{Number: n, Size: size})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return parts, nil
}

// forget removes a file that is no part of anything that was sent.
func (c *conn) forget(u storage.Upload, temp string, size int64) error {
	if err := c.discard(temp, false); err != nil {
		return err
	}
	return fmt.Errorf("%w: the upload has %d bytes of %d, and was removed", fs.ErrNotExist, size, u.Size)
}

// Send writes part n at its place. What is behind that place, of an attempt that
// failed, is written over.
func (m multipart) Send(ctx context.Context, u storage.Upload, n int, r io.Reader, size int64) (storage.Part, error) {
	if err := m.check("send", u); err != nil {
		return storage.Part{}, err
	}
	if n < 0 || n >= u.Parts() {
		return storage.Part{}, &fs.PathError{Op: "send", Path: u.Key, Err: fs.ErrInvalid}
	}
	off, want := u.Part(n)
	if size != want {
		return storage.Part{}, &fs.PathError{Op: "send", Path: u.Key, Err: fs.ErrInvalid}
	}
	err := m.s.with(ctx, "send", u.Key, func(c *conn) error {
		temp := m.temp(u)
		e, err := c.file(temp)
		if err != nil {
			return err
		}
		if e.size < off {
			return fmt.Errorf("%w: part %d does not join the %d bytes that are there", fs.ErrInvalid, n, e.size)
		}
		if err := c.sendPart(temp, off, e.size, storage.Exactly(ctx, r, size)); err != nil {
			return err
		}
		return c.arrivedAt(temp, off+size, max(off+size, e.size))
	})
	if err != nil {
		return storage.Part{}, err
	}
	return storage.Part{Number: n, Size: size}, nil
}

// arrivedAt makes sure that a file has one of two sizes: with what was behind the
// part, or cut off there.
func (c *conn) arrivedAt(temp string, least, most int64) error {
	e, err := c.file(temp)
	if err == nil && e.size != least && e.size != most {
		err = fmt.Errorf("%w: the server has %d bytes instead of %d", storage.ErrTemporary, e.size, least)
	}
	return err
}

// sendPart writes r at off of a file that has size bytes.
func (c *conn) sendPart(temp string, off, size int64, r io.Reader) error {
	if size > off && off > 0 {
		if err := c.rewrites(path.Dir(temp)); err != nil {
			if errors.Is(err, errAppends) {
				return errors.Join(c.discard(temp, false), fmt.Errorf("%w: %w", fs.ErrNotExist, err))
			}
			return err
		}
	}
	t, err := c.begin(off, "STOR "+temp)
	var rest *restError
	if errors.As(err, &rest) && refused(err) && size == off {
		t, err = c.begin(0, "APPE "+temp)
	}
	if err != nil {
		return denied(err)
	}
	return c.upload(t, r)
}

// errAppends says that what failed half way cannot be mended on this server.
var errAppends = errors.New("the server cannot write into the middle of a file, so that the upload must start again")

// rewrites makes sure, once, that STOR after REST writes at the place, which some
// servers take for the end of the file.
func (c *conn) rewrites(dir string) error {
	l := &c.store.learned
	switch l.get(&l.rewrites) {
	case yes:
		return nil
	case no:
		return errAppends
	}
	probe := path.Join(dir, tempName())
	got, err := c.tryRewriting(probe)
	if cleanErr := c.discard(probe, false); err == nil {
		err = cleanErr
	}
	switch {
	case err != nil && !refused(err):
		return err
	case err != nil || got != "ac":
		l.set(&l.rewrites, no)
		return errAppends
	}
	l.set(&l.rewrites, yes)
	return nil
}

// tryRewriting writes "ab" and then "c" at its second byte, and returns what the
// file holds.
func (c *conn) tryRewriting(probe string) (string, error) {
	for off, text := range []string{"ab", "c"} {
		if err := c.write(probe, int64(off), strings.NewReader(text)); err != nil {
			return "", err
		}
	}
	return c.content(probe, 0)
}

// Finish gives the file its name when it has exactly the size that was announced.
func (m multipart) Finish(ctx context.Context, u storage.Upload, parts []storage.Part, cond storage.Cond) (obj storage.Object, err error) {
	if err := m.check("finish", u); err != nil {
		return storage.Object{}, err
	}
	if err := storage.CheckPut(u.Key, u.Size, cond); err != nil {
		return storage.Object{}, err
	}
	for n := range u.Parts() {
		if _, size := u.Part(n); len(parts) != u.Parts() || parts[n].Number != n || parts[n].Size != size {
			return storage.Object{}, &fs.PathError{Op: "finish", Path: u.Key, Err: fs.ErrInvalid}
		}
	}
	up := &upload{key: u.Key, path: m.s.path(u.Key), temp: m.temp(u), size: u.Size, cond: cond}
	err = m.s.with(ctx, "finish", u.Key, func(c *conn) error {
		e, err := c.file(up.temp)
		switch {
		case err != nil:
			return err
		case e.size > u.Size:
			return c.forget(u, up.temp, e.size)
		case e.size < u.Size:
			return fmt.Errorf("%w: the server has %d bytes of %d", fs.ErrInvalid, e.size, u.Size)
		}
		obj, err = up.publish(c)
		return err
	})
	if err != nil {
		return storage.Object{}, m.s.withdraw(ctx, up, err)
	}
	return obj, nil
}

// Abort removes the file, and folders that are empty without it.
func (m multipart) Abort(ctx context.Context, u storage.Upload) error {
	if err := m.check("abort", u); err != nil {
		return err
	}
	return m.s.with(ctx, "abort", u.Key, func(c *conn) error {
		temp := m.temp(u)
		if err := c.expect(2, "DELE "+temp); refused(err) {
			if err := c.noFile(temp, err); !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return nil
		} else if err != nil {
			return err
		}
		return c.prune(path.Dir(temp))
	})
}
