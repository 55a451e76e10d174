package d6tpipe

import (
	"context"
	"io"
	"io/fs"

	"github.com/d6t/d6tpipe-go/internal/remotefs"
	"github.com/d6t/d6tpipe-go/internal/storage"
)

// ErrCorrupt says that other bytes arrived than the remote vouches for.
var ErrCorrupt = remotefs.ErrCorrupt

// An FS is the remote's side of a pipe as a file system that can be read: the files
// where they lie, without a pull. It is safe for concurrent use. See [Pipe.FS].
type FS struct{ fs *remotefs.FS }

var (
	_ fs.ReadDirFS  = (*FS)(nil)
	_ fs.StatFS     = (*FS)(nil)
	_ fs.ReadFileFS = (*FS)(nil)
	_ fs.SubFS      = (*FS)(nil)
)

// A RemoteFile is what [FS.Open] returns for a file: it can be read from anywhere,
// and by ReadAt from several goroutines at once. Seek and Stat make no request.
type RemoteFile interface {
	fs.File
	io.Seeker
	io.ReaderAt
}

var _ RemoteFile = (*remotefs.File)(nil)

// FS returns the pipe's files on the remote as a file system. It does nothing yet:
// what is first asked for connects and lists, once; later calls of Stat and ReadDir
// make no request. That listing is kept until [FS.Refresh]. The pipe's filters
// apply, and names that could not be pulled are not there; [Pipe.ScanRemote] names
// them.
//
// A file is fetched in pieces of 1 MiB, those that are needed, and kept in a cache
// (see [OpenOptions].ReadCache); who reads on gets the next ones ahead of time.
// Where ranges are expensive, as by FTP, reading on uses one stream. All bytes are
// of the version that was listed: once the file has changed on the remote, what is
// not in the cache yet is [ErrConflict], until Refresh and another Open. When a file
// is read by Read from its beginning to its end, and the remote vouches for a sum of
// it, the last bytes are given out only if it is right; otherwise the error is
// [ErrCorrupt] and names both sums. What is read by ReadAt is checked for its
// version and length only.
//
// Errors are [*fs.PathError] and match [fs.ErrNotExist] and the kinds of this
// package. The file system is of no use any more when ctx ends, which also ends
// every call under way; without an end of ctx, call [FS.Close].
func (p *Pipe) FS(ctx context.Context) *FS {
	return &FS{remotefs.New(ctx, remotefs.Config{
		Open:    p.readRemote,
		Cache:   p.opts().ReadCache,
		Explain: withKind,
		Sys: func(obj storage.Object) any {
			return File{Key: obj.Key, Size: obj.Size, ModTime: obj.ModTime, Tag: obj.Tag}
		},
	})}
}

// readRemote connects to the pipe's remote for reading, and says which keys are the
// pipe's.
func (p *Pipe) readRemote(ctx context.Context) (storage.Store, func(key string) bool, error) {
	store, where, err := p.connect(ctx, RoleRead)
	if err != nil {
		return nil, nil, err
	}
	return storage.Retry(store, storage.RetryPolicy{}), matchAll(where.Filters), nil
}

// Open implements [fs.FS]. For a file it returns a [RemoteFile], for a folder an
// [fs.ReadDirFile].
func (f *FS) Open(name string) (fs.File, error) { return f.fs.Open(name) }

// Stat implements [fs.StatFS]. Files have mode 0444; Sys is the [File].
func (f *FS) Stat(name string) (fs.FileInfo, error) { return f.fs.Stat(name) }

// ReadDir implements [fs.ReadDirFS]. A folder's time is that of the latest file
// below it.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) { return f.fs.ReadDir(name) }

// ReadFile implements [fs.ReadFileFS].
func (f *FS) ReadFile(name string) ([]byte, error) { return f.fs.ReadFile(name) }

// Sub implements [fs.SubFS]. The folder shares connection, listing and cache with f.
func (f *FS) Sub(dir string) (fs.FS, error) { return f.fs.Sub(dir) }

// Refresh forgets the listing: what is asked for next makes a new one. Files that
// are open stay what they are.
func (f *FS) Refresh() { f.fs.Refresh() }

// Close ends what is under way and lets go of the connection and the cache. Every
// later call, on open files too, is [fs.ErrClosed].
func (f *FS) Close() error { return f.fs.Close() }
