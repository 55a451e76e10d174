package vault

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"

	"github.com/d6t/d6tpipe-go"
)

// tokenSize is the size of a token's randomness in bytes.
const tokenSize = 32

// NewToken returns 256 random bits as 43 characters that need no escaping in a
// URL or a header. Nothing about its owner is in it.
func NewToken() d6tpipe.Secret {
	data := make([]byte, tokenSize)
	_, _ = rand.Read(data) // it never fails, says package rand
	return d6tpipe.Secret(base64.RawURLEncoding.EncodeToString(data))
}

// Hash returns what to store of a token and to look it up by: 64 hex digits,
// whatever the token is. A fast hash does for what nobody can guess, and a look-up
// by it tells, by its time, nothing of the token.
func Hash(token d6tpipe.Secret) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}
