package transfer

import "github.com/minio/crc64nvme"

// CRC-64/NVME is the checksum that S3 can put together from those of an object's
// parts, and so can we: of a file whose parts arrive in any order it costs no
// second look at the bytes. It finds damage, not malice.

// crcPoly is the polynomial, lowest bit first (NVM Express NVM Command Set
// Specification 1.0d, 5.2.1.3.4).
const crcPoly = 0x9a6c9329ac4bc9b5

// crcJoin returns the sum of the bytes of which a is the sum followed by the n
// bytes of which b is the sum.
func crcJoin(a, b uint64, n int64) uint64 { return crcShift(a, n) ^ b }

// crcShift multiplies by x^8n modulo the polynomial.
func crcShift(crc uint64, n int64) uint64 {
	for bit := 0; n != 0; bit++ {
		if n&1 != 0 {
			crc = crcMul(crcPowers[bit], crc)
		}
		n >>= 1
	}
	return crc
}

// crcPowers are x^(8*2^i) modulo the polynomial.
var crcPowers = func() (p [63]uint64) {
	p[0] = 1 << (63 - 8)
	for i := 1; i < len(p); i++ {
		p[i] = crcMul(p[i-1], p[i-1])
	}
	return p
}()

// crcMul multiplies two polynomials modulo crcPoly; the highest bit is x^0.
func crcMul(a, b uint64) (product uint64) {
	for ; a != 0; a <<= 1 {
		if a>>63 != 0 {
			product ^= b
		}
		if b&1 != 0 {
			b = b>>1 ^ crcPoly
		} else {
			b >>= 1
		}
	}
	return product
}

func crcOf(p []byte) uint64 { return crc64nvme.Checksum(p) }

// A crcWriter is the sum of what was written to it.
type crcWriter uint64

func (w *crcWriter) Write(p []byte) (int, error) {
	*w = crcWriter(crc64nvme.Update(uint64(*w), p))
	return len(p), nil
}
