// Package listing keeps what scans of users' storages saw, so that a pull with
// nothing to do costs one request, however many files a pipe has.
//
// A [Scanner] scans a pipe when its last listing is too old, when somebody asks for
// a new one, or when files were changed; at most once at a time for each pipe, and a
// few at a time in all. Those that schedules ask for keep nobody else waiting. Whoever needs a scan that begins after some moment shares it
// with all who need the same. Only a scan that came to a clean end replaces a
// listing: one that fails leaves the old one and says why. Listings lie in a
// [Cache], which a database can be; what several replicas write there cannot make a
// listing older.
//
// Nothing is ever deleted because of a listing. Clients fetch by it and ask the
// storage for the very versions that it names.
package listing

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/wire"
)

// A Pipe is what the listing of a pipe depends on beside the files.
type Pipe struct {
	// ID is that of the pipe's record.
	ID string
	// View is the [View] of the pipe's storage now: a listing of another one is of no
	// use any more.
	View string
	// MaxAge is how old a listing may be for those who pull to go by it: the policy of
	// the pipe. With 0 nobody does, and a listing is made when somebody asks for one.
	MaxAge time.Duration
	// Account is who asks. What one account can have scanned, and can be sent, at a time is
	// limited; "" is nobody in particular, and is not.
	Account string
	// Reader says that the account may not write. Its refreshes may be answered by a scan
	// that has just been made: see [Config.Interval].
	Reader bool
}

// A Source is what a scan reads.
type Source struct {
	// Store is rooted at the pipe's folder, and of the same driver as the clients': tags
	// of another one would make all files look changed. The scan closes it.
	Store storage.Store
	// Where is the storage that Store is of, for its filters and its [View].
	Where d6tpipe.Storage
}

// View tells what a listing of a pipe on this storage shows: of which place, through
// which filters. A folder of this machine is none that a client could see, and
// [d6tpipe.ErrUnsupported].
func View(where d6tpipe.Storage) (string, error) {
	if where.Protocol == d6tpipe.ProtocolDir {
		return "", fmt.Errorf("%w: a folder is another one on each machine", d6tpipe.ErrUnsupported)
	}
	place, err := where.Place()
	if err != nil {
		return "", err
	}
	raw, err := json.Marshal(append([]any{place}, where.Filters))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:16]), nil
}

// Config says what a [Scanner] works with and within which limits. A zero limit
// stands for the default.
type Config struct {
	Cache Cache
	// Open opens the storage of the pipe whose record has this id. It is called for
	// each scan, without the request that led to it.
	Open func(ctx context.Context, id string) (Source, error)
	// Log is told of scans that fail; nil is silent.
	Log *slog.Logger

	Scans     int           // at a time, that users ask for; 16
	Small     int           // files of a pipe: of such Scans are at work at a time; 10,000
	Large     int           // of Scans, for pipes with more files than that, one for an account; 3
	Scheduled int           // at a time, beside those, that only schedules ask for: see [Scanner.Scan]; 2
	Waiting   int           // pipes that wait for their turn, before more are refused; 200
	OfOne     int           // of Scans, for one account; an eighth of them, since its storages may let all hang
	WaitOne   int           // of Waiting, with those at work, for one account; 20
	Time      time.Duration // of one scan; 10 minutes
	MaxFiles  int           // of one pipe's folder; 1,000,000
	MaxBytes  int64         // of one listing, compressed; 128 MiB
	// MaxChanges is how many bytes of changes one scan may see, compressed, for the feed
	// to hold them; 64 MiB.
	MaxChanges int64
	// Pause is for how long a storage that could not be listed is left alone, unless
	// somebody asks for a new listing; 30 seconds.
	Pause time.Duration
	// Interval is how long after a scan has ended a reader's refresh is answered with what
	// it saw, and says so in [wire.Listing.Stale]; 2 seconds, and at least as long as the
	// scan took, so that no reader can keep a storage busy. Who reads also shares the scan
	// that is at work. Files that were changed since, as far as the server was told, are
	// always looked for.
	Interval time.Duration

	// Bodies is how many bytes of listings are in memory at a time because clients are
	// sent them, who may read slowly; 256 MiB. All who are sent the same one share it.
	// BodiesOne is how many of them are for one account; a quarter. A listing that is
	// larger is the only one at a time. WaitBody is how long one waits for room until the
	// answer is 503; 5 seconds.
	Bodies, BodiesOne int64
	WaitBody          time.Duration

	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// WithDefaults fills in what is zero.
func (c Config) WithDefaults() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	orElse(&c.Scans, 16)
	orElse(&c.Small, 10_000)
	orElse(&c.Large, 3)
	orElse(&c.Scheduled, 2)
	orElse(&c.Waiting, 200)
	orElse(&c.OfOne, max(1, c.Scans/8))
	orElse(&c.WaitOne, 20)
	orElse(&c.Time, 10*time.Minute)
	orElse(&c.MaxFiles, 1_000_000)
	orElse(&c.MaxBytes, 128<<20)
	orElse(&c.MaxChanges, 64<<20)
	orElse(&c.Pause, 30*time.Second)
	orElse(&c.Interval, 2*time.Second)
	orElse(&c.Bodies, 256<<20)
	orElse(&c.BodiesOne, max(1, c.Bodies/4))
	orElse(&c.WaitBody, 5*time.Second)
	return c
}

