package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

const passwordLong = `The password is asked for on the terminal, or read as one line from standard input.
The token that stands for it is kept in the keyring of the system. Without a
keyring, keep it in a file that only you can read (d6tpipe profiles set
--token-file FILE), or set the variable D6TPIPE_TOKEN.`

// An account is what is told of one after getting in.
type account struct {
	Username string `json:"username"`
	Server   string `json:"server"`
	Token    string `json:"token"` // where it is kept, never the token
}

func newRegister(p *program) *cobra.Command {
	var email string
	c := &cobra.Command{
		Use:     "register USERNAME",
		Short:   "Open an account on the server and log in",
		Long:    "Open an account on the server of the profile.\n\n" + passwordLong,
		Example: "  d6tpipe register mary --email mary@example.com\n  pwgen 20 1 | tee password | d6tpipe register robot --email robot@example.com",
		Args:    exactly(1),
		RunE: func(c *cobra.Command, args []string) error {
			if email == "" {
				return usage(c, errors.New("--email is missing"))
			}
			if err := plain("--email", email); err != nil {
				return usage(c, err)
			}
			return p.enter(c, args[0], newPassword, func(client *d6tpipe.APIClient, password d6tpipe.Secret) error {
				_, err := client.Register(c.Context(), args[0], email, password)
				return err
			})
		},
	}
	c.Flags().StringVar(&email, "email", "", "e-mail `address`, by which others can share with you")
	return c
}

func newLogin(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "login USERNAME",
		Short:   "Log in to the server with an account",
		Long:    "Fetch the token of an account. It is the same one on every machine.\n\n" + passwordLong,
		Example: "  d6tpipe login mary\n  d6tpipe login robot < password",
		Args:    exactly(1),
		RunE: func(c *cobra.Command, args []string) error {
			ask := func(ctx context.Context, in io.Reader, out io.Writer) (string, error) {
				return askSecret(ctx, in, out, "Password: ")
			}
			return p.enter(c, args[0], ask, func(client *d6tpipe.APIClient, password d6tpipe.Secret) error {
				_, err := client.Login(c.Context(), args[0], password)
				if errors.Is(err, d6tpipe.ErrUnauthorized) {
					return hint(err, "Look at the username and the password; d6tpipe register opens an account.")
				}
				return err
			})
		},
	}
}

// enter gets a token with a password, and tells where it is kept.
func (p *program) enter(c *cobra.Command, username string, ask func(context.Context, io.Reader, io.Writer) (string, error),
	get func(client *d6tpipe.APIClient, password d6tpipe.Secret) error) error {
	if err := plain("username", username); err != nil {
		return usage(c, err)
	}
	client, err := p.client(c)
	if err != nil {
		return err
	}
	cfg := client.Config()
	if err := canKeep(c.Context(), cfg); err != nil {
		return err
	}
	password, err := ask(c.Context(), c.InOrStdin(), c.ErrOrStderr())
	if err != nil {
		return err
	}
	if err := get(client, d6tpipe.Secret(password)); err != nil {
		return err
	}
	p.sayKept(c, cfg)
	return p.show(c, account{username, cfg.Server, tokenPlace(cfg)}, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s is logged in to %s\n", safe(username), safe(cfg.Server))
		return err
	})
}

// canKeep looks whether a token can be kept before there is one: an account whose
// token nobody has is a nuisance.
func canKeep(ctx context.Context, cfg d6tpipe.Config) error {
	store := d6tpipe.KeyringTokens()
	if cfg.TokenFile != "" {
		store = d6tpipe.FileTokens(cfg.TokenFile)
	}
	origin, err := cfg.Origin()
	if err != nil {
		return err
	}
	if _, err = store.Token(ctx, d6tpipe.TokenKey{Profile: cfg.Profile, Origin: origin}); errors.Is(err, d6tpipe.ErrNotFound) {
		return nil
	}
	return err
}

func newLogout(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "logout",
		Short:   "Forget the token on this machine",
		Long:    "Forget the token on this machine. It stays good elsewhere; d6tpipe profiles token\nreset makes it useless.",
		Example: "  d6tpipe logout\n  d6tpipe --profile work logout",
		Args:    exactly(0),
		RunE:    func(c *cobra.Command, _ []string) error { return p.logout(c) },
	}
}

func (p *program) logout(c *cobra.Command) error {
	client, err := p.client(c)
	if err != nil {
		return err
	}
	if err := client.Logout(c.Context()); err != nil {
		return err
	}
	if place := tokenPlace(client.Config()); place == tokenFromVariable {
		p.say(c, "What was kept is forgotten, but the variable D6TPIPE_TOKEN still has a token.")
		return nil
	}
	p.say(c, "The token of profile %s is forgotten.", client.Config().Profile)
	return nil
}

func newUnregister(p *program) *cobra.Command {
	var sure confirmation
	c := &cobra.Command{
		Use:   "unregister USERNAME",
		Short: "Close your account, with its pipes and remotes",
		Long: `Close your account. The server removes your pipes, your remotes and what you have
shared. Files on storage of your own stay; those in the server's storage are
deleted after seven days. It cannot be undone: the username must be typed once
more, or given with --yes.`,
		Example: "  d6tpipe unregister mary --yes mary",
		Args:    exactly(1),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := p.client(c)
			if err != nil {
				return err
			}
			loss := fmt.Sprintf("the account %s on %s is closed with its pipes, remotes and permissions", safe(args[0]), safe(client.Config().Server))
			if err := sure.ask(c, args[0], loss); err != nil {
				return err
			}
			if err := client.Unregister(c.Context(), args[0]); err != nil {
				return err
			}
			p.say(c, "The account %s is closed.", safe(args[0]))
			return nil
		},
	}
	sure.flag(c)
	return c
}
