//go:build !unix

package transfer

import "os"

// alive reports whether a process of this machine has the id.
func alive(pid int) bool {
	p, err := os.FindProcess(pid) // opens the process on Windows
	if err != nil {
		return false
	}
	_ = p.Release()
	return true
}
