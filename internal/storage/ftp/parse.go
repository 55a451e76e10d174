package ftp

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// kind is what a name in a folder is.
type kind int

const (
	isOther  kind = iota // a link, a device: nothing of ours
	isFile               // a regular file
	isFolder             // a folder below
	isSelf               // the folder itself, or the one above
)

// An entry is a line of a listing.
type entry struct {
	name   string
	kind   kind
	size   int64
	time   time.Time // UTC; zero when the line has none
	coarse bool      // the time is from LIST
}

func (e entry) object(key string) storage.Object {
	return storage.Object{Key: key, Size: e.size, ModTime: e.time, Tag: e.tag()}
}

// tag is "" without a time: another file may have the same size, and bytes of the two
// would be put together.
func (e entry) tag() string {
	if e.time.IsZero() {
		return ""
	}
	return fmt.Sprintf("%d-%d", e.size, e.time.UnixNano())
}

// isDots reports whether name is that of the folder itself, or of the one above.
func isDots(name string) bool { return name == "." || name == ".." }

// A lineError is a line of a listing that means nothing to us. What it stands for
// would be missing, so that the listing is not used.
type lineError struct{ line string }

func (e *lineError) Error() string {
	return fmt.Sprintf("the server's listing has a line that is not understood: %.200q", e.line)
}

var errFacts = errors.New("facts are missing")

// parseFacts reads a line of MLSD or MLST (RFC 3659): "type=file;size=5; name".
func parseFacts(line string) (e entry, err error) {
	facts, name, ok := strings.Cut(line, " ")
	if !ok || name == "" {
		return entry{}, &lineError{line}
	}
	if isDots(name) { // also where the type is that of any folder: to enter it would lead round in circles, or out
		return entry{name: name, kind: isSelf}, nil
	}
	e = entry{name: name, size: -1, kind: -1}
	for fact := range strings.SplitSeq(strings.TrimSuffix(facts, ";"), ";") {
		if err := e.fact(fact); err != nil {
			return entry{}, &lineError{line}
		}
	}
	if e.kind < 0 || e.kind == isFile && e.size < 0 {
		return entry{}, &lineError{line}
	}
	return e, nil
}

func (e *entry) fact(fact string) (err error) {
	key, value, ok := strings.Cut(fact, "=")
	if !ok {
		return errFacts
	}
	switch strings.ToLower(key) {
	case "type":
		e.kind, err = parseType(strings.ToLower(value))
	case "size":
		e.size, err = parseSize(value)
	case "modify":
		e.time, err = parseTime(value)
	}
	return err
}

func parseType(s string) (kind, error) {
	switch {
	case s == "file":
		return isFile, nil
	case s == "dir":
		return isFolder, nil
	case s == "cdir", s == "pdir":
		return isSelf, nil
	case strings.HasPrefix(s, "os."), s == "link", s == "slink", s == "symlink":
		return isOther, nil
	}
	return 0, errFacts
}

func parseSize(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err == nil && n < 0 {
		err = errFacts
	}
	return n, err
}

// parseTime reads "20261123235951", with a fraction of a second or without.
func parseTime(s string) (time.Time, error) {
	return time.Parse("20060102150405", strings.TrimSpace(s)) // which takes a fraction too
}

// The formats of LIST: ls -l of many systems, and DIR of DOS.
var (
	unixLine = regexp.MustCompile(`^([-a-zA-Z])[-a-zA-Z]{9}[.+@]?\s(?:.*?\s)?(\d+)\s+` +
		`([A-Z][a-z]{2}\s+\d{1,2}\s+(?:\d{1,2}:\d{2}|\d{4})|\d{4}-\d{2}-\d{2} \d{2}:\d{2}) (.+)$`)
	dosLine   = regexp.MustCompile(`^(\d{2}-\d{2}-(?:\d{4}|\d{2})\s+\d{2}:\d{2}(?:[AP]M)?|\d{4}-\d{2}-\d{2}\s+\d{2}:\d{2})\s+(?:(<[A-Z]+>)\s+|(\d+) )(.+)$`)
	totalLine = regexp.MustCompile(`^total \d+$`)
)

// parseLine reads a line of LIST. Lines that stand for nothing are isSelf.
func parseLine(line string, now time.Time) (entry, error) {
	if totalLine.MatchString(line) || line == "" {
		return entry{kind: isSelf}, nil
	}
	e, err := entry{}, error(nil)
	if m := unixLine.FindStringSubmatch(line); m != nil {
		e, err = parseUnix(m, now)
	} else if m := dosLine.FindStringSubmatch(line); m != nil {
		e, err = parseDOS(m)
	} else {
		err = errFacts
	}
	if err != nil {
		return entry{}, &lineError{line}
	}
	if isDots(e.name) {
		e.kind = isSelf
	}
	e.coarse = true
	return e, nil
}

func parseUnix(m []string, now time.Time) (e entry, err error) {
	switch m[1] {
	case "-":
		e.kind = isFile
	case "d":
		e.kind = isFolder
	}
	e.name = m[4]
	if e.size, err = parseSize(m[2]); err != nil {
		return e, err
	}
	date := strings.Join(strings.Fields(m[3]), " ")
	for _, layout := range []string{"Jan 2 2006", "2006-01-02 15:04"} {
		if e.time, err = time.Parse(layout, date); err == nil {
			return e, nil
		}
	}
	e.time, err = parseRecent(date, now)
	return e, err
}

// parseRecent reads a date without a year, which is within the last twelve months;
// a day ahead may be a time zone.
func parseRecent(date string, now time.Time) (time.Time, error) {
	for year := now.Year() + 1; year > now.Year()-9; year-- { // 29 February may be years ago
		t, err := time.Parse("Jan 2 15:04 2006", date+" "+strconv.Itoa(year))
		if err == nil && t.Before(now.AddDate(0, 0, 1)) {
			return t, nil
		}
	}
	return time.Time{}, errFacts
}

func parseDOS(m []string) (e entry, err error) {
	e.name = m[4]
	switch m[2] {
	case "<DIR>":
		e.kind = isFolder
	case "":
		e.kind = isFile
		if e.size, err = parseSize(m[3]); err != nil {
			return e, err
		}
	}
	date := strings.Join(strings.Fields(m[1]), " ")
	for _, layout := range []string{"01-02-06 03:04PM", "01-02-2006 03:04PM", "01-02-06 15:04", "01-02-2006 15:04", "2006-01-02 15:04"} {
		if e.time, err = time.Parse(layout, date); err == nil {
			break
		}
	}
	return e, err
}
