package transfer

import (
	"context"
	"errors"
	"io/fs"
	"slices"

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
	f := statFile(info.Size(), StampOf(info.ModTime()), changed(info), info.Mode().IsRegular())
	f.Key = key
	return f
}

// statFile is what a system says of a file, without its key.
func statFile(size int64, modified, changed Stamp, regular bool) LocalFile {
	return LocalFile{Size: size, ModTime: modified, Changed: changed, Irregular: !regular}
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
	dir, err := openScan(s.cfg.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return l, err
	}
	return scan(ctx, dir)
}
