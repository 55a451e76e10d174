package d6tpipe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/atomicfile"
)

// MoveRepo moves the file repo: path becomes [Config.FileRepo], with the pipes
// right in it, as the Python client documents it (its code moved the old folder
// into path). Paths of the profile that lie in the file repo move along.
//
// The folder is renamed; to another file system it is copied, compared, and only
// then removed. Whenever it is interrupted, the profile goes on with the old
// folder or with the whole new one. Nobody may pull or push meanwhile. A path
// that is there is [ErrExists], unless it is an empty folder; one within the
// file repo is [ErrInvalid]. A file repo that holds the file of profiles or the
// files of another profile is [ErrRefused]: they would move along.
func (c Config) MoveRepo(ctx context.Context, path string) (Config, error) {
	cfg, err := c.moveRepo(ctx, path)
	if err != nil {
		return Config{}, &Error{Op: "move file repo of profile", Name: c.Profile, Err: err}
	}
	return cfg, nil
}

func (c Config) moveRepo(ctx context.Context, path string) (Config, error) {
	to, err := absPath(path)
	if err != nil {
		return c, err
	}
	if info, err := os.Lstat(to); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		if to, err = filepath.EvalSymlinks(to); err != nil { // what a link names is meant, and not the link
			return c, err
		}
	}
	err = editProfiles(ctx, c.File, func(doc *profiles) error {
		s, err := doc.settle(c.Profile)
		if err != nil {
			return err
		}
		from, err := s.repo(c.Profile)
		if err != nil {
			return err
		}
		if err := checkMove(from, to); err != nil {
			return err
		}
		if err := c.checkHeld(doc, from); err != nil {
			return err
		}
		return doc.move(ctx, c.Profile, from, to)
	})
	if err != nil {
		return c, err
	}
	return c.load(c.File)
}

// move writes down where the files are going, moves them, and writes down that
// they are there. What was copied is removed last.
func (d *profiles) move(ctx context.Context, name, from, to string) error {
	real, err := filepath.EvalSymlinks(from)
	if errors.Is(err, fs.ErrNotExist) { // nothing was pulled so far
		return d.setRepo(name, from, to)
	}
	if err != nil {
		return err
	}
	if err := d.setMoving(name, to); err != nil {
		return err
	}
	copied, err := moveTree(ctx, real, to)
	if err != nil {
		return errors.Join(err, d.setMoving(name, ""))
	}
	if err := d.setRepo(name, from, to); err != nil {
		return err
	}
	if copied {
		err = os.RemoveAll(real)
	}
	if real != from { // a link that leads nowhere now
		err = errors.Join(err, ignoreMissing(os.Remove(from)))
	}
	return err
}

// setMoving writes the mark of a move into the file, or removes it.
func (d *profiles) setMoving(name, to string) error {
	profile, err := d.profile(name)
	if err != nil {
		return err
	}
	profile.Delete(movingTo)
	if to != "" {
		profile.Set(movingTo, asciiJSON(to))
	}
	if err := d.set(name, profile); err != nil {
		return err
	}
	return d.write()
}

// setRepo writes the new file repo into the file and removes the mark.
func (d *profiles) setRepo(name, from, to string) error {
	profile, err := d.profile(name)
	if err != nil {
		return err
	}
	old, _, err := d.settings(name)
	if err != nil {
		return err
	}
	next, err := old.moved(name, from, to)
	if err != nil {
		return err
	}
	next.apply(ConfigSettings{Extra: old.Extra}, profile)
	profile.Delete(movingTo)
	if err := d.set(name, profile); err != nil {
		return err
	}
	return d.write()
}

// settle returns the settings of a profile. If a move was interrupted it writes
// down how that ended. The lock is held, so nobody is moving any more.
func (d *profiles) settle(name string) (ConfigSettings, error) {
	s, _, err := d.settings(name)
	if err != nil {
		return s, err
	}
	profile, err := d.profile(name)
	if err != nil {
		return s, err
	}
	if profile.Delete(movingTo) {
		s.apply(ConfigSettings{Extra: s.Extra}, profile)
		err = d.set(name, profile)
	}
	return s, err
}

