package atomicfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// ErrChanged says that somebody else has written the file in the meantime.
var ErrChanged = errors.New("the file was changed by somebody else")

// nextTail ends the name of the file that is about to replace another.
const nextTail = "next"

// patience is how long a claim may stand before its writer counts as dead.
const patience = 2 * time.Second

// Swap is [Write] on the condition that the file at path still holds old; nil
// is a missing file. Otherwise it returns [ErrChanged] and writes nothing. It
// needs no lock to be safe: of several writers who start from the same content
// exactly one succeeds, also on a file system whose locks do nothing.
//
// The new content is first linked to one name, which only one writer can have.
// Who has it is the only one to replace the file, so what it then finds in the
// file stays there until its rename.
func Swap(ctx context.Context, path string, old, data []byte, perm fs.FileMode) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	temp, mine, err := writeTemp(path, data, perm)
	if err != nil {
		return err
	}
	next, err := claim(ctx, temp, tempOf(path)+nextTail)
	if err == nil {
		err = replace(next, path, old, mine)
	}
	err = errors.Join(err, remove(temp))
	if err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// claim gives the file temp the name next as well, once nobody else has it. On a
// file system without links it returns temp: there the lock has to do.
func claim(ctx context.Context, temp, next string) (string, error) {
	var seen fs.FileInfo
	var since time.Time
	for {
		err := os.Link(temp, next)
		switch {
		case err == nil:
			return next, nil
		case errors.Is(err, errors.ErrUnsupported), errors.Is(err, fs.ErrPermission):
			return temp, nil
		case errors.Is(err, fs.ErrNotExist): // somebody has swept temp away, for want of a lock
			return "", fmt.Errorf("%w: %w", ErrChanged, err)
		case !errors.Is(err, fs.ErrExist):
			return "", err
		}
		now, err := os.Lstat(next)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return "", err
		case seen == nil || !os.SameFile(seen, now) || !seen.ModTime().Equal(now.ModTime()):
			seen, since = now, time.Now()
		case time.Since(since) > patience:
			_ = remove(next)
			continue
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(poll):
		}
	}
}

// replace renames next to path if path holds old. An error leaves no next.
func replace(next, path string, old []byte, mine fs.FileInfo) error {
	now, err := os.ReadFile(path)
	missing := errors.Is(err, fs.ErrNotExist)
	if missing {
		err = nil
	}
	if err == nil && (missing != (old == nil) || !bytes.Equal(now, old)) {
		err = ErrChanged
	}
	// Somebody may have taken this writer for dead and removed its claim.
	if info, statErr := os.Lstat(next); statErr != nil || !os.SameFile(info, mine) {
		return errors.Join(err, ErrChanged, ignoreMissing(statErr))
	}
	if err == nil {
		err = os.Rename(next, path)
		if errors.Is(err, fs.ErrNotExist) { // swept away since it was looked at
			err = fmt.Errorf("%w: %w", ErrChanged, err)
		}
	}
	if err != nil {
		return errors.Join(err, remove(next))
	}
	return nil
}
