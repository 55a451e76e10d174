//go:build !linux

package ftptest

import "os/exec"

// dieWithParent is for Linux only; elsewhere a killed test leaves its server.
func dieWithParent(*exec.Cmd) {}

func killAll(cmd *exec.Cmd) { _ = cmd.Process.Kill() }
