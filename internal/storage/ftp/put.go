package ftp

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

const (
	// tempPrefix begins the names of files that are being written.
	tempPrefix = ".d6tpipe-tmp-"
	// oldPrefix begins the names of files that were moved aside. It is not
	// tempPrefix: they are somebody's data, and must not be swept.
	oldPrefix = ".d6tpipe-old-"
)

// staleAfter is when a temporary file cannot belong to a running upload any more.
const staleAfter = 24 * time.Hour

// cleaning is how long a failed Put takes at most to clean up after its context has
// ended. What it cannot remove, a later Put into the folder will.
const cleaning = 700 * time.Millisecond

func tempName() string { return tempPrefix + randomID() }
func oldName() string  { return oldPrefix + randomID() }

func randomID() string {
	var id [12]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// isTemp reports whether name is one that tempName makes.
func isTemp(name string) bool {
	digits, ok := strings.CutPrefix(name, tempPrefix)
	_, err := hex.DecodeString(digits)
	return ok && err == nil && len(digits) == 24 && digits == strings.ToLower(digits)
}

// Put implements [storage.Store]. The bytes go to a temporary file in the object's
// folder, which is renamed when the server says that it has them all.
//
// Where the server does not rename over a file that exists, that file is first moved
// aside, to a name that begins with ".d6tpipe-old-", and moved back if the new one
// cannot take its place: for that moment there is no file of the name, and if this
// program dies in it, the old one stays where it is, listed and refused by its name.
func (s *Store) Put(ctx context.Context, key string, r io.Reader, size int64, cond storage.Cond) (obj storage.Object, err error) {
	if err := storage.CheckPut(key, size, cond); err != nil {
		return storage.Object{}, err
	}
	u := &upload{key: key, path: s.path(key), size: size, cond: cond}
	u.temp = path.Join(path.Dir(u.path), tempName())
	err = s.with(ctx, "put", key, func(c *conn) error {
		err := u.store(c, r)
		if err == nil {
			obj, err = u.publish(c)
		}
		if err != nil && u.started && c.healthy() {
			err = errors.Join(err, c.discard(u.temp, u.madeFolder))
			u.started = false
		}
		return err
	})
	if err != nil {
		return storage.Object{}, s.withdraw(ctx, u, err)
	}
	return obj, nil
}

// withdraw undoes over another connection what a failed upload has left, if its own
// connection broke. It returns cause, the error to know, and where the old version is
// if it could not be moved back.
func (s *Store) withdraw(ctx context.Context, u *upload, cause error) error {
	if u.aside == "" && !u.started {
		return cause
	}
	patience := cleaning
	if u.aside != "" && ctx.Err() == nil {
		patience = 10 * time.Second // it is somebody's data
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	err := s.with(ctx, "clean up", "", func(c *conn) error {
		if u.aside != "" {
			if err := c.moveBack(u.aside, u.path); err != nil {
				return err
			}
			u.aside = ""
		}
		if !u.started {
			return nil
		}
		return c.discard(u.temp, u.madeFolder)
	})
	if u.aside != "" {
		return leftAs(u.aside, cause, err)
	}
	return cause
}

func (c *conn) discard(temp string, prune bool) error {
	if err := c.expect(2, "DELE "+temp); err != nil && !refused(err) {
		return err
	}
	if prune {
		return c.prune(path.Dir(temp))
	}
	return nil
}

// An upload is a file on its way to its name.
type upload struct {
	key        string
	path, temp string
	size       int64
	cond       storage.Cond
	started    bool // temp may exist
	madeFolder bool
	aside      string // where the version before may lie, if an answer got lost
}

// store writes the temporary file.
func (u *upload) store(c *conn, r io.Reader) error {
	if err := c.tryPipelining(); err != nil { // now, as later r could not be read again
		return err
	}
	r = storage.Exactly(c.ctx, r, u.size)
	dir := path.Dir(u.path)
	if c.store.firstPut(dir) { // some servers notice that there is no folder when they have got all the bytes
		if made, err := c.makeFolder(dir); err != nil {
			c.store.left(dir)
			return err
		} else if made {
			u.madeFolder = true
		}
	}
	const tries = 10 // folders may be removed by others as soon as they are made
	for try := 1; ; try++ {
		t, err := c.begin(0, "STOR "+u.temp)
		if err == nil {
			u.started = true
			err = c.upload(t, r)
			if err != nil {
				c.store.left(dir)
			}
			return err
		}
		if !refused(err) || !missingFolder(err) {
			return err
		}
		made, folderErr := c.makeFolder(dir)
		u.madeFolder = u.madeFolder || made
		switch {
		case folderErr != nil:
			return folderErr
		case !made && try > 1 || try == tries:
			return denied(err)
		}
	}
}

// missingFolder reports whether the refusal of an upload may mean that there is no
// folder for it.
func missingFolder(err error) bool {
	var e *replyError
	return errors.As(err, &e) && e.kind == nil && e.code != 552
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 128<<10); return &b }}

// upload sends r and waits for the server's word that it has it.
func (c *conn) upload(t *transfer, r io.Reader) error {
	src := &source{r: r}
	buf := buffers.Get().(*[]byte)
	_, err := io.CopyBuffer(t, struct{ io.Reader }{src}, *buf)
	buffers.Put(buf)
	if src.err != nil {
		t.abandon() // the server takes what has come for the whole
		return src.err
	}
	if err == nil {
		err = t.closeWrite()
	}
	if err != nil {
		return t.whyNot(err)
	}
	return t.stored()
}

// write writes r into a file, from off on.
func (c *conn) write(p string, off int64, r io.Reader) error {
	t, err := c.begin(off, "STOR "+p)
	if err != nil {
		return err
	}
	return c.upload(t, r)
}

// content returns what a file holds from off on, which is little.
func (c *conn) content(p string, off int64) (string, error) {
	t, err := c.begin(off, "RETR "+p)
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(io.LimitReader(t, 10))
	if err != nil {
		t.abandon()
		return "", brokenError(err)
	}
	_, err = t.end()
	return string(data), err
}

// source keeps the error of the caller's reader apart from that of the connection.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// whyNot prefers the server's word for why it takes no more to err.
func (t *transfer) whyNot(err error) error {
	if limitErr := t.c.limit(patience); limitErr != nil {
		t.c.broken = true
		return brokenError(err)
	}
	_, said := t.end()
	if limitErr := t.c.limit(0); limitErr != nil {
		t.c.broken = true
	}
	var e *replyError
	if errors.As(said, &e) {
		return said
	}
	t.c.broken = true
	return brokenError(err)
}

// makeFolder makes dir and those above it, but never the root. It reports whether
// dir was not there.
func (c *conn) makeFolder(dir string) (made bool, err error) {
	root := c.store.opts.Root
	if dir == root {
		return false, c.enter(dir)
	}
	const tries = 10 // as in store
	for try := 1; ; try++ {
		refusal := c.expect(2, "MKD "+dir)
		if !refused(refusal) {
			return refusal == nil, refusal
		}
		there := c.expect(2, "CWD "+dir)
		if !refused(there) {
			return false, there
		}
		above, err := c.makeFolder(path.Dir(dir))
		if err != nil {
			return false, err
		}
		if !above && try > 1 || try == tries {
			return false, c.noRoomFor(dir, refusal)
		}
	}
}

// noRoomFor says why a folder cannot be made below one that is there.
func (c *conn) noRoomFor(dir string, refusal error) error {
	e, err := c.find(dir)
	switch {
	case err == nil && e.kind != isFolder:
		return fmt.Errorf("%q on the server is not a folder", dir)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return denied(refusal)
}
