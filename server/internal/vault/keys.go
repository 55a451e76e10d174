package vault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/d6t/d6tpipe-go"
)

// Source is where the key comes from: File or Value, or else Make. A key is a Tink
// keyset in JSON (made by this package or by tinkey's template AES256_GCM), the
// same in base64, or 32 random bytes in base64 (openssl rand -base64 32). Of the
// last kind there may be several with blanks or commas between them; the first
// seals and all open, which is how a key that [Keys.Rotate] cannot change is rotated.
//
// A file must be the server's user's and closed to all others, or root's and
// readable by a group.
type Source struct {
	File  string         // a file that exists
	Value d6tpipe.Secret // the key itself, such as an environment variable's value
	Make  string         // a file that is made if it is missing, away from the data
}

func (s Source) validate() error {
	switch {
	case s.File != "" && s.Value != "":
		return errors.New("the key is given twice, as a file and as a value")
	case s.File == "" && s.Value == "" && s.Make == "":
		return errors.New("no key is given, nor a file to keep a new one")
	}
	return nil
}

// Keys seal and open. All methods may be called at once from many goroutines.
// Several processes may share one key file: a key that one of them adds, the
// others find.
type Keys struct {
	path    string // "" if the key was given as a value
	made    bool
	current atomic.Pointer[reading]
	mu      sync.Mutex // held by who reads the file anew
}

// Load reads the key. check is what [Keys.Check] returned and the caller stored
// when the key was first used, "" if it never was: it tells a wrong or lost key
// (errors [ErrKeyWrong] and [ErrKeyLost]) from a first start. Nothing that exists
// is overwritten, whatever is wrong with it.
//
// With "" the caller stores Check's result before anything else that is sealed,
// unless another process was faster, and then calls [Keys.Verify] with what is stored.
func Load(ctx context.Context, src Source, check string) (*Keys, error) {
	if err := src.validate(); err != nil {
		return nil, err
	}
	k := &Keys{}
	var err error
	switch {
	case src.Value != "":
		err = k.take(src.Value)
	case src.File != "":
		k.path = src.File
		err = k.first(ctx, check, false)
	default:
		k.path = src.Make
		err = k.first(ctx, check, true)
	}
	if err == nil && check != "" {
		err = k.Verify(check)
	}
	if err != nil {
		return nil, err
	}
	return k, nil
}

// Made returns the path of the key file that [Load] has just made, "" if it found
// one. Whoever runs the server must hear of it: without this file, the stored
// credentials are lost.
func (k *Keys) Made() string {
	if k.made {
		return k.path
	}
	return ""
}

// PrimaryID returns the id of the first key, with which Seal and Check seal.
func (k *Keys) PrimaryID() uint32 { return k.current.Load().primary }

// Seal encrypts plain for its place. The result is ASCII. Its length tells that of
// plain, and it names the key. When the key file is missing, nothing is sealed,
// error [ErrKeyLost]: after the next start nobody could open it.
func (k *Keys) Seal(plain []byte, where Place) (string, error) {
	r, err := k.fresh()
	if err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	return sealWith(r.aead, plain, where)
}

// SealLike is Seal with the key that another value is sealed with, the first one or
// not: several servers whose keys are copies seal with one key, when each does it
// like the result of [Keys.Check] that is stored where all can see it. The error is
// [ErrKeyUnknown] when that key is not there.
func (k *Keys) SealLike(like string, plain []byte, where Place) (string, error) {
	id, err := KeyID(like)
	if err == nil {
		_, err = k.fresh()
	}
	if err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	r, err := k.holding(id)
	if err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	sealer, err := r.sealer(id)
	if err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	return sealWith(sealer, plain, where)
}

func sealWith(key tink.AEAD, plain []byte, where Place) (string, error) {
	ciphertext, err := key.Encrypt(plain, where.associated())
	if err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	return encode(ciphertext), nil
}

// Open returns what was sealed for this place. Errors are [ErrSealed] and, after
// another look into the key file, [ErrKeyUnknown].
func (k *Keys) Open(sealed string, where Place) ([]byte, error) {
	ciphertext, id, err := decode(sealed)
	if err != nil {
		return nil, err
	}
	r, err := k.holding(id)
	if err != nil {
		return nil, err
	}
	plain, err := r.aead.Decrypt(ciphertext, where.associated())
	if err != nil {
		return nil, ErrSealed // Tink says no more than that it failed
	}
	return plain, nil
}

// holding returns the ring that has key id.
func (k *Keys) holding(id uint32) (*ring, error) {
	r := k.current.Load().ring
	if _, ok := r.keys[id]; ok {
		return r, nil
	}
	r, err := k.reload()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", unknown(id), err)
	}
	if _, ok := r.keys[id]; !ok {
		return nil, unknown(id)
	}
	return r, nil
}

// checkPlace is nobody else's: a record has an id.
func checkPlace() Place { return Place{Field: "key check"} }

const checkText = "d6tpipe"

// Check returns a value that tells this key from others, for [Load]. It holds no
// secret. After a rotation it is due for replacement like any value: store the
// result of another call.
func (k *Keys) Check() (string, error) { return k.Seal([]byte(checkText), checkPlace()) }

// Verify returns nil if check was made by [Keys.Check] with one of these keys.
func (k *Keys) Verify(check string) error {
	plain, err := k.Open(check, checkPlace())
	id, idErr := KeyID(check)
	switch {
	case idErr != nil:
		return fmt.Errorf("key check: %w", idErr)
	case errors.Is(err, ErrKeyLost):
		return err
	case errors.Is(err, ErrKeyUnknown), errors.Is(err, ErrSealed):
		return fmt.Errorf("%s: %w (key %d); put that one back", k.name(), ErrKeyWrong, id)
	case err == nil && string(plain) != checkText:
		return fmt.Errorf("key check: %w", ErrSealed)
	}
	return err
}

// name says where the key comes from.
func (k *Keys) name() string {
	if k.path == "" {
		return "key"
	}
	return "key file " + k.path
}

// take uses a key that was given as a value.
func (k *Keys) take(value d6tpipe.Secret) error {
	r, err := parseRing([]byte(value))
	if err != nil {
		return fmt.Errorf("%s: %w", k.name(), err)
	}
	k.current.Store(&reading{ring: r})
	return nil
}

// first reads the key file, or makes it if it may.
func (k *Keys) first(ctx context.Context, check string, mayMake bool) error {
	now, err := read(k.path)
	switch missing := errors.Is(err, fs.ErrNotExist); {
	case missing && check != "":
		return fmt.Errorf("%w: put %s back, the stored credentials cannot be opened without it", ErrKeyLost, k.path)
	case missing && mayMake:
		return k.make(ctx)
	case err != nil:
		return err
	}
	k.current.Store(now)
	return tidy(ctx, k.path)
}
