//go:build unix

package vault

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// exposed says who else can read or replace a key file and what to do about it, ""
// if nobody can. A file of root's may be readable by a group: that is how secrets
// are handed to services.
func exposed(info fs.FileInfo) string {
	mode := info.Mode().Perm()
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "its owner is unknown"
	}
	owner, allowed := int(stat.Uid), fs.FileMode(0o700)
	if owner == 0 {
		allowed |= 0o040
	}
	switch {
	case owner != 0 && owner != os.Geteuid():
		return fmt.Sprintf("it belongs to another user (uid %d); give it to the one that the server runs as: chown %d %s", owner, os.Geteuid(), info.Name())
	case mode&^allowed != 0:
		return fmt.Sprintf("others can read or change it (mode %04o); close it: chmod 600 %s", mode, info.Name())
	}
	return ""
}

// own tells whether a file that this process writes in the place of another is
// open to the same users.
func own(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid() && info.Mode().Perm()&0o077 == 0
}
