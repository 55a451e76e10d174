package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// A subject is what a command about a pipe or, with --remote, a remote is about.
type subject struct{ remote, pipe string }

// named makes the name of a pipe the first argument of a command, or --pipe, or that
// of a remote a flag.
func (s *subject) named(p *program, c *cobra.Command, run func(c *cobra.Command) error) *cobra.Command {
	c.Flags().StringVar(&s.remote, "remote", "", "`name` of a remote, in the place of a pipe")
	c.Flags().StringVar(&s.pipe, "pipe", "", "`name` of the pipe, in the place of the argument")
	c.ValidArgsFunction = func(c *cobra.Command, args []string, to string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return p.completePipes(c, args, to)
	}
	_ = c.RegisterFlagCompletionFunc("pipe", p.completePipes)
	_ = c.RegisterFlagCompletionFunc("remote", p.completeRemotes)
	c.Args = func(c *cobra.Command, args []string) error {
		names := len(args)
		for _, flag := range []string{s.remote, s.pipe} {
			if flag != "" {
				names++
			}
		}
		if names != 1 || slices.Contains(args, "") {
			return usage(c, fmt.Errorf("name one pipe, or one remote with --remote; usage: %s", c.UseLine()))
		}
		return nil
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			s.pipe = args[0]
		}
		return run(c)
	}
	return c
}

// String names it for people.
func (s *subject) String() string {
	if s.remote != "" {
		return "remote " + safe(s.remote)
	}
	return "pipe " + safe(s.pipe)
}

// grantee reads who is meant: an address, organisation/team, public, or a username.
func grantee(who string) (d6tpipe.Permission, error) {
	if who == "" {
		return d6tpipe.Permission{}, errors.New("--with: the name is empty")
	}
	if err := plain("--with", who); err != nil {
		return d6tpipe.Permission{}, err
	}
	switch {
	case strings.Contains(who, "@"):
		return d6tpipe.Permission{Email: who}, nil
	case strings.Contains(who, "/"):
		return d6tpipe.Permission{Group: who}, nil
	}
	return d6tpipe.Permission{Username: who}, nil
}

// whoOf is the reverse of grantee.
func whoOf(p d6tpipe.Permission) string {
	for _, name := range []string{p.Username, p.User, p.Group, p.Email} {
		if name != "" {
			return name
		}
	}
	return "?"
}

// A sharing is what share and unshare have in common.
type sharing struct {
	subject
	with []string
}

func (s *sharing) flag(p *program, c *cobra.Command) {
	c.Flags().StringArrayVar(&s.with, "with", nil, "`who`: a username, an e-mail address, organisation/team, or public; may be given again")
	_ = c.RegisterFlagCompletionFunc("with", p.completeGrantee)
}

// grant gives or takes a permission for each of --with, and prints each.
func (s *sharing) grant(p *program, c *cobra.Command, permission d6tpipe.Permission) error {
	if len(s.with) == 0 {
		return usage(c, errors.New("--with is missing: say who"))
	}
	var all []d6tpipe.Permission
	for _, who := range s.with {
		g, err := grantee(who)
		if err != nil {
			return usage(c, err)
		}
		g.Role, g.Expires, g.AcceptUnfiltered = permission.Role, permission.Expires, permission.AcceptUnfiltered
		if g.Username == d6tpipe.Public && g.Role != d6tpipe.RoleRead && g.Role != d6tpipe.RoleRevoke {
			return usage(c, errors.New("the public can only read: --with public goes with --role read"))
		}
		all = append(all, g)
	}
	client, err := p.client(c)
	if err != nil {
		return err
	}
	give, name := client.Grant, s.pipe
	if s.remote != "" {
		give, name = client.GrantRemote, s.remote
	}
	return eachOf(s.with, func(i int) error {
		if err := give(c.Context(), name, all[i]); err != nil {
			return err
		}
		return s.tell(p, c, all[i])
	})
}

func (s *sharing) tell(p *program, c *cobra.Command, g d6tpipe.Permission) error {
	if p.asJSON {
		return printJSON(c.OutOrStdout(), g, "")
	}
	text := fmt.Sprintf("%s may %s %s", safe(whoOf(g)), roleWords[g.Role], s)
	if !g.Expires.IsZero() {
		text += " until " + g.Expires.String()
	}
	if g.Email != "" && g.Role != d6tpipe.RoleRevoke {
		p.say(c, "Without an account of that address this is an invitation, good from the registration on.")
	}
	_, err := fmt.Fprintln(c.OutOrStdout(), text)
	return err
}

