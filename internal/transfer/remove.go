package transfer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// removeAll removes orphans and forgets those that are gone.
func (s *Sync) removeAll(ctx context.Context, w *writer, orphans []Orphan, force bool) error {
	dir, err := openFolder(s.cfg.Dir, false)
	if errors.Is(err, fs.ErrNotExist) {
		dir = nil // no local file can be removed
	} else if err != nil {
		return err
	}
	gone, failed := s.removeEach(ctx, dir, orphans, force)
	if dir != nil {
		defer dir.close()
	}
	if err := errors.Join(dir.sync(), w.append(gone), ctx.Err()); err != nil || len(failed.Failed) == 0 {
		return err
	}
	return failed
}

func (s *Sync) removeEach(ctx context.Context, dir *folder, orphans []Orphan, force bool) (gone []Entry, failed *PartialError) {
	failed = &PartialError{}
	for i := range orphans {
		o := &orphans[i]
		if o.Kept != "" && !force || ctx.Err() != nil {
			continue
		}
		if o.Err = s.removeOne(ctx, dir, o); o.Err != nil {
			failed.Failed = append(failed.Failed, Failure{o.Key, o.Err})
			continue
		}
		o.Removed = true
		failed.Succeeded++
		gone = append(gone, Entry{Key: o.Key})
	}
	return gone, failed
}

func (s *Sync) removeOne(ctx context.Context, dir *folder, o *Orphan) error {
	if o.Side == Remote {
		return s.removeObject(ctx, o.remote)
	}
	if dir == nil {
		return nil // it went with its folder
	}
	now, err := dir.find(o.Key)
	if err != nil {
		return err
	}
	if now != nil && !now.is(o.local) {
		return fmt.Errorf("remove %q: %w", o.Key, ErrEdited)
	}
	return dir.remove(o.Key)
}

// removeObject removes an object that is still the one that was listed.
func (s *Sync) removeObject(ctx context.Context, o *storage.Object) error {
	now, err := s.cfg.Store.Stat(ctx, o.Key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !sameVersion(&now, o):
		return fmt.Errorf("remove %q: %w", o.Key, storage.ErrChanged)
	}
	return s.cfg.Store.Remove(ctx, o.Key)
}

// RemoveLocal removes the named files from the folder, edited or not. The
// manifest keeps them: the next push does not take them for new remote files.
func (s *Sync) RemoveLocal(ctx context.Context, keys []string) error {
	return s.locked(ctx, func(w *writer) error {
		dir, err := openFolder(s.cfg.Dir, false)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer dir.close()
		err = each(ctx, keys, dir.remove)
		return errors.Join(err, dir.sync())
	})
}

// RemoveSynced removes the files of the folder that are as the last sync left
// them. It looks while nobody else moves files, and at the content where size and
// time do not tell; what is edited meanwhile stays.
func (s *Sync) RemoveSynced(ctx context.Context) error {
	return s.locked(ctx, func(w *writer) error {
		local, err := s.scanLocal(ctx)
		if err != nil || len(local.Files) == 0 {
			return err
		}
		in := states{base: w.entries, local: local.Files}
		if _, err := s.check(ctx, in, s.cfg.Match); err != nil {
			return err
		}
		dir, err := openFolder(s.cfg.Dir, false)
		if err != nil {
			return err
		}
		defer dir.close()
		var keys []string
		synced := map[string]*LocalFile{}
		for st := range in.each {
			if st.Base != nil && st.Local != nil && s.cfg.Match(st.Key) && !st.changedHere() {
				keys = append(keys, st.Key)
				synced[st.Key] = st.Local
			}
		}
		err = each(ctx, keys, func(key string) error {
			return s.removeOne(ctx, dir, &Orphan{Key: key, Side: Local, local: synced[key]})
		})
		return errors.Join(err, dir.sync())
	})
}

// RemoveRemote removes the named files from the remote. What is gone here as well
// is forgotten.
func (s *Sync) RemoveRemote(ctx context.Context, keys []string) error {
	if s.cfg.Store == nil {
		return errNoStore
	}
	return s.locked(ctx, func(w *writer) error {
		return s.removeObjects(ctx, w, keys, func(key string) error { return s.cfg.Store.Remove(ctx, key) })
	})
}

// RemoveRemoteSynced removes from the remote the files whose version there is the
// one of the last sync with it. It looks while nobody else moves files in the
// folder; a version that somebody puts there meanwhile stays.
func (s *Sync) RemoveRemoteSynced(ctx context.Context) error {
	return s.locked(ctx, func(w *writer) error {
		there, err := s.ScanRemote(ctx)
		if err != nil {
			return err
		}
		var keys []string
		synced := map[string]*storage.Object{}
		for o := range there.All() {
			if e, known := w.find(o.Key); known && e.there(&o) {
				keys = append(keys, o.Key)
				synced[o.Key] = &o
			}
		}
		return s.removeObjects(ctx, w, keys, func(key string) error { return s.removeObject(ctx, synced[key]) })
	})
}

// removeObjects calls remove for all keys, and forgets those that are gone here as
// well.
func (s *Sync) removeObjects(ctx context.Context, w *writer, keys []string, remove func(key string) error) error {
	local, err := s.scanLocal(ctx)
	if err != nil {
		return err
	}
	in := states{local: local.Files}
	var gone []Entry
	err = each(ctx, keys, func(key string) error {
		err := remove(key)
		if _, known := w.find(key); err == nil && known && !in.has(key) {
			gone = append(gone, Entry{Key: key})
		}
		return err
	})
	return errors.Join(err, w.append(gone))
}

// each calls do for all keys; those that fail do not stop the others.
func each(ctx context.Context, keys []string, do func(key string) error) error {
	var failed PartialError
	for _, key := range keys {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := do(key); err != nil {
			failed.Failed = append(failed.Failed, Failure{key, err})
			continue
		}
		failed.Succeeded++
	}
	if len(failed.Failed) == 0 {
		return nil
	}
	return &failed
}

// Reset forgets what was synced, also a manifest that is damaged; no file is
// touched. The next sync adopts the files that are equal on both sides.
func (s *Sync) Reset(ctx context.Context) error {
	unlock, err := s.manifest.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return s.forget()
}
