package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/d6t/d6tpipe-go/server"
)

func newRotateKey(s *serving) *cobra.Command {
	var prune, prepare bool
	c := &cobra.Command{
		Use:   "rotate-key",
		Short: "Seal stored credentials with a new key",
		Long: `Make a new key, and seal everything anew with it. The old one stays in the key's
file behind it. Servers may run meanwhile; they read the file again. Interrupted at
any moment it leaves a key file that opens everything, and can be run again.

Where servers have copies of the file, it takes three steps. With --prepare a new
key is put into the file of one, and not used. Copy that file to all the others, and
then rotate there. A server that has no copy yet answers 503 until it gets one.

With --prune nothing is rotated: the old keys with which nothing is sealed any more
are dropped from the file. Backups from before the last rotation are of no use
without them: keep a copy of the file as long as these. A file that is the key of
several databases must not be pruned. Wait ten minutes after the file has changed.`,
		Example: "  d6tpipe serve rotate-key --data /var/lib/d6tpipe\n  d6tpipe serve rotate-key --prune --data /var/lib/d6tpipe",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			do, text := server.RotateKey, "%d values are sealed with the new key\n"
			if prune {
				do, text = server.PruneKeys, "%d old keys were dropped\n"
			}
			if prepare && prune {
				return usage(c, errors.New("--prepare and --prune are for different times: before a rotation, and after it"))
			}
			if prepare {
				return s.prepareKey(c)
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
	c.Flags().BoolVar(&prepare, "prepare", false, "put a new key into the file, which is not used before the next rotate-key")
	return c
}

func (s *serving) prepareKey(c *cobra.Command) error {
	if err := server.PrepareKey(c.Context(), s.config); err != nil {
		return err
	}
	_, err := fmt.Fprintln(c.OutOrStdout(), "a new key is in the key file: copy the file to all servers, and then run rotate-key")
	return err
}
