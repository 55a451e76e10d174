package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

func newProfilesToken(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:     "token",
		Short:   "The token with which one talks to the server",
		Example: "  d6tpipe profiles token set --token - < token.txt\n  d6tpipe profiles token get",
	}, newTokenSet(p), newTokenGet(p), newTokenDelete(p), newTokenReset(p))
}

// tokenOf returns where the token of the profile is kept, and under which key.
func (p *program) tokenOf(c *cobra.Command) (d6tpipe.Config, d6tpipe.TokenKey, error) {
	client, err := p.client(c)
	if err != nil {
		return d6tpipe.Config{}, d6tpipe.TokenKey{}, err
	}
	cfg := client.Config()
	origin, err := cfg.Origin()
	return cfg, d6tpipe.TokenKey{Profile: cfg.Profile, Origin: origin}, err
}

func newTokenSet(p *program) *cobra.Command {
	var from string
	c := &cobra.Command{
		Use:   "set",
		Short: "Keep a token that another machine or an administrator gave",
		Long: `Keep a token in the keyring, or in the file that --token-file of profiles set
names. The token is asked for on the terminal, or read as one line from standard
input; never give it as an argument, which everybody on the machine can read.`,
		Example: "  d6tpipe profiles token set\n  d6tpipe profiles token set --token - < token.txt",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if from != "-" {
				return usage(c, errors.New("a token on the command line can be read by everybody on the machine, and stays in the history: write --token - and give it on standard input"))
			}
			cfg, key, err := p.tokenOf(c)
			if err != nil {
				return err
			}
			token, err := askSecret(c.Context(), c.InOrStdin(), c.ErrOrStderr(), "Token: ")
			if errors.Is(err, errNoPassword) {
				err = errors.New("there is no token on standard input")
			}
			if err != nil {
				return err
			}
			if err := cfg.TokenStore().SetToken(c.Context(), key, d6tpipe.Secret(token)); err != nil {
				return err
			}
			p.sayKept(c, cfg)
			return nil
		},
	}
	c.Flags().StringVar(&from, "token", "-", "- for standard input; nothing else is taken")
	return c
}

// sayKept tells where a token is now, and when another one goes before it.
func (p *program) sayKept(c *cobra.Command, cfg d6tpipe.Config) {
	if tokenPlace(cfg) == tokenFromVariable {
		p.say(c, "The token is kept, but the variable D6TPIPE_TOKEN goes before it as long as it is set.")
		return
	}
	p.say(c, "The token is kept %s.", safe(tokenPlace(cfg)))
}

func newTokenGet(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "get",
		Short:   "Print the token",
		Long:    "Print the token in clear, for another machine or program. Whoever has it is you.",
		Example: "  d6tpipe profiles token get | ssh other d6tpipe profiles token set",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, key, err := p.tokenOf(c)
			if err != nil {
				return err
			}
			token, err := cfg.TokenStore().Token(c.Context(), key)
			if errors.Is(err, d6tpipe.ErrNotFound) {
				return hint(err, "Log in with: d6tpipe login USERNAME")
			}
			if err != nil {
				return err
			}
			return p.showSecret(c, "token", token)
		},
	}
}

// showSecret prints a secret in clear.
func (p *program) showSecret(c *cobra.Command, name string, secret d6tpipe.Secret) error {
	return p.show(c, map[string]string{name: string(secret)}, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, string(secret))
		return err
	})
}

func newTokenDelete(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "delete",
		Short:   "Forget the token on this machine, as d6tpipe logout does",
		Example: "  d6tpipe profiles token delete",
		Args:    exactly(0),
		RunE:    func(c *cobra.Command, _ []string) error { return p.logout(c) },
	}
}

func newTokenReset(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "reset",
		Short:   "Get a new token from the server and make the old one useless everywhere",
		Example: "  d6tpipe profiles token reset",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := p.client(c)
			if err != nil {
				return err
			}
			if err := canKeep(c.Context(), client.Config()); err != nil {
				return err
			}
			user, err := client.WhoAmI(c.Context())
			if err != nil {
				return err
			}
			if _, err := client.ResetToken(c.Context(), user.Username); err != nil {
				return err
			}
			p.sayKept(c, client.Config())
			return nil
		},
	}
}

func newProfilesKey(p *program) *cobra.Command {
	get := &cobra.Command{
		Use:     "get",
		Short:   "Print the key",
		Long:    "Print the key in clear, for whoever is to use pipes whose settings are encrypted\nwith it. Send it on a safe way: d6tpipe profiles set --key-file - takes it there.",
		Example: "  d6tpipe profiles key get | ssh other d6tpipe profiles set --key-file -",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := p.config()
			if err != nil {
				return err
			}
			if cfg.Key == "" {
				return hint(fmt.Errorf("profile %q has no key", cfg.Profile), "Give it one: d6tpipe profiles set --key-file FILE")
			}
			return p.showSecret(c, "key", cfg.Key)
		},
	}
	return group(&cobra.Command{Use: "key", Short: "The key that settings are encrypted with", Example: "  d6tpipe profiles key get"}, get)
}

// readSecret reads a secret of one line from a file, or from - as people type it.
func readSecret(c *cobra.Command, from, question string) (string, error) {
	if from == "-" {
		return askSecret(c.Context(), c.InOrStdin(), c.ErrOrStderr(), question)
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return "", err
	}
	return readLine(bytes.NewReader(data))
}
