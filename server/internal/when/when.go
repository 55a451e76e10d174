// Package when works out the times of schedules. It is arithmetic: it knows no clock
// and no database.
package when

import (
	"fmt"
	"hash/fnv"
	"math"
	"strings"
	"time"
	_ "time/tzdata" // the program runs where there is no other

	"github.com/robfig/cron/v3"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// Least is the shortest time between two runs, Most the longest.
const (
	Least = time.Minute
	Most  = 366 * 24 * time.Hour
)

// Check reports what of a schedule cannot be meant, as a [*d6tpipe.FieldError].
func Check(s d6tpipe.Schedule) error {
	_, err := compile(s)
	if err != nil || s.Cron == "" || s.Jitter == 0 {
		return err
	}
	times, first, err := parse(s)
	if err == nil && time.Duration(s.Jitter) >= least(times, first) {
		err = field("jitter", "Jitter is less than the time between two runs.")
	}
	return err
}

// Next is the first time after a moment that a schedule names for what has the key; the
// zero time when there is none. It is the same for all who ask, so that replicas agree.
// It is quick, since it takes for granted that Check would find nothing.
func Next(s d6tpipe.Schedule, after time.Time, key string) (time.Time, error) {
	next, err := compile(s)
	if err != nil || next == nil {
		return time.Time{}, err
	}
	jitter := time.Duration(s.Jitter)
	for at := after.Add(-jitter); ; { // what is put off is due when its time has passed
		if at = next(at, key); at.IsZero() {
			return at, nil
		}
		if due := at.Add(spread(jitter, key, at)); due.After(after) {
			return due.UTC(), nil
		}
	}
}

// clock is a schedule without its jitter: the first time after a moment.
type clock func(after time.Time, key string) time.Time

// compile returns nil for a schedule that never runs anything.
func compile(s d6tpipe.Schedule) (clock, error) {
	every, jitter := time.Duration(s.Every), time.Duration(s.Jitter)
	switch {
	case s.Every != 0 && s.Cron != "":
		return nil, field("cron", "Give an interval or a cron expression, not both.")
	case s.TimeZone != "" && s.Cron == "":
		return nil, field("time_zone", "A time zone belongs to a cron expression.")
	case s.Every != 0 && (every < Least || every > Most):
		return nil, field("every", "The time between two runs is from 1m to 366d.")
	case jitter < 0 || jitter > 0 && s.Every == 0 && s.Cron == "":
		return nil, field("jitter", "Jitter belongs to an interval or a cron expression.")
	case s.Every != 0 && jitter >= every:
		return nil, field("jitter", "Jitter is less than the time between two runs.")
	case s.Every != 0:
		return func(after time.Time, key string) time.Time { return ofInterval(every, after, key) }, nil
	case s.Cron != "":
		return ofCron(s)
	}
	return nil, nil
}

// ofInterval gives each key its own moment of the interval.
func ofInterval(every time.Duration, after time.Time, key string) time.Time {
	phase := spread(every, key, time.Time{})
	return after.Add(-phase).Truncate(every).Add(every + phase)
}

func ofCron(s d6tpipe.Schedule) (clock, error) {
	times, first, err := parse(s)
	if err != nil {
		return nil, err
	}
	zone := first.Location()
	return func(after time.Time, _ string) time.Time { return times.Next(after.In(zone)) }, nil
}

// parse reads the expression of a schedule. It also returns the first time that it names
// after someday, in the schedule's zone.
func parse(s d6tpipe.Schedule) (times cron.Schedule, first time.Time, err error) {
	if strings.Contains(s.Cron, "TZ=") {
		return nil, first, field("cron", "The time zone has a field of its own, time_zone.")
	}
	if strings.HasPrefix(strings.TrimSpace(s.Cron), "@every") {
		return nil, first, field("cron", "An interval has a field of its own, every.")
	}
	zone, err := time.LoadLocation(s.TimeZone)
	if err != nil || s.TimeZone == "Local" {
		return nil, first, field("time_zone", fmt.Sprintf("There is no time zone %q; they are called as Europe/Berlin is.", s.TimeZone))
	}
	times, err = cron.ParseStandard(s.Cron)
	if err != nil {
		return nil, first, field("cron", fmt.Sprintf("%q is no cron expression: five fields, such as 0 6 * * 1-5, or @daily.", s.Cron))
	}
	if first = times.Next(someday.In(zone)); first.IsZero() {
		return nil, first, field("cron", fmt.Sprintf("%q names a time that never comes.", s.Cron))
	}
	return times, first, nil
}

// someday is where the times of an expression are looked at.
var someday = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// least is the shortest time between the next runs of an expression.
func least(times cron.Schedule, first time.Time) time.Duration {
	shortest := time.Duration(math.MaxInt64)
	for range 1500 { // a day of minutes, four years of days
		next := times.Next(first)
		if next.IsZero() {
			break
		}
		shortest, first = min(shortest, next.Sub(first)), next
	}
	return shortest
}

// spread is a part of d that is the same for one key at one time.
func spread(d time.Duration, key string, at time.Time) time.Duration {
	if d <= 0 {
		return 0
	}
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%s %d", key, at.Unix()) // a hash takes everything
	return time.Duration(h.Sum64() % uint64(d)).Truncate(time.Second)
}

func field(name, reason string) error { return &d6tpipe.FieldError{Field: name, Reason: reason} }
