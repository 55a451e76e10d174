package main

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// sureToDelete makes certain that somebody means to delete what the text names:
// --yes says so, or the answer to a question on the terminal.
func sureToDelete(c *cobra.Command, yes bool, what string) error {
	if yes {
		return nil
	}
	refused := func(why string) error {
		return hint(fmt.Errorf("%w: to delete %s %s", d6tpipe.ErrRefused, what, why), "Nothing was deleted. --yes says that you mean it.")
	}
	if !isTerminal(c.InOrStdin()) {
		return refused("takes --yes where nobody can be asked")
	}
	fmt.Fprintf(c.ErrOrStderr(), "Delete %s? [y/N] ", what)
	answer := make(chan string, 1)
	go func() { // it cannot be interrupted: on a signal it is left behind, and ends with the program
		line, _ := bufio.NewReader(c.InOrStdin()).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-c.Context().Done():
		fmt.Fprintln(c.ErrOrStderr())
		return c.Context().Err()
	case word := <-answer:
		if word != "y" && word != "yes" {
			return refused("was not agreed to")
		}
	}
	return nil
}
