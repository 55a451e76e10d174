// Package transfer keeps a local folder and a remote in step.
//
// It knows three states of every file: B, what the manifest remembers from the
// last sync; R, what the remote has now; L, what the folder has now. From these a
// pure planner makes a [Plan], and an engine carries it out. The package imports
// the standard library, package storage, package atomicfile (for the lock and for
// durable writes) and x/sync.
//
// # The table
//
// On each side a file is the same as at the last sync, edited, deleted, new
// (there is no B) or absent (no B, and not there either). "equal" means that both
// sides have the same content, though the manifest does not know it yet. A cell
// says what happens with merge mode fail / keep / overwrite, or the same for all
// three. Every step that is not taken has a reason.
//
//	pull: local, remote      default                    new                        mod                        all
//	same, same               -                          -                          -                          download
//	same, edited             download                   skip                       download                   download
//	same, deleted            skip                       skip                       skip                       skip
//	edited, same             skip                       skip                       skip                       conflict/skip/download
//	edited, edited           conflict/skip/download     skip                       conflict/skip/download     conflict/skip/download
//	edited, edited equal     adopt                      skip                       adopt                      download
//	edited, deleted          skip                       skip                       skip                       skip
//	deleted, same            download                   skip                       skip                       download
//	deleted, edited          download                   skip                       download                   download
//	deleted, deleted         -                          -                          -                          -
//	absent, new              download                   download                   skip                       download
//	new, absent              skip                       skip                       skip                       skip
//	new, new                 conflict/skip/download     conflict/skip/download     skip                       conflict/skip/download
//	new, new equal           adopt                      adopt                      skip                       download
//
//	push: local, remote      default                    new                        mod                        all
//	same, same               -                          -                          -                          upload
//	same, edited             conflict/skip/skip         skip                       conflict/skip/skip         conflict/skip/upload
//	same, deleted            skip                       skip                       skip                       upload
//	edited, same             upload                     skip                       upload                     upload
//	edited, edited           conflict/skip/upload       skip                       conflict/skip/upload       conflict/skip/upload
//	edited, edited equal     adopt                      skip                       adopt                      upload
//	edited, deleted          upload                     skip                       upload                     upload
//	deleted, same            skip                       skip                       skip                       skip
//	deleted, edited          conflict/skip/skip         skip                       conflict/skip/skip         skip
//	deleted, deleted         -                          -                          -                          -
//	absent, new              conflict/skip/skip         conflict/skip/skip         skip                       skip
//	new, absent              upload                     upload                     skip                       upload
//	new, new                 conflict/skip/upload       conflict/skip/upload       skip                       conflict/skip/upload
//	new, new equal           adopt                      adopt                      skip                       upload
//
// A pull or push deletes nothing, ever. A plan with a conflict is refused before
// any byte moves. What a push must not overlook (the remote moved on: "pull
// first") is a conflict too, though nothing of ours would be sent. An edit here
// beats a deletion on the remote, because a pull could not resolve it.
//
// # What survives a crash
//
// A download goes to a part file in the state folder, is verified, synced and
// renamed; the manifest learns of it last, in batches that a crash cannot split. A
// file that arrived without the manifest knowing is not taken for an edit: a
// journal tells what it is, and where that is lost too, the next sync finds both
// sides equal and adopts it.
package transfer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// DefaultWorkers is how many files are moved at a time unless Config says so.
const DefaultWorkers = 32

// Config is where the two sides are.
type Config struct {
	// Store is the remote, rooted at the pipe's folder. Close leaves it open.
	Store storage.Store
	// Dir is the pipe's local folder. It is made when a file arrives.
	Dir string
	// From is the remote that a mirror copies from, in the place of Dir. Such a Sync
	// can do nothing else.
	From storage.Store
	// State is the folder for the manifest, the lock and part files: on Dir's
	// file system and outside Dir.
	State string
	// Place names the remote, such as its address. When it is another one than at
	// the last sync, the manifest counts for nothing: contents are compared, as on
	// a first sync. Empty is always the same place.
	Place string
	// Match says which keys belong to the pipe; nil is all of them.
	Match func(key string) bool
	// Workers is how many files, or pieces of files, are moved at a time at most;
	// 0 is DefaultWorkers. How many it takes is found out by measuring.
	Workers int
	// Range is the size in bytes above which a file is moved in pieces of that
	// size, and goes on where it was broken off; 0 is 16 MiB.
	Range int64
	// Retry says how often and how long a call is tried again that failed for a
	// reason that may pass. Its OnRetry is called too.
	Retry storage.RetryPolicy
	// Progress is told what happens. Calls come one after the other, from
	// several goroutines, and must be quick.
	Progress func(Event)
}