func orElse[T int | int64 | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

func (c Config) validate() error {
	if c.Cache == nil || c.Open == nil {
		return errors.New("listing: Cache and Open are required")
	}
	return nil
}

// Files returns the listing of a pipe, for package wire to serve. A listing that is
// too old, or that was made before files changed, is made anew first, and with refresh
// any is; those of scans that begin after the call will do. When that fails, or comes
// too soon after the last one for a reader, the last listing comes back and says so;
// without one the error is a [*d6tpipe.StatusError].
func (s *Scanner) Files(ctx context.Context, p Pipe, refresh bool) (wire.Listing, error) {
	now := s.cfg.Now()
	head, err := s.cfg.Cache.Head(ctx, p.ID)
	if err != nil {
		return wire.Listing{}, err
	}
	if s.isDamaged(p.ID, head.Tag) {
		head.View = "" // it shows nothing
	}
	need, scan := p.need(head, now)
	pause := s.cfg.Pause
	if refresh {
		need, pause = s.refresh(p, head, now)
		scan = !p.shows(head) || !head.Scanned.After(need)
	}
	if !scan {
		return s.serve(p, head, p.soon(refresh, head, now)), nil
	}
	if failed := s.failing(p, now, pause); failed != nil {
		return s.stale(p, head, failed)
	}
	if failed := s.scan(ctx, p, need); failed != nil {
		if ctx.Err() != nil {
			return wire.Listing{}, ctx.Err()
		}
		return s.stale(p, head, failed)
	}
	if head, err = s.cfg.Cache.Head(ctx, p.ID); err != nil {
		return wire.Listing{}, err
	}
	return s.stale(p, head, p.soon(refresh, head, now))
}

// refresh returns after which moment a scan must begin that is new enough, and for how
// long a storage is left alone that failed. Who may write gets a scan of his own: his
// program may have changed files and died before it could say so.
func (s *Scanner) refresh(p Pipe, head Record, now time.Time) (need time.Time, pause time.Duration) {
	if !p.Reader {
		return now, -1
	}
	began, pause := s.lately(p.ID, now)
	if head.Scanned.After(began) && now.Sub(head.Scanned) <= s.cfg.Interval { // of a replica
		began = head.Scanned
	}
	if began.IsZero() {
		return now, pause
	}
	need = began.Truncate(time.Microsecond).Add(-time.Microsecond) // as a cache keeps it
	if head.Changed.After(need) {
		need = head.Changed
	}
	return need, pause
}

// soon is why a reader's refresh brought nothing newer, if it did not.
func (p Pipe) soon(refresh bool, head Record, now time.Time) error {
	if refresh && p.Reader && p.shows(head) && head.Scanned.Before(now.Truncate(time.Microsecond)) {
		return errSoon
	}
	return nil
}

// shows reports whether there is a listing of the pipe as it is now.
func (p Pipe) shows(head Record) bool { return head.Tag != "" && head.View == p.View }

// need says whether there must be a new scan, and after which moment it must begin.
func (p Pipe) need(head Record, now time.Time) (need time.Time, scan bool) {
	need = head.Changed
	if oldest := now.Add(-p.MaxAge); p.MaxAge > 0 && oldest.After(need) {
		need = oldest
	}
	return need, !p.shows(head) || p.MaxAge > 0 && !head.Scanned.After(need)
}

// stale serves the listing, which may be out of date for the reason that is given.
func (s *Scanner) stale(p Pipe, head Record, failed error) (wire.Listing, error) {
	switch {
	case errors.Is(failed, errBusy), errors.Is(failed, errCrowd):
		return wire.Listing{}, failed
	case p.shows(head):
		return s.serve(p, head, failed), nil
	case failed == nil: // the pipe was moved while it was scanned
		failed = errMoved
	}
	return wire.Listing{}, refusal(failed)
}

func (s *Scanner) serve(p Pipe, head Record, failed error) wire.Listing {
	l := wire.Listing{Tag: head.Tag, Seen: head.Seen, Scanned: head.Scanned, MaxAge: p.MaxAge}
	if failed != nil {
		l.Stale = reason(failed)
	}
	if errors.Is(failed, errSoon) {
		l.Again = s.rests(p.ID, head)
	}
	l.Body = func(ctx context.Context) ([]byte, func(), error) {
		body, done, err := s.sent.get(ctx, p.Account, bodyKey{p.ID, head.Tag}, head.Size)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: the listing was replaced just now", d6tpipe.ErrUnavailable)
		}
		if errors.Is(err, ErrDamaged) {
			s.cfg.Log.Error("the listing of a pipe is damaged; the next one who asks gets a new one", "record", p.ID, "error", err)
			err = errDamaged
		}
		return body, done, err
	}
	return l
}

