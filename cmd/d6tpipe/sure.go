package main

import (
	"context"
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
	answer, err := askLine(c.Context(), c.InOrStdin(), c.ErrOrStderr(), "Delete "+what+"? [y/N] ")
	if err != nil {
		return err
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return refused("was not agreed to")
	}
	return nil
}

// unlessDone returns what read does, or the error of a context that ends before. It is
// for reading from terminals and pipes, which cannot be interrupted: read is left
// behind then, and ends with the program.
func unlessDone[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := read()
		done <- result{value, err}
	}()
	select {
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	case r := <-done:
		return r.value, r.err
	}
}
