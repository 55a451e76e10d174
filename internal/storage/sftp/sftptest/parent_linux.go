package sftptest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// dieWithParent ends the server even when the test is killed. Its sessions end
// with their connections.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// children returns the processes that a process has started.
func children(pid int) (all []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is good
	for _, name := range stats {
		data, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		var parent int
		after := data[bytes.LastIndexByte(data, ')')+1:] // a name may hold anything
		if _, err := fmt.Sscanf(string(after), " %1s %d", new(string), &parent); err == nil && parent == pid {
			if child, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
				all = append(all, child)
			}
		}
	}
	return all
}
