package transfer

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// A LocalFile is one file of the pipe's folder, as a scan saw it.
type LocalFile struct {
	Key     string `json:"key"`
	Size    int64  `json:"size"`
	ModTime Stamp  `json:"mod_time"`
	// Sum is the hash of the content, where a sync had to look at it.
	Sum Hash `json:"sum,omitzero"`
	// Checked is when Sum was computed.
	Checked Stamp `json:"checked,omitzero"`
	// Equal says that the content was seen to be the remote's.
	Equal bool `json:"equal,omitempty"`
	// Changed is when the system last changed what it knows of the file, as by a rename
	// over it; 0 where that cannot be asked.
	Changed Stamp `json:"-"`
	// Irregular is a symbolic link, a pipe, a device: it is never followed, read
	// or pushed.
	Irregular bool `json:"irregular,omitempty"`
}

func localFile(key string, info fs.FileInfo) LocalFile {
	return LocalFile{Key: key, Size: info.Size(), ModTime: StampOf(info.ModTime()), Changed: changed(info), Irregular: !info.Mode().IsRegular()}
}

// is reports whether f is still what other was.
func (f *LocalFile) is(other *LocalFile) bool {
	if f == nil || other == nil {
		return f == other
	}
	return f.Size == other.Size && f.ModTime == other.ModTime && f.Irregular == other.Irregular
}

// A LocalListing is what a scan of the folder saw.
type LocalListing struct {
	Files   []LocalFile         // sorted by key
	Refused []*storage.KeyError // names that no remote may have, sorted by key
}

// ScanLocal lists the folder. A folder that is missing has no files. Names that
// begin with ".d6tpipe" are ours and left out; symbolic links are not followed.
func (s *Sync) ScanLocal(ctx context.Context) (LocalListing, error) {
	l, err := s.scanLocal(ctx)
	l.Files = slices.DeleteFunc(l.Files, func(f LocalFile) bool { return !s.cfg.Match(f.Key) })
	return l, err
}

func (s *Sync) scanLocal(ctx context.Context) (l LocalListing, err error) {
	return s.scanLocalAbout(ctx, 0)
}

// scanLocalAbout is scanLocal for a folder in which about so many files are expected.
func (s *Sync) scanLocalAbout(ctx context.Context, about int) (l LocalListing, err error) {
	l.Files = make([]LocalFile, 0, about)
	root, err := os.OpenRoot(s.cfg.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return l, err
	}
	defer root.Close()
	if err := l.walk(ctx, root, ""); err != nil {
		return LocalListing{}, err
	}
	slices.SortFunc(l.Files, func(a, b LocalFile) int { return strings.Compare(a.Key, b.Key) })
	slices.SortFunc(l.Refused, func(a, b *storage.KeyError) int { return strings.Compare(a.Key, b.Key) })
	return l, nil
}

// walk adds what lies in dir, whose key is prefix.
func (l *LocalListing) walk(ctx context.Context, dir *os.Root, prefix string) error {
	entries, err := readDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(e.Name()) >= len(ownPrefix) && strings.EqualFold(e.Name()[:len(ownPrefix)], ownPrefix) {
			continue
		}
		if err := l.visit(ctx, dir, prefix+e.Name(), e); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err // what vanished meanwhile is not there
		}
	}
	return nil
}

// ownPrefix begins the names of our own files.
const ownPrefix = ".d6tpipe"

func (l *LocalListing) visit(ctx context.Context, dir *os.Root, key string, e fs.DirEntry) error {
	if err := storage.CheckKey(key); err != nil {
		var refused *storage.KeyError
		if errors.As(err, &refused) {
			l.Refused = append(l.Refused, refused)
			return nil // a folder's files would be refused for the same reason
		}
		return err
	}
	if e.IsDir() {
		sub, err := openDir(dir, e.Name())
		if err != nil {
			return err
		}
		defer sub.Close()
		return l.walk(ctx, sub, key+"/")
	}
	info, err := dir.Lstat(e.Name())
	if err != nil {
		return err
	}
	l.Files = append(l.Files, localFile(key, info))
	return nil
}

func readDir(dir *os.Root) (entries []fs.DirEntry, err error) {
	f, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ReadDir(-1)
}
