package d6tpipe

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"
)

// Settings can be encrypted before they go to a repo API, so that whoever runs it,
// or breaks into it, reads neither where the files lie nor how to get at them. Each
// field is sealed on its own, with AES-256-GCM under a key that follows from the
// profile's (HKDF-SHA256), and bound to its record's kind and name and to its own
// name: a value that is moved to another field or record does not open. With each goes
// the [place] of its record, so that credentials are sent nowhere else.
const (
	sealPrefix = "d6tenc2:" // before the base64 of nonce and ciphertext
	sealField  = "d6tenc"   // in the place of what is in an object
	sealInfo   = "d6tpipe settings 2"
)

// A sealer encrypts and decrypts the fields of one record.
type sealer struct {
	kind  string
	names []string // of the record, and of those that it may show fields of, the nearest first
	key   Secret
	aead  cipher.AEAD // nil before it is needed

	place   place            // what is encrypted now belongs to it
	places  map[string]place // by name, of the records that something was decrypted of
	torn    bool             // values of one record are of different places
	foreign map[string]bool  // the fields whose value is another record's
	secrets bool             // credentials were decrypted
}

// ready derives the key.
func (s *sealer) ready() error {
	if s.aead != nil {
		return nil
	}
	if s.key == "" {
		return &FieldError{Field: "key", Reason: "The profile has no key to encrypt with; give it one with the setting key."}
	}
	derived, err := hkdf.Key(sha256.New, []byte(s.key), nil, sealInfo, 32)
	if err != nil {
		return err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return err
	}
	s.aead, err = cipher.NewGCM(block)
	return err
}

// bound is what a value is bound to.
func (s *sealer) bound(name, field string) []byte {
	return []byte(s.kind + "\x00" + name + "\x00" + field)
}

func (s *sealer) close(field string, plain []byte) (string, error) {
	if err := s.ready(); err != nil {
		return "", err
	}
	plain, err := encodeJSON(sealedValue{s.place, plain})
	if err != nil {
		return "", err
	}
	nonce := make([]byte, s.aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	return sealPrefix + base64.RawURLEncoding.EncodeToString(s.aead.Seal(nonce, nonce, plain, s.bound(s.names[0], field))), nil
}

// A sealedValue is what is encrypted.
type sealedValue struct {
	Place place  `json:"place"`
	Value []byte `json:"value"`
}

// open decrypts a value; it may be of any of the fields.
func (s *sealer) open(value string, fields ...string) ([]byte, error) {
	if err := s.ready(); err != nil {
		return nil, err
	}
	bad := &FieldError{Field: fields[0], Reason: "It does not open with the key of this profile, or it is not what was encrypted for this field of this record."}
	data, err := base64.RawURLEncoding.Strict().DecodeString(strings.TrimPrefix(value, sealPrefix))
	if err != nil || len(data) < s.aead.NonceSize() {
		return nil, &kinded{bad, []error{ErrDamaged}}
	}
	nonce, sealed := data[:s.aead.NonceSize()], data[s.aead.NonceSize():]
	for _, field := range fields {
		for _, name := range slices.Compact(slices.Sorted(slices.Values(s.names))) {
			var v sealedValue
			if plain, err := s.aead.Open(nil, nonce, sealed, s.bound(name, field)); err == nil && decodeJSON(plain, &v) == nil {
				s.learn(name, v.Place)
				s.foreign[field] = name != s.names[0]
				return v.Value, nil
			}
		}
	}
	return nil, &kinded{bad, []error{ErrDamaged}}
}

func isSealed(value string) bool { return strings.HasPrefix(value, sealPrefix) }
