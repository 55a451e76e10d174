package ftptest

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// dieWithParent ends the server even when the test is killed.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// killAll ends the server and the processes that it has made for its clients, which
// are sessions of their own.
func killAll(cmd *exec.Cmd) { killTree(cmd.Process.Pid) }

func killTree(pid int) {
	_ = syscall.Kill(pid, syscall.SIGSTOP) // so that it makes no more; it may be gone
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, child := range strings.Fields(string(text)) {
		if n, err := strconv.Atoi(child); err == nil {
			killTree(n)
		}
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
}
