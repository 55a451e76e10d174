package s3

import (
	"crypto/md5"
	"encoding/hex"
	"strings"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// object is the one place that knows what an answer's fields mean.
func (s *Store) object(key string, size int64, modified time.Time, etag string) storage.Object {
	obj := storage.Object{Key: key, Size: size, ModTime: modified.UTC(), Tag: trimETag(etag)}
	if !s.opts.NoSums && isMD5(obj.Tag) {
		obj.Sum = md5Prefix + strings.ToLower(obj.Tag)
	}
	return obj
}

const md5Prefix = "md5:"

// isMD5 tells a plain MD5 from the tag of an object of several parts, "<hex>-N".
func isMD5(tag string) bool {
	var sum [md5.Size]byte
	if len(tag) != hex.EncodedLen(len(sum)) {
		return false
	}
	_, err := hex.Decode(sum[:], []byte(tag))
	return err == nil
}
