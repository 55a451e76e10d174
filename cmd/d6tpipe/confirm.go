package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// confirmation makes somebody who is about to lose something write its name once
// more: on the terminal, or with the flag --yes. Every command that asks does it so.
type confirmation struct{ yes string }

func (f *confirmation) flag(c *cobra.Command) {
	c.Flags().StringVar(&f.yes, "yes", "", "the `NAME` once more, in the place of the question on the terminal")
}

// ask returns nil when it was confirmed. loss says what is going to be lost.
func (f *confirmation) ask(c *cobra.Command, name, loss string) error {
	if f.yes == "" && isTerminal(c.InOrStdin()) {
		answer, err := askLine(c.Context(), c.InOrStdin(), c.ErrOrStderr(), fmt.Sprintf("%s\nType %s to go on: ", loss, safe(name)))
		if err != nil && !errors.Is(err, errNoAnswer) { // Ctrl-D is a no
			return err
		}
		f.yes = answer
	}
	switch f.yes {
	case name:
		return nil
	case "":
		return hint(fmt.Errorf("%w: %s", d6tpipe.ErrRefused, loss), "Nothing was done. Confirm it with --yes "+safe(name)+".")
	}
	return hint(fmt.Errorf("%w: %q is not %q; nothing was done", d6tpipe.ErrRefused, f.yes, name), "Write the name exactly as it is.")
}
