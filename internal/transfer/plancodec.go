package transfer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// A plan in a file is lines of JSON: a head, one line for each step, each refused
// name and each missing key, and an end that counts them, so that a file that was cut
// short is not taken for a smaller plan.
const (
	planFormat  = "d6tpipe-plan"
	planVersion = 1
	// MaxPlanLine is how long a line may be, in bytes.
	MaxPlanLine = 1 << 20
)

// ErrPlan says that a file holds no plan that can be used.
var ErrPlan = errors.New("not a plan that can be used")

type planHead struct {
	Format    string    `json:"format"`
	Version   int       `json:"version"`
	Name      string    `json:"name"`
	Direction Direction `json:"direction"`
	Place     string    `json:"place"`
	Mode      Mode      `json:"mode,omitempty"`
	Merge     Merge     `json:"merge,omitempty"`
	Unchanged int       `json:"unchanged"`
}

// planLine is one of the lines between head and end.
type planLine struct {
	Step    *planStep `json:"step,omitempty"`
	Refused *refusal  `json:"refused,omitempty"`
	Missing string    `json:"missing,omitempty"`
	End     *planEnd  `json:"end,omitempty"`
}

type planStep struct {
	Key    string      `json:"key"`
	Action Action      `json:"action"`
	Reason Reason      `json:"reason"`
	Size   int64       `json:"size"`
	Local  *LocalFile  `json:"local,omitempty"`
	Remote *planObject `json:"remote,omitempty"`
	Base   *Entry      `json:"base,omitempty"`
}

type planObject struct {
	Size    int64     `json:"size"`
	ModTime time.Time `json:"mod_time,omitzero"`
	Tag     string    `json:"tag,omitempty"`
	Sum     string    `json:"sum,omitempty"`
}

type refusal struct {
	Key    string `json:"key"`
	Reason string `json:"reason"`
}

type planEnd struct {
	Steps   int   `json:"steps"`
	Refused int   `json:"refused"`
	Missing int   `json:"missing"`
	Files   int   `json:"files"`
	Bytes   int64 `json:"bytes"`
}

func (p *Plan) end() planEnd {
	return planEnd{len(p.Steps), len(p.Refused), len(p.Missing), p.Files, p.Bytes}
}

// WritePlan writes p as lines of JSON. Name is whose plan it is.
func WritePlan(w io.Writer, p *Plan, name string) error {
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(planHead{planFormat, planVersion, name, p.Direction, p.Place, p.Mode, p.Merge, p.Unchanged})
	for i := range p.Steps {
		if err == nil {
			err = enc.Encode(planLine{Step: lineOf(&p.Steps[i])})
		}
	}
	for _, r := range p.Refused {
		if err == nil {
			err = enc.Encode(planLine{Refused: &refusal{r.Key, r.Reason}})
		}
	}
	for _, key := range p.Missing {
		if err == nil {
			err = enc.Encode(planLine{Missing: key})
		}
	}
	end := p.end()
	if err == nil {
		err = enc.Encode(planLine{End: &end})
	}
	return errors.Join(err, out.Flush())
}

func lineOf(s *Step) *planStep {
	line := &planStep{Key: s.Key, Action: s.Action, Reason: s.Reason, Size: s.Size, Local: s.Local, Base: s.Base}
	if o := s.Remote; o != nil {
		line.Remote = &planObject{o.Size, o.ModTime, o.Tag, o.Sum}
	}
	return line
}

func (l *planStep) step() Step {
	s := Step{Key: l.Key, Action: l.Action, Reason: l.Reason, Size: l.Size, Local: l.Local, Base: l.Base}
	if o := l.Remote; o != nil {
		s.Remote = &storage.Object{Key: l.Key, Size: o.Size, ModTime: o.ModTime, Tag: o.Tag, Sum: o.Sum}
	}
	return s
}

