// Command measure runs a command and appends what it cost to a file, as one line
// of tab-separated fields: the label, seconds of wall clock, seconds of CPU, peak
// memory in MiB, and the exit status.
//
//	measure FILE LABEL COMMAND [ARGUMENT...]
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: measure FILE LABEL COMMAND [ARGUMENT...]")
		os.Exit(2)
	}
	if err := measure(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, "measure:", err)
		os.Exit(1)
	}
}

// measure returns an error when there is nothing to write down. That the command
// failed is written down.
func measure(file, label string, command []string) error {
	cmd := exec.Command(command[0], command[1:]...) //nolint:noctx // ends when the command does; interrupts reach both
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start)
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		return err
	}
	state := cmd.ProcessState
	usage, ok := state.SysUsage().(*syscall.Rusage)
	if !ok {
		return errors.ErrUnsupported
	}
	mib := float64(usage.Maxrss) / 1024
	if runtime.GOOS == "darwin" { // counts bytes, not KiB
		mib /= 1024
	}
	out, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s\t%.3f\t%.3f\t%.0f\t%d\n",
		label, wall.Seconds(), (state.UserTime() + state.SystemTime()).Seconds(), mib, state.ExitCode())
	return errors.Join(err, out.Close())
}
