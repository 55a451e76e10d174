package main

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// A watch shows people how a transfer goes: as bars on a terminal, and elsewhere,
// with --verbose, as a line for each file.
type watch struct {
	*tally
	bars    *bars // nil is none
	lines   io.Writer
	verbose bool
}

// watch begins to show. It is over with close.
func (p *program) watch(c *cobra.Command) *watch {
	out := c.ErrOrStderr()
	w := &watch{tally: newTally(), lines: out, verbose: p.verbose}
	if !p.quiet && isTerminal(out) && os.Getenv("TERM") != "dumb" {
		w.bars = newBars(out, w.tally)
		w.lines = w.bars
	}
	return w
}

// event is the Progress of a pipe.
func (w *watch) event(e d6tpipe.Event) {
	w.add(e, time.Now())
	if w.bars != nil {
		w.bars.refresh(e.Kind == d6tpipe.EventPlanned)
	}
	if line := eventLine(e); w.verbose && line != "" {
		_, _ = io.WriteString(w.lines, line+"\n") // there is nobody else to tell
	}
}

// eventLine tells of an event, "" of most.
func eventLine(e d6tpipe.Event) string {
	name := safe(e.Key)
	switch {
	case e.Kind == d6tpipe.EventRetried:
		if name == "" {
			name = "the listing"
		}
		return "again in " + duration(e.Wait) + ": " + name + ": " + safe(e.Err.Error())
	case e.Kind == d6tpipe.EventFailed && !errors.Is(e.Err, context.Canceled):
		return "failed " + name + ": " + safe(e.Err.Error())
	case e.Kind != d6tpipe.EventDone:
		return ""
	}
	words := map[d6tpipe.Action]string{d6tpipe.ActionDownload: "pulled ", d6tpipe.ActionUpload: "pushed ", d6tpipe.ActionImport: "imported ", d6tpipe.ActionAdopt: "the same on both sides: "}
	if word := words[e.Action]; word != "" {
		return word + name
	}
	return ""
}

// close takes the bars from the terminal.
func (w *watch) close() {
	if w.bars != nil {
		w.bars.close()
	}
}
