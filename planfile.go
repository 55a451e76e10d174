package d6tpipe

import (
	"errors"
	"io"

	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// WriteTo writes the plan as lines of JSON, to be read by [ReadPlan] and applied
// later: a head with the pipe, the direction, the modes and the place of the remote;
// a line for each step, with the states of both sides from which it follows; one for
// each refused name and each missing file; and an end that counts them. It holds no
// secret. A plan that did not come from PlanPull, PlanPush or ReadPlan is
// [ErrInvalid].
func (p *Plan) WriteTo(w io.Writer) (int64, error) {
	if p.plan == nil {
		return 0, &Error{Op: "write a plan of", Name: p.Pipe, Err: &FieldError{Field: "plan", Reason: "Only plans that PlanPull, PlanPush or ReadPlan have made can be written."}}
	}
	out := &counting{w: w}
	if err := transfer.WritePlan(out, p.plan, p.Pipe); err != nil {
		return out.n, &Error{Op: "write a plan of", Name: p.Pipe, Err: withKind(err)}
	}
	return out.n, nil
}

// ReadPlan reads a plan that [Plan.WriteTo] has written. It believes nothing of it: a
// file that was cut short, that this version does not know, or in which something
// does not hold together is [ErrInvalid], and the error names the line. Whether what
// the plan was made from still holds is for [Pipe.Apply] to see.
func ReadPlan(r io.Reader) (*Plan, error) {
	t, pipe, err := transfer.ReadPlan(r)
	if err == nil {
		err = checkName("name", pipe)
	}
	if errors.Is(err, transfer.ErrPlan) {
		err = &kinded{err, []error{ErrInvalid}}
	}
	if err != nil {
		return nil, &Error{Op: "read a plan", Err: err}
	}
	return planOf(t, pipe), nil
}

// counting counts what is written.
type counting struct {
	w io.Writer
	n int64
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
