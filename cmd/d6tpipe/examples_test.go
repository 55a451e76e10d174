package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestExamples: each command has an example, and all that help and guide show are
// commands and flags that are there.
func TestExamples(t *testing.T) {
	var each func(c *cobra.Command)
	each = func(c *cobra.Command) {
		if c.Example == "" && c.RunE != nil && c.Name() != "help" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for line := range strings.Lines(c.Example) {
			if !c.HasParent() {
				break // a story that needs all commands
			}
			checkLine(t, c.CommandPath()+" --help", line)
		}
		for _, below := range c.Commands() {
			each(below)
		}
	}
	each(newRoot())
	guide, found := read(t, filepath.Join("..", "..", "docs", "cli.md")), 0
	for _, m := range regexp.MustCompile("`(d6tpipe [^`]*)`|(?m)^ *(d6tpipe .*)$").FindAllStringSubmatch(guide, -1) {
		found++
		checkLine(t, "docs/cli.md", m[1]+m[2])
	}
	for _, m := range regexp.MustCompile(`(?m)^\| command \| what it (?:does|prints) \|\n\|---\|---\|\n((?:\|.*\n)+)`).FindAllStringSubmatch(guide, -1) {
		for row := range strings.Lines(m[1]) {
			if call := strings.TrimPrefix(row, "| `"); !strings.HasPrefix(call, "d6tpipe ") && !strings.Contains(call, "$(d6tpipe ") {
				t.Errorf("docs/cli.md: a row that is not checked: %s", row)
			}
		}
	}
	if found < 20 {
		t.Errorf("docs/cli.md: only %d command lines found", found)
	}
}

// checkLine checks each call of the program in a line of shell.
func checkLine(t *testing.T, where, line string) {
	t.Helper()
	line, _, _ = strings.Cut(line, " # ")
	for _, call := range regexp.MustCompile(`(?:^|[\s(|])d6tpipe( [^|;&<>)#]*)`).FindAllStringSubmatch(line, -1) {
		words := strings.Fields(call[1])
		c, _, err := newRoot().Find(words)
		if err != nil {
			t.Errorf("%s: %q: %v", where, line, err)
			continue
		}
		c.InitDefaultHelpFlag()
		for _, word := range words {
			name, _, _ := strings.Cut(strings.Trim(word, `"'`), "=")
			known := true
			switch {
			case strings.HasPrefix(name, "--") && len(name) > 2:
				known = c.Flag(name[2:]) != nil
			case len(name) == 2 && name[0] == '-' && name[1] != '-':
				known = c.Flags().ShorthandLookup(name[1:]) != nil || c.InheritedFlags().ShorthandLookup(name[1:]) != nil
			}
			if !known {
				t.Errorf("%s: %q: %s has no %s", where, line, c.CommandPath(), name)
			}
		}
		if c.HasSubCommands() && len(words) > 0 && !strings.HasPrefix(words[len(words)-1], "-") && words[len(words)-1] != c.Name() && c.RunE != nil && c.Name() != "serve" {
			t.Errorf("%s: %q: %s has no such command", where, line, c.CommandPath())
		}
	}
}
