package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// each visits a command and all below it, hidden ones too, but not what cobra adds.
func each(c *cobra.Command, visit func(*cobra.Command)) {
	visit(c)
	for _, below := range c.Commands() {
		if below.Name() != "help" && !strings.HasPrefix(below.Name(), "__") {
			each(below, visit)
		}
	}
}

// TestTree: every command tells what it does, with an example that names it, and no
// flag is without help or takes a secret.
func TestTree(t *testing.T) {
	commands := 0
	each(newRoot(), func(c *cobra.Command) {
		commands++
		path := c.CommandPath()
		switch {
		case c.Short == "" || strings.HasSuffix(c.Short, ".") || strings.ContainsAny(c.Short, "\n\x1b"):
			t.Errorf("%s: Short is %q", path, c.Short)
		case !strings.Contains(c.Example, "d6tpipe"):
			t.Errorf("%s has no example", path)
		case !c.Runnable():
			t.Errorf("%s does nothing", path)
		case c.GroupID == "" && c.Parent() == c.Root() && !slices.Contains([]string{"version", "completion", "man"}, c.Name()):
			t.Errorf("%s has no group in the help", path)
		}
		for line := range strings.Lines(c.Example + "\n" + c.Long) {
			if len(strings.TrimRight(line, "\n")) > 120 {
				t.Errorf("%s: this line of its help is too long: %s", path, line)
			}
		}
		flags := pflag.NewFlagSet("all", pflag.ContinueOnError)
		flags.AddFlagSet(c.LocalFlags())
		flags.AddFlagSet(c.PersistentFlags())
		flags.VisitAll(func(f *pflag.Flag) { checkFlag(t, path, f) })
	})
	if commands < 10 {
		t.Fatalf("only %d commands", commands)
	}
}

// checkFlag refuses flags whose values everybody on the machine could read in the list
// of processes. What says where a secret is, in a file or elsewhere, may be one.
func checkFlag(t *testing.T, path string, f *pflag.Flag) {
	t.Helper()
	if f.Usage == "" {
		t.Errorf("%s --%s has no help", path, f.Name)
	}
	value, _ := pflag.UnquoteUsage(f)
	takes := f.Value.Type() != "bool" && value != "file" && value != "where"
	for _, secret := range []string{"password", "passphrase", "secret", "token", "credential"} {
		if takes && strings.Contains(f.Name, secret) && !allowed[path+" --"+f.Name] {
			t.Errorf("%s --%s takes a secret from the command line", path, f.Name)
		}
	}
}

// allowed are flags that look like secrets, and take none.
var allowed = map[string]bool{
	"d6tpipe profiles token set --token": true, // takes - only
}

// TestManPages: every command has a page, which says what the help says, and which the
// manual's own formatter has nothing to say against.
func TestManPages(t *testing.T) {
	dir := t.TempDir()
	root := newRoot()
	root.SetArgs([]string{"man", dir})
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	var pages []string
	each(newRoot(), func(c *cobra.Command) {
		if c.Hidden || !c.IsAvailableCommand() && c.HasParent() {
			return
		}
		page := filepath.Join(dir, strings.ReplaceAll(c.CommandPath(), " ", "-")+".1")
		pages = append(pages, page)
		if text := read(t, page); !strings.Contains(text, ".SH EXAMPLE") || !strings.Contains(text, ".SH NAME") {
			t.Errorf("%s lacks a section", page)
		}
	})
	found, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(found) != len(pages) {
		t.Errorf("%d pages for %d commands (%v)", len(found), len(pages), err)
	}
	lint(t, pages)
}

