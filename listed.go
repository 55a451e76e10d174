package d6tpipe

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/d6t/d6tpipe-go/internal/atomicfile"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// A pull first asks the server what its last scan of the storage saw. When that is
// what it was the last time, one request has told that there is nothing to do. These
// lie beside the manifest:
//
//   - listing: the last listing of the server that was believed, with its ETag, and
//     with what a pull needs to do without any other request
//   - changing/: a lock for each run that may have changed the remote and has not told
//     the server; until it does, no listing is believed that is not made anew
//   - changed_at: when the server was last told, by its own clock; no older listing is
//     believed, whoever kept it
const (
	listingName   = "listing"
	changingName  = "changing"
	changedAtName = "changed_at"
)

// A lister is an API that may keep listings: a server's.
type lister interface {
	listing(ctx context.Context, pipe, etag string, refresh bool) (listingAnswer, error)
	filesChanged(ctx context.Context, pipe string) (time.Time, error)
	address() string
}

func (c *APIClient) address() string { return c.server.base }

// A remembered listing is a server's, with the place and the filters that it is of:
// those are part of what its ETag stands for.
type remembered struct {
	Server  string    `json:"server"`
	ETag    string    `json:"etag"`
	Scanned time.Time `json:"scanned_at"`
	Place   string    `json:"place"`
	Filters []Filter  `json:"filters,omitempty"`

	files  storage.Listing
	proven bool // the server said that all of it still holds
}

// lister returns the API when its listings can be of use: the server must see the
// storage as this pipe does.
func (p *Pipe) lister() (lister, bool) {
	c, ok := p.api.(lister)
	o := p.opts()
	return c, ok && o.Credentials == nil && o.CredentialSource == nil && !p.Settings().Options.Encrypted
}

// byListing reports whether a pull may go by a server's listing. Whoever asks for
// certain files, or for all of them again, means what is there now.
func (o PullOptions) byListing() bool { return !o.Fresh && o.Files == nil && o.Mode != ModeAll }

// listedRequest returns the server's listing, and what to plan by it; nil when there is
// no such listing. What is wrong with the options is said by who looks at the storage.
func (p *Pipe) listedRequest(ctx context.Context, o PullOptions) (*remembered, transfer.Request) {
	c, ok := p.lister()
	req, err := o.request(transfer.Pull)
	if !ok || !o.byListing() || err != nil {
		return nil, req
	}
	l := p.askListing(ctx, c)
	if l != nil {
		req.Seen = &l.files
	}
	return l, req
}

// pullListed pulls by the server's listing, without listing the storage. It is not
// done when there is no such listing or when it led to nothing; what it did all the
// same is in the report.
func (p *Pipe) pullListed(ctx context.Context, o PullOptions) (report Report, done bool, err error) {
	l, req := p.listedRequest(ctx, o)
	if l == nil {
		return report, false, nil
	}
	if s, plan, tell := p.planNothing(ctx, l, req); plan != nil {
		tell()
		report, err = p.apply(ctx, s, plan)
		return report, true, p.explain(string(transfer.Pull), errors.Join(err, s.Close()))
	}
	done, err = p.bySeen(ctx, l, req, func(s *transfer.Sync, plan *Plan) error {
		report, err = p.apply(ctx, s, plan)
		return err
	})
	return report, done, p.explain(string(transfer.Pull), err)
}

// planListed plans a pull by the server's listing; nil when there is no such listing.
// Conflicts must be seen with one's own eyes, as in a pull.
func (p *Pipe) planListed(ctx context.Context, o PullOptions) (plan *Plan) {
	l, req := p.listedRequest(ctx, o)
	if l == nil {
		return nil
	}
	if s, nothing, tell := p.planNothing(ctx, l, req); nothing != nil {
		tell()
		if s.Close() == nil {
			return nothing
		}
	}
	done, err := p.bySeen(ctx, l, req, func(_ *transfer.Sync, seen *Plan) error {
		if len(seen.Conflicts()) > 0 {
			return transfer.ErrConflict
		}
		plan = seen
		return nil
	})
	if !done || err != nil {
		return nil
	}
	return plan
}

