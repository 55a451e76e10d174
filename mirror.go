package d6tpipe

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

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
	selection := PullOptions{Merge: o.Merge, Include: o.Include, Exclude: o.Exclude}
	if o.All {
		selection.Mode = ModeAll
	}
	req, err := selection.request(transfer.Mirror)
	if err != nil {
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
	place, state, err := mirrorPlace(dst, fromWhere, toWhere)
	if err != nil {
		return err
	}
	inBoth := matchAll(append(fromWhere.Filters, toWhere.Filters...))
	s, err := transfer.Open(transfer.Config{
		From: from, Store: to, Place: place, State: state, Match: inBoth,
		Workers: dst.opts().Workers, Progress: dst.progress(),
	})
	if err != nil {
		return err
	}
	do := func() error {
		plan, done, extra, err := s.Mirror(ctx, transfer.MirrorOptions{
			Merge: req.Merge, Mode: req.Mode, Match: req.Match, Delete: o.Delete, Force: o.Force, Dry: o.DryRun,
		})
		report.add(dst, plan, done, extra)
		return err
	}
	if o.DryRun {
		return do()
	}
	return dst.changing(ctx, do)
}

// mirrorPlace names both ends, and the folder of what is remembered of them.
func mirrorPlace(dst *Pipe, from, to Storage) (place, state string, err error) {
	a, err := from.identity()
	if err != nil {
		return "", "", err
	}
	b, err := to.identity()
	if err != nil {
		return "", "", err
	}
	if same, err := overlap(from, to); same || err != nil {
		return "", "", cmp.Or(err, fmt.Errorf("%w: source and target overlap: what is copied would be copied again", ErrRefused))
	}
	name := sha256.Sum256([]byte(a))
	return a + "\n" + b, filepath.Join(dst.state, "mirrors", hex.EncodeToString(name[:8])), nil
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
