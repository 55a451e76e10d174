package transfer

import (
	"os"
	"syscall"
)

// place moves a part file into an open folder, over what is there. Both names are
// resolved from open folders, so that no link can lead elsewhere.
func place(parts *os.Root, _ string, part string, to *os.Root, _ string, name string) error {
	from, err := parts.Open(".")
	if err != nil {
		return err
	}
	defer from.Close()
	dir, err := to.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := syscall.Renameat(int(from.Fd()), part, int(dir.Fd()), name); err != nil {
		return &os.LinkError{Op: "rename", Old: part, New: name, Err: err}
	}
	return nil
}

// syncRoot makes the names in an open folder durable.
func syncRoot(at *os.Root) error {
	dir, err := at.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
