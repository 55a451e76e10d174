package vault

import (
	"context"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"time"

	"github.com/d6t/d6tpipe-go/internal/atomicfile"
)

// settling is how long after a change of the key file no key is dropped. Another
// process may have sealed a value just before the change and be about to store it;
// no transaction lasts that long.
const settling = 10 * time.Minute

// Rotate puts a new key before the others, which go on to open, and returns its id.
// The file is replaced whole. Values are sealed with the new key once the result of
// another [Keys.Check] is stored, see [Keys.SealLike]: until then, the file can be
// copied to where it is needed. Then the caller runs [Keys.Reseal] over all values,
// and [Keys.Prune] at some later time. A key that does not come from a file of this
// user's own is rotated where it comes from, error [ErrKeyFixed].
func (k *Keys) Rotate(ctx context.Context) (id uint32, err error) {
	err = k.change(ctx, func(now *reading) (*ring, error) {
		next, err := now.rotate()
		if err == nil {
			id = next.primary
		}
		return next, err
	})
	if err != nil {
		return 0, fmt.Errorf("rotate: %w", err)
	}
	return id, nil
}

// Prepared tells whether the first key is another one than that of check: whether a
// rotation has begun, and waits for the next check.
func (k *Keys) Prepared(check string) (bool, error) {
	id, err := KeyID(check)
	if err != nil {
		return false, err
	}
	r, err := k.fresh()
	if err != nil {
		return false, err
	}
	return r.primary != id, nil
}

// Reseal returns the value sealed with the key of like. changed is false, and the
// value the same, if it was already.
func (k *Keys) Reseal(like, sealed string, where Place) (resealed string, changed bool, err error) {
	id, err := KeyID(like)
	if err != nil {
		return "", false, err
	}
	if now, err := KeyID(sealed); err == nil && now == id {
		return sealed, false, nil
	}
	plain, err := k.Open(sealed, where)
	if err != nil {
		return "", false, err
	}
	resealed, err = k.SealLike(like, plain, where)
	return resealed, err == nil, err
}

// Prune drops the old keys that no value is sealed with any more, and returns their
// ids. values are all sealed values that are stored, and check is the stored result
// of [Keys.Check]; an error among them, or a value that is none, and nothing is
// dropped. The error is [ErrTooSoon] within ten minutes of the last change.
func (k *Keys) Prune(ctx context.Context, check string, values iter.Seq2[string, error]) (dropped []uint32, err error) {
	err = k.change(ctx, func(now *reading) (*ring, error) {
		idle, err := now.idle(ctx, check, values)
		if err != nil || len(idle) == 0 {
			return nil, err
		}
		if age := time.Since(now.info.ModTime()); age < settling {
			return nil, fmt.Errorf("%w: wait %s", ErrTooSoon, (settling - age).Round(time.Second))
		}
		dropped = idle
		return now.without(idle)
	})
	if err != nil {
		return nil, fmt.Errorf("prune: %w", err)
	}
	return dropped, nil
}

// idle returns the ids of the keys that nothing is sealed with.
func (r *ring) idle(ctx context.Context, check string, values iter.Seq2[string, error]) ([]uint32, error) {
	used := map[uint32]bool{r.primary: true}
	id, err := KeyID(check)
	if err != nil {
		return nil, fmt.Errorf("key check: %w", err)
	}
	used[id] = true
	for sealed, err := range values {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		id, err := KeyID(sealed)
		if err != nil {
			return nil, err
		}
		used[id] = true
	}
	return slices.DeleteFunc(r.ids(), func(id uint32) bool { return used[id] }), nil
}

// change replaces the key file by what edit makes of it; nil leaves it. Behind a
// link the file itself is replaced.
func (k *Keys) change(ctx context.Context, edit func(now *reading) (*ring, error)) error {
	if k.path == "" {
		return fmt.Errorf("%w: it was given as a value; put a new one in front of it there", ErrKeyFixed)
	}
	path, err := filepath.EvalSymlinks(k.path)
	if err != nil {
		return fmt.Errorf("key file: %w", err)
	}
	return locked(ctx, path, func() error {
		now, err := read(path)
		if err != nil {
			return err
		}
		if !own(now.info) {
			return fmt.Errorf("%s: %w: the file belongs to another user or to a group, which would not find its way back", path, ErrKeyFixed)
		}
		if !k.current.Load().related(now.ring) {
			return fmt.Errorf("key file %s: %w", path, ErrKeyWrong)
		}
		next, err := edit(now)
		if err != nil || next == nil {
			return err
		}
		text, err := next.text()
		if err != nil {
			return err
		}
		if err := atomicfile.Swap(ctx, path, now.text, text, 0o600); err != nil {
			return err
		}
		_, err = k.reload()
		return err
	})
}
