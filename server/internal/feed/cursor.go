// Package feed is the form of a pipe's change feed: what one listing of the pipe has
// that the last one had not, rows that hold such changes, and the cursors that mark a
// place among them. Where rows are kept is somebody else's business.
package feed

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// A Cursor is a place in a feed: all before it was read.
type Cursor struct {
	// Epoch is that of the feed. One that begins anew gets another.
	Epoch string
	// Seq is the row that comes next, and Done is how many changes of it come before.
	Seq  int64
	Done int
	// At is when the row was appended that the last change before the place is in. A
	// database that was set back to an earlier state grows other rows of the same
	// numbers: it tells that.
	At int64
}

// ErrCursor says that a text is no cursor.
var ErrCursor = errors.New("this is no cursor")

// cursors are what [Cursor.String] writes.
var cursors = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^1-[a-z0-9]{1,40}-(0|[1-9][0-9]{0,18})-(0|[1-9][0-9]{0,8})-(0|[1-9][0-9]{0,18})$`)
})

// String returns the text that [Parse] reads: of letters, digits and hyphens.
func (c Cursor) String() string { return fmt.Sprintf("1-%s-%d-%d-%d", c.Epoch, c.Seq, c.Done, c.At) }

// Parse reads a cursor, or returns [ErrCursor].
func Parse(text string) (c Cursor, err error) {
	if len(text) > 128 || !cursors().MatchString(text) {
		return c, ErrCursor
	}
	parts := strings.Split(text, "-")
	c.Epoch = parts[1]
	for i, field := range []*int64{&c.Seq, nil, &c.At} {
		if field == nil {
			continue
		}
		if *field, err = strconv.ParseInt(parts[2+i], 10, 64); err != nil || *field == math.MaxInt64 {
			return Cursor{}, ErrCursor
		}
	}
	c.Done, err = strconv.Atoi(parts[3]) // nine digits at most
	if err != nil {
		return Cursor{}, ErrCursor
	}
	return c, nil
}