// ReadPlan reads what WritePlan wrote, and returns whose plan it is. It believes
// nothing: lines that do not hold together, or not with each other, are [ErrPlan],
// and so is a file that was cut short. What the plan was made from is for Apply to
// look at.
func ReadPlan(r io.Reader) (p *Plan, name string, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, MaxPlanLine)
	number := 0
	fail := func(why error) (*Plan, string, error) {
		return nil, "", fmt.Errorf("%w: line %d: %w", ErrPlan, number, why)
	}
	next := func(v any) error {
		number++
		if !lines.Scan() {
			if err := lines.Err(); err != nil {
				return err
			}
			return io.ErrUnexpectedEOF
		}
		return strict(lines.Bytes(), v)
	}
	var head planHead
	if err := next(&head); err != nil {
		return fail(err)
	}
	if err := head.check(); err != nil {
		return fail(err)
	}
	p = &Plan{Direction: head.Direction, Place: head.Place, Mode: head.Mode, Merge: head.Merge, Unchanged: head.Unchanged, decoded: true}
	for {
		var line planLine
		if err := next(&line); err != nil {
			return fail(err)
		}
		done, err := p.take(&line)
		if err != nil {
			return fail(err)
		}
		if done {
			break
		}
	}
	number++
	if lines.Scan() {
		return fail(errors.New("there is more after the end"))
	}
	if err := lines.Err(); err != nil {
		return fail(err)
	}
	return p, head.Name, nil
}

// strict decodes one line, of which every field must be known.
func strict(line []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if dec.More() {
		return errors.New("more than one value")
	}
	return nil
}

func (h planHead) check() error {
	switch {
	case h.Format != planFormat:
		return errors.New("it does not begin as a plan does")
	case h.Version != planVersion:
		return fmt.Errorf("version %d of the format; this program knows %d", h.Version, planVersion)
	case h.Direction != Pull && h.Direction != Push:
		return fmt.Errorf("unknown direction %q", h.Direction)
	case h.Unchanged < 0:
		return errors.New("a negative number of files")
	}
	return Request{Direction: h.Direction, Mode: h.Mode, Merge: h.Merge}.validate()
}

// take adds a line to the plan, and reports whether it was the last one.
func (p *Plan) take(line *planLine) (done bool, err error) {
	switch {
	case line.Step != nil && line.Refused == nil && line.Missing == "" && line.End == nil:
		return false, p.takeStep(line.Step.step())
	case line.Refused != nil && line.Step == nil && line.Missing == "" && line.End == nil:
		p.Refused = append(p.Refused, &storage.KeyError{Key: line.Refused.Key, Reason: line.Refused.Reason})
		return false, nil
	case line.Missing != "" && line.Step == nil && line.Refused == nil && line.End == nil:
		p.Missing = append(p.Missing, line.Missing)
		return false, nil
	case line.End != nil && line.Step == nil && line.Refused == nil && line.Missing == "":
		if *line.End != p.end() {
			return false, errors.New("the end does not count what came before it")
		}
		return true, nil
	}
	return false, errors.New("neither a step, nor a refused name, nor a missing one, nor the end")
}

func (p *Plan) takeStep(s Step) error {
	if n := len(p.Steps); n > 0 && p.Steps[n-1].Key >= s.Key {
		return fmt.Errorf("%q does not come after %q", s.Key, p.Steps[n-1].Key)
	}
	if err := s.check(); err != nil {
		return err
	}
	if err := p.plausible(s); err != nil {
		return err
	}
	p.Steps = append(p.Steps, s)
	p.count(s, 1)
	return nil
}

// plausible makes sure that a step is what the planner makes of the states that it
// names.
func (p *Plan) plausible(s Step) error {
	moves := s.Action == Download || s.Action == Upload
	size := int64(0)
	switch {
	case s.Action == Download:
		size = s.Remote.Size
	case s.Action == Upload:
		size = s.Local.Size
	}
	negative := s.Local != nil && s.Local.Size < 0 || s.Remote != nil && s.Remote.Size < 0 || s.Base != nil && (s.Base.Size < 0 || s.Base.Key != s.Key)
	if moves && s.Size != size || negative {
		return fmt.Errorf("the sizes of %q do not hold together", s.Key)
	}
	if action, _ := p.decide(s); action != s.Action {
		return fmt.Errorf("%q: %q is not what follows from the states that are named", s.Key, s.Action)
	}
	return nil
}
