//go:build !linux

package transfer

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// place moves a part file into a folder, over what is there. The standard library
// has no rename between two open folders here, so the folder is named by its path
// and looked at right before: it must still be the one that is open.
func place(parts *handle, part string, to *handle, dir, name string) error {
	open, err := to.Stat(".")
	if err != nil {
		return err
	}
	named, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !os.SameFile(open, named) {
		return &os.PathError{Op: "rename", Path: dir, Err: errNotFolder}
	}
	return os.Rename(filepath.Join(parts.Name(), part), filepath.Join(dir, name))
}

// syncRoot makes the names in an open folder durable. Windows cannot do it and
// does not need it.
func syncRoot(at *os.Root) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	dir, err := at.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// changed is not asked for here.
func changed(fs.FileInfo) Stamp { return 0 }
