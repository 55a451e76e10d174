// Package checksum computes the sums that remotes vouch for: MD5, SHA-256 and
// CRC-64/NVME, in the spelling of [storage.Object]'s Sum.
package checksum

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/crc64"
	"strings"
)

// A Sum computes the sum of what is written to it and knows what it must be.
type Sum struct {
	hash.Hash
	algorithm, want string
}

// For returns the Sum that checks a value such as "md5:<hex>", nil when sum is ""
// or of an algorithm that is not known here.
func For(sum string) *Sum {
	algorithm, want, _ := strings.Cut(sum, ":")
	h := newHash(algorithm)
	if h == nil {
		return nil
	}
	return &Sum{h, algorithm, want}
}

// Of returns the sum of data by "md5", "sha256" or "crc64nvme", "" for another
// algorithm.
func Of(algorithm string, data []byte) string {
	h := newHash(algorithm)
	if h == nil {
		return ""
	}
	h.Write(data) // never fails
	return algorithm + ":" + hex.EncodeToString(h.Sum(nil))
}

func newHash(algorithm string) hash.Hash {
	switch algorithm {
	case "md5":
		return md5.New()
	case "sha256":
		return sha256.New()
	case "crc64nvme":
		return crc64.New(nvme)
	}
	return nil
}

// nvme is the table of CRC-64/NVME; the polynomial is written in reverse, as
// hash/crc64 has it.
var nvme = crc64.MakeTable(0x9a6c9329ac4bc9b5)

// Check returns an error that names both values when what was written has another
// sum.
func (s *Sum) Check() error {
	if got := hex.EncodeToString(s.Sum(nil)); !strings.EqualFold(got, s.want) {
		return fmt.Errorf("its %s is %s, the remote said %s", s.algorithm, got, s.want)
	}
	return nil
}
