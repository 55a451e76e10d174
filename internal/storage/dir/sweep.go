package dir

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// tempPrefix begins the names of files that are being written: then follow the
// writer's process id, its machine and a random number.
const tempPrefix = ".d6tpipe-tmp-"

// staleAfter is when a temporary file of unknown or another machine's origin
// cannot belong to a running upload any more.
const staleAfter = 24 * time.Hour

func tempName() string {
	return fmt.Sprintf("%s%d-%08x%08x", tempPrefix, os.Getpid(), machine(), rand.Uint32())
}

// machine tells apart the process ids of machines that share a folder.
func machine() uint32 {
	name, _ := os.Hostname() // no name is as good as any
	h := fnv.New32a()
	h.Write([]byte(name))
	return h.Sum32()
}

// sweep removes the temporary files that nobody will finish.
func (s *Store) sweep() error {
	root, err := os.OpenRoot(s.path)
	if err != nil {
		return ignoreMissing(err)
	}
	defer root.Close()
	f, err := root.Open(".")
	if err != nil {
		return nil // every call will say so
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	for _, e := range entries {
		if isTemp(e.Name()) && e.Type().IsRegular() && (stray(root, e.Name()) || forgottenUpload(root, e.Name())) {
			err = errors.Join(err, ignoreMissing(root.Remove(e.Name())))
		}
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil // a remote that may only be read has strays that somebody else may remove
	}
	return err
}

func stray(root *os.Root, name string) bool {
	if !strings.HasPrefix(name, tempPrefix) {
		return false
	}
	var pid int
	var host, random uint32
	n, _ := fmt.Sscanf(name, tempPrefix+"%d-%08x%08x", &pid, &host, &random)
	if n == 3 && host == machine() && !alive(pid) {
		return true
	}
	info, err := root.Lstat(name)
	return err == nil && time.Since(info.ModTime()) > staleAfter
}

// alive reports whether there is a process of this id.
func alive(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	defer func() { _ = p.Release() }() // nothing is held on Unix
	if runtime.GOOS == "windows" {
		return true // finding it was the proof
	}
	err = p.Signal(syscall.Signal(0))
	return err == nil || errors.Is(err, fs.ErrPermission)
}
