package transfer

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/d6t/d6tpipe-go/internal/atomicfile"
)

// placeName is the file that says of which remote the manifest tells.
const placeName = "place"

// moved reports whether the manifest tells of another remote than the one at
// hand. Then it counts for nothing: what is on the new remote, or is not, is
// nobody's change.
func (s *Sync) moved() (bool, error) {
	if s.cfg.Place == "" {
		return false, nil
	}
	last, err := os.ReadFile(filepath.Join(s.cfg.State, placeName))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return err == nil && string(last) != s.cfg.Place, err
}

// settleIn forgets what was synced with another remote, once the new one is seen
// to be there: its address may be a mistake. The caller holds the lock and is
// about to change files.
func (s *Sync) settleIn(ctx context.Context) error {
	moved, err := s.moved()
	if err != nil || !moved {
		return err
	}
	if s.cfg.Store == nil {
		return errNoStore
	}
	for _, err := range s.cfg.Store.List(ctx, "") {
		if err != nil {
			return err
		}
		break
	}
	if err := s.forget(); err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(s.cfg.State, placeName), []byte(s.cfg.Place), 0o600)
}

// forget empties the manifest, damaged or not, and the journal.
func (s *Sync) forget() error {
	if err := os.Remove(filepath.Join(s.cfg.State, journalName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return s.manifest.reset()
}
