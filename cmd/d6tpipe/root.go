package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// A usageError is a command line that cannot be meant.
type usageError struct {
	command string // whose help tells more
	err     error
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usage(c *cobra.Command, err error) error {
	var already *usageError
	if err == nil || errors.As(err, &already) {
		return err
	}
	return &usageError{c.CommandPath(), err}
}

func newRoot() *cobra.Command {
	root := group(&cobra.Command{
		Use:   "d6tpipe",
		Short: "Push and pull data files the way you push and pull code",
		Long: `d6tpipe pushes and pulls data files the way one pushes and pulls code.

Exit codes: 0 all done, 1 failure, 2 wrong usage.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}, newServe(), newVersion())
	root.SetFlagErrorFunc(usage)
	root.CompletionOptions.HiddenDefaultCmd = true
	return root
}

// group is a command that only has others below it.
func group(c *cobra.Command, below ...*cobra.Command) *cobra.Command {
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usage(c, fmt.Errorf("there is no command %q", c.CommandPath()+" "+args[0]))
		}
		return nil
	}
	c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	c.AddCommand(below...)
	return c
}

// exactly is for commands with so many arguments, whose names are in Use.
func exactly(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error { return usage(c, cobra.ExactArgs(n)(c, args)) }
}