// askListing returns the server's listing, nil when there is none to be believed.
func (p *Pipe) askListing(ctx context.Context, c lister) *remembered {
	unsettled, idle := p.unsettled(ctx)
	if !idle {
		return nil
	}
	last := p.lastListing(c.address())
	a, err := c.listing(ctx, p.Name(), last.ETag, len(unsettled) > 0)
	switch {
	case err != nil || !a.believable() || !a.scanned.After(p.changedAt()):
		return nil
	case a.scanned.Before(last.Scanned): // of a replica that lags behind, or the clock was set back: not now
		_ = os.Remove(filepath.Join(p.state, listingName))
		return nil
	}
	for _, path := range unsettled {
		_ = atomicfile.RemoveLock(path) // or at the next pull
	}
	if a.unchanged {
		last.proven = true
		return last
	}
	return &remembered{Server: c.address(), ETag: a.etag, Scanned: a.scanned, files: a.files}
}

// planNothing finds out that there is nothing to do, from what is on this machine. The
// plan is nil when there is something, and nobody hears of it then; otherwise tell
// passes on what happened.
func (p *Pipe) planNothing(ctx context.Context, l *remembered, req transfer.Request) (s *transfer.Sync, plan *Plan, tell func()) {
	if !l.proven {
		return nil, nil, nil
	}
	hear, held := p.progress(), []transfer.Event{}
	hold := func(e transfer.Event) { held = append(held, e) }
	s, err := transfer.Open(transfer.Config{
		Place: l.Place, Dir: p.dir, State: p.state, Match: matchAll(l.Filters), Workers: p.opts().Workers,
		Progress: func(e transfer.Event) { hold(e) },
	})
	if err != nil {
		return nil, nil, nil
	}
	t, err := s.Plan(ctx, req)
	if err != nil || slices.ContainsFunc(t.Steps, func(s transfer.Step) bool { return s.Action != transfer.Skip }) {
		_ = s.Close() // it was only looked at
		return nil, nil, nil
	}
	if hold = hear; hear == nil {
		hold = func(transfer.Event) {}
	}
	return s, p.newPlan(t), func() {
		for _, e := range held {
			hold(e)
		}
	}
}

// bySeen connects to the storage and lets do work by a plan that was made from the
// listing. It is not done when the storage is not as the listing has it.
func (p *Pipe) bySeen(ctx context.Context, l *remembered, req transfer.Request, do func(*transfer.Sync, *Plan) error) (done bool, err error) {
	store, where, err := p.connect(ctx, RoleRead)
	if err != nil {
		return false, nil
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if !p.adopt(l, where) {
		return false, nil
	}
	s, err := p.sync(store, where)
	if err != nil {
		return false, nil
	}
	plan, err := s.Plan(ctx, req)
	if err != nil {
		return false, s.Close()
	}
	err = errors.Join(do(s, p.newPlan(plan)), s.Close())
	if outdated(err) && ctx.Err() == nil {
		return false, nil
	}
	return true, err
}

// outdated reports whether err may come from a listing that is out of date. A conflict
// is one when it was seen with one's own eyes.
func outdated(err error) bool {
	return errors.Is(err, storage.ErrChanged) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, transfer.ErrConflict) || errors.Is(err, transfer.ErrCorrupt)
}

// adopt makes the listing that of a place, and remembers it. A folder of this machine
// is not the server's of the same name.
func (p *Pipe) adopt(l *remembered, where Storage) bool {
	place, err := where.identity()
	if err != nil || where.Protocol == ProtocolDir {
		return false
	}
	if l.proven {
		return l.Place == place && slices.Equal(l.Filters, where.Filters)
	}
	l.Place, l.Filters = place, where.Filters
	p.rememberListing(l)
	return true
}

// rememberListing keeps the listing for the next pull. It is a favour: without it,
// that one fetches it again.
func (p *Pipe) rememberListing(l *remembered) {
	head, err := json.Marshal(l)
	if err != nil {
		return
	}
	_ = atomicfile.Write(filepath.Join(p.state, listingName), l.files.Append(append(head, '\n')), 0o600)
}

