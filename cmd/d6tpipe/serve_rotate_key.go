package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/d6t/d6tpipe-go/server"
)

func newRotateKey(s *serving) *cobra.Command {
	var prune bool
	c := &cobra.Command{
		Use:   "rotate-key",
		Short: "Seal stored credentials with a new key",
		Long: `Make a new key, and seal everything anew with it. The old one stays in the key's
file behind it. Servers may run meanwhile; they read the file again. Interrupted at
any moment it leaves a key file that opens everything, and can be run again.

With --prune nothing is rotated: the old keys with which nothing is sealed any more
are dropped from the file. Backups from before the last rotation are of no use
without them: keep a copy of the file as long as these. A file that is the key of
several databases must not be pruned. Wait ten minutes after a rotation.`,
		Example: "  d6tpipe serve rotate-key --data /var/lib/d6tpipe\n  d6tpipe serve rotate-key --prune --data /var/lib/d6tpipe",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			do, text := server.RotateKey, "%d values are sealed with the new key\n"
			if prune {
				do, text = server.PruneKeys, "%d old keys were dropped\n"
			}
			n, err := do(c.Context(), s.config)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), text, n)
			return err
		},
	}
	c.Flags().BoolVar(&prune, "prune", false, "drop the old keys that nothing is sealed with, and do not rotate")
	return c
}
