package remotefs

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

var (
	errIsDir  = errors.New("is a folder")
	errNotDir = errors.New("is not a folder")
)

// A tree is a listing as files and the folders that they lie in. It never changes.
type tree struct {
	nodes map[string]*node // by path
}

type node struct {
	name string
	dir  bool
	obj  storage.Object // of a file
	time time.Time      // the latest of a folder's files
	kids []*node        // of a folder, sorted by name
}

// newTree takes the objects whose keys match; nil matches all. A listing holds no
// file that is a folder of another too.
func newTree(objects []storage.Object, match func(string) bool) *tree {
	t := &tree{map[string]*node{".": {name: ".", dir: true}}}
	for _, obj := range objects {
		if match == nil || match(obj.Key) {
			t.add(obj.Key, &node{name: path.Base(obj.Key), obj: obj, time: obj.ModTime})
		}
	}
	for _, n := range t.nodes {
		slices.SortFunc(n.kids, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	}
	return t
}

// add puts a file at its path, below folders that are made when they are missing.
func (t *tree) add(at string, file *node) {
	t.nodes[at] = file
	for kid := file; at != "."; {
		at = path.Dir(at)
		parent := t.nodes[at]
		made := parent == nil
		if made {
			parent = &node{name: path.Base(at), dir: true}
			t.nodes[at] = parent
		}
		if kid != nil {
			parent.kids = append(parent.kids, kid)
			kid = nil
		}
		if made {
			kid = parent
		}
		if file.time.After(parent.time) {
			parent.time = file.time
		}
	}
}

// info is what is known of a file or a folder. Both can be read and not written.
type info struct {
	node *node
	sys  any
}

func (s *shared) info(n *node) fs.FileInfo {
	i := info{node: n}
	if !n.dir {
		i.sys = s.cfg.Sys(n.obj)
	}
	return i
}

func (i info) Name() string       { return i.node.name }
func (i info) Size() int64        { return i.node.obj.Size }
func (i info) ModTime() time.Time { return i.node.time }
func (i info) IsDir() bool        { return i.node.dir }
func (i info) Sys() any           { return i.sys }

func (i info) Mode() fs.FileMode {
	if i.node.dir {
		return fs.ModeDir | 0o555
	}
	return 0o444
}

func (s *shared) entries(n *node) []fs.DirEntry {
	entries := make([]fs.DirEntry, len(n.kids))
	for i, kid := range n.kids {
		entries[i] = fs.FileInfoToDirEntry(s.info(kid))
	}
	return entries
}

// folder is an open folder.
type folder struct {
	f    *FS
	name string
	node *node

	mu     sync.Mutex
	next   int // of the entries
	closed bool
}

func (d *folder) Stat() (fs.FileInfo, error) {
	if err := d.check("stat"); err != nil {
		return nil, err
	}
	return d.f.info(d.node), nil
}

func (d *folder) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: errIsDir}
}

func (d *folder) ReadDir(n int) ([]fs.DirEntry, error) {
	if err := d.check("readdir"); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	rest := d.f.entries(d.node)[d.next:]
	if n > 0 && len(rest) == 0 {
		return nil, io.EOF
	}
	if n > 0 {
		rest = rest[:min(n, len(rest))]
	}
	d.next += len(rest)
	return rest, nil
}

func (d *folder) check(op string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return &fs.PathError{Op: op, Path: d.name, Err: fs.ErrClosed}
	}
	if err := d.f.ended(); err != nil {
		return &fs.PathError{Op: op, Path: d.name, Err: err}
	}
	return nil
}

func (d *folder) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	return nil
}
