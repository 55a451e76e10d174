package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const envPrefix = "D6TPIPE_SERVE_"

func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// fromEnvironment gives the flags that the command has, and that were not on its
// command line, the values of their variables. Errors do not quote these: they
// may hold a password.
func fromEnvironment(c *cobra.Command, flags *pflag.FlagSet) error {
	var all []error
	flags.VisitAll(func(f *pflag.Flag) {
		value := os.Getenv(envName(f.Name))
		if value == "" || c.Flags().Lookup(f.Name) == nil || c.Flags().Changed(f.Name) {
			return
		}
		if err := c.Flags().Set(f.Name, value); err != nil {
			all = append(all, fmt.Errorf("%s is no %s", envName(f.Name), f.Value.Type()))
		}
	})
	return usage(c, errors.Join(all...))
}