// arrived returns the settings as they are after a move to a folder that was
// interrupted: the move is done if the old folder is gone. An empty one counts
// as gone, since the Python client makes it at each start.
func (s ConfigSettings) arrived(name, to string) (ConfigSettings, error) {
	if to == "" {
		return s, nil
	}
	from, err := s.repo(name)
	if err != nil {
		return s, err
	}
	if entries, err := os.ReadDir(from); ignoreMissing(err) != nil || len(entries) > 0 {
		return s, nil
	}
	if _, err := os.Stat(to); err != nil {
		return s, nil // it never got there
	}
	return s.moved(name, from, to)
}

// repo returns the absolute path of the file repo.
func (s ConfigSettings) repo(name string) (string, error) { return absPath(s.withPaths(name).FileRepo) }

// moved returns the settings with to in the place of from, in the paths of what
// lies in the file repo too.
func (s ConfigSettings) moved(name, from, to string) (ConfigSettings, error) {
	s.FileRepo = s.withPaths(name).FileRepo
	for _, f := range s.all() {
		if !f.path || *f.text == "" || f.text == &s.FileRepoRoot {
			continue
		}
		abs, err := absPath(*f.text)
		if err != nil {
			return s, err
		}
		if rel, ok := inside(from, abs); ok {
			*f.text = filepath.Join(to, rel)
		}
	}
	return s, nil
}

// inside reports whether path is dir or lies in it, and where.
func inside(dir, path string) (rel string, ok bool) {
	rel, err := filepath.Rel(dir, path)
	return rel, err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// checkMove refuses to move a folder into itself or over something.
func checkMove(from, to string) error {
	if to == "" {
		return &FieldError{Field: "path", Reason: "This field is required."}
	}
	realFrom, err := realPath(from)
	if err != nil {
		return err
	}
	realTo, err := realPath(to)
	if err != nil {
		return err
	}
	if _, ok := inside(realFrom, realTo); ok {
		return &FieldError{Field: "path", Reason: "The file repo cannot be moved into itself."}
	}
	if _, err := os.Lstat(to); err != nil {
		return ignoreMissing(err)
	}
	entries, err := os.ReadDir(to)
	if err != nil || len(entries) > 0 {
		return fmt.Errorf("%w: %s is not an empty folder", ErrExists, to)
	}
	return nil
}

// checkHeld refuses to move what is not the profile's alone.
func (c Config) checkHeld(doc *profiles, from string) error {
	real, err := realPath(from)
	if err != nil {
		return err
	}
	keep, err := c.others(doc)
	if err != nil {
		return err
	}
	for _, path := range keep {
		if path, err = realPath(path); err != nil {
			return err
		}
		if _, ok := inside(real, path); ok {
			return fmt.Errorf("%w: %s holds %s", ErrRefused, from, path)
		}
	}
	return nil
}

// realPath resolves the links in the part of a path that is there.
func realPath(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	parent := filepath.Dir(path)
	if !errors.Is(err, fs.ErrNotExist) || parent == path {
		return real, err
	}
	if parent, err = realPath(parent); err != nil {
		return "", err
	}
	return filepath.Join(parent, filepath.Base(path)), nil
}

// moveTree moves a folder to a place where nothing or an empty folder is. It
// reports whether from is still there, as a copy.
func moveTree(ctx context.Context, from, to string) (copied bool, err error) {
	if err := makeDir(filepath.Dir(to)); err != nil {
		return false, err
	}
	mounted := ignoreMissing(os.Remove(to)) != nil // an empty folder that must stay
	if !mounted && os.Rename(from, to) == nil {
		return false, errors.Join(atomicfile.SyncDir(filepath.Dir(to)), atomicfile.SyncDir(filepath.Dir(from)))
	}
	if mounted {
		return true, copyTree(ctx, from, to)
	}
	temp := filepath.Join(filepath.Dir(to), atomicfile.TempPrefix+filepath.Base(to))
	if err := os.RemoveAll(temp); err != nil { // of a move that died
		return false, err
	}
	if err = copyTree(ctx, from, temp); err == nil {
		err = os.Rename(temp, to)
	}
	if err != nil {
		return false, errors.Join(err, os.RemoveAll(temp))
	}
	return true, atomicfile.SyncDir(filepath.Dir(to))
}
