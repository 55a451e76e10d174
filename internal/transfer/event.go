package transfer

import "time"

// An Event tells what happens during a sync.
type Event struct {
	Kind   EventKind
	Key    string // of the file; empty for Planned and Finished
	Action Action
	// Files and Bytes are the size of the whole plan for Planned, and what went
	// through for Finished. Bytes is the file's size for Started, and for Moved
	// what was moved since the last event, negative when an upload starts again.
	Files int
	Bytes int64
	// Err is why, of Failed and Retried. Wait is how long until the next attempt.
	Err  error
	Wait time.Duration
}

// An EventKind is what happened.
type EventKind int

// The kinds of events. Each file that is worked on has one Started, any number
// of Moved and one Done or Failed. Retried comes at any time, with the Key of what
// was tried; that of a listing is a prefix.
const (
	Planned EventKind = iota
	Started
	Moved
	Done
	Failed
	Finished
	Retried
)

func (s *Sync) tell(e Event) {
	if s.cfg.Progress == nil {
		return
	}
	s.progress.Lock()
	defer s.progress.Unlock()
	s.cfg.Progress(e)
}
