package transfer

import "github.com/d6t/d6tpipe-go/internal/storage"

// decide is the table in the package doc.
func (p *Plan) decide(s Step) (Action, Reason) {
	if s.Local == nil && s.Remote == nil {
		return nothing, ""
	}
	switch p.Direction {
	case Pull:
		return p.decidePull(s)
	case Mirror:
		return p.decideMirror(s)
	}
	if s.Local != nil && s.Local.Irregular {
		return Skip, Irregular
	}
	return p.decidePush(s)
}

func (p *Plan) decidePull(s Step) (Action, Reason) {
	here, there := s.changedHere(), s.changedThere()
	switch {
	case s.Remote == nil && s.Base == nil:
		return Skip, OnlyHere
	case s.Remote == nil:
		return Skip, DeletedThere
	case s.Local == nil:
		return p.within(s, there, Download)
	case !here && !there:
		return p.again(Download)
	case !here:
		return p.within(s, true, Download)
	case !there && p.Mode != ModeAll:
		return Skip, EditedHere
	case !there:
		return p.clash(s, Download)
	default:
		return p.bothChanged(s, Download)
	}
}

func (p *Plan) decidePush(s Step) (Action, Reason) {
	here, there := s.changedHere(), s.changedThere()
	switch {
	case s.Local == nil:
		return p.notHere(s, there)
	case s.Remote == nil && !here && p.Mode != ModeAll:
		return Skip, DeletedThere
	case s.Remote == nil:
		return p.within(s, true, Upload)
	case !here && !there:
		return p.again(Upload)
	case !here:
		return p.movedOn(s)
	case !there:
		return p.within(s, true, Upload)
	default:
		return p.bothChanged(s, Upload)
	}
}

// changedHere reports whether the local file is not the one of the manifest.
func (s Step) changedHere() bool {
	return s.Local != nil && (s.Base == nil || !s.Base.here(s.Local))
}

// changedThere reports whether the remote file is not the one of the manifest.
func (s Step) changedThere() bool {
	return s.Remote != nil && (s.Base == nil || !s.Base.there(s.Remote))
}

// here reports whether f is the file that e remembers.
func (e *Entry) here(f *LocalFile) bool {
	switch {
	case f.Irregular || f.Size != e.Size:
		return false
	case !f.Sum.IsZero():
		return f.Sum == e.Sum
	}
	return f.ModTime == e.ModTime && !e.racy()
}

// there reports whether o is the object that e remembers.
func (e *Entry) there(o *storage.Object) bool {
	if e.Tag != "" || o.Tag != "" {
		return e.Tag == o.Tag
	}
	return e.Size == o.Size && e.RemoteTime == StampOf(o.ModTime)
}

// sameVersion reports whether two looks at a remote file saw the same one.
func sameVersion(a, b *storage.Object) bool {
	seen := Entry{Tag: a.Tag, Size: a.Size, RemoteTime: StampOf(a.ModTime)}
	return seen.there(b) && a.Size == b.Size
}

// inMode reports whether the mode covers the file. changed says whether it
// changed since it was synced.
func (p *Plan) inMode(s Step, changed bool) bool {
	switch p.Mode {
	case ModeNew:
		return s.Base == nil
	case ModeMod:
		return s.Base != nil && changed
	}
	return true
}

// within plans a move that no edit stands against.
func (p *Plan) within(s Step, changed bool, move Action) (Action, Reason) {
	switch {
	case !p.inMode(s, changed):
		return Skip, OutOfMode
	case s.Base == nil:
		return move, New
	case s.Local == nil && !changed:
		return move, MissingHere
	case s.Remote == nil:
		return move, MissingThere
	}
	return move, Modified
}

func (p *Plan) again(move Action) (Action, Reason) {
	if p.Mode == ModeAll {
		return move, Again
	}
	return nothing, ""
}

// bothChanged decides on files that are new or edited on both sides.
func (p *Plan) bothChanged(s Step, move Action) (Action, Reason) {
	switch {
	case !p.inMode(s, true):
		return Skip, OutOfMode
	case s.Local.Equal && p.Mode == ModeAll:
		return move, Again
	case s.Local.Equal:
		return Adopt, EqualContent
	}
	return p.clash(s, move)
}

// clash decides what the merge mode is for: the move would lose a change.
func (p *Plan) clash(s Step, move Action) (Action, Reason) {
	why := EditedBoth
	switch {
	case s.Base == nil:
		why = NewBoth
	case !s.changedThere():
		why = EditedHere
	case !s.changedHere():
		why = PullFirst
	}
	switch p.Merge {
	case MergeKeep:
		return Skip, why
	case MergeOverwrite:
		return move, why
	}
	return Conflict, why
}

// notHere decides on what a push finds on the remote only. A push that would go
// past such a change fails, unless it was told how to merge.
func (p *Plan) notHere(s Step, there bool) (Action, Reason) {
	switch {
	case !there:
		return Skip, DeletedHere
	case p.Mode == ModeAll:
		return Skip, OnlyThere
	case !p.inMode(s, true):
		return Skip, OutOfMode
	case p.Merge == MergeFail:
		return Conflict, PullFirst
	}
	return Skip, PullFirst
}

// movedOn decides on a push of a file that only the remote side has changed.
func (p *Plan) movedOn(s Step) (Action, Reason) {
	switch {
	case p.Mode == ModeAll:
		return p.clash(s, Upload)
	case !p.inMode(s, true):
		return Skip, OutOfMode
	case p.Merge == MergeFail:
		return Conflict, PullFirst
	}
	return Skip, PullFirst
}
