package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

func newStatus(p *program) *cobra.Command {
	var r reach
	c := &cobra.Command{
		Use:   "status PIPE",
		Short: "Show what differs here and on the remote, and why",
		Long: `Show where a pipe lies, what a pull would fetch and a push would send, and why; which
files changed on both sides, which were deleted on one, and which names cannot be
used. Both sides are looked at as they are now. Nothing is moved.

With --json it is one document with the plans of a pull and of a push.`,
		Example: "  d6tpipe status sales\n  d6tpipe status sales --json | jq .in_sync",
	}
	r.flags(c)
	return p.pipeFirst(c, 0, func(c *cobra.Command, name string, _ []string) error {
		pipe, err := p.open(c.Context(), name, r.options())
		if err != nil {
			return err
		}
		status, err := pipe.Status(c.Context())
		if err != nil {
			return err
		}
		return p.show(c, status, func(w io.Writer) error { return p.showStatus(w, pipe, status) })
	})
}

// showStatus writes what people want to know, in the order in which they act on it.
func (p *program) showStatus(w io.Writer, pipe *d6tpipe.Pipe, status d6tpipe.PipeStatus) error {
	s := pipe.Settings()
	where := s.Options.RemotePath
	switch {
	case where != "":
	case s.Remote != "":
		where = s.Remote + ":" + s.Options.Dir
	default:
		where = string(s.Protocol) + " " + s.Location
	}
	if s.Options.Encrypted {
		where = "(encrypted)"
	}
	if _, err := fmt.Fprintf(w, "%s\n  remote  %s\n  here    %s\n", safe(pipe.Name()), safe(where), safe(pipe.Dir())); err != nil {
		return err
	}
	sections := sectionsOf(pipe.Name(), s.Role, status)
	for _, section := range sections {
		if err := p.showSection(w, section); err != nil {
			return err
		}
	}
	var err error
	switch {
	case status.InSync:
		_, err = fmt.Fprintf(w, "in sync: %s\n", count(status.Pull.Unchanged+len(status.Pull.Steps), "file"))
	case status.Pull.Unchanged > 0:
		_, err = fmt.Fprintf(w, "%s in sync\n", count(status.Pull.Unchanged, "other file"))
	}
	return err
}

// A section of a status is the files of which the same is to be said.
type section struct {
	title string
	color string // of the words, as a sequence of the terminal
	rows  [][3]string
}

// The colours of a status are git's.
const (
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	normal = "\x1b[0m"
)

// sectionsOf sorts the steps of both plans by what is to be done about them.
func sectionsOf(pipe string, role d6tpipe.Role, status d6tpipe.PipeStatus) []section {
	pull := section{title: fmt.Sprintf("to pull, %s (d6tpipe pull %s)", size(status.Pull.Bytes), pipe), color: green}
	push := section{title: fmt.Sprintf("to push, %s (d6tpipe push %s)", size(status.Push.Bytes), pipe), color: green}
	if role == d6tpipe.RoleRead {
		push.title = "changed here (your role is read: you cannot push)"
	}
	conflicts := section{title: fmt.Sprintf("conflicts (d6tpipe pull %s --merge keep or overwrite)", pipe), color: red}
	other := section{title: fmt.Sprintf("left alone (d6tpipe orphans %s removes what was deleted on the remote)", pipe), color: yellow}
	refused := section{title: "refused: names that cannot be used", color: red}
	done := map[string]bool{}
	for _, s := range status.Pull.Steps {
		row := [3]string{s.Reason, s.Key, size(s.Size)}
		switch {
		case s.Action == d6tpipe.ActionDownload:
			pull.rows = append(pull.rows, row)
		case s.Action == d6tpipe.ActionConflict:
			conflicts.rows = append(conflicts.rows, [3]string{s.Reason, s.Key, ""})
		default:
			continue // the push tells of it
		}
		done[s.Key] = true
	}
	for _, s := range status.Push.Steps {
		row := [3]string{s.Reason, s.Key, size(s.Size)}
		switch {
		case done[s.Key] || s.Action == d6tpipe.ActionAdopt:
		case s.Action == d6tpipe.ActionUpload:
			push.rows = append(push.rows, row)
		case s.Action == d6tpipe.ActionConflict:
			conflicts.rows = append(conflicts.rows, [3]string{s.Reason, s.Key, ""})
		default:
			other.rows = append(other.rows, [3]string{s.Reason, s.Key, ""})
		}
	}
	for _, r := range refusals(status.Pull.Refused, status.Push.Refused) {
		refused.rows = append(refused.rows, [3]string{"", r.Key, r.Reason})
	}
	return []section{conflicts, pull, push, other, refused}
}

// refusals joins lists of refused names.
func refusals(lists ...[]d6tpipe.Refusal) (all []d6tpipe.Refusal) {
	seen := map[d6tpipe.Refusal]bool{}
	for _, list := range lists {
		for _, r := range list {
			if !seen[r] {
				seen[r] = true
				all = append(all, r)
			}
		}
	}
	return all
}

// showSection writes a section, of a long one the beginning unless --verbose.
func (p *program) showSection(w io.Writer, s section) error {
	if len(s.rows) == 0 {
		return nil
	}
	if _, err := fmt.Fprintf(w, "%s\n", safe(s.title)); err != nil {
		return err
	}
	color, end := s.color, normal
	if !p.colors(w) {
		color, end = "", ""
	}
	shown := s.rows
	if !p.verbose && len(shown) > mostNames {
		shown = shown[:mostNames]
	}
	width := 0
	for _, row := range shown {
		width = max(width, len(row[0])) // reasons are ASCII
	}
	for _, row := range shown {
		line := "  "
		if width > 0 {
			line += color + fmt.Sprintf("%-*s", width, safe(row[0])) + end + "  "
		}
		line += safe(row[1])
		if row[2] != "" {
			line += "  (" + safe(row[2]) + ")"
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	if more := len(s.rows) - len(shown); more > 0 {
		_, err := fmt.Fprintf(w, "  and %d more; --verbose shows them\n", more)
		return err
	}
	return nil
}
