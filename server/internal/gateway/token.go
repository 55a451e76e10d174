package gateway

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// Temporary keys are not stored anywhere. The access key is random, the secret
// follows from it and the server's master key, and the session token is the grant,
// encrypted and bound to the access key. Who has the master key can check all three.

const (
	maxToken = 3 << 10          // the S3 server takes 8 KiB of headers, and a key may need 3
	skew     = 30 * time.Second // clocks of several servers differ; a key may live so much longer
)

var (
	errToken   = errors.New("the session token is missing or invalid")
	errExpired = errors.New("the session token has expired")
)

var isAccessKey = regexp.MustCompile(`^ASIA[0-9A-F]{16}$`).MatchString

// A masterKey is what follows from one master key.
type masterKey struct {
	Seal []byte `json:"seal"` // encrypts tokens
	Sign []byte `json:"sign"` // makes secrets
}

// A keyring makes keys with the first of its master keys and accepts those of all.
type keyring []masterKey

// newKeyring derives what is needed from the masters, each of 32 bytes or more.
func newKeyring(masters ...[]byte) (keyring, error) {
	var k keyring
	for _, m := range masters {
		if len(m) < 32 {
			return nil, errors.New("a master key of the gateway has less than 32 bytes")
		}
		seal, err := hkdf.Key(sha256.New, m, nil, "d6tpipe gateway: session tokens", 32)
		if err != nil {
			return nil, fmt.Errorf("derive a key: %w", err)
		}
		sign, err := hkdf.Key(sha256.New, m, nil, "d6tpipe gateway: secret access keys", 32)
		if err != nil {
			return nil, fmt.Errorf("derive a key: %w", err)
		}
		k = append(k, masterKey{seal, sign})
	}
	return k, nil
}

// temporary are keys for one grant.
type temporary struct{ access, secret, token string }

// sealedGrant is what a token holds. The names are short because it is sent with
// every request.
type sealedGrant struct {
	Bucket  string      `json:"b"`
	Prefix  string      `json:"p"`
	Write   bool        `json:"w,omitempty"`
	Expires int64       `json:"x"` // Unix seconds
	Filters [][3]string `json:"f,omitempty"`
	Subject string      `json:"s,omitempty"`
}

// mint makes keys for g, which has an end.
func (k keyring) mint(bucket string, g Grant) (temporary, error) {
	sealed := sealedGrant{Bucket: bucket, Prefix: g.Prefix, Write: g.Role == d6tpipe.RoleWrite, Expires: g.Expires.Unix(), Subject: g.Subject}
	for _, f := range g.Filters {
		sealed.Filters = append(sealed.Filters, [3]string{f.Prefix, f.Include, f.Exclude})
	}
	plain, err := json.Marshal(sealed)
	if err != nil {
		return temporary{}, fmt.Errorf("encode a grant: %w", err)
	}
	aead, err := k[0].aead()
	if err != nil {
		return temporary{}, err
	}
	random := make([]byte, 8+aead.NonceSize())
	rand.Read(random)
	id, nonce := random[:8], random[8:]
	access := fmt.Sprintf("ASIA%X", id)
	token := base64.RawURLEncoding.EncodeToString(aead.Seal(nonce, nonce, plain, []byte(access)))
	if len(token) > maxToken {
		return temporary{}, fmt.Errorf("%w: the filters are too long: they would make a token of %d bytes, and %d fit in a request", ErrGrant, len(token), maxToken)
	}
	return temporary{access: access, secret: k[0].secret(access), token: token}, nil
}

// open checks a token and returns the secret of its access key and the grant. The
// error is errToken, or errExpired together with the grant.
func (k keyring) open(access, token string, now time.Time) (secret, bucket string, g Grant, err error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(token) > maxToken || !isAccessKey(access) {
		return "", "", g, errToken
	}
	for _, m := range k {
		aead, err := m.aead()
		if err != nil || len(raw) < aead.NonceSize() {
			return "", "", g, errToken
		}
		plain, err := aead.Open(nil, raw[:aead.NonceSize()], raw[aead.NonceSize():], []byte(access))
		if err != nil {
			continue // perhaps of another master key
		}
		var sealed sealedGrant
		if err := json.Unmarshal(plain, &sealed); err != nil {
			return "", "", g, errToken
		}
		if g = sealed.grant(); now.After(g.Expires.Add(skew)) {
			return "", "", g, errExpired
		}
		return m.secret(access), sealed.Bucket, g, nil
	}
	return "", "", g, errToken
}

func (s sealedGrant) grant() Grant {
	g := Grant{Prefix: s.Prefix, Role: d6tpipe.RoleRead, Expires: time.Unix(s.Expires, 0), Subject: s.Subject}
	if s.Write {
		g.Role = d6tpipe.RoleWrite
	}
	for _, f := range s.Filters {
		g.Filters = append(g.Filters, d6tpipe.Filter{Prefix: f[0], Include: f[1], Exclude: f[2]})
	}
	return g
}

func (m masterKey) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(m.Seal)
	if err != nil {
		return nil, fmt.Errorf("seal tokens: %w", err)
	}
	return cipher.NewGCM(block)
}

// secret is the secret access key of access, in the alphabet of Amazon's.
func (m masterKey) secret(access string) string {
	return base64.StdEncoding.EncodeToString(mac(m.Sign, access))[:40]
}

// signingKey is the key with which the requests of a day are signed. It is the
// second half of Signature Version 4.
func signingKey(secret, date, region, service string) []byte {
	key := mac([]byte("AWS4"+secret), date)
	key = mac(key, region)
	key = mac(key, service)
	return mac(key, "aws4_request")
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// randomName is a name that nothing else has.
func randomName() string {
	b := make([]byte, 8)
	rand.Read(b)
	return hex.EncodeToString(b)
}
