package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

func newWatch(p *program) *cobra.Command {
	var r reach
	var o d6tpipe.WatchOptions
	var f filter
	var x execution
	c := &cobra.Command{
		Use:   "watch PIPE",
		Short: "Tell what is new, modified or gone on the remote as it comes, or run a command for it",
		Long: `Tell what is new, modified or gone on the remote, a line each, as changes does, and go
on until interrupted. A server tells at once what it sees; without one, the remote is
looked at once a minute. When server or storage cannot be reached, it tries again.

With --exec, a command is run by the shell for what arrived: once for all changes that
came together, which it can read as JSON lines on its standard input, or with --each
once for each change. Its environment has

  D6TPIPE_PIPE    the name of the pipe
  D6TPIPE_COUNT   how many changes there are
  D6TPIPE_KEY     with --each, the name of the file in the pipe
  D6TPIPE_KIND    with --each: new, modified or gone
  D6TPIPE_SIZE    with --each, the bytes of the file; empty when it is gone

and what d6tpipe has itself, a D6TPIPE_TOKEN that is set among it, so that a d6tpipe
in the command works as this one; --profile is told to it as D6TPIPE_PROFILE, and --local
is to be given to it anew. Names of files are never a part of the command's text: quote the
variables as any other. When the command fails, its changes are not acknowledged, and
it is run for them again after a pause; with --once, watch ends with exit code 1.`,
		Example: `  d6tpipe watch sales
  d6tpipe watch sales --exec 'd6tpipe pull sales && ./load.sh'
  d6tpipe watch sales --include '*.csv' --each --exec 'echo "$D6TPIPE_KIND $D6TPIPE_KEY"'`,
	}
	f.flags(c)
	c.Flags().StringVar(&o.Consumer, "consumer", "default", "`name` of who processes the changes")
	c.Flags().BoolVar(&o.Force, "force", false, "believe that everything is gone when the remote is empty")
	c.Flags().BoolVar(&o.Once, "once", false, "end after what there is now")
	c.Flags().DurationVar(&o.Interval, "interval", time.Minute, "`time` between two looks at a remote that no server follows")
	c.Flags().StringVar(&x.command, "exec", "", "`command` to run for what arrived")
	c.Flags().BoolVar(&x.each, "each", false, "run the command once for each change")
	r.flags(c)
	return p.pipeFirst(c, 0, func(c *cobra.Command, name string, _ []string) error {
		switch {
		case x.each && x.command == "":
			return usage(c, errors.New("--each is for --exec"))
		case c.Flags().Changed("exec") && strings.TrimSpace(x.command) == "":
			return usage(c, errors.New("--exec: the command is empty"))
		case o.Interval <= 0:
			return usage(c, errors.New("--interval: it must be longer than that"))
		}
		o.Include, o.Exclude, o.Held = f.include, f.exclude, p.held(c, name, o.Consumer)
		o.Trouble = func(err error, again time.Duration) {
			p.say(c, "again in %s: %s", duration(again), safeLines(message(err)))
		}
		pipe, err := p.openToWatch(c.Context(), name, r.options(), o)
		if err != nil {
			return err
		}
		if x.command == "" {
			return p.leftOut(c, name, p.tellChanges(c, pipe, o))
		}
		x.pipe, x.program, x.cobra = name, p, c
		return p.leftOut(c, name, x.watch(c.Context(), pipe, o))
	})
}

