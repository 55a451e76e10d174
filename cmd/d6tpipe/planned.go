package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// showPlan shows what a plan would do: as JSON, or as a table with the sum after it
// on standard error. What would be left alone is shown with --verbose.
func (p *program) showPlan(c *cobra.Command, plan *d6tpipe.Plan) error {
	err := p.show(c, plan, func(w io.Writer) error {
		t := newTable("ACTION", ">SIZE", "FILE", "+WHY")
		for _, s := range plan.Steps {
			if s.Action == d6tpipe.ActionSkip && !p.verbose {
				continue
			}
			bytes := ""
			if s.Action == d6tpipe.ActionDownload || s.Action == d6tpipe.ActionUpload { // nothing else moves any
				bytes = size(s.Size)
			}
			t.add(string(s.Action), bytes, s.Key, s.Reason)
		}
		for _, r := range plan.Refused {
			t.add("refuse", "", r.Key, r.Reason)
		}
		for _, key := range plan.Missing {
			t.add("missing", "", key, "the sending side does not have it")
		}
		return t.print(w)
	})
	if err == nil {
		p.say(c, "%s", planSummary(plan))
	}
	return err
}

// planSummary is one line: "pull of sales: 3 files, 1.2 MiB; 120 unchanged".
func planSummary(plan *d6tpipe.Plan) string {
	verb := "pull"
	if plan.Push {
		verb = "push"
	}
	text := fmt.Sprintf("%s of %s: ", verb, plan.Pipe)
	switch n := len(plan.Conflicts()); {
	case n > 0:
		text += "cannot be done, " + count(n, "conflict")
	case plan.Files == 0:
		text += "nothing to move"
	default:
		text += count(plan.Files, "file") + ", " + size(plan.Bytes)
	}
	skipped := 0
	for _, s := range plan.Steps {
		if s.Action == d6tpipe.ActionSkip {
			skipped++
		}
	}
	for _, part := range []struct {
		n    int
		what string
	}{{plan.Unchanged, "unchanged"}, {skipped, "left alone"}, {len(plan.Refused), "refused"}, {len(plan.Missing), "missing"}} {
		if part.n > 0 {
			text += fmt.Sprintf("; %d %s", part.n, part.what)
		}
	}
	return text
}
