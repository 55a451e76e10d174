package transfer

import (
	"errors"
	"fmt"
	"slices"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// A Direction is where the bytes go.
type Direction string

// The directions.
const (
	Pull Direction = "pull" // from the remote to the folder
	Push Direction = "push" // from the folder to the remote
)

// A Mode selects files by what is known of them. The names are d6tpipe's.
type Mode string

// The modes.
const (
	ModeDefault Mode = ""    // new and modified files
	ModeNew     Mode = "new" // files that were never synced
	ModeMod     Mode = "mod" // files that were modified since they were synced
	ModeAll     Mode = "all" // everything again
)

// A Merge says what becomes of files that changed on both sides.
type Merge string

// The merge modes.
const (
	MergeFail      Merge = ""          // refuse the whole plan
	MergeKeep      Merge = "keep"      // leave both sides as they are
	MergeOverwrite Merge = "overwrite" // replace the file at the destination
)

// A Request is what to plan.
type Request struct {
	Direction Direction
	Mode      Mode
	Merge     Merge
	// Match narrows the pipe's own filter; nil is all.
	Match func(key string) bool
	// Keys, when not nil, are the only files to move; they are moved whatever
	// the manifest says, as in ModeAll. The filters apply.
	Keys []string
	// Recent n > 0 takes the n newest files of the sending side that pass the
	// filters, n < 0 the -n oldest.
	Recent int
	// Seen is what somebody else's scan saw, and takes the place of a look at the
	// remote. It may be out of date, so only a pull can be planned from it: that
	// deletes nothing, and asks the remote for the very versions that are listed. Nor is
	// anything forgotten because of it.
	Seen *storage.Listing
}

func (r Request) validate() error {
	switch {
	case r.Direction != Pull && r.Direction != Push && r.Direction != Mirror:
		return fmt.Errorf("transfer: unknown direction %q", r.Direction)
	case !slices.Contains([]Mode{ModeDefault, ModeNew, ModeMod, ModeAll}, r.Mode):
		return fmt.Errorf("transfer: unknown mode %q", r.Mode)
	case !slices.Contains([]Merge{MergeFail, MergeKeep, MergeOverwrite}, r.Merge):
		return fmt.Errorf("transfer: unknown merge mode %q", r.Merge)
	case r.Seen != nil && r.Direction != Pull:
		return errors.New("transfer: only a pull can be planned from a listing of the past")
	}
	return nil
}

// matcher joins the pipe's filter, the request's and its list of keys.
func (r Request) matcher(pipe func(string) bool) func(string) bool {
	listed := make(map[string]bool, len(r.Keys))
	for _, k := range r.Keys {
		listed[k] = true
	}
	return func(key string) bool {
		return (r.Keys == nil || listed[key]) && (pipe == nil || pipe(key)) && (r.Match == nil || r.Match(key))
	}
}
