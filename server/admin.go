package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/wire"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/jobs"
	"github.com/d6t/d6tpipe-go/server/internal/repo"
	"github.com/d6t/d6tpipe-go/server/internal/vault"
)

// Admin is the form for an account of an administrator.
type Admin struct {
	Username, Email string
	Password        d6tpipe.Secret
}

// CreateAdmin opens the account of an administrator, whether registration is open or
// not, in a database that may be new. Administrators see the whole audit log.
func CreateAdmin(ctx context.Context, c Config, a Admin) error {
	return c.withNewDatabase(ctx, func(c Config, d *db.DB) error {
		return c.withKeysOf(ctx, d, func(r *repo.Repo, _ *vault.Keys, _ string) error {
			_, err := r.AddAccount(ctx, wire.Registration{Username: a.Username, Email: a.Email, Password: string(a.Password)}, true)
			return err
		})
	})
}

// Backup writes one consistent snapshot of the database to w, while servers run. It
// can be restored into either engine. Stored credentials are in it as they are in the
// database, sealed; the key and the files of managed storage are not.
func Backup(ctx context.Context, c Config, w io.Writer) error {
	return c.withDatabase(ctx, func(_ Config, d *db.DB) error { return d.Backup(ctx, w) })
}

// Restore fills an empty database, or one that it makes, from a backup, and with force
// another one instead of what it holds. It is refused while a server runs there, with
// SQLite also one on another database with the same folder for data.
func Restore(ctx context.Context, c Config, r io.Reader, force bool) error {
	return c.withNewDatabase(ctx, func(c Config, d *db.DB) error {
		err := jobs.Alone(ctx, c.queue(), func() error { return d.Restore(ctx, r, force) })
		if errors.Is(err, jobs.ErrInUse) {
			return fmt.Errorf("restore into %s: %w: stop it first, or wait", c.databaseName(), err)
		}
		return err
	})
}

// withDatabase calls do with a database that exists, and makes nothing when it does
// not: a folder or a URL that was misspelled is no empty server.
func (c Config) withDatabase(ctx context.Context, do func(c Config, d *db.DB) error) error {
	c, err := c.absolute()
	if err != nil {
		return err
	}
	d, err := db.OpenExisting(ctx, c.databaseURL())
	if errors.Is(err, db.ErrMissing) {
		return fmt.Errorf("there is no server's database at %s; name the one that the server has, with data or database: %w", c.databaseName(), err)
	}
	if err != nil {
		return err
	}
	return errors.Join(do(c, d), d.Close())
}

// withNewDatabase is withDatabase, and makes what is not there.
func (c Config) withNewDatabase(ctx context.Context, do func(c Config, d *db.DB) error) error {
	c, err := c.ready()
	if err != nil {
		return err
	}
	d, err := db.Open(ctx, c.databaseURL())
	if err != nil {
		return err
	}
	return errors.Join(do(c, d), d.Close())
}

// redacted is a URL without its password.
func redacted(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "a database"
	}
	if u.User != nil {
		u.User = url.User(u.User.Username())
	}
	u.RawQuery = ""
	return u.String()
}
