package transfer

import (
	"slices"
	"strings"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// A Report is what an Apply did, file by file.
type Report struct {
	Direction Direction
	Results   []Result            // sorted by key: every step of the plan, and keys that were missing
	Refused   []*storage.KeyError // names that cannot be used
	Unchanged int                 // files that needed nothing
	Files     int                 // files that were moved
	Bytes     int64               // bytes of these
	Retries   int                 // attempts that failed and were made again, also while it was planned
	Elapsed   time.Duration
}

// A Result is what became of one step.
type Result struct {
	Key    string
	Action Action
	Status Status
	Reason Reason
	Bytes  int64 // moved
	Err    error // of StatusFailed and StatusConflict
}

// A Status is how a step ended.
type Status string

// The ends of a step.
const (
	StatusDone     Status = "done"     // and recorded in the manifest
	StatusSkipped  Status = "skipped"  // nothing was to be done
	StatusConflict Status = "conflict" // the destination changed meanwhile, and was left alone
	StatusFailed   Status = "failed"
	StatusStopped  Status = "stopped" // the sync ended before it
)

// Keys returns the keys of the results that ended so.
func (r *Report) Keys(status Status) (keys []string) {
	for _, res := range r.Results {
		if res.Status == status {
			keys = append(keys, res.Key)
		}
	}
	return keys
}

// newReport has a result for each step of p, at the same index.
func newReport(p *Plan) *Report {
	r := &Report{Direction: p.Direction, Refused: p.Refused, Unchanged: p.Unchanged}
	r.Results = make([]Result, len(p.Steps))
	for i, s := range p.Steps {
		r.Results[i] = Result{Key: s.Key, Action: s.Action, Status: StatusStopped, Reason: s.Reason}
		switch s.Action {
		case Skip:
			r.Results[i].Status = StatusSkipped
		case Conflict:
			r.Results[i].Status = StatusConflict
		}
	}
	return r
}

// finish counts, adds the missing keys and returns what did not go well.
func (r *Report) finish(p *Plan, missing error) error {
	partial := &PartialError{Refused: r.Refused}
	for _, key := range p.Missing {
		r.Results = append(r.Results, Result{Key: key, Status: StatusFailed, Err: missing})
	}
	slices.SortFunc(r.Results, func(a, b Result) int { return strings.Compare(a.Key, b.Key) })
	for _, res := range r.Results {
		switch {
		case res.Err != nil:
			partial.Failed = append(partial.Failed, Failure{res.Key, res.Err})
		case res.Status == StatusDone:
			partial.Succeeded++
			r.count(res)
		}
	}
	if len(partial.Failed) == 0 && len(partial.Refused) == 0 {
		return nil
	}
	return partial
}

func (r *Report) count(res Result) {
	if res.Action == Download || res.Action == Upload {
		r.Files++
		r.Bytes += res.Bytes
	}
}
