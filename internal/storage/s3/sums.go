package s3

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"

	"github.com/minio/minio-go/v7"
)

const (
	modeHeader = "X-Amz-Checksum-Mode"
	typeHeader = "X-Amz-Checksum-Type"
	crcHeader  = "X-Amz-Checksum-Crc64nvme"
	shaHeader  = "X-Amz-Checksum-Sha256"
)

// askForSum asks for the sum of an object with the answer.
func askForSum(h http.Header, sums bool) {
	if sums {
		h.Set(modeHeader, "ENABLED")
	}
}

// withSums calls try with headers about sums and, when these may be what the remote
// refuses, once more without them. If that settles it they are left out from then on.
// A remote that has ever answered with a sum knows them.
func (s *Store) withSums(try func(sums bool) error) error {
	if s.learnt.plain.Load() {
		return try(false)
	}
	err := try(true)
	if s.learnt.sums.Load() || !mayRefuseSums(err) {
		return err
	}
	err = try(false)
	switch no := minio.ToErrorResponse(err); {
	case err == nil, no.StatusCode == http.StatusNotFound, no.StatusCode == http.StatusPreconditionFailed:
		s.learnt.plain.Store(true)
	}
	return err
}

// mayRefuseSums reports whether an answer may be that of a remote which does not
// know the headers. Sums that are wrong have other codes, such as BadDigest.
func mayRefuseSums(err error) bool {
	no := minio.ToErrorResponse(err)
	switch no.StatusCode {
	case http.StatusNotImplemented:
		return true
	case http.StatusBadRequest:
		return no.Code == "InvalidArgument" || no.Code == "InvalidRequest" || no.Code == badRequest
	}
	return false
}

// learn notes what an answer that says yes shows of the remote.
func (s *Store) learn(asked, answered http.Header) {
	if answered.Get(crcHeader) != "" && !s.learnt.sums.Load() {
		s.learnt.sums.Store(true)
	}
	if asked.Get(crcHeader) != "" && !s.learnt.probed.Load() {
		s.learnt.probed.Store(true)
	}
}

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
