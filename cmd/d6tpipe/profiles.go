package main

import (
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

const profilesLong = `A profile says which server one talks to, or which catalogue file stands in its
place, and where the files of the pipes lie on this machine. Profiles are kept in
~/d6tpipe/cfg.json ($D6TPIPE_CONFIG), which the Python client uses too. The token
for the server lies in the keyring of the system, or where --token-file says.

--profile NAME says which one is meant, else $D6TPIPE_PROFILE, else default.`

func newProfiles(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:     "profiles",
		Short:   "Settings: server, folders, token",
		Long:    profilesLong,
		Example: "  d6tpipe profiles init --server https://pipes.example.com\n  d6tpipe --profile work profiles show\n  d6tpipe profiles list",
	}, newProfilesList(p), newProfilesShow(p), newProfilesInit(p), newProfilesSet(p), newProfilesDir(p),
		newProfilesMove(p), newProfilesWipe(p), newProfilesToken(p), newProfilesKey(p))
}

// A profile is what is shown of one: the names are those of cfg.json.
type profile struct {
	Profile      string         `json:"profile"`
	File         string         `json:"file"` // of profiles
	Server       string         `json:"server,omitempty"`
	Insecure     bool           `json:"insecure,omitempty"`
	Username     string         `json:"username,omitempty"`
	FileRepo     string         `json:"filerepo"`
	FileRepoRoot string         `json:"filereporoot"`
	Catalog      string         `json:"catalog"`
	FileDB       string         `json:"filedb"`
	TokenFile    string         `json:"tokenfile,omitempty"`
	Mode         string         `json:"mode,omitempty"`
	Key          d6tpipe.Secret `json:"key,omitempty"` // shows as ***
	Current      bool           `json:"current"`       // used when none is named
}

func profileOf(cfg d6tpipe.Config) profile {
	return profile{
		Profile: cfg.Profile, File: cfg.File, Server: cfg.Server, Insecure: cfg.Insecure, Username: cfg.Username,
		FileRepo: cfg.FileRepo, FileRepoRoot: cfg.FileRepoRoot, Catalog: cfg.Catalog, FileDB: cfg.FileDB,
		TokenFile: cfg.TokenFile, Mode: cfg.Mode, Key: cfg.Key,
	}
}

func newProfilesList(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the profiles; * marks the one that is used when none is named",
		Example: "  d6tpipe profiles list\n  d6tpipe profiles list --json | jq -r .profile",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			current, err := p.config()
			if err != nil {
				return err
			}
			names, err := d6tpipe.ListProfiles("")
			if err != nil {
				return err
			}
			slices.Sort(names)
			profiles := make([]profile, len(names))
			for i, name := range names {
				cfg, err := d6tpipe.LoadConfig(name)
				if err != nil {
					return err
				}
				profiles[i] = profileOf(cfg)
				profiles[i].Current = name == current.Profile
			}
			if len(profiles) == 0 {
				p.say(c, "There are no profiles in %s; make one with: d6tpipe profiles init", safe(current.File))
			}
			return showList(p, c, profiles, newTable("", "NAME", "SERVER", "USER", "FILES"), func(s profile) []string {
				mark, server := "", s.Server
				if s.Current {
					mark = "*"
				}
				if server == "" {
					server = "(local)"
				}
				return []string{mark, s.Profile, server, s.Username, s.FileRepo}
			})
		},
	}
}

func newProfilesShow(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "show",
		Short:   "Show the settings of a profile, without its secrets",
		Example: "  d6tpipe profiles show\n  d6tpipe --profile work profiles show --json",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := p.config()
			if err != nil {
				return err
			}
			names, err := d6tpipe.ListProfiles("")
			if err != nil {
				return err
			}
			if !slices.Contains(names, cfg.Profile) {
				p.say(c, "There is no profile %q in %s yet; these are the defaults.", cfg.Profile, safe(cfg.File))
			}
			return p.showProfile(c, cfg)
		},
	}
}

// showProfile prints the settings of a profile.
func (p *program) showProfile(c *cobra.Command, cfg d6tpipe.Config) error {
	s := profileOf(cfg)
	current, err := d6tpipe.LoadConfig(p.profile)
	if err != nil {
		return err
	}
	s.Current = current.Profile == s.Profile
	return p.show(c, s, func(w io.Writer) error {
		t := newTable()
		for _, line := range [][2]string{
			{"profile", s.Profile}, {"file", s.File}, {"server", s.Server}, {"insecure", yesOrNothing(s.Insecure)}, {"username", s.Username},
			{"filerepo", s.FileRepo}, {"filereporoot", s.FileRepoRoot}, {"catalog", s.Catalog}, {"filedb", s.FileDB},
			{"token", tokenPlace(cfg)}, {"mode", s.Mode}, {"key", s.Key.String()},
		} {
			if line[1] != "" {
				t.add(line[0], line[1])
			}
		}
		return t.print(w)
	})
}

func yesOrNothing(is bool) string {
	if is {
		return "yes"
	}
	return ""
}

const tokenFromVariable = "from the variable D6TPIPE_TOKEN"

// tokenPlace says where the token of a profile comes from, "" when it needs none.
func tokenPlace(cfg d6tpipe.Config) string {
	switch {
	case os.Getenv("D6TPIPE_TOKEN") != "":
		return tokenFromVariable
	case cfg.Server == "":
		return ""
	case cfg.TokenFile != "":
		return "in the file " + cfg.TokenFile
	}
	return "in the keyring of the system"
}