// lint has groff, or mandoc, look at the pages.
func lint(t *testing.T, pages []string) {
	t.Helper()
	var command []string
	if groff, err := exec.LookPath("groff"); err == nil {
		command = []string{groff, "-man", "-ww", "-z", "-Tutf8"}
	} else if mandoc, err := exec.LookPath("mandoc"); err == nil {
		command = []string{mandoc, "-Tlint", "-Werror"}
	} else {
		t.Skip("needs groff or mandoc")
	}
	out, err := exec.CommandContext(t.Context(), command[0], append(command[1:], pages...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%v: %v\n%s", command, err, out)
	}
}

// TestManDate: the same sources make the same pages.
func TestManDate(t *testing.T) {
	for _, c := range []struct{ epoch, commit, want string }{
		{"", "2026-11-26T02:59:00Z", "2026-11-26T02:59:00Z"},
		{"1700000000", "2026-11-26T02:59:00Z", "2023-11-14T22:13:20Z"},
		{"", "", "1970-01-01T00:00:00Z"},
		{"soon", "", ""},
	} {
		t.Setenv("SOURCE_DATE_EPOCH", c.epoch)
		at, err := manDate(build{Time: c.commit})
		if (err != nil) != (c.want == "") || err == nil && at.Format("2006-01-02T15:04:05Z07:00") != c.want {
			t.Errorf("%+v: %v, %v", c, at, err)
		}
	}
}

// TestBash completes command lines in a real bash, with the completion that is
// installed there.
func TestBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("needs apt package: bash")
	}
	home := t.TempDir()
	catalogue := `{"remotes": [{"name": "disk", "protocol": "dir", "location": "/mnt/disk"}], "pipes": [{"name": "sales", "remote": "disk"}, {"name": "salt", "remote": "disk"}]}`
	for name, text := range map[string]string{"cfg.json": `{"default": {"filerepo": "~/files"}, "onprem": {}}`, "catalog/default.json": catalogue} {
		name = filepath.Join(home, "d6tpipe", name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	script := filepath.Join(home, "completion")
	f, err := os.Create(script)
	if err != nil {
		t.Fatal(err)
	}
	root := newRoot()
	root.SetArgs([]string{"completion", "bash"})
	root.SetOut(f)
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for line, want := range completions {
		complete := func() (string, error) {
			c := exec.CommandContext(t.Context(), bash, "--norc", "--noprofile", "-c", bashDriver, "bash", script, line)
			c.Env = append(os.Environ(), "HOME="+home, "D6TPIPE_CONFIG=", "D6TPIPE_PROFILE=", "D6TPIPE_SERVER=")
			out, err := c.Output()
			return strings.Join(strings.Fields(string(out)), " "), err
		}
		got, err := complete()
		for range 5 { // nobody waits long for names: a busy machine has none
			if err == nil && got == want {
				break
			}
			got, err = complete()
		}
		if err != nil || got != want {
			t.Errorf("%s<TAB>: %q, not %q (%v)", line, got, want, err)
		}
	}
}

// bashDriver sources the script and completes a line as bash does when somebody
// presses the tab key at its end; d6tpipe is the test binary's copy in PATH.
const bashDriver = `
source "$1"
COMP_LINE=$2 COMP_POINT=${#2} COMP_TYPE=9
compopt() { :; } # which only works below readline
read -ra COMP_WORDS <<<"$2"
[ "${2% }" = "$2" ] || COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_get_comp_words_by_ref() { cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=("${COMP_WORDS[@]}") cword=$COMP_CWORD; }
__start_d6tpipe
for c in "${COMPREPLY[@]}"; do echo "${c%% *}"; done`

var completions = map[string]string{
	"d6tpipe vers":              "version",
	"d6tpipe --profile o":       "onprem",
	"d6tpipe completion ":       "bash fish powershell zsh",
	"d6tpipe serve --regi":      "--registration",
	"d6tpipe pull s":            "sales salt",
	"d6tpipe push --pipe sal":   "sales salt",
	"d6tpipe status sales ":     "",
	"d6tpipe remotes get d":     "disk",
	"d6tpipe pipes delete sale": "sales",
	"d6tpipe --local ls sal":    "sales salt",
}
