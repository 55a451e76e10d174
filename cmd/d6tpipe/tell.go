package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// mostNames is how many names are told of each kind without --verbose.
const mostNames = 20

// nextGoesOn is what transfers do that were interrupted.
const nextGoesOn = "The next run goes on from there."

// interrupted says of a transfer that was cancelled how far it came, and what now;
// other errors stay what they are.
func interrupted(err error, what string, w *watch, now string) error {
	if !errors.Is(err, context.Canceled) {
		return err
	}
	return hint(&interruptedError{what + ": interrupted " + w.reached(), err}, now)
}

// A partError says in its own words that something was done in part.
type partError string

func (e partError) Error() string { return string(e) }

// Is reports whether target is what makes the exit code.
func (e partError) Is(target error) bool { return target == d6tpipe.ErrPartial }

// tell tells what a transfer did: its report on standard output with --json, else in
// words. What did not go well is told in any case.
func (p *program) tell(c *cobra.Command, verb string, r d6tpipe.Report, w *watch, err error) error {
	err = interrupted(err, verb+" "+r.Pipe, w, nextGoesOn)
	if errors.Is(err, d6tpipe.ErrPartial) {
		err = hintPart(err, r)
	}
	if p.asJSON {
		return errors.Join(err, printJSON(c.OutOrStdout(), r, "  "))
	}
	p.problems(c, r, err)
	if err == nil || errors.Is(err, d6tpipe.ErrPartial) {
		p.say(c, "%s", summary(r))
		for _, line := range leftAlone(r.Files) {
			p.say(c, "  %s", line)
		}
		if r.Readme != "" && r.Moved > 1 {
			p.say(c, "  README.md came with it")
		}
	}
	return err
}

// hintPart says what helps a transfer that went through in part, if running it again
// does not.
func hintPart(err error, r d6tpipe.Report) error {
	failed, refused := d6tpipe.Failures(err)
	where, list := "on the remote", "d6tpipe ls "+r.Pipe+" -R"
	if r.Push {
		where, list = "in the folder", "d6tpipe scan local "+r.Pipe
	}
	rest := ""
	if len(failed) > len(r.Missing) {
		rest = " Run it again for the rest."
	}
	switch {
	case len(r.Missing) == 1:
		return hint(err, fmt.Sprintf("%s is not %s; %s lists what is.%s", safe(r.Missing[0]), where, list, rest))
	case len(r.Missing) > 1:
		return hint(err, fmt.Sprintf("%d of the files are not %s; %s lists what is.%s", len(r.Missing), where, list, rest))
	case len(failed) == 0 && len(refused) > 0:
		return hint(err, fmt.Sprintf("What was refused needs another name %s.", where))
	}
	return err
}

// summary is one line: "pulled sales: 3 files, 1.2 MiB in 2.1s; 120 unchanged".
func summary(r d6tpipe.Report) string {
	verb := "pulled "
	if r.Push {
		verb = "pushed "
	}
	text := verb + r.Pipe + ": "
	if r.Moved == 0 {
		text += "nothing was moved"
	} else {
		text += count(r.Moved, "file") + ", " + size(r.Bytes) + " in " + duration(r.Duration)
	}
	if r.Unchanged > 0 {
		text += fmt.Sprintf("; %d unchanged", r.Unchanged)
	}
	switch {
	case r.Retries == 1:
		text += "; 1 call was repeated"
	case r.Retries > 1:
		text += fmt.Sprintf("; %d calls were repeated", r.Retries)
	}
	return text
}

// leftAlone tells why files were not moved that differ on both sides.
func leftAlone(files []d6tpipe.FileResult) (lines []string) {
	var reasons []string
	counts := map[string]int{}
	for _, f := range files {
		if f.Status != d6tpipe.StatusSkipped {
			continue
		}
		if counts[f.Reason]++; counts[f.Reason] == 1 {
			reasons = append(reasons, f.Reason)
		}
	}
	for _, reason := range reasons {
		lines = append(lines, count(counts[reason], "file")+" left alone: "+reason)
	}
	return lines
}

// problems names the files that did not go through, with --quiet as well.
func (p *program) problems(c *cobra.Command, r d6tpipe.Report, err error) {
	l := p.names(c.ErrOrStderr())
	failed, refused := d6tpipe.Failures(err)
	for _, f := range failed {
		word := "failed"
		if errors.Is(f.Err, d6tpipe.ErrConflict) {
			word = "conflict"
		}
		l.add(word, f.Key, fmt.Sprint(f.Err))
	}
	if len(failed) == 0 {
		why := map[string]string{}
		for _, f := range r.Files {
			why[f.Key] = f.Reason
		}
		for _, key := range r.Conflicts {
			l.add("conflict", key, why[key])
		}
	}
	for _, f := range refused {
		l.add("refused", f.Key, f.Reason)
	}
	l.end()
}

// names writes lines about files: a word, a name, a reason. The first of each word
// are shown, or all with --verbose.
type names struct {
	w    io.Writer
	most int
	seen map[string]int
	all  []string // words in their order
}

func (p *program) names(w io.Writer) *names {
	n := &names{w: w, most: mostNames, seen: map[string]int{}}
	if p.verbose {
		n.most = int(^uint(0) >> 1)
	}
	return n
}

func (n *names) add(word, name, why string) {
	if n.seen[word]++; n.seen[word] == 1 {
		n.all = append(n.all, word)
	}
	if n.seen[word] > n.most {
		return
	}
	line := fmt.Sprintf("  %-9s %s", word, safe(name))
	if why != "" {
		line += ": " + safe(why)
	}
	_, _ = fmt.Fprintln(n.w, line) // there is nobody else to tell
}

// end tells how many were not shown.
func (n *names) end() {
	for _, word := range n.all {
		if more := n.seen[word] - n.most; more > 0 {
			_, _ = fmt.Fprintf(n.w, "  %-9s and %d more; --verbose names them\n", word, more)
		}
	}
}

// duration writes a time for people, as exact as they care.
func duration(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
