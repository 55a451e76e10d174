package vault

import (
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Cost is what a password hash costs, in argon2id's terms (RFC 9106).
type Cost struct {
	Memory uint32 // KiB; 19456 if 0
	Passes uint32 // 2 if 0
	Lanes  uint8  // threads; 1 if 0
}

func (c Cost) withDefaults() Cost {
	if c.Memory == 0 {
		c.Memory = 19 * 1024
	}
	if c.Passes == 0 {
		c.Passes = 2
	}
	if c.Lanes == 0 {
		c.Lanes = 1
	}
	return c
}

// maxCost bounds what a hash in the database may ask for: who could write one there
// could stop the server with it. It is RFC 9106's choice where memory is scarce,
// and then some.
func maxCost() Cost { return Cost{Memory: 64 * 1024, Passes: 8, Lanes: 8} }

func (c Cost) valid() bool {
	most := maxCost()
	return c.Passes >= 1 && c.Passes <= most.Passes && c.Lanes >= 1 && c.Lanes <= most.Lanes &&
		c.Memory >= 8*uint32(c.Lanes) && c.Memory <= most.Memory
}

// Sizes in bytes.
const (
	saltSize = 16
	hashSize = 32
)

// phc is a password hash as a string of the Password Hashing Competition's form:
// $argon2id$v=19$m=19456,t=2,p=1$salt$hash.
type phc struct {
	cost Cost
	salt []byte
	hash []byte
}

func (p phc) String() string {
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		p.cost.Memory, p.cost.Passes, p.cost.Lanes, enc.EncodeToString(p.salt), enc.EncodeToString(p.hash))
}

// parsePHC is the inverse of String, in the one spelling that String has.
func parsePHC(text string) (phc, error) {
	if len(text) > 256 { // before anything is done with it
		return phc{}, ErrPasswordHash
	}
	var p phc
	parts := strings.Split(text, "$")
	if len(parts) != 6 {
		return phc{}, ErrPasswordHash
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.cost.Memory, &p.cost.Passes, &p.cost.Lanes); err != nil {
		return phc{}, ErrPasswordHash
	}
	var err, hashErr error
	p.salt, err = base64.RawStdEncoding.DecodeString(parts[4])
	p.hash, hashErr = base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || hashErr != nil || len(p.salt) != saltSize || len(p.hash) != hashSize || !p.cost.valid() || p.String() != text {
		return phc{}, ErrPasswordHash
	}
	return p, nil
}
