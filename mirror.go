package d6tpipe

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// MirrorOptions say how one pipe's files are brought to another. The zero value
// copies what is new or changed and deletes nothing.
type MirrorOptions struct {
	// Include and Exclude are filters beside those of both pipes.
	Include, Exclude string
	// Merge says what becomes of files that somebody else has put at the target or
	// changed there: MergeFail when empty.
	Merge Merge
	// All copies every file again.
	All bool
	// Delete removes from the target what is gone at the source: files that earlier
	// mirrors copied and nobody has changed since. It comes last, after everything
	// was copied, and within the limits of [Pipe.RemoveOrphans].
	Delete bool
	// Force lifts these limits, and lets Delete also remove what was edited at the
	// target or was not copied there by a mirror.
	Force bool
	// DryRun only says what would be done.
	DryRun bool
}

// A MirrorReport is what a mirror did, or in a dry run would do.
type MirrorReport struct {
	Source string `json:"source"` // pipe
	Target string `json:"target"` // pipe
	// Plan is what was to be done.
	Plan Plan `json:"plan"`
	// Report is what was done; empty after a dry run.
	Report Report `json:"report"`
	// Extra are the files of the target that the source does not have.
	Extra []Orphan `json:"extra,omitempty"`
}

// Mirror makes the files of dst those of src. They pass through this machine and do
// not land on its disk: one part of each file that is moved is in memory at a time.
// Bytes are verified against what both storages vouch for, nothing appears at the
// target before it is whole, and a mirror that was interrupted is continued by the
// next one, in the middle of a file where the target can take files in parts.
//
// What was copied is remembered on this machine, beside what dst remembers of its
// own files. When somebody else changed or added a file of the same name at the
// target, and its content is another, the error is [ErrConflict] and nothing is
// copied, unless o.Merge says what to do. Both filters apply.
func Mirror(ctx context.Context, dst, src *Pipe, o MirrorOptions) (report MirrorReport, err error) {
	report = MirrorReport{Source: src.Name(), Target: dst.Name()}
	err = mirror(ctx, dst, src, o, &report)
	if err != nil {
		return report, &Error{Op: "mirror " + src.Name() + " to", Name: dst.Name(), Err: withKind(err)}
	}
	return report, nil
}

