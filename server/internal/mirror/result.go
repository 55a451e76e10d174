package mirror

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"unicode/utf8"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/transfer"
	"github.com/d6t/d6tpipe-go/server/internal/dial"
)

// maxFailures is how many files are named that were not copied, maxWhy how long a reason
// may be, in bytes.
const (
	maxFailures = 100
	maxWhy      = 500
)

// Result is what is told of a run, as far as it came.
func Result(report *transfer.Report, extra []transfer.Orphan) (r d6tpipe.MirrorRun) {
	if report != nil {
		r.Copied, r.Bytes, r.Unchanged = report.Files, report.Bytes, report.Unchanged
		for _, f := range report.Results {
			switch f.Status {
			case transfer.StatusSkipped:
				r.Skipped++
			case transfer.StatusDone:
				if f.Action == transfer.Adopt { // it was there already
					r.Unchanged++
				}
			case transfer.StatusConflict:
				fail(&r, f.Key, "conflict: "+string(f.Reason))
			case transfer.StatusFailed:
				fail(&r, f.Key, Why(f.Err))
			}
		}
		for _, e := range report.Refused {
			fail(&r, e.Key, "this name cannot be used: "+e.Reason)
		}
	}
	for _, o := range extra {
		if o.Removed {
			r.Removed++
		}
		if o.Err != nil {
			fail(&r, o.Key, "not removed: "+Why(o.Err))
		}
	}
	return r
}

func fail(r *d6tpipe.MirrorRun, key, why string) {
	if r.Failures++; len(r.Failed) < maxFailures {
		r.Failed = append(r.Failed, d6tpipe.MirrorFailure{Key: clip(key), Why: clip(why)})
	}
}

// Why says in words for the mirror's owner what went wrong, and what to do. What only
// concerns the server's network is left out.
func Why(err error) string {
	var partial *transfer.PartialError
	var network *net.OpError
	var forbidden *dial.ForbiddenError
	var refused *d6tpipe.StatusError
	switch {
	case errors.As(err, &partial):
		return partly(partial)
	case errors.As(err, &refused):
		return refused.Message
	case errors.As(err, &forbidden):
		return clip(forbidden.Error())
	case errors.As(err, &network):
		return "a storage cannot be reached: " + cause(network)
	case errors.Is(err, transfer.ErrRefused):
		return clip(err.Error()) + "; nothing was removed. If it is meant so, run it once with force"
	case errors.Is(err, transfer.ErrConflict):
		return clip(err.Error()) + "; nothing was copied. Set merge to keep what is at the target, or to overwrite it"
	}
	return clip(err.Error())
}

// Cause is what kind of thing went wrong, as [d6tpipe.MirrorRun] has it.
func Cause(err error) string {
	switch {
	case errors.Is(err, d6tpipe.ErrPartial):
		return "" // some files went through
	case errors.Is(err, d6tpipe.ErrRefused):
		return "refused"
	case errors.Is(err, d6tpipe.ErrConflict):
		return "conflict"
	}
	return ""
}

// partly tells of the first file that was not copied.
func partly(p *transfer.PartialError) string {
	n := len(p.Failed) + len(p.Refused)
	switch {
	case len(p.Failed) > 0:
		return fmt.Sprintf("%d files were copied and %d were not, the first %q: %s", p.Succeeded, n, clip(p.Failed[0].Key), Why(p.Failed[0].Err))
	case n > 0:
		return fmt.Sprintf("%d files were copied and %d were not, the first %q: this name cannot be used: %s", p.Succeeded, n, clip(p.Refused[0].Key), clip(p.Refused[0].Reason))
	}
	return p.Error()
}

// cause is an error of the network without addresses.
func cause(err *net.OpError) string {
	var number syscall.Errno
	switch {
	case errors.As(err, &number):
		return number.Error()
	case err.Timeout():
		return "it does not answer"
	}
	return "the connection failed"
}

// clip cuts what a storage has said, or called a file, to what is stored and shown.
func clip(text string) string {
	if len(text) > maxWhy {
		text = text[:maxWhy] + "..."
	}
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "\uFFFD")
	}
	return strings.ReplaceAll(text, "\x00", "\uFFFD")
}
