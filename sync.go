package d6tpipe

import (
	"context"
	"time"

	"github.com/d6t/d6tpipe-go/internal/glob"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// A Mode says which files a pull or push moves.
type Mode string

// The modes, under the names that the Python client gives them.
const (
	ModeDefault Mode = "default" // new and modified files
	ModeNew     Mode = "new"     // files that were never synced
	ModeMod     Mode = "mod"     // files that were synced and have changed since
	ModeAll     Mode = "all"     // all files, whether they changed or not
)

// A Merge says what becomes of files that changed on both sides.
type Merge string

// The merge modes.
const (
	MergeFail      Merge = "fail"      // nothing moves; the error names the files
	MergeKeep      Merge = "keep"      // the target's version stays, the other files move
	MergeOverwrite Merge = "overwrite" // the target's version is replaced
)

// PullOptions narrow down a pull. The zero value pulls what is new or modified
// and refuses to overwrite local edits.
type PullOptions struct {
	Mode  Mode
	Merge Merge
	// Files moves exactly these keys, whether they changed or not.
	Files []string
	// Include and Exclude are filters beside the pipe's own.
	Include, Exclude string
	// Recent moves only the n newest of the selected files by modification
	// time, the -n oldest when negative, all when 0.
	Recent int
	// Fresh looks at the storage itself, whatever listing the server keeps. A push, its
	// plan, InSync and all that deletes always do, and so does a pull of Files or with
	// ModeAll.
	Fresh bool
}

// PushOptions narrow down a push. The zero value pushes what is new or modified
// and refuses when the remote has changes that were not pulled.
type PushOptions = PullOptions

// A File is one file of a pipe.
type File struct {
	Key     string    `json:"key"`           // relative, slash-separated
	Size    int64     `json:"size"`          // bytes
	ModTime time.Time `json:"modified_at"`   // UTC
	Tag     string    `json:"tag,omitempty"` // the remote's: changes whenever the content does
	// SHA256 of the content, in hexadecimal, of a file that was synced. It is empty
	// for most files from 1 MiB on: those are remembered by a CRC-64/NVME.
	SHA256 string `json:"sha256,omitempty"`
}

// request is what the options of a pull or push ask of the planner.
func (o PullOptions) request(d transfer.Direction) (transfer.Request, error) {
	r := transfer.Request{Direction: d, Mode: transfer.Mode(o.Mode), Merge: transfer.Merge(o.Merge), Keys: o.Files,
		Match: glob.Filter(o.Include, o.Exclude), Recent: o.Recent}
	switch o.Mode {
	case ModeDefault:
		r.Mode = transfer.ModeDefault
	case "", ModeNew, ModeMod, ModeAll:
	default:
		return r, &FieldError{Field: "mode", Reason: "Known modes are default, new, mod and all."}
	}
	switch o.Merge {
	case MergeFail:
		r.Merge = transfer.MergeFail
	case "", MergeKeep, MergeOverwrite:
	default:
		return r, &FieldError{Field: "merge", Reason: "Known merge modes are fail, keep and overwrite."}
	}
	for _, key := range o.Files {
		if err := storage.CheckKey(key); err != nil {
			return r, err
		}
	}
	return r, nil
}

// PlanPull shows what a Pull with these options would do, without doing it. Like a
// Pull, it goes by a server's listing where that is good enough; see o.Fresh. A plan
// that is applied later moves nothing but what it was made from.
func (p *Pipe) PlanPull(ctx context.Context, o PullOptions) (*Plan, error) {
	if plan := p.planListed(ctx, o); plan != nil {
		return plan, nil
	}
	return p.plan(ctx, transfer.Pull, RoleRead, o)
}

// PlanPush shows what a Push with these options would do, without doing it.
func (p *Pipe) PlanPush(ctx context.Context, o PushOptions) (*Plan, error) {
	return p.plan(ctx, transfer.Push, RoleWrite, o)
}

// Pull brings what is new or modified on the remote into the folder. Each file
// is verified and durable before it appears under its name, and an edit here is
// never lost: files that changed on both sides are [ErrConflict] and nothing
// moves, unless o.Merge says what to do. Nothing is deleted.
//
// When some files could not be moved, or have names that cannot be used, the
// others are, and the error matches [ErrPartial]. A pull that was interrupted is
// continued by the next one.
//
// A server that keeps listings is asked first: when its listing is young enough for
// it to stand by, and is the one of the last pull, one request has told that there is
// nothing to do, however many files there are. What others have changed on the storage
// without telling the server is seen when that listing is too old, or at once with
// o.Fresh; what was pushed from this folder is always seen.
func (p *Pipe) Pull(ctx context.Context, o PullOptions) (Report, error) {
	earlier, done, err := p.pullListed(ctx, o)
	if done {
		return earlier, err
	}
	report, err := p.planAndApply(ctx, transfer.Pull, RoleRead, o)
	return report.with(earlier), err
}

// Push sends what is new or modified in the folder to the remote. It refuses with
// [ErrConflict] when the remote has changes that were not pulled. Where the
// storage can check it, no upload replaces a version that this folder has not
// seen. Nothing is deleted. See [Pipe.Pull] for errors.
func (p *Pipe) Push(ctx context.Context, o PushOptions) (Report, error) {
	return p.planAndApply(ctx, transfer.Push, RoleWrite, o)
}

// Apply carries out a plan of this pipe. Each step is taken only if the file here,
// the one on the remote and what is remembered of the last sync still are what the
// plan was made from; what changed since is left alone and reported as a conflict. A
// plan from [ReadPlan] is believed no more than that. A plan of another pipe, or one
// that was put together by hand, is [ErrInvalid]; one of another remote is
// [ErrConflict].
func (p *Pipe) Apply(ctx context.Context, plan *Plan) (report Report, err error) {
	if plan == nil || plan.plan == nil || plan.Pipe != p.Name() || plan.state != "" && plan.state != p.state {
		return report, &Error{Op: "apply a plan to", Name: p.Name(), Err: &FieldError{Field: "plan", Reason: "This is no plan that was made for this pipe."}}
	}
	d, role := transfer.Pull, RoleRead
	if plan.Push {
		d, role = transfer.Push, RoleWrite
	}
	err = p.with(ctx, string(d), role, func(s *transfer.Sync) error {
		report, err = p.apply(ctx, s, plan)
		return err
	})
	return report, err
}

func (p *Pipe) planAndApply(ctx context.Context, d transfer.Direction, role Role, o PullOptions) (report Report, err error) {
	report = Report{Pipe: p.Name(), Push: d == transfer.Push}
	err = p.with(ctx, string(d), role, func(s *transfer.Sync) error {
		req, err := o.request(d)
		if err != nil {
			return err
		}
		t, err := s.Plan(ctx, req)
		if err != nil {
			return err
		}
		report, err = p.apply(ctx, s, p.newPlan(t))
		return err
	})
	return report, err
}

func (p *Pipe) apply(ctx context.Context, s *transfer.Sync, plan *Plan) (report Report, err error) {
	do := func() error {
		t, err := s.Apply(ctx, plan.plan)
		report = p.newReport(plan, t)
		return err
	}
	if plan.Push && plan.Files > 0 {
		err = p.changing(ctx, do)
	} else {
		err = do()
	}
	return report, err
}

// A PipeStatus is how the folder and the remote of a pipe stand to each other.
type PipeStatus struct {
	Pipe string `json:"pipe"`
	// InSync says that neither a pull nor a push would move any file, and that none
	// was deleted on one side only.
	InSync bool `json:"in_sync"`
	// Pull and Push are what either would do: of conflicts, both have a step.
	Pull *Plan `json:"pull"`
	Push *Plan `json:"push"`
}

// Status compares the folder with the remote, as they are now, by one look at each.
// It takes no more than a role for reading, so that its Push shows what differs here
// to those, too, who may not push it.
func (p *Pipe) Status(ctx context.Context) (status PipeStatus, err error) {
	status.Pipe = p.Name()
	err = p.with(ctx, "compare", RoleRead, func(s *transfer.Sync) error {
		pull, push, err := s.Compare(ctx)
		if err != nil {
			return err
		}
		status.InSync = !pull.Differs() && !push.Differs()
		status.Pull, status.Push = p.newPlan(pull), p.newPlan(push)
		return nil
	})
	return status, err
}

// InSync reports whether the folder and the remote hold the same files: neither
// a pull nor a push would move any, and none was deleted on one side only.
func (p *Pipe) InSync(ctx context.Context) (bool, error) {
	status, err := p.Status(ctx)
	return status.InSync, err
}
