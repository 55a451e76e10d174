package d6tpipe

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/d6t/d6tpipe-go/internal/atomicfile"
)

// copyTree copies a folder with the times of its files, durably, and reads each
// copy again.
func copyTree(ctx context.Context, from, to string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		return copyEntry(ctx, path, filepath.Join(to, rel), e)
	})
}

func copyEntry(ctx context.Context, from, to string, e fs.DirEntry) error {
	info, err := e.Info()
	if err != nil {
		return err
	}
	switch e.Type() {
	case fs.ModeDir:
		err = os.MkdirAll(to, info.Mode().Perm()|0o700)
	case fs.ModeSymlink:
		var target string
		if target, err = os.Readlink(from); err == nil {
			err = os.Symlink(target, to)
		}
	case 0:
		err = copyFile(ctx, from, to, info)
	default:
		err = fmt.Errorf("%w: %s is neither a file, a folder nor a link", ErrUnsupported, from)
	}
	if err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(to))
}

func copyFile(ctx context.Context, from, to string, info fs.FileInfo) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	sent := sha256.New()
	_, err = io.Copy(io.MultiWriter(dst, sent), contextReader{ctx, src})
	if err = errors.Join(err, dst.Chmod(info.Mode().Perm()), dst.Sync(), dst.Close()); err != nil {
		return err
	}
	// A sync tells changed files by their time.
	if err := os.Chtimes(to, info.ModTime(), info.ModTime()); err != nil {
		return err
	}
	return sameCopy(ctx, from, to, sent, info)
}

// sameCopy compares a copy with what was sent, and with the file again.
func sameCopy(ctx context.Context, from, to string, sent hash.Hash, info fs.FileInfo) error {
	dst, err := os.Open(to)
	if err != nil {
		return err
	}
	defer func() { _ = dst.Close() }()
	got := sha256.New()
	if _, err := io.Copy(got, contextReader{ctx, dst}); err != nil {
		return err
	}
	if string(got.Sum(nil)) != string(sent.Sum(nil)) {
		return fmt.Errorf("%w: the copy of %s came out different", ErrUnavailable, from)
	}
	now, err := os.Stat(from)
	if err != nil {
		return err
	}
	if now.Size() != info.Size() || !now.ModTime().Equal(info.ModTime()) {
		return fmt.Errorf("%w: %s was changed while it was copied", ErrConflict, from)
	}
	return nil
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
