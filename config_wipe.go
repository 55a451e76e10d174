package d6tpipe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// WipeOptions confirm what [Config.WipeAll] is going to delete.
type WipeOptions struct {
	// Profile is the name of the profile, once more. Nothing happens without it.
	Profile string
}

// signs are the files in a file repo that tell that it is one: our state and the
// Python client's catalogue.
var signs = []string{".d6tpipe", ".filedb.json"}

// WipeAll deletes the file repo with all pulled files, the local catalogue unless
// it was put somewhere by hand, the token, and the profile. The files on remotes,
// a server's records and the other profiles stay. It cannot be undone.
//
// It is [ErrRefused] when o does not name the profile, when the file repo is or
// holds a home folder, a root folder, the file of profiles or the files of
// another profile, or when nothing tells that it is a file repo. When only the
// keyring could not be asked, all else is deleted and the error is [ErrKeyring].
func (c Config) WipeAll(ctx context.Context, o WipeOptions) error {
	if err := c.wipeAll(ctx, o); err != nil {
		return &Error{Op: "wipe profile", Name: c.Profile, Err: err}
	}
	return nil
}

func (c Config) wipeAll(ctx context.Context, o WipeOptions) error {
	if o.Profile == "" || o.Profile != c.Profile {
		return fmt.Errorf("%w: the name of the profile was not given as confirmation", ErrRefused)
	}
	var keyring error
	err := editProfiles(ctx, c.File, func(doc *profiles) error {
		if err := c.checkWipe(doc); err != nil {
			return err
		}
		s, _, err := doc.settings(c.Profile)
		if err != nil {
			return err
		}
		// The environment may have put another server before the profile's own.
		if keyring = c.forgetTokens(ctx, c.Server, s.Server); keyring != nil && !errors.Is(keyring, ErrKeyring) {
			return keyring
		}
		if err := wipeRepo(ctx, c.FileRepo); err != nil {
			return err
		}
		if c.Catalog == defaultCatalog(c.File, c.Profile) {
			if err := ignoreMissing(os.Remove(c.Catalog)); err != nil {
				return err
			}
		}
		doc.all.Delete(c.Profile)
		return nil
	})
	return errors.Join(err, keyring)
}

// forgetTokens removes the tokens for servers from where they are kept.
func (c Config) forgetTokens(ctx context.Context, servers ...string) error {
	var errs error
	for _, server := range servers {
		origin, err := Origin(server)
		if err != nil { // without a server there is no token
			continue
		}
		errs = errors.Join(errs, c.stored().DeleteToken(ctx, TokenKey{Profile: c.Profile, Origin: origin}))
	}
	return errs
}

// checkWipe refuses to delete what is not surely the profile's file repo alone.
func (c Config) checkWipe(doc *profiles) error {
	refuse := func(why string) error { return fmt.Errorf("%w: %s %s", ErrRefused, c.FileRepo, why) }
	s, _, err := doc.settings(c.Profile)
	if err != nil {
		return err
	}
	repo, err := s.repo(c.Profile)
	if err != nil {
		return err
	}
	if repo != c.FileRepo || repo == "" {
		return refuse("is not the file repo of the profile any more")
	}
	real, err := realPath(repo)
	if err != nil {
		return err
	}
	keep, err := c.mustStay(doc)
	if err != nil {
		return err
	}
	for _, path := range keep {
		if _, ok := inside(real, path); ok {
			return refuse("holds " + path)
		}
	}
	if !isFileRepo(real, c.Profile) {
		return refuse("has no sign of being a file repo")
	}
	return nil
}

// mustStay lists what no file repo may hold that is to be deleted.
func (c Config) mustStay(doc *profiles) ([]string, error) {
	home, err := homeOf("")
	if err != nil {
		return nil, err
	}
	paths, err := c.others(doc)
	if err != nil {
		return nil, err
	}
	paths = append(paths, home, filepath.VolumeName(c.FileRepo)+string(filepath.Separator))
	if wd, err := os.Getwd(); err == nil {
		paths = append(paths, wd)
	}
	if c.Catalog != defaultCatalog(c.File, c.Profile) {
		paths = append(paths, c.Catalog)
	}
	for i, path := range paths {
		if paths[i], err = realPath(path); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

// others lists what is not this profile's alone: the file of profiles, and the
// files of the others.
func (c Config) others(doc *profiles) ([]string, error) {
	paths := []string{doc.file}
	for _, name := range doc.names() {
		if name == c.Profile {
			continue
		}
		s, _, err := doc.settings(name)
		if err != nil {
			return nil, err
		}
		other, err := s.config(Config{Profile: name, File: doc.file})
		if err != nil {
			return nil, err
		}
		paths = append(paths, other.FileRepo, other.FileDB, other.Catalog)
	}
	return paths, nil
}

// isFileRepo reports whether a folder is one of ours: it is not there, is empty,
// stands where the profile's files stand by default, or holds a sign.
func isFileRepo(dir, profile string) bool {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ignoreMissing(err) == nil
	}
	if len(entries) == 0 || filepath.Base(dir) == profile && filepath.Base(filepath.Dir(dir)) == "files" {
		return true
	}
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool { return slices.Contains(signs, e.Name()) })
}

// wipeRepo deletes a file repo, what tells that it is one last, so that an
// interrupted wipe can be repeated.
func wipeRepo(ctx context.Context, repo string) error {
	entries, err := os.ReadDir(repo)
	if err != nil {
		return ignoreMissing(err)
	}
	slices.SortStableFunc(entries, func(a, b os.DirEntry) int {
		return slices.Index(signs, a.Name()) - slices.Index(signs, b.Name())
	})
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := os.RemoveAll(filepath.Join(repo, e.Name())); err != nil {
			return err
		}
	}
	real, err := filepath.EvalSymlinks(repo)
	if err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(real), os.RemoveAll(repo))
}
