package d6tpipe

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"time"

	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// A Report is what a pull or push did, file by file. It comes back beside an
// error too, with what was done until then.
type Report struct {
	Pipe string `json:"pipe"`
	Push bool   `json:"push"` // the bytes went to the remote
	// Files are sorted by key: every step of the plan and what became of it.
	Files []FileResult `json:"files"`
	// Moved counts the files that were transferred, Bytes their bytes.
	Moved int   `json:"moved"`
	Bytes int64 `json:"bytes"`
	// Unchanged counts the files that needed no step.
	Unchanged int `json:"unchanged"`
	// Conflicts are the files that changed on both sides and were left alone.
	Conflicts []string `json:"conflicts,omitempty"`
	// Refused are the names that cannot be used.
	Refused []Refusal `json:"refused,omitempty"`
	// Missing are those of the requested files that the sending side lacks.
	Missing []string `json:"missing,omitempty"`
	// Retries counts the calls to the storage that failed and were made again.
	Retries  int           `json:"retries"`
	Duration time.Duration `json:"duration"` // nanoseconds
	// Readme and License are the contents of the pipe's README.md and LICENSE.md
	// when they were pulled, at most 1 MiB of each.
	Readme  string `json:"readme,omitempty"`
	License string `json:"license,omitempty"`
}

// A FileResult is what became of one step.
type FileResult struct {
	Key    string `json:"key"`
	Action Action `json:"action"`
	Status Status `json:"status"`
	Reason string `json:"reason"` // for people: "modified", "deleted here"
	Bytes  int64  `json:"bytes"`  // moved
	Err    error  `json:"-"`      // of StatusFailed and StatusConflict
}

// MarshalJSON adds Err as "error".
func (f FileResult) MarshalJSON() ([]byte, error) {
	type fields FileResult
	out := struct {
		fields
		Error string `json:"error,omitempty"`
	}{fields: fields(f)}
	if f.Err != nil {
		out.Error = f.Err.Error()
	}
	return json.Marshal(out)
}

// Moved reports whether the file was transferred.
func (f FileResult) Moved() bool {
	return f.Status == StatusDone && (f.Action == ActionDownload || f.Action == ActionUpload)
}

// A Status is how a step ended.
type Status string

// The ends of a step.
const (
	StatusDone     Status = "done"     // and remembered
	StatusSkipped  Status = "skipped"  // nothing was to be done
	StatusConflict Status = "conflict" // the target changed meanwhile, and was left alone
	StatusFailed   Status = "failed"   // Err says why
	StatusStopped  Status = "stopped"  // the call ended before it
)

// newReport adds t, which may be nil, to what the plan said.
func (p *Pipe) newReport(plan *Plan, t *transfer.Report) Report {
	r := Report{Pipe: p.Name(), Push: plan.Push, Files: []FileResult{}, Missing: plan.Missing, Refused: plan.Refused, Unchanged: plan.Unchanged}
	if t == nil {
		r.Conflicts = plan.Conflicts()
		return r
	}
	r.Moved, r.Bytes, r.Retries, r.Duration = t.Files, t.Bytes, t.Retries, t.Elapsed
	r.Conflicts = t.Keys(transfer.StatusConflict)
	r.Files = slices.Grow(r.Files, len(t.Results))
	for _, f := range t.Results {
		if slices.Contains(plan.Missing, f.Key) {
			continue
		}
		r.Files = append(r.Files, FileResult{Key: f.Key, Action: Action(f.Action), Status: Status(f.Status), Reason: string(f.Reason), Bytes: f.Bytes, Err: withKind(f.Err)})
	}
	if !plan.Push {
		r.Readme, r.License = p.document(r.Files, "README.md"), p.document(r.Files, "LICENSE.md")
	}
	return r
}

// Failures returns what an error that matches [ErrPartial] tells of: the files that
// did not go through, with Key, Status and Err set, and the names that cannot be used.
// Of any other error there are none.
func Failures(err error) (failed []FileResult, refused []Refusal) {
	var partial *transfer.PartialError
	if !errors.As(err, &partial) {
		return nil, nil
	}
	for _, f := range partial.Failed {
		failed = append(failed, FileResult{Key: f.Key, Status: StatusFailed, Err: withKind(f.Err)})
	}
	return failed, refusals(partial.Refused)
}

// document is the content of a file that the report has as pulled. It is for
// people to read; one that cannot be read any more is left out.
func (p *Pipe) document(files []FileResult, key string) string {
	if !slices.ContainsFunc(files, func(f FileResult) bool { return f.Key == key && f.Moved() }) {
		return ""
	}
	root, err := os.OpenRoot(p.dir)
	if err != nil {
		return ""
	}
	defer root.Close()
	f, err := root.Open(key)
	if err != nil {
		return ""
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, maxDocument))
	return string(text)
}

const maxDocument = 1 << 20 // bytes
