package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/d6t/d6tpipe-go/server"
)

func newRotateKey(s *serving) *cobra.Command {
	return &cobra.Command{
		Use:   "rotate-key",
		Short: "Seal stored credentials with a new key",
		Long: `Make a new key, seal everything anew with it, and drop the old one. Servers may
run meanwhile; they read the key's file again. Interrupted at any moment it leaves
a key file that opens everything, and can be run again.`,
		Example: "  d6tpipe serve rotate-key --data /var/lib/d6tpipe",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			n, err := server.RotateKey(c.Context(), s.config)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%d values are sealed with the new key\n", n)
			return err
		},
	}
}