// Changed takes note that files of the pipe have changed: what was listed before is
// not given out as good any more. It returns the time of that. A scan begins, if those
// who pull go by this pipe's listings, and is not waited for.
func (s *Scanner) Changed(ctx context.Context, p Pipe) (time.Time, error) {
	at := s.cfg.Now().UTC().Truncate(time.Microsecond).Add(time.Microsecond) // as databases keep it, and not before now
	if err := s.cfg.Cache.Changed(ctx, p.ID, at); err != nil {
		return time.Time{}, err
	}
	if p.MaxAge > 0 {
		_, _ = s.join(p, at, true) // when too many wait, whoever pulls asks again
	}
	return at, nil
}

var (
	errMoved   = errors.New("the pipe was moved while it was scanned")
	errSoon    = errors.New("the last scan was just now")
	errCrowd   = &d6tpipe.StatusError{Status: http.StatusServiceUnavailable, Message: "Too many pipes wait to be listed for you, try again later."}
	errDamaged = &d6tpipe.StatusError{Status: http.StatusServiceUnavailable, Message: "The list of the pipe's files was damaged and is made anew, try again."}
	errBusy    = &d6tpipe.StatusError{Status: http.StatusServiceUnavailable, Message: "Too many pipes wait to be listed, try again later."}
)

// refusal is the answer when there is no listing at all.
func refusal(failed error) error {
	return &d6tpipe.StatusError{Status: http.StatusBadGateway, Message: "The pipe's files could not be listed: " + reason(failed) + "."}
}
