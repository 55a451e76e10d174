package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// pipeFirst makes the name of a pipe the first argument of a command, which run
// gets apart from the n that follow (any number when n is negative). The Python
// client's spelling, --pipe NAME, works too.
func (p *program) pipeFirst(c *cobra.Command, n int, run func(c *cobra.Command, pipe string, rest []string) error) *cobra.Command {
	var pipe string
	c.Flags().StringVar(&pipe, "pipe", "", "`name` of the pipe, in the place of the first argument")
	_ = c.RegisterFlagCompletionFunc("pipe", p.completePipes)
	behind := c.ValidArgsFunction // what completes the arguments behind the name
	c.ValidArgsFunction = func(c *cobra.Command, args []string, to string) ([]string, cobra.ShellCompDirective) {
		switch {
		case len(args) == 0 && pipe == "":
			return p.completePipes(c, args, to)
		case behind != nil:
			return behind(c, args, to)
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	split := func(args []string) (string, []string, error) {
		name, rest := pipe, args
		if !c.Flags().Changed("pipe") {
			if len(args) == 0 {
				return "", nil, errors.New("the name of the pipe is missing")
			}
			name, rest = args[0], args[1:]
		}
		switch {
		case name == "":
			return "", nil, errors.New("the name of the pipe is empty")
		case n >= 0 && len(rest) > n:
			return "", nil, fmt.Errorf("%q is too much; usage: %s", rest[n], c.UseLine())
		case len(rest) < n:
			return "", nil, fmt.Errorf("something is missing after the name of the pipe; usage: %s", c.UseLine())
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