// WithDefaults fills in what is zero.
func (c Config) WithDefaults() Config {
	if c.Match == nil {
		c.Match = func(string) bool { return true }
	}
	if c.Workers == 0 {
		c.Workers = DefaultWorkers
	}
	if c.Range == 0 {
		c.Range = defaultRange
	}
	c.Range = max(c.Range/blockSize, 1) * blockSize
	return c
}

func (c Config) validate() error {
	switch {
	case (c.Dir == "") == (c.From == nil) || c.State == "":
		return errors.New("transfer: State is required, and one of Dir and From")
	case c.Workers < 0:
		return fmt.Errorf("transfer: %d workers", c.Workers)
	case c.From != nil:
		return nil
	}
	rel, err := filepath.Rel(c.Dir, c.State)
	if err != nil {
		return err
	}
	if filepath.IsLocal(rel) {
		return fmt.Errorf("transfer: the state folder %s is inside the data folder", c.State)
	}
	return nil
}

// A Sync is one pair of folder and remote. It is safe for concurrent use; one
// Apply or removal runs at a time, also across processes.
type Sync struct {
	cfg      Config
	manifest *manifest
	buffers  sync.Pool // of a block
	wide     sync.Pool // of two: pieces are written faster so, and sent slower

	progress sync.Mutex  // serialises cfg.Progress
	md5      atomic.Bool // the remote vouches for MD5 sums: worth computing
	streams  bool        // the remote is better read in one stream a file
	retries  atomic.Int64
	origins  []storage.Object // what a mirror copies from, sorted by key; set under the lock
}

// Open makes the state folder if it is missing. Store may be nil for a Sync that
// only looks at what is here.
func Open(cfg Config) (*Sync, error) {
	cfg = cfg.WithDefaults()
	var err error
	for _, dir := range []*string{&cfg.Dir, &cfg.State} {
		if *dir == "" {
			continue
		}
		if *dir, err = filepath.Abs(*dir); err != nil {
			return nil, err
		}
	}
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(cfg.State, partsName), 0o700); err != nil {
		return nil, err
	}
	s := &Sync{cfg: cfg, manifest: newManifest(filepath.Join(cfg.State, manifestName))}
	s.buffers.New = func() any { b := make([]byte, blockSize); return &b }
	s.wide.New = func() any { b := make([]byte, 2*blockSize); return &b }
	if cfg.Store != nil {
		s.streams = storage.Streams(cfg.Store)
		s.cfg.Store = storage.Retry(cfg.Store, s.retry())
	}
	if cfg.From != nil {
		s.cfg.From = storage.Retry(cfg.From, s.retry())
	}
	return s, nil
}

// retry is the policy, with an ear for those who want to know.
func (s *Sync) retry() storage.RetryPolicy {
	policy := s.cfg.Retry
	policy.OnRetry = func(op, key string, err error, wait time.Duration) {
		s.retries.Add(1)
		s.tell(Event{Kind: Retried, Key: key, Err: err, Wait: wait})
		if s.cfg.Retry.OnRetry != nil {
			s.cfg.Retry.OnRetry(op, key, err, wait)
		}
	}
	return policy
}

// Close lets go of everything. The Store stays open: it is the caller's.
func (s *Sync) Close() error { return nil }

// Files returns what the manifest knows: the files as the last syncs left them,
// sorted by key. [ErrDamaged] and [ErrNewer] say that it cannot be read.
func (s *Sync) Files(ctx context.Context) ([]Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	entries, err := s.manifest.load()
	return slices.Clone(entries), err
}
