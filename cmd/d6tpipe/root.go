package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
)

// A usageError is a command line that cannot be meant.
type usageError struct {
	command string // whose help tells more
	err     error
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usage(c *cobra.Command, err error) error {
	var already *usageError
	if err == nil || errors.As(err, &already) {
		return err
	}
	return &usageError{c.CommandPath(), err}
}

const rootLong = `d6tpipe pushes and pulls data files the way one pushes and pulls code.

A remote is a storage place, a pipe is a dataset on it. A repo API knows both: a
server that a team shares, or, with --local, a JSON file of your own. A profile
says which, and where the files of the pipes lie on this machine.

Results go to standard output, all else to standard error. Exit codes: 0 all
done, 1 failure, 2 wrong usage, 3 done in part, 4 conflict, 5 refused for safety,
130 interrupted.`

const rootExample = `  # with a server
  d6tpipe profiles init --server https://pipes.example.com
  d6tpipe register mary --email mary@example.com
  d6tpipe create sales && d6tpipe push sales

  # without one
  d6tpipe --local remotes create disk --protocol dir --location /mnt/data
  d6tpipe --local pipes create sales --remote disk && d6tpipe --local pull sales`

func newRoot() *cobra.Command {
	p := new(program)
	root := group(&cobra.Command{
		Use:               "d6tpipe",
		Short:             "Push and pull data files the way you push and pull code",
		Long:              rootLong,
		Example:           rootExample,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: p.check,
	})
	root.AddGroup(
		&cobra.Group{ID: groupFiles, Title: "Files:"},
		&cobra.Group{ID: groupCatalog, Title: "Pipes and remotes:"},
		&cobra.Group{ID: groupShare, Title: "Sharing:"},
		&cobra.Group{ID: groupWork, Title: "What the server does by itself:"},
		&cobra.Group{ID: groupSelf, Title: "Profiles and accounts:"},
		&cobra.Group{ID: groupServer, Title: "Server:"},
	)
	in := func(id string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = id
			root.AddCommand(c)
		}
	}
	in(groupFiles,
		newStatus(p),
		newPull(p),
		newPush(p),
		newScan(p),
		newLs(p),
		newCat(p),
		newImport(p),
		newRm(p),
		newOrphans(p),
		newPlan(p),
		newApply(p),
		newVerify(p),
		newReset(p),
		newMirror(p),
		newMirrors(p),
		newChanges(p),
		newWatch(p),
	)
	in(groupCatalog,
		newRemotes(p),
		newPipes(p),
		newCreate(p),
		newList(p),
		newCatalog(p),
		newCredentials(p))
	in(groupShare,
		newShare(p),
		newUnshare(p),
		newPermissions(p),
		newGroups(p),
		newTransfer(p),
		newWebhooks(p),
		newAudit(p),
		newAnalytics(p))
	in(groupWork,
		newSchedule(p))
	in(groupSelf,
		newDemo(p),
		newProfiles(p),
		newRegister(p),
		newLogin(p),
		newLogout(p),
		newUnregister(p),
		newWhoAmI(p),
		newDoctor(p))
	in(groupServer, newServe(), newAdmin(p))
	root.AddCommand(newVersion(p), newCompletion(), newMan())
	p.flags(root)
	root.SetFlagErrorFunc(usage)
	completeNoFiles(root)
	return root
}

// The groups of commands in the help.
const (
	groupFiles   = "files"
	groupCatalog = "catalog"
	groupShare   = "share"
	groupWork    = "work"
	groupSelf    = "self"
	groupServer  = "server"
)

// group is a command that only has others below it.
func group(c *cobra.Command, below ...*cobra.Command) *cobra.Command {
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usage(c, fmt.Errorf("there is no command %q", c.CommandPath()+" "+args[0]))
		}
		return nil
	}
	c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	c.AddCommand(below...)
	return c
}

// exactly is for commands with so many arguments, whose names are in Use.
func exactly(n int) cobra.PositionalArgs { return notEmpty(cobra.ExactArgs(n)) }

// atLeast is for commands with so many arguments or more.
func atLeast(n int) cobra.PositionalArgs { return notEmpty(cobra.MinimumNArgs(n)) }

// notEmpty refuses empty arguments too, which come of variables that are not set.
func notEmpty(number cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		err := number(c, args)
		if i := slices.Index(args, ""); err == nil && i >= 0 {
			err = fmt.Errorf("argument %d is empty; usage: %s", i+1, c.UseLine())
		}
		return usage(c, err)
	}
}
