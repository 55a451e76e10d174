package main

import (
	"bufio"
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
	_, _ = fmt.Fprintf(c.ErrOrStderr(), "Delete %s? [y/N] ", what)
	answer, err := unlessDone(c.Context(), func() (string, error) {
		line, _ := bufio.NewReader(c.InOrStdin()).ReadString('\n') // an end without an answer is a no
		return strings.ToLower(strings.TrimSpace(line)), nil
	})
	if err != nil {
		_, _ = fmt.Fprintln(c.ErrOrStderr()) // the line of the question
		return err
	}
	if answer != "y" && answer != "yes" {
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
