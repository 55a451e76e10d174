package s3

import (
	"encoding/hex"
	"strings"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// object is the one place that knows what an answer's fields mean.
func (s *Store) object(key string, size int64, modified time.Time, etag string) storage.Object {
	obj := storage.Object{Key: key, Size: size, ModTime: modified.UTC(), Tag: trimETag(etag)}
	if !s.opts.NoSums && isMD5(obj.Tag) {
		obj.Sum = "md5:" + strings.ToLower(obj.Tag)
	}
	return obj
}

func trimETag(etag string) string {
	etag = strings.TrimPrefix(etag, "W/")
	return strings.TrimSuffix(strings.TrimPrefix(etag, `"`), `"`)
}

// isMD5 tells a plain MD5 from the tag of an object of several parts, "<hex>-N".
func isMD5(tag string) bool {
	_, err := hex.DecodeString(tag)
	return err == nil && len(tag) == 32
}
