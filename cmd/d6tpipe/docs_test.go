package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestDocs: the flags and variables that administrators read of are there, and
// each variable in the unit and the image is one.
func TestDocs(t *testing.T) {
	flags := map[string]bool{"help": true}
	collect(newRoot(), flags)
	variables := map[string]bool{"D6TPIPE_SERVE_KEY": true} // the key itself, which is no flag
	new(serving).command().Flags().VisitAll(func(f *pflag.Flag) { variables[envName(f.Name)] = true })
	new(serving).command().PersistentFlags().VisitAll(func(f *pflag.Flag) { variables[envName(f.Name)] = true })

	top := filepath.Join("..", "..")
	guide := read(t, filepath.Join(top, "docs", "server.md"))
	used := 0
	for line := range strings.Lines(guide) {
		if i := strings.LastIndex(line, "d6tpipe serve"); i >= 0 {
			line = line[i:] // what stands before is another program's
		} else if strings.Contains(line, "docker ") || strings.Contains(line, "systemd-run ") || strings.Contains(line, "createuser ") || strings.Contains(line, "systemctl ") {
			continue
		}
		for _, m := range regexp.MustCompile(`--([a-z]+[a-z-]*)`).FindAllStringSubmatch(line, -1) {
			if used++; !flags[m[1]] {
				t.Errorf("docs/server.md: there is no flag --%s", m[1])
			}
		}
	}
	if used < 20 {
		t.Fatalf("only %d flags found in the guide", used)
	}
	for _, name := range []string{"docs/server.md", "server/deploy/d6tpipe.service", "server/deploy/Dockerfile"} {
		found := regexp.MustCompile(`D6TPIPE_SERVE_[A-Z_]+`).FindAllString(read(t, filepath.Join(top, name)), -1)
		if len(found) == 0 {
			t.Errorf("%s: no variable found", name)
		}
		for _, v := range found {
			if !variables[v] {
				t.Errorf("%s: there is no variable %s", name, v)
			}
		}
	}
	for _, name := range []string{"listen", "public-url", "trusted-proxy", "allow-dial", "registration", "demo", "key-file", "storage", "metrics-listen", "metrics-from", "drain-time", "max-requests", "jobs"} {
		if !regexp.MustCompile("--" + name + `\b`).MatchString(guide) {
			t.Errorf("docs/server.md says nothing of --%s", name)
		}
	}
}

// collect notes the flags of a command and of those below it.
func collect(c *cobra.Command, into map[string]bool) {
	note := func(f *pflag.Flag) { into[f.Name] = true }
	c.Flags().VisitAll(note)
	c.PersistentFlags().VisitAll(note)
	for _, below := range c.Commands() {
		collect(below, into)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
