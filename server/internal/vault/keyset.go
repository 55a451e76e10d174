package vault

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/aesgcm"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/insecuresecretdataaccess"
	"github.com/tink-crypto/tink-go/v2/key"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/secretdata"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// rawSize is the size of a key that is given as such, in bytes.
const rawSize = 32

// ring is a set of keys. It does not change: a rotation makes a new one.
type ring struct {
	handle  *keyset.Handle
	aead    tink.AEAD
	primary uint32             // seals
	keys    map[uint32]key.Key // open
}

// newRing makes a ring of one new key.
func newRing() (*ring, error) {
	return rotated(keyset.NewManager())
}

// rotate returns a ring with a new primary key beside those of r.
func (r *ring) rotate() (*ring, error) {
	return rotated(keyset.NewManagerFromHandle(r.handle))
}

func rotated(m *keyset.Manager) (*ring, error) {
	id, err := m.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, err
	}
	if err := m.SetPrimary(id); err != nil {
		return nil, err
	}
	return managed(m)
}

// without returns r without some keys, none of which may be the primary one.
func (r *ring) without(ids []uint32) (*ring, error) {
	m := keyset.NewManagerFromHandle(r.handle)
	for _, id := range ids {
		if err := m.Delete(id); err != nil {
			return nil, err
		}
	}
	return managed(m)
}

// sealer seals with one of the keys.
func (r *ring) sealer(id uint32) (tink.AEAD, error) {
	if id == r.primary {
		return r.aead, nil
	}
	m := keyset.NewManagerFromHandle(r.handle)
	if err := m.SetPrimary(id); err != nil {
		return nil, err
	}
	first, err := managed(m)
	if err != nil {
		return nil, err
	}
	return first.aead, nil
}

func managed(m *keyset.Manager) (*ring, error) {
	h, err := m.Handle()
	if err != nil {
		return nil, err
	}
	return ringOf(h)
}

// ringOf takes keys of the one kind that this package makes: a key of another kind
// may not write its id into what it seals, or may be weaker.
func ringOf(h *keyset.Handle) (*ring, error) {
	r := &ring{handle: h, keys: map[uint32]key.Key{}}
	for i := range h.Len() {
		e, err := h.Entry(i)
		if err != nil {
			return nil, err
		}
		if !ourKind(e.Key()) {
			return nil, fmt.Errorf("%w: key %d is not of Tink's kind AES256_GCM", ErrKeyFormat, e.KeyID())
		}
		if e.KeyStatus() == keyset.Enabled {
			r.keys[e.KeyID()] = e.Key()
		}
		if e.IsPrimary() {
			r.primary = e.KeyID()
		}
	}
	var err error
	r.aead, err = aead.New(h)
	return r, err
}

func ourKind(k key.Key) bool {
	p, ok := k.Parameters().(*aesgcm.Parameters)
	return ok && p.KeySizeInBytes() == rawSize && p.Variant() == aesgcm.VariantTink
}

// ids are those of all keys, also of those that somebody has switched off.
func (r *ring) ids() (ids []uint32) {
	for _, info := range r.handle.KeysetInfo().GetKeyInfo() {
		ids = append(ids, info.GetKeyId())
	}
	return ids
}

// related tells whether the rings have a key in common, as what a rotation
// replaces and what it leaves have.
func (r *ring) related(other *ring) bool {
	for id, k := range r.keys {
		if o, ok := other.keys[id]; ok && k.Equal(o) {
			return true
		}
	}
	return false
}

// text returns the keys as Tink's JSON.
func (r *ring) text() ([]byte, error) {
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(r.handle, keyset.NewJSONWriter(&b)); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// parseRing reads the forms that [Source] describes. Its errors quote nothing of
// the text, so what parsers say, who often quote it, is not in them.
func parseRing(text []byte) (*ring, error) {
	words := strings.FieldsFunc(string(text), func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) })
	if len(words) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrKeyFormat)
	}
	if strings.HasPrefix(words[0], "{") {
		return parseJSON(text)
	}
	// One in 250 random keys begins like JSON too, but no keyset is as short as a key.
	if data, err := decodeKey(words[0]); err == nil && len(data) > rawSize && bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) && len(words) == 1 {
		return parseJSON(data)
	}
	return parseRaw(words)
}

func parseJSON(text []byte) (*ring, error) {
	h, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(text)))
	if err != nil {
		return nil, fmt.Errorf("%w: it begins like a Tink keyset in JSON, but is none that can be read (an encrypted one cannot)", ErrKeyFormat)
	}
	return ringOf(h)
}

// parseRaw makes a ring of keys that are given as such; the first is the primary one.
func parseRaw(words []string) (*ring, error) {
	m := keyset.NewManager()
	for i, word := range words {
		data, err := decodeKey(word)
		if err != nil || len(data) != rawSize {
			return nil, fmt.Errorf("%w: it is neither %d bytes in base64 (openssl rand -base64 %[2]d) nor a Tink keyset in JSON", ErrKeyFormat, rawSize)
		}
		k, err := rawKey(data)
		if err != nil {
			return nil, err
		}
		id, err := m.AddKey(k)
		if err != nil {
			return nil, fmt.Errorf("%w: the same key stands there twice", ErrKeyFormat)
		}
		if i > 0 {
			continue
		}
		if err := m.SetPrimary(id); err != nil {
			return nil, err
		}
	}
	return managed(m)
}

// rawKey gives a key the id that follows from it, so that its values are known
// for its own wherever it is given.
func rawKey(data []byte) (*aesgcm.Key, error) {
	params, err := aesgcm.NewParameters(aesgcm.ParametersOpts{
		KeySizeInBytes: rawSize, IVSizeInBytes: 12, TagSizeInBytes: 16, Variant: aesgcm.VariantTink,
	})
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, data)
	mac.Write([]byte("d6tpipe key id"))
	id := binary.BigEndian.Uint32(mac.Sum(nil))
	return aesgcm.NewKey(secretdata.NewBytesFromData(data, insecuresecretdataaccess.Token{}), id, params)
}

// decodeKey takes base64 of either alphabet, padded or not.
func decodeKey(word string) ([]byte, error) {
	word = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(word, "="))
	return base64.RawStdEncoding.Strict().DecodeString(word)
}
