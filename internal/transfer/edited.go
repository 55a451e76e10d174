package transfer

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
)

// Edited returns those of keys that are in the folder and not as the last sync left
// them: they were edited, or never synced. It looks at the content where size and time
// do not tell. A caller that acts on it is [Sync.Alone].
func (s *Sync) Edited(ctx context.Context, keys []string) (edited []string, err error) {
	base, err := s.manifest.load()
	if err != nil {
		return nil, err
	}
	dir, err := openFolder(s.cfg.Dir, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer dir.close()
	for _, key := range keys {
		st := Step{Key: key}
		if st.Local, err = dir.find(key); err != nil || st.Local == nil {
			if err = errors.Join(err, ctx.Err()); err != nil {
				return nil, err
			}
			continue
		}
		if i, known := slices.BinarySearchFunc(base, key, func(e Entry, key string) int { return strings.Compare(e.Key, key) }); known {
			if st.Base = &base[i]; st.Base.doubts(st.Local) {
				err = s.sum(ctx, dir, st.Local, st.Base.Sum, nil)
			}
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return nil, err
		}
		if st.changedHere() {
			edited = append(edited, key)
		}
	}
	return edited, nil
}
