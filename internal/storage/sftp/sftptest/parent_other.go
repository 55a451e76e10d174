//go:build !linux

package sftptest

import "os/exec"

// dieWithParent is for Linux only; elsewhere a killed test leaves its server.
func dieWithParent(*exec.Cmd) {}

// children is for Linux only; elsewhere the sessions of a killed server live on.
func children(int) []int { return nil }
