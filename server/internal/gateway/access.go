package gateway

import (
	"fmt"
	"strings"
	"unicode/utf8"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/storage"
)

// An access is a grant that can be asked.
type access struct {
	prefix string
	write  bool
	match  []func(key string) bool
}

// newAccess checks a grant. The error is an [ErrGrant].
func newAccess(g Grant) (access, error) {
	a := access{prefix: g.Prefix}
	switch g.Role {
	case d6tpipe.RoleRead:
	case d6tpipe.RoleWrite:
		a.write = true
	default:
		return a, fmt.Errorf("%w: the role is read or write, not %q", ErrGrant, g.Role)
	}
	if err := checkPrefix(g.Prefix); err != nil {
		return a, err
	}
	for _, f := range g.Filters {
		if f.Include != "" || f.Exclude != "" {
			a.match = append(a.match, f.Matcher())
		}
	}
	return a, nil
}

func checkPrefix(prefix string) error {
	folder, ok := strings.CutSuffix(prefix, "/")
	if !ok {
		return fmt.Errorf("%w: the folder %q has no slash at its end", ErrGrant, prefix)
	}
	if err := storage.CheckKey(folder); err != nil {
		return fmt.Errorf("%w: the folder: %w", ErrGrant, err)
	}
	if strings.HasPrefix(folder, ".") {
		return fmt.Errorf("%w: the folder %q begins with a dot", ErrGrant, prefix)
	}
	return nil
}

// sees reports whether key, relative to the bucket, is within the grant.
func (a access) sees(key string) bool {
	rel, ok := strings.CutPrefix(key, a.prefix)
	if !ok {
		return false
	}
	if rel == "" { // the folder itself, which some tools store as an object
		return len(a.match) == 0
	}
	for _, match := range a.match {
		if !match(rel) {
			return false
		}
	}
	return true
}

// badKey says why an object may not have this key, relative to the bucket, and ""
// when it may. A slash at the end is allowed: some tools mark folders that way.
// What could be read in two ways is refused, so that all who check a key mean the
// same one.
func badKey(key string) string {
	switch {
	case len(key) > storage.MaxKey:
		return "is longer than 1024 bytes"
	case !utf8.ValidString(key):
		return "is not UTF-8"
	case strings.ContainsFunc(key, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '\\' }):
		return "holds a control character or a backslash"
	}
	for segment := range strings.SplitSeq(strings.TrimSuffix(key, "/"), "/") {
		switch {
		case segment == "":
			return "has an empty segment"
		case segment == "." || segment == "..":
			return "has a segment that is a dot or two"
		case reserved(segment):
			return "has a name that the server uses itself"
		}
	}
	return ""
}

// reserved reports whether the S3 server gives this name to files of its own: the
// folder of what is being uploaded, and what a new version of a file is called for
// a moment.
func reserved(segment string) bool {
	return segment == tmpDir || strings.HasPrefix(segment, ".") && strings.Contains(segment, tmpDir+".")
}

// tmpDir is where the S3 server keeps what is not whole yet, within a bucket.
const tmpDir = ".sgwtmp"
