package d6tpipe

import (
	"time"

	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// An Event tells what happens during a pull, a push, a verification or an import.
type Event struct {
	Kind   EventKind
	Key    string // of the file; empty for EventPlanned and EventFinished
	Action Action // what is done with the file
	// Files and Bytes are the size of the whole plan for EventPlanned, and what
	// went through for EventFinished. Bytes is the file's size for EventStarted,
	// and for EventMoved what was moved since the last event of the file, negative
	// when an upload starts again.
	Files int
	Bytes int64
	Err   error         // of EventFailed and EventRetried
	Wait  time.Duration // of EventRetried: until the next attempt
}

// An EventKind is what happened.
type EventKind int

// The kinds of events. Each file that is worked on has one EventStarted, any
// number of EventMoved, and one EventDone or EventFailed. EventRetried comes when
// a call to the storage failed for a reason that may pass, and will be made again;
// its Key is what was asked for, which for a listing is a folder.
const (
	EventPlanned EventKind = iota
	EventStarted
	EventMoved
	EventDone
	EventFailed
	EventFinished
	EventRetried
)

// String returns a word for the kind: "planned", "started", ...
func (k EventKind) String() string {
	words := [...]string{"planned", "started", "moved", "done", "failed", "finished", "retried"}
	if k < 0 || int(k) >= len(words) {
		return "unknown"
	}
	return words[k]
}

// The engine counts its events in the same order; this does not compile when it
// no longer does.
var _ = [1]struct{}{}[EventRetried-EventKind(transfer.Retried)]

// progress hands the engine's events on; nil when nobody listens.
func (p *Pipe) progress() func(transfer.Event) {
	if p.opts().Progress == nil {
		return nil
	}
	return func(e transfer.Event) {
		p.opts().Progress(Event{Kind: EventKind(e.Kind), Key: e.Key, Action: Action(e.Action), Files: e.Files, Bytes: e.Bytes, Err: withKind(e.Err), Wait: e.Wait})
	}
}
