package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// A program is what the commands share: the flags that all of them take, and what
// follows from these.
type program struct {
	profile string
	local   bool
	asJSON  bool
	quiet   bool
	verbose bool
	noColor bool
}

func (p *program) flags(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVarP(&p.profile, "profile", "p", "", "`name` of the profile (default: $D6TPIPE_PROFILE, or default)")
	f.BoolVar(&p.local, "local", false, "use the profile's catalogue file and no server")
	f.BoolVar(&p.asJSON, "json", false, "print results as JSON: one document, or a line for each thing of a list")
	f.BoolVarP(&p.quiet, "quiet", "q", false, "print results and errors only")
	f.BoolVarP(&p.verbose, "verbose", "v", false, "tell more: each file, each repetition")
	f.BoolVar(&p.noColor, "no-color", false, "print no colours, like NO_COLOR")
	_ = root.RegisterFlagCompletionFunc("profile", completeProfiles)
}

// check refuses flags that exclude each other. Commands with a PersistentPreRunE
// of their own have no use for them.
func (p *program) check(c *cobra.Command, _ []string) error {
	if p.quiet && p.verbose {
		return usage(c, errors.New("--quiet and --verbose exclude each other"))
	}
	return nil
}

// config reads the profile.
func (p *program) config() (d6tpipe.Config, error) { return d6tpipe.LoadConfig(p.profile) }

// api opens the repo API of the profile: its server, or its catalogue file when it
// has no server or --local is given.
func (p *program) api() (d6tpipe.API, error) {
	cfg, err := p.config()
	if err != nil {
		return nil, err
	}
	if p.local || cfg.Server == "" {
		return d6tpipe.NewAPILocal(cfg)
	}
	return d6tpipe.NewAPIClient(cfg)
}

// client opens the server of the profile, for what only a server can do.
func (p *program) client(c *cobra.Command) (*d6tpipe.APIClient, error) {
	if p.local {
		return nil, usage(c, fmt.Errorf("%s needs a server; --local has none", c.CommandPath()))
	}
	cfg, err := p.config()
	if err != nil {
		return nil, err
	}
	if cfg.Server == "" {
		return nil, hint(fmt.Errorf("profile %q has no server", cfg.Profile), fmt.Sprintf("Give it one: d6tpipe --profile %s profiles init --server URL; or d6tpipe serve starts one here.", cfg.Profile))
	}
	return d6tpipe.NewAPIClient(cfg)
}

// open connects to a pipe. Its settings may come from a server, so nothing of this
// machine is used because they say so.
func (p *program) open(ctx context.Context, pipe string, o d6tpipe.OpenOptions) (*d6tpipe.Pipe, error) {
	api, err := p.api()
	if err != nil {
		return nil, err
	}
	opened, err := d6tpipe.OpenPipe(ctx, api, pipe, o)
	if errors.Is(err, d6tpipe.ErrNotFound) && !p.local {
		err = orNoProfile(api.Config(), err)
	}
	return opened, err
}

// orNoProfile says so when nothing is found since there is no such profile: its name may be
// mistyped, and the catalogue of a profile that nobody has made is empty.
func orNoProfile(cfg d6tpipe.Config, err error) error {
	names, failed := d6tpipe.ListProfiles(cfg.File)
	if failed != nil || slices.Contains(names, cfg.Profile) {
		return err
	}
	return hint(err, fmt.Sprintf("Profile %s is not in %s: d6tpipe profiles list shows those that are, d6tpipe profiles init makes one.", cfg.Profile, cfg.File))
}

// colors reports whether what goes to f may have colours.
func (p *program) colors(f any) bool {
	return !p.noColor && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(f)
}
