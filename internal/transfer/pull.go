package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/d6t/d6tpipe-go/internal/atomicfile"
	"github.com/d6t/d6tpipe-go/internal/storage"
)

const partsName = "parts"

// download brings one file here. Bytes that are not what the remote announced
// are fetched once more before that is an error, and so is a file that was cut off
// and of which nobody can tell whether the rest would be of the same version.
func (r *run) download(ctx context.Context, s *Step) (Entry, error) {
	e, err := r.downloadOnce(ctx, s)
	if errors.Is(err, ErrCorrupt) || s.Remote.Tag == "" && errors.Is(err, storage.ErrTemporary) {
		e, err = r.downloadOnce(ctx, s)
	}
	return e, err
}

func (r *run) downloadOnce(ctx context.Context, s *Step) (e Entry, err error) {
	now, err := r.dir.find(s.Key)
	if err != nil {
		return e, err
	}
	if err := r.unchanged(s, now); err != nil {
		return e, err
	}
	part := fmt.Sprintf("%s%d-%016x", atomicfile.TempPrefix, os.Getpid(), rand.Uint64())
	f, err := r.parts.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return e, err
	}
	defer func() {
		if err != nil {
			_ = r.parts.Remove(part) // a sweep takes what is left
		}
	}()
	if e, err = r.fill(ctx, s, f); err != nil {
		return e, err
	}
	return e, r.settle(s, part, e)
}

// fill writes the remote file to f, verified and durable, and closes f.
func (r *run) fill(ctx context.Context, s *Step, f *os.File) (e Entry, err error) {
	defer func() { err = errors.Join(err, f.Close()) }()
	want := *s.Remote
	var d *digest
	err = r.fetch(ctx, s.Remote, func(sum string) io.Writer {
		want.Sum, d = sum, newDigestOf(sum, want.Size)
		return io.MultiWriter(f, d, counter{r, s})
	})
	if err != nil {
		return e, err
	}
	if err := d.check(&want); err != nil {
		return e, err
	}
	return arrived(s, f, d)
}

// arrived makes a file durable that has arrived whole in f.
func arrived(s *Step, f *os.File, d *digest) (e Entry, err error) {
	if err := f.Sync(); err != nil {
		return e, err
	}
	info, err := f.Stat()
	if err != nil {
		return e, err
	}
	file := localFile(s.Key, info)
	return entryOf(s.Remote, &file, d.sum(), StampOf(time.Now())), nil
}

// settle gives the part file its final name, unless a local edit is in the way.
func (r *run) settle(s *Step, part string, e Entry) error {
	err := r.settleOnce(s, part, e)
	if dir, _, splitErr := split(s.Key); errors.Is(err, fs.ErrNotExist) && splitErr == nil {
		r.dir.forget(dir) // somebody has removed the folder
		err = r.settleOnce(s, part, e)
	}
	return err
}

func (r *run) settleOnce(s *Step, part string, e Entry) error {
	at, name, err := r.dir.parent(s.Key, true)
	if err != nil {
		return err
	}
	defer at.Close()
	now, err := look(at.Root, s.Key, name)
	if err != nil {
		return err
	}
	if err := r.unchanged(s, now); err != nil {
		return err
	}
	if err := r.log.add(e); err != nil {
		return err
	}
	dir := filepath.Dir(filepath.Join(r.cfg.Dir, filepath.FromSlash(s.Key)))
	if err := place(r.parts, part, at, dir, name); err != nil {
		return err
	}
	r.dir.touch(path.Dir(s.Key))
	return nil
}

// sweep removes the part files of processes that are gone, those of big files for
// which nobody came back, and records of files that a process placed right before it
// died. The caller holds the lock, so that a file of a living process can only be there
// when the file system has no locks: such a file stays for a day.
func (s *Sync) sweep() error {
	parts, err := os.OpenRoot(filepath.Join(s.cfg.State, partsName))
	if err != nil {
		return err
	}
	defer parts.Close()
	entries, err := readDir(parts)
	there := map[string]bool{}
	for _, e := range entries {
		there[e.Name()] = true
	}
	for _, e := range entries {
		temp, big := strings.HasPrefix(e.Name(), atomicfile.TempPrefix), strings.HasPrefix(e.Name(), bigPrefix)
		of, record := strings.CutSuffix(e.Name(), recSuffix)
		if temp && !busy(e) || big && (older(e, forgotten) || record && !there[of]) {
			err = errors.Join(err, ignoreMissing(parts.Remove(e.Name())))
		}
	}
	return err
}

// older reports whether nothing was written to a file for so long.
func older(e os.DirEntry, age time.Duration) bool {
	info, err := e.Info()
	return err == nil && time.Since(info.ModTime()) > age
}

// busy reports whether another living process may be writing the part file.
func busy(e os.DirEntry) bool {
	var pid int
	_, err := fmt.Sscanf(e.Name(), atomicfile.TempPrefix+"%d-", &pid)
	if err != nil || pid == os.Getpid() || !alive(pid) {
		return false
	}
	return !older(e, 24*time.Hour)
}