func mirror(ctx context.Context, dst, src *Pipe, o MirrorOptions, report *MirrorReport) (err error) {
	if _, err := o.transfer(); err != nil { // before anybody is asked for anything
		return err
	}
	from, fromWhere, err := src.connect(ctx, RoleRead)
	if err != nil {
		return fmt.Errorf("open the source %s: %w", src.Name(), err)
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, toWhere, err := dst.connect(ctx, RoleWrite)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	ends := StorageMirror{
		From: from, Source: fromWhere, To: to, Target: toWhere,
		Workers: dst.opts().Workers, Progress: dst.progress(),
	}
	if ends.State, err = mirrorState(dst, fromWhere); err != nil {
		return err
	}
	do := func() error {
		plan, done, extra, err := ends.run(ctx, o)
		report.add(dst, plan, done, extra)
		return err
	}
	if o.DryRun {
		return do()
	}
	return dst.changing(ctx, do)
}

// A StorageMirror is a [Mirror] without pipes, for the project's own server: what it
// takes and returns is of no use elsewhere.
type StorageMirror struct {
	From, To       storage.Store // opened and closed by who calls
	Source, Target Storage       // of which they are
	// State is a folder for what is remembered of these two.
	State string
	// Workers is how many files are copied at a time at most; 0 is the default.
	Workers int
	// Progress is told what happens, as [transfer.Config].Progress.
	Progress func(transfer.Event)
}

// Run mirrors. The report is nil when nothing was done.
func (m StorageMirror) Run(ctx context.Context, o MirrorOptions) (plan *transfer.Plan, report *transfer.Report, extra []transfer.Orphan, err error) {
	plan, report, extra, err = m.run(ctx, o)
	return plan, report, extra, withKind(err)
}

func (m StorageMirror) run(ctx context.Context, o MirrorOptions) (plan *transfer.Plan, report *transfer.Report, extra []transfer.Orphan, err error) {
	options, err := o.transfer()
	if err != nil {
		return nil, nil, nil, err
	}
	place, err := mirrorPlace(m.Source, m.Target)
	if err != nil {
		return nil, nil, nil, err
	}
	s, err := transfer.Open(transfer.Config{
		From: m.From, Store: m.To, Place: place, State: m.State, Match: matchAll(slices.Concat(m.Source.Filters, m.Target.Filters)),
		Workers: m.Workers, Progress: m.Progress,
	})
	if err != nil {
		return nil, nil, nil, err
	}
	plan, report, extra, err = s.Mirror(ctx, options)
	return plan, report, extra, errors.Join(err, s.Close())
}

// transfer is what the options ask of the engine.
func (o MirrorOptions) transfer() (out transfer.MirrorOptions, err error) {
	selection := PullOptions{Merge: o.Merge, Include: o.Include, Exclude: o.Exclude}
	if o.All {
		selection.Mode = ModeAll
	}
	req, err := selection.request(transfer.Mirror)
	return transfer.MirrorOptions{Merge: req.Merge, Mode: req.Mode, Match: req.Match, Delete: o.Delete, Force: o.Force, Dry: o.DryRun}, err
}

// mirrorPlace names both ends.
func mirrorPlace(from, to Storage) (string, error) {
	a, err := from.identity()
	if err != nil {
		return "", err
	}
	b, err := to.identity()
	if err != nil {
		return "", err
	}
	if same, err := overlap(from, to); same || err != nil {
		return "", cmp.Or(err, fmt.Errorf("%w: source and target overlap: what is copied would be copied again", ErrRefused))
	}
	return a + "\n" + b, nil
}

// mirrorState is the folder of what a pipe remembers of mirrors from a source.
func mirrorState(dst *Pipe, from Storage) (string, error) {
	a, err := from.identity()
	name := sha256.Sum256([]byte(a))
	return filepath.Join(dst.state, "mirrors", hex.EncodeToString(name[:8])), err
}

// Overlaps reports whether one of two places is the other or lies in it, for the
// project's own server.
func (s Storage) Overlaps(other Storage) (bool, error) {
	same, err := overlap(s, other)
	return same, withKind(err)
}

// overlap reports whether one of two places is the other or lies in it.
func overlap(a, b Storage) (bool, error) {
	dirA, dirB := strings.TrimRight("/"+trimDir(a.Dir), "/")+"/", strings.TrimRight("/"+trimDir(b.Dir), "/")+"/"
	if a.Protocol == ProtocolDir && b.Protocol == ProtocolDir {
		for _, s := range []*Storage{&a, &b} {
			real, err := realPath(filepath.Join(s.Location, filepath.FromSlash(s.Dir)))
			if err != nil {
				return false, err
			}
			s.Location = real
		}
		_, within := inside(a.Location, b.Location)
		_, around := inside(b.Location, a.Location)
		return within || around, nil
	}
	a.Dir, b.Dir = "", ""
	idA, err := a.identity()
	if err != nil {
		return false, err
	}
	idB, err := b.identity()
	return idA == idB && (strings.HasPrefix(dirA, dirB) || strings.HasPrefix(dirB, dirA)), err
}

func (r *MirrorReport) add(dst *Pipe, plan *transfer.Plan, done *transfer.Report, extra []transfer.Orphan) {
	if plan == nil {
		return
	}
	p := dst.newPlan(plan)
	p.Push = true
	if done != nil {
		r.Report = dst.newReport(p, done)
	}
	r.Plan = *p
	r.Plan.plan = nil // it cannot be applied later
	for _, f := range extra {
		r.Extra = append(r.Extra, Orphan{Key: f.Key, Size: f.Size, Kept: string(f.Kept), Removed: f.Removed})
	}
}
