// Command d6tpipe pushes and pulls data files the way one pushes and pulls code,
// and serves the repo API that a team shares.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/d6t/d6tpipe-go/server"
)

func main() {
	if code, ok := server.RunChild(); ok {
		os.Exit(code)
	}
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run carries out one command line and returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), endSignals()...)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	return execute(ctx, args, stdin, stdout, stderr)
}

// endSignals are those that end the program, and what it has started. That its terminal
// was closed is one, unless nohup has it ignored.
func endSignals() []os.Signal {
	all := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		all = append(all, syscall.SIGHUP)
	}
	return all
}

// execute is run without the signals, which are the process's.
func execute(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	complain(stderr, err)
	return exitCode(err)
}

// complain tells of an error, and what to do about it.
func complain(stderr io.Writer, err error) {
	if err == nil {
		return
	}
	fmt.Fprintln(stderr, "d6tpipe: "+safeLines(message(err)))
	if text := advice(err); text != "" {
		fmt.Fprintln(stderr, safeLines(text))
	}
}
