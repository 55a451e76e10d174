package repo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/jobs"
)

// runsPage is how many runs an answer has when nobody says how many, runsMost how many
// at most.
const (
	runsPage = 100
	runsMost = 1000
)

// subjectNames find the name of what a run is for by its subject.
var subjectNames = map[jobs.Kind]string{
	jobs.Scan:    `SELECT name FROM records WHERE id = $1`,
	jobs.Mirror:  `SELECT name FROM mirrors WHERE id = $1`,
	jobs.Webhook: `SELECT r.name FROM webhooks w JOIN records r ON r.id = w.record_id WHERE w.id = $1`,
}

// ownerName finds the name of an account.
const ownerName = `SELECT username FROM users WHERE id = $1`

// jobs lists what the server does by itself, for its administrator.
func (s *session) jobs(ctx context.Context, tx db.Tx, page string) ([]json.RawMessage, error) {
	switch {
	case !s.user.isKnown():
		return nil, d6tpipe.ErrUnauthorized
	case !s.user.admin:
		return nil, d6tpipe.ErrPermission
	}
	q, err := runsQuery(page)
	if err != nil {
		return nil, err
	}
	runs, err := jobs.Runs(ctx, tx, q)
	if err != nil {
		return nil, err
	}
	names := newNames(tx)
	all := make([]json.RawMessage, len(runs))
	for i, run := range runs {
		shown := runOf("", run)
		shown.Server = run.Server
		if shown.Name, err = names.find(ctx, subjectNames[run.Kind], run.Subject); err != nil {
			return nil, err
		}
		if shown.Owner, err = names.find(ctx, ownerName, run.Owner); err != nil {
			return nil, err
		}
		if all[i], err = json.Marshal(shown); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// names are looked up once each.
type names struct {
	tx    db.Tx
	known map[[2]string]string
}

func newNames(tx db.Tx) names { return names{tx, map[[2]string]string{}} }

// find returns "" for what is gone.
func (n names) find(ctx context.Context, query, id string) (name string, err error) {
	key := [2]string{query, id}
	name, ok := n.known[key]
	if ok || query == "" {
		return name, nil
	}
	if name, err = lookup(ctx, n.tx, query, id); err == nil {
		n.known[key] = name
	}
	return name, err
}

// runsQuery reads the page of runs that a client asks for.
func runsQuery(page string) (q jobs.Query, err error) {
	asked, err := url.ParseQuery(page)
	if err != nil {
		return q, d6tpipe.ErrInvalid
	}
	q = jobs.Query{Kind: jobs.Kind(asked.Get("kind")), State: d6tpipe.RunState(asked.Get("state")), Before: asked.Get("before"), Limit: runsPage}
	switch q.Kind {
	case "", jobs.Scan, jobs.Mirror, jobs.Webhook:
	default:
		return q, &d6tpipe.FieldError{Field: "kind", Reason: "The kinds are scan, mirror and webhook."}
	}
	switch q.State {
	case "", d6tpipe.RunQueued, d6tpipe.RunRunning, d6tpipe.RunDone, d6tpipe.RunFailed:
	default:
		return q, &d6tpipe.FieldError{Field: "state", Reason: "The states are queued, running, done and failed."}
	}
	if limit := asked.Get("limit"); limit != "" {
		if q.Limit, err = strconv.Atoi(limit); err != nil || q.Limit < 1 || q.Limit > runsMost {
			return q, &d6tpipe.FieldError{Field: "limit", Reason: fmt.Sprintf("The limit is a number from 1 to %d.", runsMost)}
		}
	}
	return q, nil
}

// runOf is a run as the API shows it to those who may see what it is for.
func runOf(name string, run jobs.Run) d6tpipe.Run {
	return d6tpipe.Run{
		ID: run.ID, Kind: string(run.Kind), Name: name, State: run.State, Due: run.Tick, Began: timeOrNil(run.Began), Ended: timeOrNil(run.Ended),
		Attempt: run.Attempt, Error: run.Error, Detail: run.Detail,
	}
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
