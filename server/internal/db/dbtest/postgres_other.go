//go:build !unix

package dbtest

import "os/exec"

func asOther(*exec.Cmd, string) error { return errMissing }
