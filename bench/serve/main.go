// Command serve measures `d6tpipe serve` under load: logins, lists of pipes, lists
// while others log in all at once, lists while hundreds of connections dawdle, and
// the memory that all of it takes. It speaks HTTP only, over loopback, and starts
// the real program with a new folder for its data.
//
//	serve -program FILE [-seconds N] [-schedules]
//
// With -schedules it measures how many pipes the server scans by itself instead.
//
// Settings of the server can be given as its variables, D6TPIPE_SERVE_DATABASE for
// one, which must name an empty database. The load comes from the same cores, so
// each figure stands beside a limit: what the same clients get from a bare handler
// that answers the same bytes, or hashes the same password.
//
// It ends with 1 when something failed, and with 3 when a target was missed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

var (
	errUsage = errors.New("usage: serve -program FILE [-seconds N] [-schedules], N at least 1")
	// errMissed says that what was measured is not what it should be.
	errMissed = errors.New("a target was missed")
)

func main() {
	program := flag.String("program", "", "the `file` of d6tpipe, as it is built")
	seconds := flag.Int("seconds", 10, "how long each load lasts")
	schedules := flag.Bool("schedules", false, "measure what the server does on schedules")
	limit := flag.String("limit", "", "serve the bare handler on an `address` instead; for this program's own use")
	body := flag.String("body", "", "the `file` that the bare handler answers")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := errUsage
	switch {
	case *limit != "":
		err = serveLimit(ctx, *limit, *body)
	case *program != "" && flag.NArg() == 0 && *seconds > 0:
		do := measure
		if *schedules {
			do = measureSchedules
		}
		err = do(ctx, *program, time.Duration(*seconds)*time.Second)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(exitCode(err))
	}
}

func exitCode(err error) int {
	switch {
	case errors.Is(err, errUsage):
		return 2
	case errors.Is(err, errMissed):
		return 3
	}
	return 1
}

// measure starts the servers, measures and prints.
func measure(ctx context.Context, program string, lasts time.Duration) (err error) {
	dir, err := os.MkdirTemp("", "d6tpipe-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	server, err := startServer(ctx, program, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	w, err := furnish(ctx, server.address)
	if err != nil {
		return err
	}
	bare, err := startLimit(ctx, dir, w)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bare.stop()) }()
	b := bench{server: server, limit: bare, world: w, lasts: lasts}
	rows, err := b.all(ctx)
	if err != nil {
		return err
	}
	return report(os.Stdout, rows)
}
