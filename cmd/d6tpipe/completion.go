package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// shells are those for which there is completion, with how each takes it in.
var shells = []struct {
	name, install string
	write         func(root *cobra.Command, w io.Writer) error
}{
	{"bash", `  # this shell (needs the package bash-completion)
  source <(d6tpipe completion bash)

  # all shells of yours from the next one on
  d6tpipe completion bash > ~/.local/share/bash-completion/completions/d6tpipe`,
		func(root *cobra.Command, w io.Writer) error { return root.GenBashCompletionV2(w, true) }},
	{"zsh", `  # this shell, after: autoload -U compinit && compinit
  source <(d6tpipe completion zsh)

  # all shells of yours from the next one on
  d6tpipe completion zsh > "${fpath[1]}/_d6tpipe"`,
		func(root *cobra.Command, w io.Writer) error { return root.GenZshCompletion(w) }},
	{"fish", `  # this shell
  d6tpipe completion fish | source

  # all shells of yours from the next one on
  d6tpipe completion fish > ~/.config/fish/completions/d6tpipe.fish`,
		func(root *cobra.Command, w io.Writer) error { return root.GenFishCompletion(w, true) }},
	{"powershell", `  # this shell
  d6tpipe completion powershell | Out-String | Invoke-Expression

  # all shells of yours from the next one on
  d6tpipe completion powershell >> $PROFILE`,
		func(root *cobra.Command, w io.Writer) error { return root.GenPowerShellCompletionWithDesc(w) }},
}

// newCompletion takes the place of cobra's own command, whose help is longer and
// knows no example.
func newCompletion() *cobra.Command {
	c := group(&cobra.Command{
		Use:   "completion",
		Short: "Print the script that completes command lines in a shell",
		Long: `Print the script with which a shell completes commands, flags and the names of
profiles, remotes, pipes and groups. The help of each shell tells how to install it.`,
		Example: "  d6tpipe completion bash --help\n  source <(d6tpipe completion bash)",
	})
	for _, s := range shells {
		c.AddCommand(&cobra.Command{
			Use:     s.name,
			Short:   fmt.Sprintf("Print the script for %s", s.name),
			Example: s.install,
			Args:    exactly(0),
			RunE:    func(c *cobra.Command, _ []string) error { return s.write(c.Root(), c.OutOrStdout()) },
		})
	}
	return c
}