// openToWatch opens a pipe, and waits for a server that cannot be reached just now as the
// watch itself does.
func (p *program) openToWatch(ctx context.Context, name string, open d6tpipe.OpenOptions, o d6tpipe.WatchOptions) (*d6tpipe.Pipe, error) {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		pipe, err := p.open(ctx, name, open)
		if err == nil || o.Once || !errors.Is(err, d6tpipe.ErrUnavailable) && !errors.Is(err, d6tpipe.ErrRateLimited) {
			return pipe, err
		}
		o.Trouble(err, pause)
		if err := wait(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// tellChanges prints changes as they come.
func (p *program) tellChanges(c *cobra.Command, pipe *d6tpipe.Pipe, o d6tpipe.WatchOptions) error {
	for change, err := range pipe.Watch(c.Context(), o) {
		if err != nil {
			return err
		}
		if err := p.printChange(c, change); err != nil {
			return err // the change comes again
		}
	}
	return c.Context().Err()
}

// An execution runs a command for changes.
type execution struct {
	command string
	each    bool
	pipe    string
	program *program
	cobra   *cobra.Command
}

// watch runs the command until ctx ends, or once.
func (x *execution) watch(ctx context.Context, pipe *d6tpipe.Pipe, o d6tpipe.WatchOptions) error {
	if x.each {
		for change, err := range pipe.Watch(ctx, o) {
			if err == nil {
				err = x.do(ctx, []d6tpipe.Change{change}, o.Once)
			}
			if err != nil {
				return err
			}
		}
		return ctx.Err()
	}
	for changes, err := range pipe.WatchBatches(ctx, o) {
		if err == nil {
			err = x.do(ctx, changes, o.Once)
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

const (
	firstPause   = time.Second
	longestPause = time.Minute
)

// do runs the command until it succeeds, or once.
func (x *execution) do(ctx context.Context, changes []d6tpipe.Change, once bool) error {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		err := x.run(ctx, changes)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case once:
			return fmt.Errorf("the command failed: %w", err)
		}
		x.program.say(x.cobra, "again in %s: the command failed: %v", duration(pause), err)
		if err := wait(ctx, pause); err != nil {
			return err
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// endTime is how long a command has to end when it is told to.
const endTime = 400 * time.Millisecond

// run runs the command once. When ctx ends, so does it with all that it has started.
func (x *execution) run(ctx context.Context, changes []d6tpipe.Change) error {
	var in bytes.Buffer
	for _, change := range changes {
		if err := printJSON(&in, change, ""); err != nil {
			return err
		}
	}
	shell, flag := "sh", "-c"
	if runtime.GOOS == "windows" {
		shell, flag = "cmd", "/C"
	}
	cmd := exec.CommandContext(ctx, shell, flag, x.command)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = io.Reader(&in), x.cobra.OutOrStdout(), x.cobra.ErrOrStderr()
	cmd.Env = x.environment(os.Environ(), changes)
	cmd.WaitDelay = endTime
	sweep := together(cmd)
	again := make(chan os.Signal, 1) // a second signal would end this program only, a moment before the command
	signal.Notify(again, endSignals()...)
	defer signal.Stop(again)
	err := cmd.Run()
	if ctx.Err() != nil {
		sweep()
	}
	return err
}

// environment is that of the command: ours, with the profile that is in use, and without
// what settings of a server and of its storage are told in. A token stays: the command is
// there to use it.
func (x *execution) environment(ours []string, changes []d6tpipe.Change) (env []string) {
	for _, v := range ours {
		name, _, _ := strings.Cut(strings.ToUpper(v), "=")
		if !strings.HasPrefix(name, "D6TPIPE_STORAGE_") && !strings.HasPrefix(name, envPrefix) {
			env = append(env, v)
		}
	}
	if x.program.profile != "" {
		env = append(env, "D6TPIPE_PROFILE="+x.program.profile)
	}
	env = append(env, "D6TPIPE_PIPE="+x.pipe, "D6TPIPE_COUNT="+strconv.Itoa(len(changes)))
	if !x.each {
		return env
	}
	change, bytes := changes[0], ""
	if change.Kind != d6tpipe.ChangeGone {
		bytes = strconv.FormatInt(change.File.Size, 10)
	}
	return append(env, "D6TPIPE_KEY="+change.Key, "D6TPIPE_KIND="+string(change.Kind), "D6TPIPE_SIZE="+bytes)
}
