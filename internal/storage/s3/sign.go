package s3

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// What stands in the place of a body's SHA-256.
const (
	unsigned  = "UNSIGNED-PAYLOAD"
	emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

const (
	amzDate = "20060102T150405Z"
	day     = "20060102"
)

// A signer signs requests as AWS Signature Version 4 wants it (AWS, "Signing AWS
// API requests"). The key that follows from the secret is the same for a day.
type signer struct {
	region string

	mu     sync.Mutex
	date   string
	secret string
	key    []byte
}

// sign adds the date, the hash of the body and the signature. Without an access
// key the request stays anonymous.
func (s *signer) sign(req *http.Request, keys credentials.Value, payload string, now time.Time) {
	now = now.UTC()
	req.Header.Set("X-Amz-Content-Sha256", payload)
	if keys.AccessKeyID == "" {
		return
	}
	req.Header.Set("X-Amz-Date", now.Format(amzDate))
	if keys.SessionToken != "" {
		req.Header.Set("X-Amz-Security-Token", keys.SessionToken)
	}
	names, headers := canonicalHeaders(req)
	scope := now.Format(day) + "/" + s.region + "/s3/aws4_request"
	canonical := req.Method + "\n" + req.URL.EscapedPath() + "\n" + req.URL.RawQuery + "\n" + headers + "\n" + names + "\n" + payload
	hash := sha256.Sum256([]byte(canonical))
	text := "AWS4-HMAC-SHA256\n" + now.Format(amzDate) + "\n" + scope + "\n" + hex.EncodeToString(hash[:])
	signature := hex.EncodeToString(mac(s.keyOf(keys.SecretAccessKey, now.Format(day)), text))
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+keys.AccessKeyID+"/"+scope+", SignedHeaders="+names+", Signature="+signature)
}

// canonicalHeaders are the host and all that is Amazon's, sorted.
func canonicalHeaders(req *http.Request) (names, lines string) {
	all := make([]string, 0, 8)
	all = append(all, "host")
	for name := range req.Header {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-amz-") {
			all = append(all, lower)
		}
	}
	slices.Sort(all)
	var b strings.Builder
	for _, name := range all {
		value := req.URL.Host
		if name != "host" {
			value = strings.TrimSpace(req.Header.Get(name))
		}
		b.WriteString(name + ":" + value + "\n")
	}
	return strings.Join(all, ";"), b.String()
}

func (s *signer) keyOf(secret, date string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key == nil || s.date != date || s.secret != secret {
		key := []byte("AWS4" + secret)
		for _, part := range []string{date, s.region, "s3", "aws4_request"} {
			key = mac(key, part)
		}
		s.date, s.secret, s.key = date, secret, key
	}
	return s.key
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
