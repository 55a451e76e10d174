// Package webhook signs messages, and verifies signatures, as the Standard Webhooks
// specification says in version 1.0.0: https://www.standardwebhooks.com. Who sends and
// who receives know the rule from here.
package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"
)

// The headers of a message.
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"
)

// Tolerance is how far the time of a message may be from that of who receives it, in
// either direction.
const Tolerance = 5 * time.Minute

const (
	prefix    = "whsec_"
	scheme    = "v1," // HMAC-SHA256; v1a is Ed25519
	newSecret = 32
	minSecret = 24
	maxSecret = 64
)

// ErrSecret says that a text is no secret of the specification.
var ErrSecret = errors.New("a webhook's secret is whsec_ and 24 to 64 bytes in base64")

// NewSecret returns a secret that nobody can guess.
func NewSecret() string {
	data := make([]byte, newSecret)
	_, _ = rand.Read(data) // it never fails, says package rand
	return prefix + base64.StdEncoding.EncodeToString(data)
}

// ParseSecret returns the key of a secret, which may lack its prefix as with other
// libraries. The error is [ErrSecret], without the secret.
func ParseSecret(text string) ([]byte, error) {
	key, err := base64.StdEncoding.Strict().DecodeString(strings.TrimPrefix(text, prefix))
	if err != nil || strings.ContainsAny(text, "\r\n") || len(key) < minSecret || len(key) > maxSecret {
		return nil, ErrSecret
	}
	return key, nil
}

// Timestamp is a time as the header has it.
func Timestamp(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }

// Sign returns the header with the signatures of a message, one by each key. The id
// must not have a full stop.
func Sign(id, timestamp string, body []byte, keys ...[]byte) string {
	signatures := make([]string, len(keys))
	for i, key := range keys {
		signatures[i] = scheme + base64.StdEncoding.EncodeToString(sum(id, timestamp, body, key))
	}
	return strings.Join(signatures, " ")
}

// Verify reports whether one of the signatures in a header is by one of the keys. It
// takes the same time whatever a signature of the right length says.
func Verify(header, id, timestamp string, body []byte, keys ...[]byte) bool {
	var said [][]byte
	for part := range strings.FieldsSeq(header) {
		text, ok := strings.CutPrefix(part, scheme)
		if !ok {
			continue // another scheme
		}
		if mac, err := base64.StdEncoding.Strict().DecodeString(text); err == nil && len(said) < maxSignatures {
			said = append(said, mac)
		}
	}
	good := false
	for _, key := range keys {
		want := sum(id, timestamp, body, key)
		for _, mac := range said {
			good = hmac.Equal(mac, want) || good
		}
	}
	return good
}

// maxSignatures is how many of a header are looked at.
const maxSignatures = 16

func sum(id, timestamp string, body, key []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + timestamp + ".")) // a hash never fails
	mac.Write(body)
	return mac.Sum(nil)
}
