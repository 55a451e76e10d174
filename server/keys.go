package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/repo"
	"github.com/d6t/d6tpipe-go/server/internal/vault"
)

// KeyVariable is the variable of the environment that may hold the key.
const KeyVariable = "D6TPIPE_SERVE_KEY"

// ready is absolute, and makes the data folder.
func (c Config) ready() (Config, error) {
	c, err := c.absolute()
	if err != nil {
		return c, err
	}
	return c, os.MkdirAll(c.Data, 0o700)
}

// absolute checks the configuration and fills in what it leaves open.
func (c Config) absolute() (Config, error) {
	c, err := c.WithDefaults()
	if err != nil {
		return c, err
	}
	if err := c.Validate(); err != nil {
		return c, err
	}
	c.Data, err = filepath.Abs(c.Data)
	return c, err
}

// databaseURL is the database's, with its default.
func (c Config) databaseURL() string {
	if c.Database == "" {
		return filepath.Join(c.Data, "server.db")
	}
	return c.Database
}

// keySource says where the key is. A key that the server makes lies away from the
// data: who copies the data, or a backup of it, has not got it.
func (c Config) keySource() (vault.Source, error) {
	value := d6tpipe.Secret(os.Getenv(KeyVariable))
	switch {
	case c.KeyFile != "":
		return vault.Source{Make: c.KeyFile}, nil
	case value != "":
		return vault.Source{Value: value}, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return vault.Source{}, fmt.Errorf("there is no place for the key that seals stored credentials: name a file with key-file, or set %s: %w", KeyVariable, err)
	}
	of := sha256.Sum256([]byte(c.databaseName()))
	return vault.Source{Make: filepath.Join(dir, "d6tpipe-server", "key-"+hex.EncodeToString(of[:6]))}, nil
}

// databaseName tells one database from another, without what may change, such as a
// password.
func (c Config) databaseName() string {
	if c.Database == "" {
		return c.databaseURL()
	}
	return redacted(c.Database)
}

// openKeys loads the key and makes sure that it is the one of the database.
func (c Config) openKeys(ctx context.Context, d *db.DB) (*vault.Keys, error) {
	src, err := c.keySource()
	if err != nil {
		return nil, err
	}
	check, err := repo.Meta(ctx, d, repo.KeyCheck)
	if err != nil {
		return nil, err
	}
	keys, err := vault.Load(ctx, src, check)
	if errors.Is(err, vault.ErrKeyLost) && c.KeyFile == "" {
		return nil, fmt.Errorf("%w; or name the file that holds it with key-file: its name follows from the place of the database, which may be another one since a restore", err)
	}
	if err != nil {
		return nil, err
	}
	if path := keys.Made(); path != "" {
		c.Log.Warn("made a key for stored credentials; without it they are lost: keep a copy of the file, away from the database's backups", "file", path)
	}
	if check == "" {
		made, err := keys.Check()
		if err != nil {
			return nil, err
		}
		if check, err = repo.FirstKey(ctx, d, made); err != nil {
			return nil, err
		}
	}
	return keys, keys.Verify(check)
}

// RotateKey makes a new key, unless one is prepared, seals everything anew with it, and
// returns how many values that were. A key that comes from the environment cannot be
// made here: the first one there is the prepared one. Servers may run meanwhile. The
// old key stays in the file: backups are sealed with it, and servers whose file is a
// copy without the new key refuse what needs it, until they get a copy of this file.
func RotateKey(ctx context.Context, c Config) (n int, err error) {
	err = c.withKeys(ctx, func(r *repo.Repo, keys *vault.Keys, check string) error {
		fixed := prepare(ctx, keys, check)
		if fixed != nil && !errors.Is(fixed, vault.ErrKeyFixed) {
			return fixed
		}
		if fixed == nil {
			next, err := keys.Check()
			if err != nil {
				return err
			}
			if err := r.SwitchKey(ctx, check, next); err != nil {
				return err
			}
		}
		if n, err = r.Reseal(ctx); err == nil && n == 0 {
			err = fixed // nobody has put another key first, and there is nothing to go on with
		}
		return err
	})
	return n, err
}

// PrepareKey puts a new key into the file, with which nothing is sealed before
// [RotateKey]: in between, the file can be copied to other servers. One that is
// prepared already stays.
func PrepareKey(ctx context.Context, c Config) error {
	return c.withKeys(ctx, func(_ *repo.Repo, keys *vault.Keys, check string) error { return prepare(ctx, keys, check) })
}

// prepare makes a new key, unless there is one that waits.
func prepare(ctx context.Context, keys *vault.Keys, check string) error {
	done, err := keys.Prepared(check)
	if err != nil || done {
		return err
	}
	_, err = keys.Rotate(ctx)
	return err
}

// PruneKeys drops the old keys with which nothing in the database is sealed any more,
// and returns how many these were. Nobody seals with them again: a server seals with
// the key that the database names, or not at all. What backups that are older than the
// last rotation have sealed cannot be opened afterwards, nor what another database has
// sealed with the same file. Servers may run meanwhile; within ten minutes of a change
// of the file it is refused, because they may have read what they have yet to open.
func PruneKeys(ctx context.Context, c Config) (n int, err error) {
	err = c.withKeys(ctx, func(r *repo.Repo, keys *vault.Keys, check string) error {
		dropped, err := keys.Prune(ctx, check, r.Sealed(ctx))
		n = len(dropped)
		return err
	})
	return n, err
}

// withKeys calls do with the repo, the keys and the key check of a server that need
// not run.
func (c Config) withKeys(ctx context.Context, do func(r *repo.Repo, keys *vault.Keys, check string) error) error {
	return c.withDatabase(ctx, func(c Config, d *db.DB) error {
		return c.withKeysOf(ctx, d, do)
	})
}

func (c Config) withKeysOf(ctx context.Context, d *db.DB, do func(r *repo.Repo, keys *vault.Keys, check string) error) error {
	keys, err := c.openKeys(ctx, d)
	if err != nil {
		return err
	}
	check, err := repo.Meta(ctx, d, repo.KeyCheck)
	if err != nil {
		return err
	}
	hasher, err := vault.NewHasher(vault.HasherOptions{})
	if err != nil {
		return err
	}
	return do(repo.New(repo.Options{DB: d, Keys: keys, Hasher: hasher, Throttle: vault.NewThrottle(vault.ThrottleOptions{}), Log: c.Log}), keys, check)
}
