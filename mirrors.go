package d6tpipe

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// mirrorsPath is the collection of mirrors, below which their runs are.
const mirrorsPath = "mirrors"

// MinMirrorRate is the least rate that a mirror can be held to, in bytes a second:
// servers cut connections that are slower.
const MinMirrorRate = 64 << 10

// MirrorSettings are a mirror that a server runs by itself, on a schedule or when it is
// asked to: it copies the files of one pipe to another as [Mirror] does, through the
// server and not through this machine. It belongs to who made it, whose rights are looked
// at again in each run.
type MirrorSettings struct {
	// Name is unique among the mirrors of an account: letters, digits and hyphens.
	Name string `json:"name"`
	// Source and Target are the names of pipes. Their storages must not overlap.
	Source string `json:"source,omitempty"`
	Target string `json:"target,omitempty"`
	// Schedule says when; without one it is only when [APIClient.RunMirror] asks for it.
	// Its Paused is not used here.
	Schedule Schedule `json:"schedule,omitzero"`
	// Paused keeps the mirror from running by its schedule, and ends the run that is at
	// work; see [APIClient.PauseMirror].
	Paused bool `json:"paused,omitempty"`
	// Include and Exclude are filters beside those of both pipes.
	Include string `json:"include,omitempty"`
	Exclude string `json:"exclude,omitempty"`
	// Merge and Delete are those of [MirrorOptions]. Force is for a single run: see
	// [MirrorRunOptions].
	Merge  Merge `json:"merge,omitempty"`
	Delete bool  `json:"delete,omitempty"`
	// Rate is how many bytes a second it may move, at least [MinMirrorRate]; 0 is as many
	// as the server can.
	Rate int64 `json:"rate,omitempty"`

	// Next, Running, Failures and Last are those of a [ScheduleState]. Answers only.
	Next     *time.Time `json:"next,omitempty"`
	Running  bool       `json:"running,omitempty"`
	Failures int        `json:"failures,omitempty"`
	Last     *Run       `json:"last,omitempty"`

	// Extra holds the fields that this version does not know. They survive a Get
	// followed by a Replace, if the server knows them.
	Extra map[string]json.RawMessage `json:"-"`
}

// A MirrorUpdate says what is to change. What is nil stays as it is, whoever changes it
// meanwhile; the fields are those of [MirrorSettings].
type MirrorUpdate struct {
	Source   *string   `json:"source,omitempty"`
	Target   *string   `json:"target,omitempty"`
	Schedule *Schedule `json:"schedule,omitempty"` // the whole of it
	Paused   *bool     `json:"paused,omitempty"`
	Include  *string   `json:"include,omitempty"`
	Exclude  *string   `json:"exclude,omitempty"`
	Merge    *Merge    `json:"merge,omitempty"`
	Delete   *bool     `json:"delete,omitempty"`
	Rate     *int64    `json:"rate,omitempty"`
}

// A MirrorRun is what a run of a server's mirror did, and what not: the [Run.Detail] of
// its runs. It is there when the run failed, too, as far as it came.
type MirrorRun struct {
	Copied    int   `json:"copied"`
	Bytes     int64 `json:"bytes"`
	Removed   int   `json:"removed,omitempty"`
	Unchanged int   `json:"unchanged"` // needed nothing
	Skipped   int   `json:"skipped,omitempty"`
	// Failed are files that were not copied or not removed, conflicts among them: the
	// first hundred of Failures.
	Failed   []MirrorFailure `json:"failed,omitempty"`
	Failures int             `json:"failures,omitempty"`
	// Stopped says why the run ended before all was done, when nothing failed: the mirror
	// was paused or changed, for example.
	Stopped string `json:"stopped,omitempty"`
	// Continues says that the next run is due at once, and goes on where this one was: it has
	// let others have their turn after some hours, or the mirror was changed meanwhile.
	Continues bool `json:"continues,omitempty"`
	// Cause says why the run did nothing more, where programs may want to know: "conflict"
	// for [ErrConflict], "refused" for [ErrRefused].
	Cause string `json:"cause,omitempty"`
}

// Err is the sentinel that Cause stands for; nil for others.
func (r MirrorRun) Err() error {
	switch r.Cause {
	case "conflict":
		return ErrConflict
	case "refused":
		return ErrRefused
	}
	return nil
}

// MirrorRunOptions are what is asked of one run of a server's mirror.
type MirrorRunOptions struct {
	// Force lifts the limits of a mirror that deletes, as [MirrorOptions].Force does, in this
	// run and no other.
	Force bool `json:"force,omitempty"`
}

// A MirrorFailure is a file of a [MirrorRun] that is not as it should be.
type MirrorFailure struct {
	Key string `json:"key"` // quote it before printing
	Why string `json:"why"`
}

