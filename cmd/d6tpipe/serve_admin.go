package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server"
)

func newServeAdmin(s *serving) *cobra.Command {
	return group(&cobra.Command{
		Use:     "admin",
		Short:   "Accounts of administrators",
		Example: "  d6tpipe serve admin create root --email root@example.com",
	}, newAdminCreate(s))
}

func newAdminCreate(s *serving) *cobra.Command {
	admin := server.Admin{}
	c := &cobra.Command{
		Use:   "create USERNAME",
		Short: "Open the account of an administrator",
		Long: `Open an account that administers the server. The password is asked for on the
terminal, or read as one line from standard input when that is none.`,
		Example: "  d6tpipe serve admin create root --email root@example.com --data /var/lib/d6tpipe\n  pwgen 20 1 | d6tpipe serve admin create root --email root@example.com",
		Args:    exactly(1),
		RunE: func(c *cobra.Command, args []string) error {
			admin.Username = args[0]
			if admin.Email == "" {
				return usage(c, errors.New("--email is missing"))
			}
			password, err := newPassword(c.Context(), c.InOrStdin(), c.ErrOrStderr())
			if err != nil {
				return err
			}
			admin.Password = d6tpipe.Secret(password)
			if err := server.CreateAdmin(c.Context(), s.config, admin); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s administers the server now\n", admin.Username)
			return err
		},
	}
	c.Flags().StringVar(&admin.Email, "email", "", "e-mail `address` of the account")
	return c
}
