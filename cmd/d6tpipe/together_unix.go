//go:build unix

package main

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// together makes the end of a command that of all that it has started. Sweep is called
// after the command was told to end, and ends what is still there after a while.
func together(cmd *exec.Cmd) (sweep func()) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	signal := func(s syscall.Signal) error { return syscall.Kill(-cmd.Process.Pid, s) }
	cmd.Cancel = func() error {
		err := signal(syscall.SIGTERM)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
	return func() {
		if cmd.Process == nil {
			return
		}
		for end := time.Now().Add(endTime); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if signal(0) != nil {
				return
			}
		}
		_ = signal(syscall.SIGKILL)
	}
}