var roleWords = map[d6tpipe.Role]string{
	d6tpipe.RoleRead: "read", d6tpipe.RoleWrite: "write", d6tpipe.RoleAdmin: "administer", d6tpipe.RoleRevoke: "no longer use",
}

func newShare(p *program) *cobra.Command {
	s, role, until, unfiltered := new(sharing), "read", "", false
	c := s.named(p, &cobra.Command{
		Use:   "share PIPE --with WHO",
		Short: "Let others use a pipe or a remote",
		Long: `Let a user, everybody who has an address, a team or the public use a pipe, with its
children, or a remote with the pipes on it. Roles are read (pull), write (pull and
push) and admin (change settings too). The permission takes the place of an earlier
one, and ends after the day that --until names, in UTC. The public can only read.`,
		Example: `  d6tpipe share sales --with mary
  d6tpipe share sales --with partner@example.com --role write --until 2026-12-31
  d6tpipe share sales --with acme/analysts --with public
  d6tpipe share --remote warehouse --with mary --role write`,
	}, func(c *cobra.Command) error {
		permission, err := readPermission(role, until, time.Now())
		if err != nil {
			return usage(c, err)
		}
		permission.AcceptUnfiltered = unfiltered
		return s.grant(p, c, permission)
	})
	s.flag(p, c)
	c.Flags().StringVar(&role, "role", role, "`read`, write or admin")
	completeWords(c, "role", "read", "write", "admin")
	c.Flags().StringVar(&until, "until", "", "last `day` of the permission, such as 2026-12-31")
	c.Flags().BoolVar(&unfiltered, "accept-unfiltered", false, "share a filtered pipe although its stored credentials open more than the filter lets through")
	return c
}

// readPermission reads role and day.
func readPermission(role, until string, now time.Time) (p d6tpipe.Permission, err error) {
	p.Role = d6tpipe.Role(role)
	if !slices.Contains([]d6tpipe.Role{d6tpipe.RoleRead, d6tpipe.RoleWrite, d6tpipe.RoleAdmin}, p.Role) {
		return p, fmt.Errorf("--role %q is none of read, write and admin; d6tpipe unshare takes a permission back", role)
	}
	if until == "" {
		return p, nil
	}
	day, err := time.Parse(time.DateOnly, until)
	switch {
	case err != nil:
		return p, fmt.Errorf("--until %q is no day of the form 2026-12-31", until)
	case day.AddDate(0, 0, 1).Before(now):
		return p, fmt.Errorf("--until %s is over", until)
	}
	p.Expires = d6tpipe.DateOf(day)
	return p, nil
}

func newUnshare(p *program) *cobra.Command {
	s := new(sharing)
	c := s.named(p, &cobra.Command{
		Use:     "unshare PIPE --with WHO",
		Short:   "Take back what was shared",
		Long:    "Take a permission back. Keys for the server's storage that were handed out end with\nit, or within the hour where the server uses a bucket; those of storage of your own\nstay known to whoever has got them.",
		Example: "  d6tpipe unshare sales --with mary\n  d6tpipe unshare --remote warehouse --with public",
	}, func(c *cobra.Command) error { return s.grant(p, c, d6tpipe.Permission{Role: d6tpipe.RoleRevoke}) })
	s.flag(p, c)
	return c
}

func newPermissions(p *program) *cobra.Command {
	s := new(subject)
	return s.named(p, &cobra.Command{
		Use:     "permissions PIPE",
		Short:   "List who may use a pipe or a remote",
		Example: "  d6tpipe permissions sales\n  d6tpipe permissions --remote warehouse --json",
	}, func(c *cobra.Command) error {
		client, err := p.client(c)
		if err != nil {
			return err
		}
		list, name := client.Permissions, s.pipe
		if s.remote != "" {
			list, name = client.RemotePermissions, s.remote
		}
		all, err := list(c.Context(), name)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			p.say(c, "Nobody but the owner may use %s.", s)
		}
		slices.SortFunc(all, func(a, b d6tpipe.Permission) int { return strings.Compare(whoOf(a), whoOf(b)) })
		return showList(p, c, all, newTable("WHO", "ROLE", "UNTIL"), func(g d6tpipe.Permission) []string {
			return []string{whoOf(g), string(g.Role), g.Expires.String()}
		})
	})
}
