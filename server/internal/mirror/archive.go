package mirror

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"sync"
)

// MaxMemory is how many bytes, compressed, are kept of what a mirror remembers: enough
// for half a million files. Of a mirror that remembers more, another server compares all
// files anew.
const MaxMemory = 64 << 20

// maxUnpacked is how many bytes an archive may unpack to.
const maxUnpacked = 1 << 30

// ErrTooLarge says that a mirror remembers more than is kept.
var ErrTooLarge = errors.New("it remembers more than is kept")

// kept are the files of the engine's state that are worth keeping: the manifest, of which
// place it tells, and the journals of uploads.
var kept = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(manifest|place|uploads/[0-9a-f]{1,64})$`) })

// pack makes an archive of a folder.
func pack(dir string) ([]byte, error) {
	out := &bounded{left: MaxMemory}
	zip, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	w := tar.NewWriter(zip)
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // of an upload that has ended
		}
		if err != nil || !d.Type().IsRegular() || !kept().MatchString(name) {
			return err
		}
		return packFile(w, root, name)
	})
	if err = errors.Join(err, w.Close(), zip.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// packFile adds a file as it is now. Somebody may append to it.
func packFile(w *tar.Writer, root *os.Root, name string) error {
	f, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: info.Size()}); err != nil {
		return err
	}
	_, err = io.CopyN(w, f, info.Size())
	return err
}

// unpack writes the files of an archive into a folder. An archive that is none is
// ErrDamaged; other errors are of the disk.
func unpack(archive []byte, dir string) error {
	err := unpackAll(archive, dir)
	var disk *fs.PathError
	if err == nil || errors.As(err, &disk) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

func unpackAll(archive []byte, dir string) error {
	zip, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	limited := &io.LimitedReader{R: zip, N: maxUnpacked}
	for r := tar.NewReader(limited); ; {
		head, err := r.Next()
		switch {
		case err == io.EOF && limited.N > 0:
			_, err = io.Copy(io.Discard, limited) // up to the checksum
			return err
		case err != nil:
			return err
		case !kept().MatchString(head.Name):
			return fmt.Errorf("%q does not belong into it", head.Name)
		}
		if err := unpackFile(root, head.Name, r); err != nil {
			return err
		}
	}
}

func unpackFile(root *os.Root, name string, r io.Reader) error {
	if folder := path.Dir(name); folder != "." {
		if err := root.MkdirAll(folder, 0o700); err != nil {
			return err
		}
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Sync(), f.Close())
}

// bounded is a buffer that takes no more than so much.
type bounded struct {
	bytes.Buffer
	left int64
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, ErrTooLarge
	}
	return b.Buffer.Write(p)
}
