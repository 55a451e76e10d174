package d6tpipe

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/d6t/d6tpipe-go/internal/catalog"
)

// A Schedule says when a server does something by itself: every so often, or at the
// times that a cron expression names. One of Every and Cron is set; neither is never,
// and only when somebody asks for it.
type Schedule struct {
	// Every is the time between two runs, at least a minute. Which moment of it a run
	// gets is the server's choice, so that not all begin at once.
	Every Interval `json:"every,omitempty"`
	// Cron is an expression of five fields, minute, hour, day of the month, month and day
	// of the week, or @hourly, @daily, @weekly, @monthly or @yearly.
	Cron string `json:"cron,omitempty"`
	// TimeZone is where Cron's clock hangs, a name of the IANA database such as
	// Europe/Berlin; UTC when empty. A time that a change of the clock leaves out is left
	// out, and one that comes twice is used twice.
	TimeZone string `json:"time_zone,omitempty"`
	// Jitter puts each run off by a random time of up to this, less than the time between
	// two runs.
	Jitter Interval `json:"jitter,omitempty"`
	// Paused keeps the schedule and runs nothing.
	Paused bool `json:"paused,omitempty"`
}

// A ScheduleState is a schedule with what has become of it.
type ScheduleState struct {
	Schedule
	// Name is that of the pipe or the mirror.
	Name string `json:"name"`
	// Next is when the next run is due; nil when none is.
	Next *time.Time `json:"next,omitempty"`
	// Running says that one is at work, or waits for its turn.
	Running bool `json:"running,omitempty"`
	// Failures counts those since the last run that went well. The next one is put off
	// longer with each.
	Failures int `json:"failures,omitempty"`
	// Last is the run that ended last; nil when none did.
	Last *Run `json:"last,omitempty"`
}

// A Run is one time that a server did, or does, something by itself.
type Run struct {
	ID   string `json:"id"`
	Kind string `json:"kind"` // scan, mirror, webhook
	// Name is that of the pipe, the mirror, or the pipe whose webhook it is of; "" when gone.
	Name string `json:"name"`
	// State is RunQueued, RunRunning, RunDone or RunFailed.
	State RunState `json:"state"`
	// Due is when it should have begun, Began and Ended when it did; nil is not yet.
	Due   time.Time  `json:"due"`
	Began *time.Time `json:"began,omitempty"`
	Ended *time.Time `json:"ended,omitempty"`
	// Attempt is 1, and more when a server died over it and another one took it up.
	Attempt int `json:"attempt,omitempty"`
	// Error says why it failed.
	Error string `json:"error,omitempty"`
	// Detail is what it did, as its kind tells it: see [ScanRun], [MirrorRun] and
	// [WebhookRun].
	Detail json.RawMessage `json:"detail,omitempty"`
	// Owner and Server are for administrators: whose it is, and who does it.
	Owner  string `json:"owner,omitempty"`
	Server string `json:"server,omitempty"`
}

// A ScanRun is the detail of a scan's [Run].
type ScanRun struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"` // all files together
	// Refused is how many names there are besides that cannot be used, such as one that
	// leads out of the folder, or two that some system takes for one.
	Refused int `json:"refused,omitempty"`
	// Changed says that the scan has found other files than were known.
	Changed bool `json:"changed"`
}

// RunState is how far a run is.
type RunState string

// The states of a [Run].
const (
	RunQueued  RunState = "queued"
	RunRunning RunState = "running"
	RunDone    RunState = "done"
	RunFailed  RunState = "failed"
)

// An Interval is a time as people write it, 90s, 15m, 12h or 7d. It is text in JSON.
type Interval time.Duration

// Schedule returns the schedule on which the server scans a pipe, with what has become
// of it. A pipe that has none is [ErrNotFound].
func (c *APIClient) Schedule(ctx context.Context, pipe string) (state ScheduleState, err error) {
	defer explain(&err, "get schedule of pipe", pipe)
	return c.schedule(ctx, http.MethodGet, pipe, nil)
}

// SetSchedule has the server scan a pipe by itself, so that its listing, its feed of
// changes and its webhooks know of files that came past d6tpipe; who administers the
// pipe may. The first scan, and that after a change of the schedule, is due at once. The
// error is [ErrInvalid] for a schedule that cannot be meant, and for a pipe whose files
// the server cannot see, such as those in a folder of somebody's machine, or cannot open by
// the pipe's settings.
func (c *APIClient) SetSchedule(ctx context.Context, pipe string, s Schedule) (state ScheduleState, err error) {
	defer explain(&err, "set schedule of pipe", pipe)
	return c.schedule(ctx, http.MethodPut, pipe, s)
}

// PauseSchedule keeps the schedule of a pipe and has nothing scanned, or lets it go on with
// a scan at once. What else the schedule says stays as it is, whoever changes it meanwhile.
func (c *APIClient) PauseSchedule(ctx context.Context, pipe string, paused bool) (state ScheduleState, err error) {
	defer explain(&err, "pause schedule of pipe", pipe)
	return c.schedule(ctx, http.MethodPatch, pipe, struct {
		Paused bool `json:"paused"`
	}{paused})
}

// DeleteSchedule ends what [APIClient.SetSchedule] began, and forgets its runs. The
// pipe's last listing stays.
func (c *APIClient) DeleteSchedule(ctx context.Context, pipe string) (err error) {
	defer explain(&err, "delete schedule of pipe", pipe)
	_, err = c.schedule(ctx, http.MethodDelete, pipe, nil)
	return err
}

func (c *APIClient) schedule(ctx context.Context, method, pipe string, in any) (state ScheduleState, err error) {
	if err := checkName("pipe", pipe); err != nil {
		return state, err
	}
	r := request{method: method, url: c.server.url(catalog.Pipes, pipe, "schedule")}
	if in != nil {
		if r.body, err = encodeJSON(in); err != nil {
			return state, err
		}
	}
	raw, err := c.server.send(ctx, r)
	if err != nil || method == http.MethodDelete {
		return state, err
	}
	if err := decodeJSON(raw, &state); err != nil {
		return ScheduleState{}, badAnswer(err)
	}
	return state, nil
}

// Schedules returns the schedules of all pipes that the caller may read, by name.
func (c *APIClient) Schedules(ctx context.Context) (all []ScheduleState, err error) {
	defer explain(&err, "list schedules", "")
	return page[ScheduleState](ctx, c.server, c.server.url("schedules"), nil)
}

// day is what d means: clocks that change are the business of cron expressions.
const day = 24 * time.Hour

// ParseInterval reads what [time.ParseDuration] does, and days.
func ParseInterval(text string) (Interval, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return Interval(time.Duration(n) * day), nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%w: %q is no time such as 90s, 15m, 12h or 7d", ErrInvalid, text)
	}
	return Interval(d), nil
}

// String returns the shortest form.
func (i Interval) String() string {
	if d := time.Duration(i); d >= day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	text := time.Duration(i).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// MarshalText implements [encoding.TextMarshaler].
func (i Interval) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (i *Interval) UnmarshalText(text []byte) (err error) {
	*i, err = ParseInterval(string(text))
	return err
}
