package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
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

// keyCheck is under which name the database has what tells its key from another.
const keyCheck = "key check"

// ready checks the configuration and makes the data folder.
func (c Config) ready() (Config, error) {
	c, err := c.WithDefaults()
	if err != nil {
		return c, err
	}
	if err := c.Validate(); err != nil {
		return c, err
	}
	if c.Data, err = filepath.Abs(c.Data); err != nil {
		return c, err
	}
	return c, os.MkdirAll(c.Data, 0o700)
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
	check, err := repo.Meta(ctx, d, keyCheck)
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
		if check, err = repo.FirstMeta(ctx, d, keyCheck, made); err != nil {
			return nil, err
		}
	}
	return keys, keys.Verify(check)
}

// master is the secret that keys of the embedded storage follow from, the same for
// all who share the database.
func master(ctx context.Context, d *db.DB, keys *vault.Keys) ([]byte, error) {
	sealed, err := repo.Meta(ctx, d, repo.MasterKey)
	if err != nil {
		return nil, err
	}
	if sealed == "" {
		secret := make([]byte, 32)
		_, _ = rand.Read(secret) // it never fails, says package rand
		mine, err := keys.Seal([]byte(base64.StdEncoding.EncodeToString(secret)), repo.MasterPlace())
		if err != nil {
			return nil, err
		}
		if sealed, err = repo.FirstMeta(ctx, d, repo.MasterKey, mine); err != nil {
			return nil, err
		}
	}
	plain, err := keys.Open(sealed, repo.MasterPlace())
	if err != nil {
		return nil, fmt.Errorf("the secret of managed storage: %w", err)
	}
	return base64.StdEncoding.DecodeString(string(plain))
}

// RotateKey makes a new key, seals everything anew with it, and returns how many
// values that were. A key that comes from the environment cannot be made here: what is
// not sealed with the first one there is sealed anew with it. Servers may run meanwhile. The old key stays in the file: they may
// seal with it for another moment, and backups are sealed with it.
func RotateKey(ctx context.Context, c Config) (n int, err error) {
	err = c.withKeys(ctx, func(r *repo.Repo, keys *vault.Keys) error {
		_, fixed := keys.Rotate(ctx)
		if fixed != nil && !errors.Is(fixed, vault.ErrKeyFixed) {
			return fixed
		}
		if n, err = r.Reseal(ctx); err != nil {
			return err
		}
		if fixed != nil && n == 0 { // nobody has put another key first
			return fixed
		}
		check, err := keys.Check()
		if err != nil {
			return err
		}
		return r.SetMeta(ctx, keyCheck, check)
	})
	return n, err
}

// PruneKeys drops the old keys with which nothing in the database is sealed any more,
// and returns how many these were. What backups that are older than the last rotation
// have sealed cannot be opened afterwards, nor what another database has sealed with the
// same file. Servers may run meanwhile; within ten minutes of a rotation it is refused,
// because they may still be sealing with an old key.
func PruneKeys(ctx context.Context, c Config) (n int, err error) {
	err = c.withKeys(ctx, func(r *repo.Repo, keys *vault.Keys) error {
		check, err := r.Meta(ctx, keyCheck)
		if err != nil {
			return err
		}
		dropped, err := keys.Prune(ctx, check, r.Sealed(ctx))
		n = len(dropped)
		return err
	})
	return n, err
}

// withKeys calls do with the repo and the keys of a server that need not run.
func (c Config) withKeys(ctx context.Context, do func(r *repo.Repo, keys *vault.Keys) error) (err error) {
	if c, err = c.ready(); err != nil {
		return err
	}
	d, err := db.Open(ctx, c.databaseURL())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	keys, err := c.openKeys(ctx, d)
	if err != nil {
		return err
	}
	hasher, err := vault.NewHasher(vault.HasherOptions{})
	if err != nil {
		return err
	}
	return do(repo.New(repo.Options{DB: d, Keys: keys, Hasher: hasher, Throttle: vault.NewThrottle(vault.ThrottleOptions{}), Log: c.Log}), keys)
}
