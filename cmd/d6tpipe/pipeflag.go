package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// pipeFirst makes the name of a pipe the first argument of a command, which run
// gets apart from the n that follow (any number when n is negative). The Python
// client's spelling, --pipe NAME, works too.
func (p *program) pipeFirst(c *cobra.Command, n int, run func(c *cobra.Command, pipe string, rest []string) error) *cobra.Command {
	var pipe string
	c.Flags().StringVar(&pipe, "pipe", "", "`name` of the pipe, in the place of the first argument")
	_ = c.RegisterFlagCompletionFunc("pipe", p.completePipes)
	c.ValidArgsFunction = func(c *cobra.Command, args []string, to string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 || pipe != "" {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return p.completePipes(c, args, to)
	}
	split := func(args []string) (string, []string, error) {
		name, rest := pipe, args
		if name == "" {
			if len(args) == 0 {
				return "", nil, errors.New("the name of the pipe is missing")
			}
			name, rest = args[0], args[1:]
		}
		if n >= 0 && len(rest) != n {
			return "", nil, fmt.Errorf("%d arguments after the name of the pipe, not %d; usage: %s", n, len(rest), c.UseLine())
		}
		return name, rest, nil
	}
	c.Args = func(c *cobra.Command, args []string) error {
		_, _, err := split(args)
		return usage(c, err)
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		name, rest, err := split(args)
		if err != nil {
			return usage(c, err)
		}
		return run(c, name, rest)
	}
	return c
}

// completePipes gives a shell the names of the pipes, if that is quick.
func (p *program) completePipes(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return completeNames(p, c, d6tpipe.API.Pipes)
}

// completeNames gives a shell the names of records, if that is quick.
func completeNames[T d6tpipe.Record](p *program, c *cobra.Command, of func(d6tpipe.API) *d6tpipe.Collection[T]) ([]string, cobra.ShellCompDirective) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(c.Context()), 2*time.Second)
	defer stop()
	api, err := p.api()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, _ := of(api).Names(ctx) // a completion has nobody to tell an error
	return names, cobra.ShellCompDirectiveNoFileComp
}
