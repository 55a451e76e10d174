package storage

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// The longest names that every storage and file system of ours can hold.
const (
	// MaxKey is the limit of a key in bytes, which is S3's. A listing need not
	// enter a folder whose key is as long.
	MaxKey     = 1024
	maxSegment = 255 // bytes; what ext4, XFS and most others allow
)

// ownPrefix begins the names that are ours: part files, locks, markers. Nobody
// may place one of them through a remote.
const ownPrefix = ".d6tpipe"

// A KeyError says why a key is refused. It matches [ErrKey] and [fs.ErrInvalid].
type KeyError struct {
	Key    string // as the remote has it; quote it before printing
	Reason string // "ends in a slash", "collides with \"Data.csv\""
}

func (e *KeyError) Error() string { return fmt.Sprintf("%v: %q %s", ErrKey, e.Key, e.Reason) }

// Is reports whether target is [ErrKey] or [fs.ErrInvalid].
func (e *KeyError) Is(target error) bool { return target == ErrKey || target == fs.ErrInvalid }

// CheckKey returns a [*KeyError] when key may not be used, whatever the
// operation. The rules are the same on every system, so that what one machine
// pushes every other can pull:
//
//   - not empty, valid UTF-8, at most 1,024 bytes, each segment at most 255;
//   - relative: no leading slash, no drive ("C:"), no backslash;
//   - no segment that is empty, "." or "..", or ends in a dot or a space
//     (Windows drops those);
//   - no name of a Windows device, with any extension: "CON", "nul.txt", "COM¹";
//   - no control characters, no line or paragraph separators;
//   - no characters that turn the direction of text or cannot be seen at all:
//     what a person reads must be the name. ZWJ and ZWNJ are allowed, because
//     Persian, Indic scripts and emoji need them;
//   - no U+FFFD, which stands where a name was damaged on its way;
//   - no segment that begins with ".d6tpipe" in any case: those names are ours.
//
// It follows that a key may hold a colon elsewhere ("T12:00.csv"); [LocalPath]
// refuses those on Windows only, where a colon names a stream.
func CheckKey(key string) error {
	if reason := unsafeKey(key); reason != "" {
		return &KeyError{Key: key, Reason: reason}
	}
	return nil
}

// LocalPath returns the path of key below a pipe's folder, in the local system's
// spelling. It is the only way from a key to a local file, and its result is for
// use with an [os.Root], which also keeps symbolic links from leading elsewhere.
// The error is a [*KeyError].
func LocalPath(key string) (string, error) {
	if err := CheckKey(key); err != nil {
		return "", err
	}
	path, err := filepath.Localize(key)
	if err != nil {
		return "", &KeyError{Key: key, Reason: "is no file name on this system"}
	}
	return path, nil
}

func unsafeKey(key string) string {
	switch {
	case key == "":
		return "is empty"
	case len(key) > MaxKey:
		return "is longer than 1024 bytes"
	case !utf8.ValidString(key):
		return "is not UTF-8"
	case key[0] == '/':
		return "is absolute"
	case key[len(key)-1] == '/':
		return "ends in a slash"
	}
	if reason := unsafeRunes(key); reason != "" {
		return reason
	}
	for rest, more := key, true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		if reason := unsafeSegment(segment); reason != "" {
			return reason
		}
	}
	return ""
}

func unsafeRunes(key string) string {
	if isASCII(key) {
		return unsafeBytes(key)
	}
	for _, r := range key {
		switch {
		case r == '\\':
			return "holds a backslash"
		case r < 0x20, r >= 0x7f && r < 0xa0, r == 0x2028, r == 0x2029:
			return "holds a control character"
		case r == utf8.RuneError:
			return "holds a replacement character: the remote could not spell the name"
		case r > 0xff && hidden(r):
			return "holds an invisible character"
		}
	}
	return ""
}

// unsafeBytes is unsafeRunes for nearly all names.
func unsafeBytes(key string) string {
	for i := range len(key) {
		switch c := key[i]; {
		case c == '\\':
			return "holds a backslash"
		case c < 0x20, c == 0x7f:
			return "holds a control character"
		}
	}
	return ""
}

// hidden reports the bidirectional controls and the characters of no width and
// no use in a name (Unicode 16, chapter 23).
func hidden(r rune) bool {
	switch {
	case r == 0x061c, r == 0x180e, r == 0xfeff:
		return true
	case r == 0x200b, r == 0x200e, r == 0x200f:
		return true
	case r >= 0x202a && r <= 0x202e, r >= 0x2060 && r <= 0x206f:
		return true
	}
	return r >= 0xfff9 && r <= 0xfffb
}

func unsafeSegment(s string) string {
	switch {
	case s == "":
		return "has an empty segment"
	case s == "." || s == "..":
		return "has a segment " + s
	case len(s) > maxSegment:
		return "has a segment longer than 255 bytes"
	case s[len(s)-1] == '.' || s[len(s)-1] == ' ':
		return "has a segment that ends in a dot or a space"
	case len(s) > 1 && s[1] == ':' && isLetter(s[0]):
		return "names a drive"
	case device(s):
		return "names a Windows device"
	case own(s):
		return "is a name of d6tpipe's own"
	}
	return ""
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// device reports what Windows takes for a device, whatever follows the first dot
// or colon and however many spaces stand before it.
func device(s string) bool {
	s, _, _ = strings.Cut(s, ".")
	s, _, _ = strings.Cut(s, ":")
	s = strings.TrimRight(s, " ")
	switch len(s) {
	case 3:
		return anyFold(s, "CON", "PRN", "AUX", "NUL")
	case 4:
		return anyFold(s[:3], "COM", "LPT") && '0' <= s[3] && s[3] <= '9'
	case 5:
		return anyFold(s[:3], "COM", "LPT") && (s[3:] == "¹" || s[3:] == "²" || s[3:] == "³")
	case 6, 7:
		return anyFold(s, "CONIN$", "CONOUT$")
	}
	return false
}

func anyFold(s string, names ...string) bool {
	for _, name := range names {
		if strings.EqualFold(s, name) {
			return true
		}
	}
	return false
}

// own looks through the joiners, which some file systems ignore in names (HFS+;
// git's CVE-2014-9390 went the same way).
func own(s string) bool {
	if s[0] != '.' && s[0] < utf8.RuneSelf {
		return false
	}
	if !isASCII(s) {
		s = joiners.Replace(s)
	}
	return len(s) >= len(ownPrefix) && strings.EqualFold(s[:len(ownPrefix)], ownPrefix)
}
