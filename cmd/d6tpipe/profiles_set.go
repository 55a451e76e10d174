package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// profileFlags are the settings of a profile that a command line may have.
type profileFlags struct {
	settings d6tpipe.ConfigSettings
	keyFile  string
}

// A textFlag is a setting that is a text.
type textFlag struct {
	name, help string
	field      func(*d6tpipe.ConfigSettings) *string
}

var textFlags = []textFlag{
	{"server", "`URL` of the repo API; without one the profile has a catalogue file", func(s *d6tpipe.ConfigSettings) *string { return &s.Server }},
	{"file-repo", "`folder` with the files, in a folder for each pipe", func(s *d6tpipe.ConfigSettings) *string { return &s.FileRepo }},
	{"file-repo-root", "`folder` in which files/PROFILE is the file repo (default ~/d6tpipe)", func(s *d6tpipe.ConfigSettings) *string { return &s.FileRepoRoot }},
	{"catalog", "catalogue `file` of local mode", func(s *d6tpipe.ConfigSettings) *string { return &s.Catalog }},
	{"token-file", "keep the token unencrypted in this `file` that only you can read, and not in the keyring", func(s *d6tpipe.ConfigSettings) *string { return &s.TokenFile }},
	{"username", "your `name` on the server, as a note", func(s *d6tpipe.ConfigSettings) *string { return &s.Username }},
}

func (f *profileFlags) add(c *cobra.Command) {
	for _, t := range textFlags {
		c.Flags().StringVar(t.field(&f.settings), t.name, "", t.help)
	}
	c.Flags().BoolVar(&f.settings.Insecure, "insecure", false, "allow http to another machine, with which everybody on the way can read the token")
	c.Flags().StringVar(&f.keyFile, "key-file", "", "`file` with the key that settings are encrypted with, or - for standard input")
}

// read checks the flags, and reads the key.
func (f *profileFlags) read(c *cobra.Command) error {
	for _, t := range textFlags {
		if err := plain("--"+t.name, *t.field(&f.settings)); err != nil {
			return usage(c, err)
		}
	}
	if !c.Flags().Changed("key-file") {
		return nil
	}
	key, err := readSecret(c, f.keyFile, "Key: ")
	f.settings.Key = d6tpipe.Secret(key)
	return err
}

// change changes the settings whose flags were given.
func (f *profileFlags) change(c *cobra.Command, s *d6tpipe.ConfigSettings) {
	for _, t := range textFlags {
		if c.Flags().Changed(t.name) {
			*t.field(s) = *t.field(&f.settings)
		}
	}
	if c.Flags().Changed("insecure") {
		s.Insecure = f.settings.Insecure
	}
	if c.Flags().Changed("key-file") {
		s.Key = f.settings.Key
	}
}

// plain refuses a word of the command line that does strange things to a terminal.
func plain(what, word string) error {
	if strings.IndexFunc(word, unsafeRune) >= 0 {
		return fmt.Errorf("%s: %q has characters that cannot be seen", what, word)
	}
	return nil
}

// anyFlag reports whether the command line has a flag of this very command.
func anyFlag(c *cobra.Command) bool {
	found := false
	c.LocalFlags().VisitAll(func(f *pflag.Flag) { found = found || f.Changed })
	return found
}

func newProfilesInit(p *program) *cobra.Command {
	f, reset := new(profileFlags), false
	c := &cobra.Command{
		Use:   "init",
		Short: "Make a profile",
		Long: `Make the profile that --profile names. What is not said has defaults. A profile
that is there already stays as it is, unless --reset replaces it; its key is kept.`,
		Example: "  d6tpipe profiles init --server https://pipes.example.com\n  d6tpipe --profile disk profiles init --catalog /mnt/data/pipes.json --file-repo /mnt/data/files",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.read(c); err != nil {
				return err
			}
			o := d6tpipe.InitOptions{Reset: reset}
			f.change(c, &o.Settings)
			cfg, err := d6tpipe.InitConfig(c.Context(), p.profile, o)
			if errors.Is(err, d6tpipe.ErrExists) {
				return hint(err, "d6tpipe profiles set changes it; --reset replaces it with a new one.")
			}
			if err != nil {
				return err
			}
			p.say(c, "Profile %s is ready; next: %s", cfg.Profile, nextAfterInit(cfg))
			return p.showProfile(c, cfg)
		},
	}
	f.add(c)
	c.Flags().BoolVar(&reset, "reset", false, "replace a profile that is there")
	return c
}

func nextAfterInit(cfg d6tpipe.Config) string {
	if cfg.Server == "" {
		return "d6tpipe remotes create NAME --protocol dir --location FOLDER"
	}
	return "d6tpipe login USERNAME, or d6tpipe register USERNAME --email ADDRESS"
}

func newProfilesSet(p *program) *cobra.Command {
	f := new(profileFlags)
	c := &cobra.Command{
		Use:   "set",
		Short: "Change settings of a profile",
		Long: `Change what flags say and leave the rest. An empty value takes a setting out:
--token-file "" puts tokens into the keyring again. Files are not moved; see
d6tpipe profiles move.`,
		Example: "  d6tpipe profiles set --server https://pipes.example.com\n  d6tpipe profiles set --token-file ~/.config/d6tpipe-token",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if !anyFlag(c) {
				return usage(c, errors.New("there is nothing to set; say what with flags"))
			}
			if err := f.read(c); err != nil {
				return err
			}
			cfg, err := p.changeProfile(c, func(s *d6tpipe.ConfigSettings) { f.change(c, s) })
			if err != nil {
				return err
			}
			return p.showProfile(c, cfg)
		},
	}
	f.add(c)
	return c
}

// changeProfile changes settings of a profile that is there.
func (p *program) changeProfile(c *cobra.Command, change func(*d6tpipe.ConfigSettings)) (d6tpipe.Config, error) {
	cfg, err := p.config()
	if err != nil {
		return cfg, err
	}
	changed, err := cfg.Update(c.Context(), change)
	return changed, missingProfile(cfg, err)
}

// missingProfile says what to do when there is no such profile.
func missingProfile(cfg d6tpipe.Config, err error) error {
	if !errors.Is(err, d6tpipe.ErrNotFound) {
		return err
	}
	return hint(err, fmt.Sprintf("Make it with: d6tpipe --profile %s profiles init", cfg.Profile))
}
