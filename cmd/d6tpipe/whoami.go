package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func newWhoAmI(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "whoami",
		Short:   "Tell who the server takes you for",
		Example: "  d6tpipe whoami\n  d6tpipe --profile onprem whoami --json",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := p.client(c)
			if err != nil {
				return err
			}
			user, err := client.WhoAmI(c.Context())
			if err != nil {
				return err
			}
			return p.show(c, user, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, safe(user.Username))
				if user.Message != "" {
					p.say(c, "%s", safeLines(user.Message))
				}
				return err
			})
		},
	}
}
