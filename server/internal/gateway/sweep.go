package gateway

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// What is left behind is removed when nobody can want it any more.
const (
	abandonedUpload = 7 * 24 * time.Hour // since the last part arrived
	abandonedFile   = time.Hour          // a name that a file has for a moment
)

var isTempFile = regexp.MustCompile(`^[0-9a-f]{64}\.`).MatchString

// sweep removes multipart uploads that nobody goes on with, files that an operation
// left when it was killed, and what deleted pipes left in the trash.
func sweep(ctx context.Context, dir, sidecar, bucket string, now time.Time) error {
	return errors.Join(
		sweepTrash(filepath.Join(dir, trashDir)),
		sweepUploads(ctx, filepath.Join(dir, bucketsDir, bucket, tmpDir), sidecarTmp(sidecar, bucket), now),
		sweepStrays(ctx, filepath.Join(dir, bucketsDir, bucket), now),
	)
}

func sidecarTmp(sidecar, bucket string) string {
	if sidecar == "" {
		return ""
	}
	return filepath.Join(sidecar, bucket, tmpDir)
}

func sweepTrash(trash string) error {
	entries, err := os.ReadDir(trash)
	if err != nil {
		return ignoreMissing(err)
	}
	var failed error
	for _, e := range entries {
		failed = errors.Join(failed, os.RemoveAll(filepath.Join(trash, e.Name())))
	}
	return failed
}

// sweepUploads goes through the S3 server's folder of what is not whole: files, and
// multipart uploads, each a folder in the folder of its key.
func sweepUploads(ctx context.Context, tmp, sidecar string, now time.Time) error {
	failed := sweepOld(ctx, tmp, "", now, func(name string, dir bool) bool { return !dir && isTempFile(name) })
	keys, err := os.ReadDir(filepath.Join(tmp, "multipart"))
	if err != nil {
		return errors.Join(failed, ignoreMissing(err))
	}
	for _, key := range keys {
		folder := filepath.Join("multipart", key.Name())
		beside := ""
		if sidecar != "" {
			beside = filepath.Join(sidecar, folder)
		}
		failed = errors.Join(failed, sweepOld(ctx, filepath.Join(tmp, folder), beside, now, func(_ string, dir bool) bool { return dir }))
		os.Remove(filepath.Join(tmp, folder)) //nolint:errcheck // it has other uploads
	}
	return failed
}

// sweepOld removes the entries of a folder that are old and that match selects,
// together with those of the same names beside.
func sweepOld(ctx context.Context, folder, beside string, now time.Time, match func(name string, dir bool) bool) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return ignoreMissing(err)
	}
	var failed error
	for _, e := range entries {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		info, err := e.Info()
		if err != nil || !match(e.Name(), e.IsDir()) || now.Sub(info.ModTime()) < abandonedUpload {
			continue
		}
		failed = errors.Join(failed, os.RemoveAll(filepath.Join(folder, e.Name())))
		if beside != "" {
			failed = errors.Join(failed, os.RemoveAll(filepath.Join(beside, e.Name())))
		}
	}
	return failed
}

// sweepStrays removes what an overwriting that was killed left beside the file. No
// listing shows them.
func sweepStrays(ctx context.Context, bucket string, now time.Time) error {
	return filepath.WalkDir(bucket, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return ignoreMissing(err)
		case ctx.Err() != nil:
			return ctx.Err()
		case e.IsDir() && e.Name() == tmpDir:
			return fs.SkipDir
		case e.IsDir() || !reserved(e.Name()):
			return nil
		}
		if info, err := e.Info(); err != nil || now.Sub(info.ModTime()) < abandonedFile {
			return nil //nolint:nilerr // it is gone already
		}
		return ignoreMissing(os.Remove(path))
	})
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
