package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

func newChanges(p *program) *cobra.Command {
	var r reach
	var o d6tpipe.ChangesOptions
	var f filter
	c := &cobra.Command{
		Use:   "changes PIPE",
		Short: "Tell what is new, modified or gone on the remote since the last time",
		Long: `Tell what is new, modified or gone on the remote since this command told it the last
time, a line each, sorted by key. Nothing is pulled. A change that was written out is
acknowledged and does not come again; each consumer has its own memory of that. A server
that follows the pipe is asked, and what it has not seen yet is told later.

When the remote is empty although files were known, that is refused and the exit code
is 5; --force believes it.`,
		Example: `  d6tpipe changes sales
  d6tpipe changes sales --consumer loader --json | while read -r change; do process "$change"; done`,
	}
	f.flags(c)
	c.Flags().StringVar(&o.Consumer, "consumer", "default", "`name` of who processes the changes")
	c.Flags().BoolVar(&o.Fresh, "fresh", false, "look at the remote itself, whatever the server has seen")
	c.Flags().BoolVar(&o.Force, "force", false, "believe that everything is gone when the remote is empty")
	r.flags(c)
	return p.pipeFirst(c, 0, func(c *cobra.Command, name string, _ []string) error {
		pipe, err := p.open(c.Context(), name, r.options())
		if err != nil {
			return err
		}
		o.Include, o.Exclude, o.Held = f.include, f.exclude, p.held(c, name, o.Consumer)
		n := 0
		for change, err := range pipe.Changes(c.Context(), o) {
			if err != nil {
				return p.leftOut(c, name, err)
			}
			if err := p.printChange(c, change); err != nil {
				return err // the change comes again
			}
			n++
		}
		if n == 0 {
			p.say(c, "no changes")
		}
		return nil
	})
}

// leftOut tells of names that cannot be used, which is all that can be left out of changes.
func (p *program) leftOut(c *cobra.Command, pipe string, err error) error {
	if !errors.Is(err, d6tpipe.ErrPartial) {
		return err
	}
	if _, refused := d6tpipe.Failures(err); len(refused) > 0 {
		return p.tellRefused(c, pipe, refused)
	}
	return hint(err, renameThem) // a server's feed counts them
}

// held says what is waited for when another process is the consumer.
func (p *program) held(c *cobra.Command, pipe, consumer string) func() {
	return func() {
		p.say(c, "waiting: another watch or changes of %s is the consumer %s; --consumer names another one", safe(pipe), safe(consumer))
	}
}

// printChange writes a change at once: it is acknowledged when the next one is asked
// for.
func (p *program) printChange(c *cobra.Command, change d6tpipe.Change) error {
	if p.asJSON {
		return printJSON(c.OutOrStdout(), change, "")
	}
	bytes := size(change.File.Size)
	if change.Kind == d6tpipe.ChangeGone {
		bytes = ""
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "%-8s  %10s  %s\n", change.Kind, bytes, safe(change.Key))
	return err
}