// lastListing returns the listing that was remembered of the server at address; it is
// empty when there is none.
func (p *Pipe) lastListing(address string) *remembered {
	data, err := os.ReadFile(filepath.Join(p.state, listingName))
	if err != nil {
		return &remembered{}
	}
	head, rest, _ := bytes.Cut(data, []byte("\n"))
	l := &remembered{}
	if decodeJSON(head, l) != nil || l.Server != address {
		return &remembered{}
	}
	if l.files, err = storage.Restore(rest); err != nil {
		return &remembered{}
	}
	return l
}

// changing calls do, which changes files of the remote, and tells the server that
// its listing is out of date. A note of that is made before, so that it is told at
// the next pull when it cannot be told now, or when the process dies.
func (p *Pipe) changing(ctx context.Context, do func() error) (err error) {
	c, ok := p.api.(lister)
	if !ok {
		return do()
	}
	dir := filepath.Join(p.state, changingName)
	if err := atomicfile.MakeDir(dir); err != nil {
		return err
	}
	note := filepath.Join(dir, strings.ToLower(rand.Text()))
	unlock, err := atomicfile.Lock(ctx, note)
	if err != nil {
		return err
	}
	if err := atomicfile.SyncDir(dir); err != nil {
		return errors.Join(err, unlock())
	}
	err = do()
	told := p.tellChanged(ctx, c)
	err = errors.Join(err, unlock())
	if told {
		_ = atomicfile.RemoveLock(note) // or at the next pull
	}
	return err
}

// tellTimeout is how long a run waits for the server to hear that it has changed
// files: the next pull can make up for it.
const tellTimeout = 10 * time.Second

// tellChanged reports whether the server knows now, or keeps no listings.
func (p *Pipe) tellChanged(ctx context.Context, c lister) bool {
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	at, err := c.filesChanged(ctx, p.Name())
	if err != nil {
		var no *StatusError
		return errors.As(err, &no) && (no.Status == http.StatusNotFound || no.Status == http.StatusMethodNotAllowed)
	}
	return atomicfile.Write(filepath.Join(p.state, changedAtName), []byte(at.Format(time.RFC3339Nano)), 0o600) == nil
}

// changedAt is when the server was last told, by its clock; zero is never.
func (p *Pipe) changedAt() time.Time {
	text, err := os.ReadFile(filepath.Join(p.state, changedAtName))
	if err != nil {
		return time.Time{}
	}
	at, _ := time.Parse(time.RFC3339Nano, string(text))
	return at
}

// unsettled returns the notes of runs that are over and did not tell the server. It is
// not idle when one is still at work: then nobody knows what the remote has.
func (p *Pipe) unsettled(ctx context.Context) (notes []string, idle bool) {
	notes, err := atomicfile.Locks(filepath.Join(p.state, changingName))
	if err != nil {
		return nil, false
	}
	for _, note := range notes {
		try, cancel := context.WithTimeout(ctx, 2*time.Millisecond)
		unlock, err := atomicfile.Lock(try, note)
		cancel()
		if err != nil || unlock() != nil {
			return nil, false
		}
	}
	return notes, true
}

// with adds what an earlier part of the same pull has done.
func (r Report) with(earlier Report) Report {
	if len(earlier.Files) == 0 {
		return r
	}
	known := make(map[string]bool, len(r.Files))
	for _, f := range r.Files {
		known[f.Key] = true
	}
	for _, f := range earlier.Files {
		if f.Moved() && !known[f.Key] {
			r.Files = append(r.Files, f)
			r.Unchanged--
		}
	}
	slices.SortFunc(r.Files, func(a, b FileResult) int { return cmp.Compare(a.Key, b.Key) })
	r.Moved += earlier.Moved
	r.Bytes += earlier.Bytes
	r.Retries += earlier.Retries
	r.Duration += earlier.Duration
	r.Readme, r.License = cmp.Or(r.Readme, earlier.Readme), cmp.Or(r.License, earlier.License)
	return r
}
