package transfer

import (
	"iter"
	"slices"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// A Plan is what one pull or push would do. It is plain data; its steps point
// into the scans they were made from, which nobody changes.
type Plan struct {
	Direction Direction `json:"direction"`
	// Place is the remote that was looked at, as in Config.
	Place string `json:"place,omitempty"`
	Mode  Mode   `json:"mode,omitempty"`
	Merge Merge  `json:"merge,omitempty"`
	// Steps are sorted by key. A file that is the same on both sides has none.
	Steps []Step `json:"steps"`
	// Refused are the names that cannot be used, sorted by key.
	Refused []*storage.KeyError `json:"refused,omitempty"`
	// Missing are the requested keys that the sending side does not have.
	Missing []string `json:"missing,omitempty"`
	// Unchanged counts the files that need no step.
	Unchanged int `json:"unchanged"`
	// Files and Bytes are what is to be moved.
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`

	forget  []string // keys that are gone on both sides
	decoded bool     // from a file
	retries int      // while it was made
}

// A Step is what to do with one file, and the three states that led to it: nil
// is a file that is not there, or not in the manifest.
type Step struct {
	Key    string          `json:"key"`
	Action Action          `json:"action"`
	Reason Reason          `json:"reason"`
	Size   int64           `json:"size"` // bytes that would be moved
	Local  *LocalFile      `json:"local,omitempty"`
	Remote *storage.Object `json:"remote,omitempty"`
	Base   *Entry          `json:"base,omitempty"`
}

// An Action is what is done with one file.
type Action string

// The actions.
const (
	Download Action = "download"
	Upload   Action = "upload"
	Adopt    Action = "adopt"    // both sides are equal: only the manifest learns of it
	Skip     Action = "skip"     // the sides differ and stay so
	Conflict Action = "conflict" // the plan cannot be applied
	nothing  Action = ""         // in step already
)

// A Reason says why a step was planned.
type Reason string

// The reasons.
const (
	New           Reason = "new"
	Modified      Reason = "modified"
	MissingHere   Reason = "missing here"
	MissingThere  Reason = "missing on the remote"
	Again         Reason = "everything is transferred again"
	EqualContent  Reason = "same content on both sides"
	OnlyHere      Reason = "only here"
	OnlyThere     Reason = "only on the remote"
	EditedHere    Reason = "edited here"
	DeletedHere   Reason = "deleted here"
	DeletedThere  Reason = "deleted on the remote"
	EditedBoth    Reason = "edited here and on the remote"
	NewBoth       Reason = "new here and on the remote, with different content"
	PullFirst     Reason = "changed on the remote: pull first"
	OutOfMode     Reason = "not in this mode"
	Irregular     Reason = "not a regular file"
	ChangedAfter  Reason = "changed since the plan was made"
	DoneElsewhere Reason = "done by another process"
)

// Conflicts returns the keys that keep the plan from being applied.
func (p *Plan) Conflicts() (keys []string) {
	for i := range p.Steps {
		if p.Steps[i].Action == Conflict {
			keys = append(keys, p.Steps[i].Key)
		}
	}
	return keys
}

// Empty reports whether the plan leaves both sides as they are.
func (p *Plan) Empty() bool {
	return p.Files == 0 && !slices.ContainsFunc(p.Steps, func(s Step) bool { return s.Action == Conflict })
}

// Differs reports whether the sides differ in anything that the plan looked at.
func (p *Plan) Differs() bool {
	return len(p.Refused) > 0 || slices.ContainsFunc(p.Steps, func(s Step) bool { return s.Action != Adopt })
}

// states are the three scans, each sorted by key and without doubles.
type states struct {
	base    []Entry
	remote  []storage.Object
	local   []LocalFile
	refused []*storage.KeyError // names on the remote
	unfit   []*storage.KeyError // names of local files
	known   []Entry             // base as the manifest has it
	proven  []Entry             // of base, what the manifest does not have yet
}

// newPlan is the pure planner. match has all filters in it.
func newPlan(in states, req Request, match func(string) bool) *Plan {
	p := &Plan{Direction: req.Direction, Mode: req.Mode, Merge: req.Merge}
	if req.Keys != nil {
		p.Mode = ModeAll
	}
	p.Missing = missing(in, req, match)
	if req.Recent != 0 {
		match = recent(in, req, match)
	}
	p.refuse(in, match)
	todo := func(yield func(Step) bool) {
		for i := range in.each {
			if match(i.Key) && !p.refuses(i.Key) && !yield(i) {
				return
			}
		}
	}
	p.Steps = make([]Step, 0, p.size(todo))
	for i := range todo {
		p.add(i)
	}
	p.Missing = slices.DeleteFunc(p.Missing, p.refuses)
	return p
}

// size counts the steps: growing a list of millions would take twice its memory.
func (p *Plan) size(todo iter.Seq[Step]) (n int) {
	for s := range todo {
		if action, _ := p.decide(s); action != nothing {
			n++
		}
	}
	return n
}

// add decides on one key and counts.
func (p *Plan) add(s Step) {
	s.Action, s.Reason = p.decide(s)
	switch s.Action {
	case nothing:
		if s.Remote == nil { // gone on both sides
			p.forget = append(p.forget, s.Key)
			return
		}
		p.Unchanged++
		return
	case Download:
		s.Size = s.Remote.Size
	case Upload:
		s.Size = s.Local.Size
	}
	p.Steps = append(p.Steps, s)
	p.count(s, 1)
}

func (p *Plan) count(s Step, by int) {
	if s.Action == Download || s.Action == Upload {
		p.Files += by
		p.Bytes += int64(by) * s.Size
	}
}

// each yields the keys of all three scans in order, with what each scan has.
func (in states) each(yield func(Step) bool) {
	b, r, l := in.base, in.remote, in.local
	for len(b) > 0 || len(r) > 0 || len(l) > 0 {
		var s Step
		first := func(key string) {
			if s.Key == "" || key < s.Key {
				s.Key = key
			}
		}
		if len(b) > 0 {
			first(b[0].Key)
		}
		if len(r) > 0 {
			first(r[0].Key)
		}
		if len(l) > 0 {
			first(l[0].Key)
		}
		if len(b) > 0 && b[0].Key == s.Key {
			s.Base, b = &b[0], b[1:]
		}
		if len(r) > 0 && r[0].Key == s.Key {
			s.Remote, r = &r[0], r[1:]
		}
		if len(l) > 0 && l[0].Key == s.Key {
			s.Local, l = &l[0], l[1:]
		}
		if !yield(s) {
			return
		}
	}
}
