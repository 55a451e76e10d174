package s3

import (
	"bytes"
	"strconv"
	"strings"
)

// scanPage reads a page as S3 servers write them, many times faster than package
// encoding/xml does: listings are what a sync with nothing to do is made of. It
// returns false for whatever it does not know for certain to mean the same to that
// package, which then has the word.
func scanPage(body []byte) (*page, bool) {
	s := scanner{body}
	p := &page{}
	ok := s.root("ListBucketResult") && s.children("ListBucketResult", func(name []byte) bool {
		switch string(name) {
		case "Contents":
			p.Contents = append(p.Contents, entry{})
			return s.entry(&p.Contents[len(p.Contents)-1])
		case "EncodingType":
			return s.once(name, &p.EncodingType)
		case "NextContinuationToken":
			return s.once(name, &p.NextContinuationToken)
		case "IsTruncated":
			text, ok := s.text(name)
			truncated := text == "true"
			ok = ok && p.IsTruncated == nil && (truncated || text == "false")
			p.IsTruncated = &truncated
			return ok
		}
		return s.skip(name, 0)
	})
	return p, ok
}

func (s *scanner) entry(e *entry) bool {
	return s.children("Contents", func(name []byte) bool {
		switch string(name) {
		case "Key":
			return s.once(name, &e.Key)
		case "ETag":
			return s.once(name, &e.ETag)
		case "LastModified":
			text, ok := s.text(name)
			return ok && e.LastModified.IsZero() && e.LastModified.UnmarshalText([]byte(text)) == nil
		case "Size":
			text, ok := s.text(name)
			size, err := strconv.ParseUint(text, 10, 63)
			ok = ok && e.Size == nil && err == nil
			n := int64(size)
			e.Size = &n
			return ok
		}
		return s.skip(name, 0)
	})
}

// A scanner goes through XML of a plain kind: elements without attributes, and texts
// of printable ASCII.
type scanner struct{ rest []byte }

// root goes into the outermost element.
func (s *scanner) root(name string) bool {
	if after, ok := bytes.CutPrefix(s.rest, []byte(`<?xml version="1.0" encoding="UTF-8"?>`)); ok {
		s.rest = after
	}
	text, tag, ok := s.next()
	tag, namespace, has := bytes.Cut(tag, []byte(` xmlns="`))
	if has {
		namespace, has = bytes.CutSuffix(namespace, []byte{'"'})
		ok = ok && has && plain(namespace) && !bytes.ContainsAny(namespace, `"&`)
	}
	return ok && blank(text) && string(tag) == name
}

// next returns what stands before the next tag, and the tag.
func (s *scanner) next() (text, tag []byte, ok bool) {
	text, rest, ok := bytes.Cut(s.rest, []byte{'<'})
	if !ok {
		return nil, nil, false
	}
	tag, s.rest, ok = bytes.Cut(rest, []byte{'>'})
	return text, tag, ok
}

// children calls visit at the beginning of each element in parent; visit goes on to
// its end.
func (s *scanner) children(parent string, visit func(name []byte) bool) bool {
	for {
		text, tag, ok := s.next()
		switch {
		case !ok || !blank(text):
			return false
		case ends(tag, parent):
			return true
		case string(tag) == "Prefix/": // as Amazon has it
		case !isName(tag) || !visit(tag):
			return false
		}
	}
}

// text reads an element that has nothing but a text.
func (s *scanner) text(name []byte) (string, bool) {
	text, tag, ok := s.next()
	if !ok || !ends(tag, string(name)) || !plain(text) {
		return "", false
	}
	return unescaped(text)
}

// once is text for an element that must not be there twice.
func (s *scanner) once(name []byte, to *string) bool {
	if *to != "" {
		return false
	}
	var ok bool
	*to, ok = s.text(name)
	return ok
}

// skip goes to the end of an element.
func (s *scanner) skip(name []byte, depth int) bool {
	for {
		text, tag, ok := s.next()
		switch {
		case !ok || !plain(text) || depth > 4:
			return false
		case ends(tag, string(name)):
			_, ok = unescaped(text)
			return ok
		case !blank(text) || !isName(tag) || !s.skip(tag, depth+1):
			return false
		}
	}
}

func ends(tag []byte, name string) bool {
	return len(tag) == len(name)+1 && tag[0] == '/' && string(tag[1:]) == name
}

func isName(tag []byte) bool {
	for _, c := range tag {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return len(tag) > 0
}

func blank(text []byte) bool { return len(bytes.Trim(text, " \n\t")) == 0 }

func plain(text []byte) bool {
	for _, c := range text {
		if c < ' ' || c > '~' || c == '>' {
			return false
		}
	}
	return true
}

// unescaped replaces the five names that XML has for characters, and those of the
// quote by its number.
func unescaped(text []byte) (string, bool) {
	if bytes.IndexByte(text, '&') < 0 {
		return string(text), true
	}
	var b strings.Builder
	for {
		before, rest, found := bytes.Cut(text, []byte{'&'})
		b.Write(before)
		if !found {
			return b.String(), true
		}
		name, after, ok := bytes.Cut(rest, []byte{';'})
		c, known := entities[string(name)]
		if !ok || !known {
			return "", false
		}
		b.WriteByte(c)
		text = after
	}
}

var entities = map[string]byte{"amp": '&', "lt": '<', "gt": '>', "quot": '"', "apos": '\'', "#34": '"', "#39": '\''}
