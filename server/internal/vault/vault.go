// Package vault keeps what must stay secret when everything else is known: the
// credentials that users store ([Keys]), tokens ([NewToken]), passwords ([Hasher]),
// and the patience of the server with those who guess ([Throttle]). It knows no
// database; what it makes are strings for callers to store.
package vault

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// The kinds of failure, for errors.Is.
var (
	// ErrKeyLost says that there is no key, although something is sealed with it.
	ErrKeyLost = errors.New("the key is missing")
	// ErrKeyWrong says that the key is another one than that of the sealed values.
	ErrKeyWrong = errors.New("this is another key than the one that the stored credentials are sealed with")
	// ErrKeyFormat says that what was given as a key is none.
	ErrKeyFormat = errors.New("not a key")
	// ErrKeyUnsafe says that others than the server can read or replace the key file.
	ErrKeyUnsafe = errors.New("the key file is not safe")
	// ErrKeyFixed says that this process cannot change the key where it comes from.
	ErrKeyFixed = errors.New("the key cannot be changed from here")
	// ErrTooSoon says that old keys may still be in use.
	ErrTooSoon = errors.New("the key was changed a short time ago")
	// ErrKeyUnknown says that a value was sealed with a key that is not there (any more).
	ErrKeyUnknown = errors.New("sealed with an unknown key")
	// ErrSealed says that a sealed value was damaged, or belongs to another place.
	ErrSealed = errors.New("a sealed value was changed or moved")
	// ErrPassword says that a password has no byte, or more than [MaxPassword].
	ErrPassword = errors.New("a password has 1 to 1024 bytes")
	// ErrPasswordHash says that a stored password hash is not one that this package made.
	ErrPasswordHash = errors.New("not a password hash")
	// ErrBusy says that too many wait already, or that the caller did not want to wait longer.
	ErrBusy = errors.New("too many logins at once")
	// ErrThrottled is the kind of a [ThrottledError].
	ErrThrottled = errors.New("too many failed attempts")
)

// Place is where a sealed value belongs. A value opens in its own place only, so
// that whoever can write to the database cannot give one record the credentials
// of another.
type Place struct {
	Record string // an id that never changes and is never used again
	Field  string // the name of the field
}

// associated encodes the place as data that is authenticated, not stored. Lengths
// go first: {"ab", "c"} is not {"a", "bc"}.
func (p Place) associated() []byte {
	b := []byte("d6tpipe sealed value 1\x00")
	for _, part := range []string{p.Record, p.Field} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	return b
}

// mark begins every sealed value; the number is the version of the form.
const mark = "sealed1:"

// Tink's form of a ciphertext: a byte that is always 1, the key's id, and then
// what the key made of the plain text: nonce, ciphertext, tag.
const (
	tinkStart = 1
	idEnd     = 1 + 4
	overhead  = idEnd + 12 + 16
)

func encode(ciphertext []byte) string {
	return mark + base64.RawURLEncoding.EncodeToString(ciphertext)
}

// decode is the inverse of encode. It takes each value in one spelling only:
// package base64 skips line ends, and a value that was changed is to be refused
// even if it says the same.
func decode(sealed string) (ciphertext []byte, id uint32, err error) {
	text, ok := strings.CutPrefix(sealed, mark)
	if !ok || strings.ContainsAny(text, "\r\n") {
		return nil, 0, ErrSealed
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(data) < overhead || data[0] != tinkStart {
		return nil, 0, ErrSealed
	}
	return data, binary.BigEndian.Uint32(data[1:idEnd]), nil
}

// KeyID returns the id of the key that a value was sealed with.
func KeyID(sealed string) (uint32, error) {
	_, id, err := decode(sealed)
	return id, err
}

func unknown(id uint32) error { return fmt.Errorf("%w %d", ErrKeyUnknown, id) }
