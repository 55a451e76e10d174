package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

func newGroups(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:     "groups",
		Short:   "Teams to share with, called organisation/team",
		Example: "  d6tpipe groups create acme/analysts\n  d6tpipe groups add acme/analysts mary joe@example.com\n  d6tpipe share sales --with acme/analysts",
	}, newGroupsList(p), newGroupsCreate(p), newGroupsDelete(p), newGroupsMembers(p), newGroupsAdd(p), newGroupsRemove(p))
}

func newGroupsList(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the groups that you own or belong to",
		Example: "  d6tpipe groups list",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := p.client(c)
			if err != nil {
				return err
			}
			groups, err := client.Groups(c.Context())
			if err != nil {
				return err
			}
			slices.SortFunc(groups, func(a, b d6tpipe.Group) int { return strings.Compare(a.Name, b.Name) })
			return showList(p, c, groups, newTable("NAME", "OWNER"), func(g d6tpipe.Group) []string { return []string{g.Name, g.Owner} })
		},
	}
}

func newGroupsCreate(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "create ORGANISATION/TEAM",
		Short:   "Make a group; the organisation is yours from its first team on",
		Example: "  d6tpipe groups create acme/analysts",
		Args:    exactly(1),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := p.client(c)
			if err != nil {
				return err
			}
			if err := client.CreateGroup(c.Context(), args[0]); err != nil {
				return err
			}
			p.say(c, "Created group %s.", safe(args[0]))
			return p.showJSON(c, d6tpipe.Group{Name: args[0]})
		},
	}
}

func newGroupsDelete(p *program) *cobra.Command {
	var sure confirmation
	c := &cobra.Command{
		Use:               "delete ORGANISATION/TEAM",
		Short:             "Remove a group, with what was shared with it",
		Example:           "  d6tpipe groups delete acme/analysts --yes acme/analysts",
		ValidArgsFunction: p.completeGroup,
		Args:              exactly(1),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := p.client(c)
			if err != nil {
				return err
			}
			if err := sure.ask(c, args[0], fmt.Sprintf("group %s is removed with all that was shared with it", safe(args[0]))); err != nil {
				return err
			}
			if err := client.DeleteGroup(c.Context(), args[0]); err != nil {
				return err
			}
			p.say(c, "Deleted group %s.", safe(args[0]))
			return p.showJSON(c, deletion{args[0], true})
		},
	}
	sure.flag(c)
	return c
}

func newGroupsMembers(p *program) *cobra.Command {
	return &cobra.Command{
		Use:               "members ORGANISATION/TEAM",
		Short:             "List who belongs to a group, besides its owner",
		Example:           "  d6tpipe groups members acme/analysts",
		ValidArgsFunction: p.completeGroup,
		Args:              exactly(1),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := p.client(c)
			if err != nil {
				return err
			}
			members, err := client.Members(c.Context(), args[0])
			if err != nil {
				return err
			}
			slices.SortFunc(members, func(a, b d6tpipe.Member) int { return strings.Compare(a.Username+a.Email, b.Username+b.Email) })
			return showList(p, c, members, newTable("WHO", "ROLE"), func(m d6tpipe.Member) []string { return []string{m.Username + m.Email, m.Role} })
		},
	}
}

func newGroupsAdd(p *program) *cobra.Command {
	admin := false
	c := &cobra.Command{
		Use:               "add ORGANISATION/TEAM WHO...",
		Short:             "Take users or e-mail addresses into a group",
		Long:              "Take users into a group, or e-mail addresses: one that no account has is an\ninvitation. With --admin they may change the members too.",
		Example:           "  d6tpipe groups add acme/analysts mary joe@example.com\n  d6tpipe groups add acme/analysts mary --admin",
		ValidArgsFunction: p.completeGroup,
		Args:              atLeast(2),
		RunE: func(c *cobra.Command, args []string) error {
			role := "member"
			if admin {
				role = "admin"
			}
			return p.setMembers(c, args, role, "belongs to")
		},
	}
	c.Flags().BoolVar(&admin, "admin", false, "let them change the members")
	return c
}

func newGroupsRemove(p *program) *cobra.Command {
	return &cobra.Command{
		Use:               "remove ORGANISATION/TEAM WHO...",
		Short:             "Take users or e-mail addresses out of a group",
		Example:           "  d6tpipe groups remove acme/analysts mary",
		ValidArgsFunction: p.completeGroup,
		Args:              atLeast(2),
		RunE:              func(c *cobra.Command, args []string) error { return p.setMembers(c, args, "revoke", "is out of") },
	}
}

// setMembers gives a role in a group to all who are named behind it.
func (p *program) setMembers(c *cobra.Command, args []string, role, done string) error {
	for _, who := range args[1:] {
		if err := plain("member", who); err != nil {
			return usage(c, err)
		}
		if who == "" {
			return usage(c, errors.New("the name of a member is empty"))
		}
	}
	client, err := p.client(c)
	if err != nil {
		return err
	}
	return eachOf(args[1:], func(i int) error {
		who := args[1+i]
		m := d6tpipe.Member{Username: who, Role: role}
		if strings.Contains(who, "@") {
			m.Username, m.Email = "", who
		}
		if err := client.SetMember(c.Context(), args[0], m); err != nil {
			return fmt.Errorf("%s: %w", safe(who), err)
		}
		p.say(c, "%s %s %s.", safe(who), done, safe(args[0]))
		if p.asJSON { // a line for each
			return printJSON(c.OutOrStdout(), m, "")
		}
		return nil
	})
}
