package transfer

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

const journalName = "journal"

// A journal holds the files that went through since the manifest was last
// written. It is not synced, so it says nothing certain: after a crash, an entry
// counts only for a local file that has the very content that it tells of. With it
// a file that arrived right before the crash is not taken for an edit. It has the
// batches of the manifest, one for each file, and no header.
type journal struct {
	mu sync.Mutex
	f  *os.File
}

// openJournal opens the journal for appending. The caller holds the lock.
func openJournal(state string) (*journal, error) {
	path := filepath.Join(state, journalName)
	_, valid, err := readJournal(state)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(int64(valid)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &journal{f: f}, nil
}

func (j *journal) add(e Entry) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	_, err := j.f.Write(appendBatch(nil, []Entry{e}))
	return err
}

// close empties the journal when the manifest has all of it.
func (j *journal) close(settled bool) (err error) {
	if settled {
		err = j.f.Truncate(0)
	}
	return errors.Join(err, j.f.Close())
}

// readJournal returns what can be read, sorted by key, and how many bytes that is.
func readJournal(state string) ([]Entry, int, error) {
	data, err := os.ReadFile(filepath.Join(state, journalName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, 0, err
	}
	var l manifestLog
	for {
		payload, ok := nextBatch(data[l.valid:])
		if ok {
			l.changes, ok = readRecords(l.changes, string(payload))
		}
		if !ok {
			return l.entries(), l.valid, nil
		}
		l.valid += batchHeader + len(payload)
	}
}

// recall makes up for what a crash kept from the manifest: entries of the
// journal whose local file proves them right take the place of the manifest's.
func (s *Sync) recall(ctx context.Context, in *states) error {
	arrived, _, err := readJournal(s.cfg.State)
	if err != nil || len(arrived) == 0 {
		return err
	}
	var likely []Step
	for st := range (states{base: arrived, local: in.local}).each {
		if st.Base != nil && st.Local != nil && st.Base.Size == st.Local.Size && st.Base.ModTime == st.Local.ModTime && !st.Local.Irregular {
			likely = append(likely, st)
		}
	}
	err = s.parallel(ctx, len(likely), func(ctx context.Context, dir *folder, i int) error {
		return s.sum(ctx, dir, likely[i].Local, likely[i].Base.Sum, nil)
	})
	for _, st := range likely {
		if st.Local.Sum == st.Base.Sum {
			in.proven = append(in.proven, *st.Base)
		}
	}
	in.base = merge(in.base, in.proven)
	return err
}

// merge returns base with the entries of newer in place of its own; both are
// sorted by key.
func merge(base, newer []Entry) []Entry {
	if len(newer) == 0 {
		return base
	}
	all := slices.Concat(base, newer)
	slices.SortStableFunc(all, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	kept := all[:0]
	for i, e := range all {
		if i+1 == len(all) || all[i+1].Key != e.Key {
			kept = append(kept, e)
		}
	}
	return kept
}
