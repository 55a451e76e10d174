package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// completionLimit is how long a completion may ask a server.
const completionLimit = 2 * time.Second

// completeNames gives a shell the names of records, if that is quick.
func completeNames[T d6tpipe.Record](p *program, c *cobra.Command, of func(d6tpipe.API) *d6tpipe.Collection[T]) ([]string, cobra.ShellCompDirective) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(c.Context()), completionLimit)
	defer stop()
	api, err := p.api()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, _ := of(api).Names(ctx) // a completion has nobody to tell an error
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completePipes gives a shell the names of the pipes.
func (p *program) completePipes(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return completeNames(p, c, d6tpipe.API.Pipes)
}

// completeRemotes gives a shell the names of the remotes.
func (p *program) completeRemotes(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return completeNames(p, c, d6tpipe.API.Remotes)
}

// completeProfiles gives a shell the names of the profiles.
func completeProfiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	names, _ := d6tpipe.ListProfiles("") // a completion has nobody to tell an error
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeSides gives a shell the sides of a copy: profiles, and their catalogue files.
func completeSides(c *cobra.Command, args []string, to string) ([]string, cobra.ShellCompDirective) {
	names, directive := completeProfiles(c, args, to)
	for _, name := range slices.Clone(names) {
		names = append(names, localSide+name)
	}
	return names, directive
}

// completeFields completes the flags for the values of a record.
func (p *program) completeFields(c *cobra.Command, known []recordField) {
	for _, k := range known {
		switch k.name {
		case "protocol":
			completeWords(c, k.flag, "s3", "dir", "sftp", "ftp", "ftps", "http", "https")
		case "remote":
			_ = c.RegisterFlagCompletionFunc(k.flag, p.completeRemotes)
		case "parent":
			_ = c.RegisterFlagCompletionFunc(k.flag, p.completePipes)
		case "dir": // of the storage
			completeWords(c, k.flag)
		}
	}
}

// groupNames are the groups of whoever asks, if that is quick.
func (p *program) groupNames(c *cobra.Command) (names []string) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(c.Context()), completionLimit)
	defer stop()
	client, err := p.client(c)
	if err != nil {
		return nil
	}
	groups, _ := client.Groups(ctx) // a completion has nobody to tell an error
	for _, g := range groups {
		names = append(names, g.Name)
	}
	return names
}

// completeGroup gives a shell the names of the groups for the first argument.
func (p *program) completeGroup(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return p.groupNames(c), cobra.ShellCompDirectiveNoFileComp
}

// completeGrantee gives a shell whom it can know of those with whom one shares.
func (p *program) completeGrantee(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return append(p.groupNames(c), d6tpipe.Public), cobra.ShellCompDirectiveNoFileComp
}

// completeWords gives a shell the words that a flag takes.
func completeWords(c *cobra.Command, flag string, words ...string) {
	_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// completeNoFiles keeps a shell from offering files to a command and to all below it,
// where no files are meant: that is what the help calls the value.
func completeNoFiles(c *cobra.Command) {
	if c.ValidArgsFunction == nil && !namesFile(c.Use) {
		c.ValidArgsFunction = cobra.NoFileCompletions
	}
	flags := func(f *pflag.Flag) {
		value, _ := pflag.UnquoteUsage(f)
		_, completed := c.GetFlagCompletionFunc(f.Name)
		_, marked := f.Annotations[cobra.BashCompSubdirsInDir]
		if f.NoOptDefVal == "" && !completed && !marked && !namesFile(value) {
			_ = c.RegisterFlagCompletionFunc(f.Name, cobra.NoFileCompletions)
		}
	}
	c.LocalNonPersistentFlags().VisitAll(flags)
	c.PersistentFlags().VisitAll(flags)
	for _, below := range c.Commands() {
		completeNoFiles(below)
	}
}

// namesFile reports whether help speaks of a file or a folder.
func namesFile(help string) bool {
	return slices.ContainsFunc([]string{"FILE", "FOLDER", "DIR", "WHERE"}, func(word string) bool {
		return slices.Contains(strings.FieldsFunc(strings.ToUpper(help), func(r rune) bool { return strings.ContainsRune(" |[].", r) }), word)
	})
}
