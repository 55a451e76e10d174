package main

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// A noun is what the commands for remotes and those for pipes differ in.
type noun[T d6tpipe.Record] struct {
	p          *program
	one, many  string
	fields     []recordField
	schema     bool // has it one
	example    string
	collection func(d6tpipe.API) *d6tpipe.Collection[T]
	name       func(T) string
	extra      func(T) map[string]json.RawMessage
	heads      []string
	row        func(T) []string
	keep       func(to *T, from T) // the credentials that to does not have
	loss       func(T) string      // what goes with the record
}

func (n *noun[T]) commands() []*cobra.Command {
	return []*cobra.Command{n.list(), n.get(), n.create(), n.update(), n.upsert(), n.delete()}
}

// complete gives a shell the names of the records.
func (n *noun[T]) complete(c *cobra.Command, args []string, to string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return completeNames(n.p, c, n.collection)
}

func (n *noun[T]) list() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the " + n.many + " that you may use",
		Example: "  d6tpipe " + n.many + " list\n  d6tpipe " + n.many + " list --json | jq -r .name",
		Args:    exactly(0),
		RunE:    func(c *cobra.Command, _ []string) error { return n.runList(c) },
	}
}

func (n *noun[T]) runList(c *cobra.Command) error {
	api, err := n.p.api()
	if err != nil {
		return err
	}
	var records []T
	for r, err := range n.collection(api).All(c.Context()) {
		if err != nil {
			return err
		}
		records = append(records, r)
	}
	if len(records) == 0 {
		n.p.say(c, "There are no %s yet; make one with: d6tpipe %s create NAME", n.many, n.many)
	}
	slices.SortFunc(records, func(a, b T) int { return cmp.Compare(n.name(a), n.name(b)) })
	return showList(n.p, c, records, newTable(n.heads...), n.row)
}

func (n *noun[T]) delete() *cobra.Command {
	var sure confirmation
	c := &cobra.Command{
		Use:               "delete NAME",
		Short:             "Remove a " + n.one + "; files on storage of your own stay",
		Long:              "Remove a " + n.one + " from the repo API, with its permissions and credentials. The name\nmust be typed once more, or given with --yes. No file is deleted on storage of your\nown; what lies in a server's storage it deletes after seven days.",
		Example:           "  d6tpipe " + n.many + " delete " + n.example + " --yes " + n.example,
		Args:              exactly(1),
		ValidArgsFunction: n.complete,
		RunE: func(c *cobra.Command, args []string) error {
			api, err := n.p.api()
			if err != nil {
				return err
			}
			r, err := n.collection(api).Get(c.Context(), args[0])
			if err != nil {
				return err
			}
			if err := sure.ask(c, args[0], n.loss(r)); err != nil {
				return err
			}
			if err := n.collection(api).Delete(c.Context(), args[0]); err != nil {
				return err
			}
			n.p.say(c, "Deleted %s %s.", n.one, safe(args[0]))
			return n.p.showJSON(c, deletion{args[0], true})
		},
	}
	sure.flag(c)
	return c
}
