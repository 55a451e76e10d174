package repo

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"net/http"

	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/vault"
)

// KeyCheck is under which name the database has what tells its key from others. With
// the key of this value everything is sealed, whatever other keys a server has: so
// nobody seals what another server cannot open, or what a rotation has overtaken.
const KeyCheck = "key check"

const metaQuery = `SELECT value FROM meta WHERE key = $1`

// ErrRotated says that somebody else has rotated the key meanwhile.
var ErrRotated = errors.New("somebody else has rotated the key at the same time: nothing is sealed with the new key of this file; copy the other key file here")

// FirstKey remembers a key check, unless somebody was faster, and returns what is
// remembered now.
func FirstKey(ctx context.Context, d *db.DB, check string) (first string, err error) {
	err = d.Write(ctx, func(ctx context.Context, tx db.Tx) (err error) {
		first, err = firstMeta(ctx, tx, KeyCheck, check)
		return err
	})
	return first, err
}

func firstMeta(ctx context.Context, tx db.Tx, key, value string) (first string, err error) {
	if _, err := tx.ExecContext(ctx, `INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT DO NOTHING`, key, value); err != nil {
		return "", err
	}
	return lookup(ctx, tx, metaQuery, key)
}

// SwitchKey has everything sealed with another key from now on. It waits for those
// who seal with the former one.
func (r *Repo) SwitchKey(ctx context.Context, from, to string) error {
	return r.o.DB.WriteAlone(ctx, func(ctx context.Context, tx db.Tx) error {
		result, err := tx.ExecContext(ctx, `UPDATE meta SET value = $3 WHERE key = $1 AND value = $2`, KeyCheck, from, to)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, ErrRotated)
		}
		return nil
	})
}

// KnowsKey returns nil when this server can open what is sealed now.
func (r *Repo) KnowsKey(ctx context.Context) error {
	check, err := Meta(ctx, r.o.DB, KeyCheck)
	if err != nil {
		return err
	}
	return r.o.Keys.Verify(check)
}

// seal seals a value that the transaction stores.
func (r *Repo) seal(ctx context.Context, tx db.Tx, plain []byte, where vault.Place) (string, error) {
	check, err := lookup(ctx, tx, metaQuery, KeyCheck)
	if err != nil {
		return "", err
	}
	sealed, err := r.o.Keys.SealLike(check, plain, where)
	return sealed, r.keyless(err)
}

// unseal opens a value that is stored.
func (r *Repo) unseal(sealed string, where vault.Place) ([]byte, error) {
	plain, err := r.o.Keys.Open(sealed, where)
	return plain, r.keyless(err)
}

// keyless says in the contract's terms that this server lacks a key. Another one may
// have it.
func (r *Repo) keyless(err error) error {
	if !errors.Is(err, vault.ErrKeyUnknown) && !errors.Is(err, vault.ErrKeyLost) && !errors.Is(err, vault.ErrKeyWrong) {
		return err
	}
	r.o.Log.Error("this server lacks the key of stored credentials: "+KeyAdvice, "error", err)
	return &later{refusal(http.StatusServiceUnavailable, "This server lacks the key of stored credentials; its administrators find in its log what to do."), 10}
}

// KeyAdvice says what to do when [Repo.KnowsKey] fails.
const KeyAdvice = "it was rotated elsewhere, or is gone from here; copy the key file from the server where it was rotated, or put the new key into the variable, and restart this one"

// masterKey is under which name the database has the sealed secret of the embedded
// storage.
const masterKey = "storage master"

func masterPlace() vault.Place { return vault.Place{Record: masterKey, Field: "secret"} }

// Master returns the secret that keys of the embedded storage follow from, the same
// for all who share the database.
func (r *Repo) Master(ctx context.Context) ([]byte, error) {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // it never fails, says package rand
	var sealed string
	err := r.o.DB.Write(ctx, func(ctx context.Context, tx db.Tx) (err error) {
		if sealed, err = lookup(ctx, tx, metaQuery, masterKey); err != nil || sealed != "" {
			return err
		}
		if sealed, err = r.seal(ctx, tx, []byte(base64.StdEncoding.EncodeToString(secret)), masterPlace()); err != nil {
			return err
		}
		sealed, err = firstMeta(ctx, tx, masterKey, sealed)
		return err
	})
	if err != nil {
		return nil, err
	}
	plain, err := r.o.Keys.Open(sealed, masterPlace())
	if err != nil {
		return nil, fmt.Errorf("the secret of managed storage: %w", err)
	}
	return base64.StdEncoding.DecodeString(string(plain))
}

// resealed is a column of values that are sealed, and where each belongs.
type resealed struct {
	list, update string
	place        func(id string) vault.Place
}

var allSealed = []resealed{
	{`SELECT id, token_sealed FROM users WHERE id > $1 ORDER BY id LIMIT $2`,
		`UPDATE users SET token_sealed = $3 WHERE id = $1 AND token_sealed = $2`, tokenPlace},
	{`SELECT id, sealed FROM records WHERE sealed <> '' AND id > $1 ORDER BY id LIMIT $2`,
		`UPDATE records SET sealed = $3 WHERE id = $1 AND sealed = $2`, secretsPlace},
	{`SELECT id, sealed FROM webhooks WHERE id > $1 ORDER BY id LIMIT $2`,
		`UPDATE webhooks SET sealed = $3 WHERE id = $1 AND sealed = $2`, hookPlace},
	{`SELECT key, value FROM meta WHERE key = '` + masterKey + `' AND key > $1 ORDER BY key LIMIT $2`,
		`UPDATE meta SET value = $3 WHERE key = $1 AND value = $2`, func(string) vault.Place { return masterPlace() }},
}

// Reseal seals with the key of the key check what is sealed with another one, and
// returns how many values that were. It can be interrupted and called again, and others may
// write meanwhile: a value that has changed since it was read is left to them.
func (r *Repo) Reseal(ctx context.Context) (n int, err error) {
	for _, column := range allSealed {
		for after := ""; ; {
			last, changed, err := r.resealPage(ctx, column, after)
			n += changed
			if err != nil {
				return n, err
			}
			if after = last; after == "" {
				break
			}
		}
	}
	return n, nil
}

// Sealed are all values that are sealed, for who wants to know with which keys.
func (r *Repo) Sealed(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, column := range allSealed {
			for after := ""; ; {
				var values [][2]string
				err := r.o.DB.Read(ctx, func(ctx context.Context, tx db.Tx) (err error) {
					values, err = pairs(ctx, tx, column.list, after)
					return err
				})
				if err != nil {
					yield("", err)
					return
				}
				for _, v := range values {
					after = v[0]
					if !yield(v[1], nil) {
						return
					}
				}
				if len(values) == 0 {
					break
				}
			}
		}
	}
}

// resealPage works on what follows after, and returns the last id, "" at the end.
func (r *Repo) resealPage(ctx context.Context, column resealed, after string) (last string, n int, err error) {
	err = r.o.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		last, n = "", 0
		check, err := lookup(ctx, tx, metaQuery, KeyCheck)
		if err != nil {
			return err
		}
		values, err := pairs(ctx, tx, column.list, after)
		if err != nil {
			return err
		}
		for _, v := range values {
			last = v[0]
			sealed, changed, err := r.o.Keys.Reseal(check, v[1], column.place(v[0]))
			if err != nil {
				return errors.Join(errors.New("sealed value of "+v[0]), err)
			}
			if !changed {
				continue
			}
			if _, err := tx.ExecContext(ctx, column.update, v[0], v[1], sealed); err != nil {
				return err
			}
			n++
		}
		return nil
	})
	return last, n, err
}
