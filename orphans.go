package d6tpipe

import (
	"context"
	"errors"
	"fmt"

	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// OrphanOptions say which orphans to remove: files that only one side has,
// because they were deleted on the other.
type OrphanOptions struct {
	// Where the orphans lie; [OrphansLocal] when empty.
	Where OrphanSide
	// Remove removes them. Without it they are only reported.
	Remove bool
	// Force also removes files that were edited or never synced, and lifts the
	// limits on how many may go. It does not make up for a listing that is not
	// complete.
	Force bool
}

// An OrphanSide is where orphans lie.
type OrphanSide string

// The sides.
const (
	OrphansLocal  OrphanSide = "local"  // here, and no longer on the remote
	OrphansRemote OrphanSide = "remote" // on the remote, and no longer here
	OrphansBoth   OrphanSide = "both"
)

// An OrphanReport is what RemoveOrphans found and did.
type OrphanReport struct {
	Removed bool     `json:"removed"` // false: nothing was removed, as in a preview
	Local   []Orphan `json:"local,omitempty"`
	Remote  []Orphan `json:"remote,omitempty"`
}

// An Orphan is a file that only one side has.
type Orphan struct {
	Key  string `json:"key"`
	Size int64  `json:"size"` // bytes
	// Kept says why the file stays unless forced: "edited here", "only here".
	// Empty when it is as the last sync left it.
	Kept string `json:"kept,omitempty"`
	// Removed says that the file is gone.
	Removed bool `json:"removed"`
}

// RemoveOrphans shows the files that were deleted on the other side, and removes
// them when o.Remove is set. It refuses with [ErrRefused], unless forced, when
// the other side is empty although files were synced, and when more than half
// and more than ten files would go. Without a complete listing it always fails.
func (p *Pipe) RemoveOrphans(ctx context.Context, o OrphanOptions) (report OrphanReport, err error) {
	role := RoleRead
	switch o.Where {
	case "":
		o.Where = OrphansLocal
	case OrphansLocal:
	case OrphansRemote, OrphansBoth:
		if o.Remove {
			role = RoleWrite
		}
	default:
		return report, &Error{Op: "remove orphans of", Name: p.Name(), Err: &FieldError{Field: "where", Reason: "Sides are local, remote and both."}}
	}
	err = p.with(ctx, "remove orphans of", role, func(s *transfer.Sync) error {
		found, err := p.removeOrphans(ctx, s, o, role == RoleWrite)
		report.Removed = o.Remove && err == nil
		for _, f := range found {
			report.Removed = report.Removed || f.Removed
			orphan := Orphan{Key: f.Key, Size: f.Size, Kept: string(f.Kept), Removed: f.Removed}
			if f.Side == transfer.Local {
				report.Local = append(report.Local, orphan)
			} else {
				report.Remote = append(report.Remote, orphan)
			}
		}
		return err
	})
	return report, err
}

func (p *Pipe) removeOrphans(ctx context.Context, s *transfer.Sync, o OrphanOptions, there bool) (found []transfer.Orphan, err error) {
	do := func() (err error) {
		found, err = s.RemoveOrphans(ctx, transfer.OrphanOptions{Side: transfer.Side(o.Where), Apply: o.Remove, Force: o.Force})
		return err
	}
	if there {
		err = p.changing(ctx, do)
	} else {
		err = do()
	}
	return found, err
}

// DeleteRemote deletes files from the remote; the folder keeps them. Synced means
// those whose version there is the one of the last sync: what somebody else has
// added or changed since stays. All means every file of the pipe that is there.
func (p *Pipe) DeleteRemote(ctx context.Context, o DeleteOptions) error {
	return p.with(ctx, "delete remote files of", RoleWrite, func(s *transfer.Sync) error {
		if err := o.validate(); err != nil {
			return err
		}
		return p.changing(ctx, func() error { return deleteRemote(ctx, s, o) })
	})
}

func deleteRemote(ctx context.Context, s *transfer.Sync, o DeleteOptions) error {
	if o.Synced {
		return s.RemoveRemoteSynced(ctx)
	}
	keys := o.Files
	if o.All {
		listing, err := s.ScanRemote(ctx)
		if err != nil {
			return err
		}
		for obj := range listing.All() {
			keys = append(keys, obj.Key)
		}
	}
	return s.RemoveRemote(ctx, keys)
}

// Delete deletes files here and on the remote. The remote goes first: what it
// keeps because of an error can be pulled again.
func (p *Pipe) Delete(ctx context.Context, o DeleteOptions) error {
	if err := p.DeleteRemote(ctx, o); err != nil {
		return err
	}
	return p.DeleteLocal(ctx, o)
}

// ResetOptions say how to reset a pipe.
type ResetOptions struct {
	// Delete first deletes every file in the folder, edited or not.
	Delete bool
	// Merge is for files that are not what the remote has; see [Pipe.Pull].
	Merge Merge
}

// Reset forgets what was synced, also a damaged memory of it, and pulls every
// file anew. With o.Delete it is [ErrRefused] when there are files here and none
// on the remote: nothing would come back.
func (p *Pipe) Reset(ctx context.Context, o ResetOptions) (Report, error) {
	// Nothing is deleted here before the remote has shown that it is there.
	there, err := p.ScanRemote(ctx, ListOptions{})
	if err != nil && !errors.Is(err, ErrPartial) {
		return Report{Pipe: p.Name()}, err
	}
	err = p.local("reset", func(s *transfer.Sync) error {
		if !o.Delete {
			return s.Reset(ctx)
		}
		found, err := s.ScanLocal(ctx)
		if err != nil {
			return err
		}
		if len(there) == 0 && len(found.Files) > 0 {
			return fmt.Errorf("%w: there are no files on the remote to take the place of %d here", ErrRefused, len(found.Files))
		}
		if err := s.Reset(ctx); err != nil { // first: the removal reads the memory, which may be damaged
			return err
		}
		return s.RemoveLocal(ctx, localKeys(found.Files))
	})
	if err != nil {
		return Report{Pipe: p.Name()}, err
	}
	return p.Pull(ctx, PullOptions{Mode: ModeAll, Merge: o.Merge})
}
