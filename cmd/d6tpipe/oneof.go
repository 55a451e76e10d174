package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// oneOf is the value of a flag that takes one of a few words.
type oneOf[T ~string] struct {
	value *T
	words []T
}

// addOneOf adds a flag that takes one of a few words, the first of which is what
// happens without it, and completes them.
func addOneOf[T ~string](c *cobra.Command, value *T, name, help string, words ...T) {
	f := oneOf[T]{value, words}
	c.Flags().Var(f, name, fmt.Sprintf("%s: %s (default %s)", help, f.list(), words[0]))
	_ = c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(f.texts(), cobra.ShellCompDirectiveNoFileComp))
}

func (f oneOf[T]) texts() (texts []string) {
	for _, w := range f.words {
		texts = append(texts, string(w))
	}
	return texts
}

func (f oneOf[T]) list() string { return strings.Join(f.texts(), ", ") }

func (f oneOf[T]) Set(word string) error {
	if !slices.Contains(f.words, T(word)) {
		return fmt.Errorf("it is one of %s", f.list())
	}
	*f.value = T(word)
	return nil
}

func (f oneOf[T]) String() string { return "" } // the help has the default already

func (f oneOf[T]) Type() string { return "word" }
