package d6tpipe

import (
	"context"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// A Plan is what one pull or push would do: a preview that [Pipe.Apply] can carry
// out, now or, by way of [Plan.WriteTo] and [ReadPlan], later.
type Plan struct {
	// Pipe is the name of the pipe.
	Pipe string `json:"pipe"`
	// Push says that the bytes go to the remote.
	Push bool `json:"push"`
	// Steps are sorted by key. A file that is the same on both sides has none.
	Steps []Step `json:"steps"`
	// Refused are the names that cannot be used, sorted by key.
	Refused []Refusal `json:"refused,omitempty"`
	// Missing are those of the requested files that the sending side lacks.
	Missing []string `json:"missing,omitempty"`
	// Unchanged counts the files that need no step.
	Unchanged int `json:"unchanged"`
	// Files and Bytes are what is to be moved.
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`

	plan  *transfer.Plan
	state string // the folder of what its pipe remembers; "" when it came from a file
}

// A Step is what is to be done with one file, and why.
type Step struct {
	Key    string `json:"key"`
	Action Action `json:"action"`
	Reason string `json:"reason"` // for people: "modified", "deleted here"
	Size   int64  `json:"size"`   // bytes that move
}

// An Action is what is done with one file.
type Action string

// The actions.
const (
	ActionDownload Action = "download"
	ActionUpload   Action = "upload"
	ActionAdopt    Action = "adopt"    // both sides are equal already; this is remembered
	ActionSkip     Action = "skip"     // the sides differ and stay so
	ActionConflict Action = "conflict" // the plan cannot be applied; see Merge
	ActionVerify   Action = "verify"   // of the events of a Verify, not of a plan
	ActionImport   Action = "import"   // of the events of an import
)

// A Refusal is a file name that cannot be used without danger.
type Refusal struct {
	Key    string `json:"key"` // as the remote has it; quote it before printing
	Reason string `json:"reason"`
}

// Conflicts returns the keys that changed on both sides and keep the plan from
// being applied.
func (p *Plan) Conflicts() (keys []string) {
	for _, s := range p.Steps {
		if s.Action == ActionConflict {
			keys = append(keys, s.Key)
		}
	}
	return keys
}

// Empty reports whether there is nothing to move and no conflict.
func (p *Plan) Empty() bool { return p.Files == 0 && len(p.Conflicts()) == 0 }

func (p *Pipe) newPlan(t *transfer.Plan) *Plan {
	plan := planOf(t, p.Name())
	plan.state = p.state
	return plan
}

func planOf(t *transfer.Plan, pipe string) *Plan {
	plan := &Plan{Pipe: pipe, Push: t.Direction == transfer.Push, Missing: t.Missing, Unchanged: t.Unchanged, Files: t.Files, Bytes: t.Bytes,
		Refused: refusals(t.Refused), Steps: make([]Step, len(t.Steps)), plan: t}
	for i, s := range t.Steps {
		plan.Steps[i] = Step{Key: s.Key, Action: Action(s.Action), Reason: string(s.Reason), Size: s.Size}
	}
	return plan
}

func refusals(refused []*storage.KeyError) []Refusal {
	var out []Refusal
	for _, e := range refused {
		out = append(out, Refusal{e.Key, e.Reason})
	}
	return out
}

func (p *Pipe) plan(ctx context.Context, d transfer.Direction, role Role, o PullOptions) (plan *Plan, err error) {
	err = p.with(ctx, "plan "+string(d)+" of pipe", role, func(s *transfer.Sync) error {
		req, err := o.request(d)
		if err != nil {
			return err
		}
		t, err := s.Plan(ctx, req)
		if err == nil {
			plan = p.newPlan(t)
		}
		return err
	})
	return plan, err
}