// Validate reports the first field that is malformed, as a [*FieldError]. What is wrong
// with the schedule is for the server to say, and whether the pipes exist.
func (m MirrorSettings) Validate() error {
	if err := checkName("name", m.Name); err != nil {
		return err
	}
	if err := checkName("source", m.Source); err != nil {
		return err
	}
	if err := checkName("target", m.Target); err != nil {
		return err
	}
	switch {
	case m.Source == m.Target:
		return &FieldError{Field: "target", Reason: "A pipe cannot be mirrored to itself."}
	case m.Schedule.Paused:
		return &FieldError{Field: "schedule", Reason: "Whether a mirror is paused is a field of the mirror, paused."}
	case m.Rate != 0 && m.Rate < MinMirrorRate:
		return &FieldError{Field: "rate", Reason: "The rate is in bytes a second, at least " + strconv.Itoa(MinMirrorRate) + ", or 0 for no limit."}
	}
	_, err := m.Options().transfer()
	return err
}

// Options are how the mirror copies.
func (m MirrorSettings) Options() MirrorOptions {
	return MirrorOptions{Include: m.Include, Exclude: m.Exclude, Merge: m.Merge, Delete: m.Delete}
}

// MarshalJSON encodes the settings with the fields of Extra among them.
func (m MirrorSettings) MarshalJSON() ([]byte, error) { return m.reveal() }

// UnmarshalJSON decodes the settings and keeps unknown fields in Extra.
func (m *MirrorSettings) UnmarshalJSON(data []byte) error {
	type fields MirrorSettings
	var f fields
	extra, err := unmarshal(data, &f)
	if err != nil {
		return err
	}
	*m = MirrorSettings(f)
	m.Extra = extra
	return nil
}

func (m MirrorSettings) key() string       { return m.Name }
func (MirrorSettings) checkSecrets() error { return nil }
func (MirrorSettings) sealed() bool        { return false }

func (m MirrorSettings) reveal() (json.RawMessage, error) {
	type fields MirrorSettings
	return marshal(fields(m), m.Extra)
}

// Mirrors are those that the server runs for the caller; nobody else sees them. To make
// or change one takes the right to read the source and to write to the target, and on
// remotes the same right to these, with whose credentials the server copies. Update
// leaves alone what is false or empty; [APIClient.UpdateMirror] does not.
func (c *APIClient) Mirrors() *Collection[MirrorSettings] {
	return &Collection[MirrorSettings]{c.server, mirrorsPath, "mirror"}
}

// UpdateMirror changes a mirror. A run that is at work ends, and the next one goes on where
// it was, with the new settings.
func (c *APIClient) UpdateMirror(ctx context.Context, name string, u MirrorUpdate) (m MirrorSettings, err error) {
	defer explain(&err, "update mirror", name)
	return m, c.patchMirror(ctx, name, u, &m)
}

// PauseMirror pauses a mirror or lets it go on: nothing is run by its schedule while it
// is paused, and the run that is at work ends. A run goes on later where it was, in the
// middle of a file.
func (c *APIClient) PauseMirror(ctx context.Context, name string, paused bool) (m MirrorSettings, err error) {
	defer explain(&err, "pause mirror", name)
	return m, c.patchMirror(ctx, name, MirrorUpdate{Paused: &paused}, &m)
}

func (c *APIClient) patchMirror(ctx context.Context, name string, u MirrorUpdate, out *MirrorSettings) error {
	body, err := encodeJSON(u)
	if err != nil {
		return err
	}
	return c.onMirror(ctx, request{method: http.MethodPatch, body: body}, out, name)
}

// RunMirror has the server run a mirror now, once, paused or not, and once more afterwards
// when it is at work. It returns the mirror as it then is: the run is that with the first
// Due that is not before Next, and [APIClient.MirrorRuns] tells what becomes of it.
func (c *APIClient) RunMirror(ctx context.Context, name string, o MirrorRunOptions) (m MirrorSettings, err error) {
	defer explain(&err, "run mirror", name)
	r := request{method: http.MethodPost}
	if r.body, err = encodeJSON(o); err != nil {
		return m, err
	}
	return m, c.onMirror(ctx, r, &m, name, "runs")
}

// onMirror sends a request about a mirror and decodes the answer.
func (c *APIClient) onMirror(ctx context.Context, r request, out *MirrorSettings, name string, below ...string) error {
	if err := checkName("name", name); err != nil {
		return err
	}
	r.url = c.server.url(append([]string{mirrorsPath, name}, below...)...)
	raw, err := c.server.send(ctx, r)
	if err != nil {
		return err
	}
	if err := decodeJSON(raw, out); err != nil {
		return badAnswer(err)
	}
	return nil
}

// mirrorRunsPage is how many runs are asked for at a time.
const mirrorRunsPage = 50

// MirrorRuns goes through the runs of a mirror, the newest first, as far as the server
// keeps them. The detail of each is a [MirrorRun]. An error comes last.
func (c *APIClient) MirrorRuns(ctx context.Context, name string) iter.Seq2[Run, error] {
	return func(yield func(Run, error) bool) {
		err := checkName("name", name)
		if err == nil {
			q := url.Values{"limit": {strconv.Itoa(mirrorRunsPage)}}
			for run, failed := range pages(ctx, c.server, c.server.url(mirrorsPath, name, "runs"), q, func(r Run) string { return r.ID }) {
				if err = failed; err != nil || !yield(run, nil) {
					break
				}
			}
		}
		if err != nil {
			explain(&err, "list runs of mirror", name)
			yield(Run{}, err)
		}
	}
}
