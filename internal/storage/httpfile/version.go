package httpfile

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// A version is what an answer tells of the whole file.
type version struct {
	etag     string // strong, with its quotes; or ""
	modified time.Time
	size     int64
}

// versionOf reads the headers. The size is that of the whole, whatever part of it
// the answer is.
func versionOf(header http.Header, size int64) version {
	v := version{size: size}
	if tag := header.Get("ETag"); len(tag) > 2 && tag[0] == '"' && tag[len(tag)-1] == '"' {
		v.etag = tag // a weak one may be the same for other bytes
	}
	if t, err := http.ParseTime(header.Get("Last-Modified")); err == nil {
		v.modified = t.UTC()
	}
	return v
}

// tag is the Tag of an object without a sum; "" when only the size is known: another
// file may have it too, and bytes of the two would be put together.
func (v version) tag() string {
	switch {
	case v.validator() == "":
		return ""
	case v.etag != "":
		return v.etag
	}
	return v.validator() + strconv.FormatInt(v.size, 10)
}

// validator is what tells versions of equal size apart; "" is nothing.
func (v version) validator() string {
	switch {
	case v.etag != "":
		return v.etag
	case !v.modified.IsZero():
		return fmt.Sprintf("%d-", v.modified.Unix())
	}
	return ""
}

// ofSum reports whether a tag is a sum of the manifest.
func ofSum(tag string) bool {
	return strings.HasPrefix(tag, "sha256:") || strings.HasPrefix(tag, "md5:")
}

// check makes sure that an answer is of the version that obj is of.
func (s *Store) check(obj storage.Object, v version) error {
	switch {
	case obj.Tag == "":
		return nil
	case obj.Size != v.size:
		return storage.ErrChanged
	case ofSum(obj.Tag):
		return s.seen.check(obj.Key+" "+obj.Tag, v.validator())
	case obj.Tag != v.tag():
		return storage.ErrChanged
	}
	return nil
}

// maxValidators is more than the files that are read at a time, by far.
const maxValidators = 4096

// validators remember of which version the first answer for an object was. An
// object that is forgotten, which takes thousands of others, begins anew.
type validators struct {
	mu    sync.Mutex
	first map[string]string
}

func (s *validators) check(object, validator string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if first, ok := s.first[object]; ok {
		if first != validator {
			return storage.ErrChanged
		}
		return nil
	}
	if s.first == nil {
		s.first = map[string]string{}
	}
	for old := range s.first {
		if len(s.first) < maxValidators {
			break
		}
		delete(s.first, old)
	}
	s.first[object] = validator
	return nil
}
