package d6tpipe

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"github.com/d6t/d6tpipe-go/internal/atomicfile"
	"github.com/d6t/d6tpipe-go/internal/glob"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// A LocalPipe is the part of a pipe that lies on this machine: the files in the
// file repo and what is remembered of the last syncs. It needs no network and no
// repo API. It is safe for concurrent use.
type LocalPipe struct {
	name     string
	dir      string                       // the files
	state    string                       // manifest, settings, part files
	settings atomic.Pointer[PipeSettings] // never nil
}

// stateFolder holds what is remembered of the pipes of a file repo. It lies in the
// file repo, so that a part file can be renamed into place, and its name is none
// that a pipe can have.
const stateFolder = ".d6tpipe"

// settingsFile is where the settings lie that the last OpenPipe saw.
const settingsFile = "pipe.json"

// OpenLocalPipe opens a pipe that was opened on this machine before, offline. A
// pipe that was not is [ErrNotFound].
func OpenLocalPipe(cfg Config, name string) (*LocalPipe, error) {
	p, err := newLocalPipe(cfg, PipeSettings{Name: name})
	if err != nil {
		return nil, &Error{Op: "open local pipe", Name: name, Err: err}
	}
	file := filepath.Join(p.state, settingsFile)
	raw, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("%w in the file repo %s; pull it first", ErrNotFound, cfg.FileRepo)
	case err == nil:
		var settings PipeSettings
		if err = decodeJSON(raw, &settings); err != nil {
			err = fmt.Errorf("%w: %s: %v; open the pipe with its repo API to write it anew", ErrDamaged, file, err)
		}
		p.settings.Store(&settings)
	}
	if err != nil {
		return nil, &Error{Op: "open local pipe", Name: name, Err: withKind(err)}
	}
	return p, nil
}

// newLocalPipe finds the folders of a pipe. It writes nothing.
func newLocalPipe(cfg Config, settings PipeSettings) (*LocalPipe, error) {
	if err := checkName("name", settings.Name); err != nil {
		return nil, err
	}
	if cfg.FileRepo == "" {
		return nil, &FieldError{Field: "filerepo", Reason: "The profile has no file repo."}
	}
	p := &LocalPipe{
		name:  settings.Name,
		dir:   filepath.Join(cfg.FileRepo, settings.Name),
		state: filepath.Join(cfg.FileRepo, stateFolder, settings.Name),
	}
	p.settings.Store(&settings)
	return p, nil
}

// remember makes settings those of the pipe and keeps them for [OpenLocalPipe].
// They hold no credentials.
func (p *LocalPipe) remember(settings PipeSettings) error {
	settings.Credentials, settings.ReadCredentials, settings.WriteCredentials = nil, nil, nil
	p.settings.Store(&settings)
	raw, err := json.MarshalIndent(settings, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(p.state, 0o700); err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(p.state, settingsFile), append(raw, '\n'), 0o600)
}

// Name is the pipe's name.
func (p *LocalPipe) Name() string { return p.name }

// Dir is the folder that holds the pipe's files. It exists once a file is in it.
func (p *LocalPipe) Dir() string { return p.dir }

// Settings are the pipe's settings as they were when it was last opened with its
// repo API, without credentials.
func (p *LocalPipe) Settings() PipeSettings { return *p.settings.Load() }

// Schema is what the pipe's owner tells readers about the files: any JSON, {} when
// nothing.
func (p *LocalPipe) Schema() json.RawMessage {
	schema := p.Settings().Schema
	if len(schema) == 0 {
		return json.RawMessage(`{}`)
	}
	return slices.Clone(schema)
}

// ListOptions select and order files.
type ListOptions struct {
	// Include and Exclude are filters beside the pipe's own.
	Include, Exclude string
	// Sort is the order: by name when empty.
	Sort Sort
}

// A Sort is an order of files. Files that are equal in it are ordered by name.
type Sort string

// The orders, under the names that the Python client gives them.
const (
	SortName Sort = "name"
	SortMod  Sort = "mod"  // oldest first
	SortSize Sort = "size" // smallest first
)

// Files returns the synced files as the last pull or push left them, from memory:
// without looking at the folder or the remote.
func (p *LocalPipe) Files(ctx context.Context, o ListOptions) (files []File, err error) {
	err = p.local("list files of pipe", func(s *transfer.Sync) error {
		if err := o.validate(); err != nil {
			return err
		}
		entries, err := s.Files(ctx)
		for _, e := range entries {
			files = append(files, File{Key: e.Key, Size: e.Size, ModTime: e.ModTime.Time(), Tag: e.Tag, SHA256: e.Sum.SHA256()})
		}
		files = o.apply(files)
		return err
	})
	return files, err
}

