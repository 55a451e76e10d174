package transfer

import (
	"io/fs"
	"os"
	"syscall"
)

// place moves a part file into an open folder, over what is there. Both names are
// resolved from open folders, so that no link can lead elsewhere.
func place(parts *handle, part string, to *handle, _, name string) error {
	if err := syscall.Renameat(int(parts.names.Fd()), part, int(to.names.Fd()), name); err != nil {
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

// changed is when the system last changed what it knows of a file.
func changed(info fs.FileInfo) Stamp {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return Stamp(stat.Ctim.Nano())
}
