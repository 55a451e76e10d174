package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strings"
	"time"
)

// A signer makes presigned URLs, AWS Signature Version 4 in the query, for which
// the day's key is computed once.
type signer struct {
	endpoint, host string
	day, stamp     string
	credential     string
	key            []byte
}

func newSigner(endpoint, access, secret string) signer {
	now := time.Now().UTC()
	s := signer{endpoint: endpoint, day: now.Format("20060102"), stamp: now.Format("20060102T150405Z")}
	if u, err := url.Parse(endpoint); err == nil { // a bad one fails in the first request
		s.host = u.Host
	}
	s.credential = url.QueryEscape(access + "/" + s.scope())
	s.key = []byte("AWS4" + secret)
	for _, part := range []string{s.day, "us-east-1", "s3", "aws4_request"} {
		s.key = mac(s.key, part)
	}
	return s
}

func (s signer) scope() string { return s.day + "/us-east-1/s3/aws4_request" }

// url signs one request. The benchmark's keys have no character to escape; more are
// parameters that sort after Amazon's.
func (s signer) url(method, bucket, key string, more ...string) string {
	path := "/" + bucket
	if key != "" {
		path += "/" + key
	}
	query := "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" + s.credential +
		"&X-Amz-Date=" + s.stamp + "&X-Amz-Expires=86400&X-Amz-SignedHeaders=host" + strings.Join(more, "")
	request := strings.Join([]string{method, path, query, "host:" + s.host + "\n", "host", "UNSIGNED-PAYLOAD"}, "\n")
	sum := sha256.Sum256([]byte(request))
	text := strings.Join([]string{"AWS4-HMAC-SHA256", s.stamp, s.scope(), hex.EncodeToString(sum[:])}, "\n")
	return s.endpoint + path + "?" + query + "&X-Amz-Signature=" + hex.EncodeToString(mac(s.key, text))
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
