package s3

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
)

const (
	modeHeader = "X-Amz-Checksum-Mode"
	typeHeader = "X-Amz-Checksum-Type"
	crcHeader  = "X-Amz-Checksum-Crc64nvme"
	shaHeader  = "X-Amz-Checksum-Sha256"
)

// sumIn returns the sum of the whole object that an answer has, "" when it has
// none. One that is put together from those of the parts is of no use, and tells so
// by its type or by a number of parts at its end.
func sumIn(h http.Header) string {
	if kind := h.Get(typeHeader); kind != "" && kind != "FULL_OBJECT" {
		return ""
	}
	for _, c := range []struct {
		header, kind string
		size         int
	}{{crcHeader, "crc64nvme:", 8}, {shaHeader, "sha256:", 32}} {
		if sum, err := base64.StdEncoding.DecodeString(h.Get(c.header)); err == nil && len(sum) == c.size {
			return c.kind + hex.EncodeToString(sum)
		}
	}
	return ""
}

// crcSum is a CRC64NVME as an Object's Sum has it.
func crcSum(crc uint64) string { return fmt.Sprintf("crc64nvme:%016x", crc) }

// crcValue is a sum as a header has it, "" when it is of another kind.
func crcValue(sum string) string {
	digits, ok := strings.CutPrefix(sum, "crc64nvme:")
	raw, err := hex.DecodeString(digits)
	if !ok || err != nil || len(raw) != 8 {
		return ""
	}
	return base64.StdEncoding.EncodeToString(raw)
}