// FilePaths returns the paths of the synced files that are in the folder now, for
// programs that read them.
func (p *LocalPipe) FilePaths(ctx context.Context, o ListOptions) ([]string, error) {
	files, err := p.Files(ctx, o)
	if err != nil {
		return nil, err
	}
	paths := make([]string, 0, len(files))
	for _, f := range files {
		local, err := storage.LocalPath(f.Key)
		if err != nil {
			return nil, &Error{Op: "list files of pipe", Name: p.Name(), Err: withKind(err)}
		}
		path := filepath.Join(p.dir, local)
		if _, err := os.Lstat(path); err == nil {
			paths = append(paths, path)
		}
	}
	return paths, nil
}

// ScanLocal lists the pipe's files in the folder, synced or not, as it is now.
// SHA256 is not computed. Names that no remote may have are left out and the
// error, with the list, matches [ErrPartial].
func (p *LocalPipe) ScanLocal(ctx context.Context, o ListOptions) (files []File, err error) {
	err = p.local("scan folder of pipe", func(s *transfer.Sync) error {
		if err := o.validate(); err != nil {
			return err
		}
		listing, err := s.ScanLocal(ctx)
		if err != nil {
			return err
		}
		for _, f := range listing.Files {
			if !f.Irregular {
				files = append(files, File{Key: f.Key, Size: f.Size, ModTime: f.ModTime.Time()})
			}
		}
		files = o.apply(files)
		return refusedErr(listing.Refused)
	})
	return files, err
}

// DeleteOptions name the files to delete. One of the fields must be set: what is
// not named is not deleted.
type DeleteOptions struct {
	// Files are the keys to delete.
	Files []string
	// Synced deletes what was pulled or pushed and not edited since.
	Synced bool
	// All deletes every file of the pipe.
	All bool
}

func (o DeleteOptions) validate() error {
	set := 0
	for _, b := range []bool{len(o.Files) > 0, o.Synced, o.All} {
		if b {
			set++
		}
	}
	if set != 1 {
		return &FieldError{Field: "delete", Reason: "Name what to delete by exactly one of Files, Synced and All."}
	}
	for _, key := range o.Files {
		if err := storage.CheckKey(key); err != nil {
			return err
		}
	}
	return nil
}

// DeleteLocal deletes files from the folder; the remote keeps them, and the next
// pull brings them back.
func (p *LocalPipe) DeleteLocal(ctx context.Context, o DeleteOptions) error {
	return p.local("delete local files of pipe", func(s *transfer.Sync) error {
		if err := o.validate(); err != nil {
			return err
		}
		if o.Synced {
			return s.RemoveSynced(ctx)
		}
		keys := o.Files
		if o.All {
			found, err := s.ScanLocal(ctx)
			if err != nil {
				return err
			}
			keys = localKeys(found.Files)
		}
		return s.RemoveLocal(ctx, keys)
	})
}

func localKeys(files []transfer.LocalFile) (keys []string) {
	for _, f := range files {
		keys = append(keys, f.Key)
	}
	return keys
}

// local opens the folder without a remote, lets do work on it and names the
// operation in errors.
func (p *LocalPipe) local(op string, do func(*transfer.Sync) error) error {
	s, err := transfer.Open(transfer.Config{Dir: p.dir, State: p.state, Match: matchAll(p.Settings().filters())})
	if err == nil {
		err = errors.Join(do(s), s.Close())
	}
	if err != nil {
		return &Error{Op: op, Name: p.Name(), Err: withKind(err)}
	}
	return nil
}

// validate refuses an order that does not exist.
func (o ListOptions) validate() error {
	if !slices.Contains([]Sort{"", SortName, SortMod, SortSize}, o.Sort) {
		return &FieldError{Field: "sort", Reason: "Orders are name, mod and size."}
	}
	return nil
}

// apply selects and orders files.
func (o ListOptions) apply(files []File) []File {
	match := glob.Filter(o.Include, o.Exclude)
	files = slices.DeleteFunc(files, func(f File) bool { return !match(f.Key) })
	slices.SortStableFunc(files, func(a, b File) int {
		switch o.Sort {
		case SortMod:
			return cmp.Or(a.ModTime.Compare(b.ModTime), cmp.Compare(a.Key, b.Key))
		case SortSize:
			return cmp.Or(cmp.Compare(a.Size, b.Size), cmp.Compare(a.Key, b.Key))
		default:
			return cmp.Compare(a.Key, b.Key)
		}
	})
	return files
}

// refusedErr names the keys that a scan had to leave out.
func refusedErr(refused []*storage.KeyError) error {
	if len(refused) == 0 {
		return nil
	}
	return &transfer.PartialError{Refused: refused}
}
