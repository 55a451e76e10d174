package d6tpipe

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/d6t/d6tpipe-go/internal/atomicfile"
	"github.com/d6t/d6tpipe-go/internal/catalog"
)

// APILocal is a repo API in a JSON file, for people who need no server. The file
// is made to be read, edited and committed: remotes and pipes stand in the order
// of their names, one field a line, and fields that this version does not know
// stay. It holds the credentials that one puts into it, so it is readable by its
// owner only.
//
// Several processes may use one file at the same time. Each change is durable
// when the call returns, and a crash leaves the old content or the new. A file
// that cannot be read, because somebody's edit is unfinished or a newer version
// wrote it, is refused as [ErrDamaged] with line and column and left as it is.
//
// What only a server can do is missing: accounts, permissions, and storage that
// it manages.
type APILocal struct {
	catalogue
	file *localFile
}

// localPage is how many records a page of List has.
const localPage = 1000

// NewAPILocal opens the catalogue file that cfg names. A missing file is an
// empty catalogue; it is created by the first change.
func NewAPILocal(cfg Config) (*APILocal, error) {
	if cfg.Catalog == "" {
		return nil, &Error{Op: "open catalogue of profile", Name: cfg.Profile, Err: &FieldError{Field: "catalog", Reason: "This field is required."}}
	}
	path, err := filepath.Abs(cfg.Catalog)
	if err != nil {
		return nil, err
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // a save replaces the file, not the link to it
	}
	file := newLocalFile(path)
	if err := file.sweep(); err != nil {
		return nil, err
	}
	if _, err := file.read(context.Background()); err != nil {
		return nil, err
	}
	return &APILocal{catalogue{localBackend{file}, hide(cfg)}, file}, nil
}

// Transact makes several changes one: tx is the catalogue as it is now, what
// change does to it is saved, all at once, when change returns nil, and forgotten
// otherwise. Everybody else who wants to change the file waits meanwhile, so
// change must be quick and must use tx alone.
func (a *APILocal) Transact(ctx context.Context, change func(tx API) error) error {
	return a.file.change(ctx, func(s *localState) error {
		tx := &localTx{state: s}
		defer tx.end()
		return change(catalogue{tx, a.cfg})
	})
}

// localBackend is the catalogue in a file.
type localBackend struct{ file *localFile }

func (b localBackend) List(ctx context.Context, path, page string) ([]json.RawMessage, string, error) {
	s, err := b.file.read(ctx)
	if err != nil {
		return nil, "", err
	}
	return s.list(ctx, path, page)
}

func (b localBackend) Do(ctx context.Context, verb catalog.Verb, path, name string, in json.RawMessage) (out json.RawMessage, err error) {
	if verb == catalog.Get {
		s, err := b.file.read(ctx)
		if err != nil {
			return nil, err
		}
		return s.do(verb, path, name, in)
	}
	err = b.file.change(ctx, func(s *localState) (err error) {
		out, err = s.do(verb, path, name, in)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// list returns a page of records: those behind the one that page names.
func (s *localState) list(ctx context.Context, path, page string) (rows []json.RawMessage, next string, err error) {
	t, ok := s.tables[path]
	if !ok {
		return nil, "", noResource(path)
	}
	names := t.sorted()
	start := sort.SearchStrings(names, page)
	if start < len(names) && names[start] == page {
		start++
	}
	for _, name := range names[start:min(start+localPage, len(names))] {
		if err := ctx.Err(); err != nil {
			return nil, "", err
		}
		raw, err := s.show(t.rows[name])
		if err != nil {
			return nil, "", err
		}
		rows, next = append(rows, raw), name
	}
	if start+localPage >= len(names) {
		next = ""
	}
	return rows, next, nil
}

// do carries out a verb. A state that is shared must not see any but Get.
func (s *localState) do(verb catalog.Verb, path, name string, in json.RawMessage) (json.RawMessage, error) {
	t, ok := s.tables[path]
	if !ok {
		return s.resource(verb, path, in)
	}
	old, exists := t.rows[name]
	if !exists && verb != catalog.Create {
		return nil, ErrNotFound
	}
	switch verb {
	case catalog.Get:
		return s.show(old)
	case catalog.Delete:
		s.remove(t, name)
		return nil, nil
	case catalog.Create, catalog.Replace, catalog.Update:
		row, err := s.edit(verb, t.kind, old, in)
		if err != nil {
			return nil, err
		}
		return s.show(row)
	}
	return nil, fmt.Errorf("%w: verb %s", ErrUnsupported, verb)
}

// resource answers for what lies below a record.
func (s *localState) resource(verb catalog.Verb, path string, in json.RawMessage) (json.RawMessage, error) {
	collection, rest, _ := strings.Cut(path, "/")
	name, sub, _ := strings.Cut(rest, "/")
	if collection != catalog.Pipes || sub != "credentials" || verb != catalog.Get {
		return nil, noResource(path)
	}
	row, ok := s.tables[catalog.Pipes].rows[name]
	if !ok {
		return nil, ErrNotFound
	}
	return s.credentials(row, in)
}

// noResource tells what only a server has from what nobody has.
func noResource(path string) error {
	if parts := strings.Split(path, "/"); len(parts) == 3 && parts[2] == "permissions" {
		return fmt.Errorf("%w: a local catalogue has no permissions", ErrUnsupported)
	}
	return ErrNotFound
}

// sweep removes what dead processes have left behind. It is no error if it
// cannot: the folder may be read-only, or somebody may just be saving.
func (f *localFile) sweep() error {
	strays, err := atomicfile.Strays(f.path)
	if err != nil || len(strays) == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if unlock, err := atomicfile.Lock(ctx, f.path); err == nil {
		_ = atomicfile.Sweep(f.path)
		_ = unlock()
	}
	return nil
}
