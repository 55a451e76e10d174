package gateway

import (
	"os/exec"
	"syscall"
)

// dieWithParent makes the system kill the child when the parent is killed; and a
// signal from the terminal goes to the parent alone.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
