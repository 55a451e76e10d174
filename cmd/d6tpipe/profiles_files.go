package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

func newProfilesDir(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "dir",
		Short:   "Print the folder with the files of the pipes",
		Example: "  d6tpipe profiles dir\n  ls \"$(d6tpipe profiles dir)/sales\"",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := p.config()
			if err != nil {
				return err
			}
			return p.showDir(c, cfg)
		},
	}
}

// showDir does not escape the folder: it is for programs, and the user's own.
func (p *program) showDir(c *cobra.Command, cfg d6tpipe.Config) error {
	dir := struct {
		FileRepo string `json:"filerepo"`
	}{cfg.FileRepo}
	return p.show(c, dir, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, cfg.FileRepo)
		return err
	})
}

func newProfilesMove(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "move DIR",
		Short: "Move the folder with the files of the pipes",
		Long: `Move the file repo with all files and what is known of them to DIR, which must not
be there yet or be empty. To another file system it is copied and compared, and
only then removed. Interrupted, it can be run again.`,
		Example: "  d6tpipe profiles move /mnt/big/d6tpipe",
		Args:    exactly(1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := p.config()
			if err != nil {
				return err
			}
			moved, err := cfg.MoveRepo(c.Context(), args[0])
			if err != nil {
				return missingProfile(cfg, err)
			}
			p.say(c, "Moved from %s", safe(cfg.FileRepo))
			return p.showDir(c, moved)
		},
	}
}

func newProfilesWipe(p *program) *cobra.Command {
	var sure confirmation
	c := &cobra.Command{
		Use:   "wipe",
		Short: "Delete a profile with its files, its token and its catalogue file",
		Long: `Delete the file repo with all pulled files, the catalogue file of local mode unless
--catalog put it somewhere, the token, and the profile. The files on remotes, a
server's records and the other profiles stay. It cannot be undone: the name of
the profile must be typed, or given with --yes.`,
		Example: "  d6tpipe --profile trial profiles wipe --yes trial",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := p.config()
			if err != nil {
				return err
			}
			if err := sure.ask(c, cfg.Profile, fmt.Sprintf("profile %s is deleted with all files in %s", cfg.Profile, safe(cfg.FileRepo))); err != nil {
				return err
			}
			if err := cfg.WipeAll(c.Context(), d6tpipe.WipeOptions{Profile: cfg.Profile}); err != nil {
				return missingProfile(cfg, err)
			}
			p.say(c, "Profile %s is gone.", cfg.Profile)
			return nil
		},
	}
	sure.flag(c)
	return c
}
