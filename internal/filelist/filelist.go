// Package filelist is the form in which a listing of a pipe's files goes over the
// wire, a JSON document:
//
//	{"scanned_at": "2026-11-01T12:00:00Z",
//	 "files": [{"key": "a.csv", "size": 3, "modified": "2026-11-01T11:00:00Z", "tag": "...", "sum": "md5:..."}],
//	 "refused": [{"key": "../b", "reason": "leads out of the folder"}],
//	 "complete": true}
//
// Files are sorted by key. Tag and Sum are those of [storage.Object], as the
// storage's driver makes them, so that who scans the storage itself sees the same.
// Complete stands at the end: a document that was cut off is none. Both directions
// hold one file at a time besides the listing.
package filelist

import (
	"bufio"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// A Document is a listing and its time.
type Document struct {
	// ScannedAt is when a scan first saw exactly this, in UTC.
	ScannedAt time.Time
	Listing   storage.Listing
}

// Write writes the document. Equal listings of equal times are equal bytes.
func Write(w io.Writer, d Document) error {
	out := bufio.NewWriterSize(w, 32<<10)
	e := encoder{out: out}
	e.text(`{"scanned_at":`)
	e.time(d.ScannedAt)
	e.text(`,"files":[`)
	first := true
	for obj := range d.Listing.All() {
		e.comma(&first)
		e.file(&obj)
		if e.err != nil {
			return e.err
		}
	}
	e.text(`],"refused":[`)
	first = true
	for _, r := range d.Listing.Refused {
		e.comma(&first)
		e.text("\n" + `{"key":`)
		e.quoted(r.Key)
		e.text(`,"reason":`)
		e.quoted(r.Reason)
		e.text("}")
	}
	e.text("\n" + `],"complete":true}` + "\n")
	e.flush()
	if e.err != nil {
		return e.err
	}
	return out.Flush()
}

// An encoder writes JSON and keeps the first error.
type encoder struct {
	out *bufio.Writer
	buf []byte
	err error
}

func (e *encoder) text(s string) { e.buf = append(e.buf, s...) }

func (e *encoder) comma(first *bool) {
	if !*first {
		e.text(",")
	}
	*first = false
}

// file writes one file on a line of its own, for those who look at the document.
func (e *encoder) file(o *storage.Object) {
	e.text("\n" + `{"key":`)
	e.quoted(o.Key)
	e.text(`,"size":`)
	e.buf = strconv.AppendInt(e.buf, o.Size, 10)
	if year := o.ModTime.Year(); !o.ModTime.IsZero() && year >= 0 && year <= 9999 { // RFC 3339 has no others
		e.text(`,"modified":`)
		e.time(o.ModTime)
	}
	if o.Tag != "" {
		e.text(`,"tag":`)
		e.quoted(o.Tag)
	}
	if o.Sum != "" {
		e.text(`,"sum":`)
		e.quoted(o.Sum)
	}
	e.text("}")
	e.flush()
}

func (e *encoder) flush() {
	if e.err == nil {
		_, e.err = e.out.Write(e.buf)
	}
	e.buf = e.buf[:0]
}

func (e *encoder) time(t time.Time) {
	e.buf = append(e.buf, '"')
	e.buf = t.UTC().AppendFormat(e.buf, time.RFC3339Nano)
	e.buf = append(e.buf, '"')
}

// quoted writes a string. What is no UTF-8 cannot be told in JSON, and only a name
// that is refused can be so.
func (e *encoder) quoted(s string) {
	if isPlain(s) {
		e.buf = append(e.buf, '"')
		e.buf = append(e.buf, s...)
		e.buf = append(e.buf, '"')
		return
	}
	raw, _ := json.Marshal(strings.ToValidUTF8(s, "\ufffd")) // strings always marshal
	e.buf = append(e.buf, raw...)
}

func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
