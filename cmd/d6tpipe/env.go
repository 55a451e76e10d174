package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/d6t/d6tpipe-go/server"
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

// unknownSettings are variables that are named as settings are and are none: one that is
// misspelled leaves its setting, such as who may open accounts, as it is by itself.
func unknownSettings(environ []string, flags *pflag.FlagSet) (names []string) {
	known := map[string]bool{server.KeyVariable: true}
	flags.VisitAll(func(f *pflag.Flag) { known[envName(f.Name)] = true })
	for _, v := range environ {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, envPrefix) && !known[name] {
			names = append(names, name)
		}
	}
	return names
}
