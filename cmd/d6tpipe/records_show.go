package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

func (n *noun[T]) get() *cobra.Command {
	decrypt := false
	c := &cobra.Command{
		Use:               "get NAME",
		Short:             "Show the settings of a " + n.one + ", without its secrets",
		Example:           "  d6tpipe " + n.many + " get " + n.example + "\n  d6tpipe " + n.many + " get " + n.example + " --json",
		Args:              exactly(1),
		ValidArgsFunction: n.complete,
		RunE: func(c *cobra.Command, args []string) error {
			api, err := n.p.api()
			if err != nil {
				return err
			}
			r, err := n.collection(api).Get(c.Context(), args[0])
			if err == nil && decrypt {
				r, err = d6tpipe.Decode(api.Config(), r)
			}
			if err != nil {
				return err
			}
			return n.p.show(c, r, func(w io.Writer) error { return printRecord(w, r) })
		},
	}
	c.Flags().BoolVar(&decrypt, "decrypt", false, "show what was encrypted with the key of the profile")
	return c
}

// printRecord prints a record a line for each value, in its own order.
func printRecord(w io.Writer, r any) error {
	var b bytes.Buffer
	if err := printJSON(&b, r, ""); err != nil {
		return err
	}
	t := newTable()
	if err := addFields(&t, "", b.Bytes()); err != nil {
		return err
	}
	return t.print(w)
}

// addFields adds the values of an object to a table; those of options and
// settings are lines of their own.
func addFields(t *table, prefix string, raw json.RawMessage) error {
	in := json.NewDecoder(bytes.NewReader(raw))
	if _, err := in.Token(); err != nil { // the brace
		return err
	}
	for in.More() {
		key, err := in.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := in.Decode(&value); err != nil {
			return err
		}
		name := prefix + fmt.Sprint(key)
		if (name == "options" || name == "settings") && value[0] == '{' {
			if err := addFields(t, name+".", value); err != nil {
				return err
			}
			continue
		}
		text := string(value)
		if value[0] == '"' {
			if err := json.Unmarshal(value, &text); err != nil {
				return err
			}
		}
		t.add(name, text)
	}
	return nil
}
