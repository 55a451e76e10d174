package dir

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// uploadPrefix begins the names of the files in which uploads grow, at the top of
// the folder. They outlive the process that began them.
const uploadPrefix = ".d6tpipe-up-"

// forgotten is when nobody will go on with an upload.
const forgotten = 7 * 24 * time.Hour

// partSize is how much is synced at a time.
const partSize = 16 << 20

// uploads are those of a Store. Parts come one after the other: several at once
// would write to the same disk, and leave holes that nobody could tell from data.
// What the file's size proves has been synced.
type uploads Store

// Multipart implements [storage.Multiparter].
func (s *Store) Multipart() storage.Multipart { return (*uploads)(s) }

// Begin implements [storage.Multipart].
func (m *uploads) Begin(ctx context.Context, key string, size, unit int64) (storage.Upload, error) {
	if err := storage.CheckPut(key, size, storage.Cond{}); err != nil {
		return storage.Upload{}, err
	}
	if _, err := storage.LocalPath(key); err != nil {
		return storage.Upload{}, err
	}
	root, err := (*Store)(m).root(ctx)
	if err != nil {
		return storage.Upload{}, err
	}
	defer root.Close()
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	u := storage.Upload{Key: key, ID: hex.EncodeToString(id), Size: size, PartSize: max(unit, partSize/unit*unit), Serial: true}
	f, err := root.OpenFile(uploadPrefix+u.ID, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return storage.Upload{}, fmt.Errorf("begin %s: %w", key, err)
	}
	return u, f.Close()
}

// file opens what has arrived of an upload.
func (m *uploads) file(ctx context.Context, u storage.Upload) (root *os.Root, f *os.File, err error) {
	if err := storage.CheckKey(u.Key); err != nil {
		return nil, nil, err
	}
	name, err := uploadName(u)
	if err != nil {
		return nil, nil, err
	}
	if root, err = (*Store)(m).root(ctx); err != nil {
		return nil, nil, err
	}
	f, err = root.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("upload %s: %w", u.Key, err), root.Close())
	}
	return root, f, nil
}

// errOthers says that another process is at an upload: two that share what they
// remember, on a file system without locks for that, may go on with the same one.
var errOthers = fmt.Errorf("%w: another process is at this upload", storage.ErrTemporary)

// mine opens what has arrived of an upload for this process alone. Somebody may have
// given it its final name after it was opened: whoever wrote to it then would tear a
// file that is in use.
func (m *uploads) mine(ctx context.Context, u storage.Upload) (root *os.Root, f *os.File, err error) {
	root, f, err = m.file(ctx, u)
	if err != nil {
		return nil, nil, err
	}
	if err = lockUpload(f); err == nil {
		err = stillNamed(root, f, uploadPrefix+u.ID)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("upload %s: %w", u.Key, err), f.Close(), root.Close())
	}
	return root, f, nil
}

// stillNamed reports whether name is that of the open file.
func stillNamed(root *os.Root, f *os.File, name string) error {
	open, err := f.Stat()
	if err != nil {
		return err
	}
	named, err := root.Lstat(name)
	if err == nil && !os.SameFile(open, named) {
		err = fs.ErrNotExist
	}
	return err
}

// uploadName is the name of an upload's file. The ID comes from a file of the
// caller's, and must not lead elsewhere.
func uploadName(u storage.Upload) (string, error) {
	if id, err := hex.DecodeString(u.ID); err != nil || len(id) != 16 || u.PartSize <= 0 {
		return "", &fs.PathError{Op: "upload", Path: u.Key, Err: fs.ErrInvalid}
	}
	return uploadPrefix + u.ID, nil
}

// Arrived implements [storage.Multipart].
func (m *uploads) Arrived(ctx context.Context, u storage.Upload) (parts []storage.Part, err error) {
	root, f, err := m.file(ctx, u)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	for n := range u.Parts() {
		off, size := u.Part(n)
		if off+size > info.Size() {
			break
		}
		parts = append(parts, storage.Part{Number: n, Size: size})
	}
	return parts, nil
}

// Send implements [storage.Multipart]. What a part that failed has left behind is
// cut off, as are the parts after the one that is sent.
func (m *uploads) Send(ctx context.Context, u storage.Upload, n int, r io.Reader, size int64) (storage.Part, error) {
	root, f, err := m.mine(ctx, u)
	if err != nil {
		return storage.Part{}, err
	}
	defer root.Close()
	if err := send(ctx, f, u, n, r, size); err != nil {
		return storage.Part{}, fmt.Errorf("send part %d of %s: %w", n, u.Key, errors.Join(err, f.Close()))
	}
	return storage.Part{Number: n, Size: size}, f.Close()
}

func send(ctx context.Context, f *os.File, u storage.Upload, n int, r io.Reader, size int64) error {
	off, want := u.Part(n)
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case size != want || n < 0 || off > info.Size():
		return fs.ErrInvalid
	}
	if err := f.Truncate(off); err != nil {
		return err
	}
	// A part counts by the size of the file: its last byte is written last, and only
	// after the others are safe.
	w := io.NewOffsetWriter(f, off)
	src := storage.Exactly(ctx, r, size)
	if _, err := io.CopyN(w, src, size-1); err != nil {
		return unexpected(err)
	}
	last, err := io.ReadAll(src)
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if _, err := w.Write(last); err != nil {
		return err
	}
	return f.Sync()
}

// unexpected is the error of a copy that ended early.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Finish implements [storage.Multipart].
func (m *uploads) Finish(ctx context.Context, u storage.Upload, parts []storage.Part, cond storage.Cond) (storage.Object, error) {
	if err := storage.CheckPut(u.Key, u.Size, cond); err != nil {
		return storage.Object{}, err
	}
	root, f, err := m.mine(ctx, u)
	if err != nil {
		return storage.Object{}, err
	}
	defer root.Close()
	info, err := f.Stat()
	if err == nil && (info.Size() != u.Size || len(parts) != u.Parts()) {
		err = fs.ErrInvalid
	}
	if err == nil {
		// The age of the object is that of its last byte.
		info, err = (*Store)(m).publishFile(ctx, root, u, info, cond)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return storage.Object{}, fmt.Errorf("finish %s: %w", u.Key, err)
	}
	return object(u.Key, info), nil
}

func (s *Store) publishFile(ctx context.Context, root *os.Root, u storage.Upload, info fs.FileInfo, cond storage.Cond) (fs.FileInfo, error) {
	name, err := storage.LocalPath(u.Key)
	if err != nil {
		return nil, err
	}
	return s.publish(ctx, root, uploadPrefix+u.ID, name, info, cond)
}

// Abort implements [storage.Multipart].
func (m *uploads) Abort(ctx context.Context, u storage.Upload) error {
	name, err := uploadName(u)
	if err != nil {
		return err
	}
	root, err := (*Store)(m).root(ctx)
	if err != nil {
		return err
	}
	defer root.Close()
	return ignoreMissing(root.Remove(name))
}

// forgottenUpload reports whether name is that of an upload that nobody will go on
// with.
func forgottenUpload(root *os.Root, name string) bool {
	if !strings.HasPrefix(name, uploadPrefix) {
		return false
	}
	info, err := root.Lstat(name)
	return err == nil && time.Since(info.ModTime()) > forgotten
}
