package d6tpipe

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/d6t/d6tpipe-go/internal/jsonfile"
)

// InitOptions are the choices of [InitConfig].
type InitOptions struct {
	// Settings are those of the new profile. With FileRepoRoot alone, the file
	// repo is FileRepoRoot/files/<profile>, as the Python client's init has it;
	// without either, the root is ~/d6tpipe. A Key is made up when there is none.
	Settings ConfigSettings
	// File is the file of profiles; "" means the usual one.
	File string
	// Reset replaces a profile that is there, with all its settings but the Key:
	// without it, what was encrypted is lost.
	Reset bool
}

// InitConfig writes a new profile; "" means the name that [LoadConfig] takes. A
// profile that is there already is [ErrExists], and stays as it is. No folder of
// files is made.
func InitConfig(ctx context.Context, profile string, o InitOptions) (Config, error) {
	c := Config{Profile: profileName(profile)}
	cfg, err := c.init(ctx, o)
	if err != nil {
		return Config{}, &Error{Op: "init profile", Name: c.Profile, Err: err}
	}
	return cfg, nil
}

func (c Config) init(ctx context.Context, o InitOptions) (Config, error) {
	if err := checkProfile(c.Profile); err != nil {
		return c, err
	}
	file, err := configFile(o.File)
	if err != nil {
		return c, err
	}
	err = editProfiles(ctx, file, func(doc *profiles) error {
		old, _, err := doc.settings(c.Profile)
		switch {
		case err == nil && !o.Reset:
			return fmt.Errorf("%w in %s and stays as it is", ErrExists, file)
		case err != nil && !errors.Is(err, ErrNotFound):
			return err
		}
		next, err := o.Settings.withDefaults(c.Profile, old.Key).clean()
		if err != nil {
			return err
		}
		var profile jsonfile.Object
		next.apply(ConfigSettings{}, &profile)
		return doc.set(c.Profile, &profile)
	})
	if err != nil {
		return c, err
	}
	return c.load(file)
}

// Update changes settings of the profile. It calls change with the settings that
// stand in the file at this moment, and no other process can change them until
// Update has returned; whatever change leaves alone stays as it is, to the byte.
// When Update returns nil the new settings survive a crash. A profile that is
// not there is [ErrNotFound].
//
// A token that the Python client left for the former server is removed when the
// server changes, so that nobody else gets to see it.
func (c Config) Update(ctx context.Context, change func(*ConfigSettings)) (Config, error) {
	cfg, err := c.update(ctx, change)
	if err != nil {
		return Config{}, &Error{Op: "update profile", Name: c.Profile, Err: err}
	}
	return cfg, nil
}

func (c Config) update(ctx context.Context, change func(*ConfigSettings)) (Config, error) {
	err := editProfiles(ctx, c.File, func(doc *profiles) error {
		old, err := doc.settle(c.Profile)
		if err != nil {
			return err
		}
		next := old
		next.Extra = maps.Clone(old.Extra)
		change(&next)
		if defaults := next.withPaths(c.Profile); old.FileRepo != "" && old.FileRepoRoot != "" && old.FileDB != "" {
			next = defaults // the Python client cannot load a profile that has lost one of them
		}
		if next, err = next.cleanChanges(old); err != nil {
			return err
		}
		profile, err := doc.profile(c.Profile)
		if err != nil {
			return err
		}
		next.apply(old, profile)
		if !sameOrigin(old.Server, next.Server) {
			profile.Delete("token")
		}
		return doc.set(c.Profile, profile)
	})
	if err != nil {
		return c, err
	}
	return c.load(c.File)
}
