package s3

import (
	"bytes"
	"encoding/xml"
	"errors"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// A page is an answer to ListObjectsV2. Its names share the memory of the answer.
type page struct {
	truncated *bool
	token     string
	escaped   bool // the keys, for a URL
	entries   []entry
}

type entry struct {
	key, tag []byte // the tag without its quotes
	modified time.Time
	size     int64 // -1 when the page does not say it
}

// parse reads a page and makes sure that it says all that it must. What it had is
// overwritten.
func (p *page) parse(body []byte) error {
	if !p.scan(body) {
		if err := p.unmarshal(body); err != nil {
			return errNoListing
		}
	}
	if p.truncated == nil {
		return errNoEnd
	}
	for i := range p.entries {
		if p.entries[i].size < 0 {
			return errNoLength
		}
	}
	return nil
}

// unmarshal reads any XML.
func (p *page) unmarshal(body []byte) error {
	var x struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		EncodingType          string
		IsTruncated           *bool
		NextContinuationToken string
		Contents              []struct {
			Key          []byte
			LastModified time.Time
			ETag         []byte
			Size         *int64
		}
	}
	if err := xml.Unmarshal(body, &x); err != nil {
		return err
	}
	*p = page{x.IsTruncated, x.NextContinuationToken, x.EncodingType == "url", p.entries[:0]}
	for _, c := range x.Contents {
		e := entry{c.Key, trimETag(c.ETag), c.LastModified, -1}
		if c.Size != nil {
			e.size = *c.Size
		}
		p.entries = append(p.entries, e)
	}
	return nil
}

// objects returns the entries as objects. Their texts are parts of one: they are kept
// by the million, and small strings take twice their room. The MD5 that most tags are
// comes with its name before it, so that a Sum is no other text.
func (p *page) objects(objects []storage.Object, sums bool) ([]storage.Object, error) {
	size := 0
	for i := range p.entries {
		size += len(p.entries[i].key) + len(md5Prefix) + len(p.entries[i].tag)
	}
	var texts strings.Builder
	texts.Grow(size)
	objects = objects[:0]
	for i := range p.entries {
		e := &p.entries[i]
		start := texts.Len()
		if err := p.writeKey(&texts, e.key); err != nil {
			return nil, err
		}
		middle := texts.Len()
		texts.WriteString(md5Prefix)
		texts.Write(e.tag)
		all := texts.String() // grown once, so that the parts share its memory
		o := storage.Object{Key: all[start:middle], Size: e.size, ModTime: e.modified.UTC(), Tag: all[middle+len(md5Prefix):]}
		if sums && isMD5(o.Tag) {
			o.Sum = strings.ToLower(all[middle:]) // which is the same text when there is nothing to lower
		}
		objects = append(objects, o)
	}
	return objects, nil
}

func (p *page) writeKey(to *strings.Builder, key []byte) error {
	if !p.escaped || bytes.IndexByte(key, '%') < 0 && bytes.IndexByte(key, '+') < 0 {
		to.Write(key)
		return nil
	}
	plain, err := url.QueryUnescape(string(key))
	if err != nil {
		return errors.New("the remote lists a name that is not escaped")
	}
	to.WriteString(plain)
	return nil
}

func trimETag[T string | []byte](etag T) T {
	s := string(etag)
	start := len(s) - len(strings.TrimPrefix(strings.TrimPrefix(s, "W/"), `"`))
	end := start + len(strings.TrimSuffix(s[start:], `"`))
	return etag[start:end]
}

// scan reads a page as nearly all servers write it, in a tenth of the time that
// encoding/xml takes and without its garbage. It reports false for one that it is
// not sure of: whatever has more of XML than elements with plain text.
func (p *page) scan(body []byte) bool {
	*p = page{entries: p.entries[:0]}
	s := scanner{rest: body}
	if !s.plain() {
		return false
	}
	s.prolog()
	for name := s.open(); name != nil && !s.failed; name = s.open() {
		switch string(name) {
		case "EncodingType":
			p.escaped = string(s.text(name)) == "url"
		case "IsTruncated":
			p.truncated = s.bool(name)
		case "NextContinuationToken":
			p.token = string(s.text(name))
		case "Contents":
			p.entries = append(p.entries, s.entry())
		default:
			s.skip(name, 1)
		}
	}
	s.close([]byte("ListBucketResult"))
	return !s.failed
}

// A scanner reads what is left of a page. Once it has failed, it says nothing more.
type scanner struct {
	rest   []byte
	failed bool
}

// plain reports whether there are only characters of which one is one byte.
func (s *scanner) plain() bool {
	for _, c := range s.rest {
		if c >= utf8.RuneSelf || c < ' ' && c != '\n' && c != '\t' {
			return false
		}
	}
	return true
}

func (s *scanner) fail() { s.failed, s.rest = true, nil }

func (s *scanner) skipSpace() {
	for len(s.rest) > 0 && (s.rest[0] == ' ' || s.rest[0] == '\n' || s.rest[0] == '\t') {
		s.rest = s.rest[1:]
	}
}

func (s *scanner) accept(text string) bool {
	rest, ok := bytes.CutPrefix(s.rest, []byte(text))
	s.rest = rest
	return ok
}

// prolog reads the first tag, and what stands before it.
func (s *scanner) prolog() {
	_ = s.accept(`<?xml version="1.0" encoding="UTF-8"?>`) // or there is none
	s.skipSpace()
	if !s.accept("<ListBucketResult") {
		s.fail()
		return
	}
	if s.accept(` xmlns="`) {
		end := bytes.IndexByte(s.rest, '"')
		if end < 0 || bytes.ContainsAny(s.rest[:end], "<>&") {
			s.fail()
			return
		}
		s.rest = s.rest[end+1:]
	}
	if !s.accept(">") {
		s.fail()
	}
}

// open reads the next opening tag and returns its name, nil before a closing one.
func (s *scanner) open() []byte {
	s.skipSpace()
	for s.accept("<Prefix/>") { // as Amazon has it
		s.skipSpace()
	}
	if len(s.rest) < 2 || s.rest[0] != '<' {
		s.fail()
		return nil
	}
	if s.rest[1] == '/' {
		return nil
	}
	end := 1
	for end < len(s.rest) && isName(s.rest[end]) {
		end++
	}
	if end == 1 || end == len(s.rest) || s.rest[end] != '>' || !isLetter(s.rest[1]) {
		s.fail()
		return nil
	}
	name := s.rest[1:end]
	s.rest = s.rest[end+1:]
	return name
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isName(c byte) bool   { return isLetter(c) || '0' <= c && c <= '9' }

// close reads the closing tag of name.
func (s *scanner) close(name []byte) {
	s.skipSpace()
	n := len(name)
	if len(s.rest) < n+3 || s.rest[0] != '<' || s.rest[1] != '/' || !bytes.Equal(s.rest[2:2+n], name) || s.rest[2+n] != '>' {
		s.fail()
		return
	}
	s.rest = s.rest[n+3:]
}

// text reads plain text and the closing tag behind it.
func (s *scanner) text(name []byte) []byte {
	raw := s.raw(name)
	if bytes.IndexByte(raw, '&') >= 0 {
		s.fail()
	}
	return raw
}

// raw is text that may have entities.
func (s *scanner) raw(name []byte) []byte {
	end := bytes.IndexByte(s.rest, '<')
	if end < 0 || bytes.IndexByte(s.rest[:end], '>') >= 0 {
		s.fail()
		return nil
	}
	raw := s.rest[:end]
	s.rest = s.rest[end:]
	s.close(name)
	return raw
}

func (s *scanner) bool(name []byte) *bool {
	text := string(s.text(name))
	value := text == "true"
	if !value && text != "false" {
		s.fail()
	}
	return &value
}

// number reads one of few enough digits.
func (s *scanner) number(name []byte) (n int64) {
	text := s.text(name)
	if len(text) == 0 || len(text) > 18 {
		s.fail()
	}
	for _, c := range text {
		if c < '0' || c > '9' {
			s.fail()
		}
		n = 10*n + int64(c-'0')
	}
	return n
}

func (s *scanner) time(name []byte) (t time.Time) {
	if t.UnmarshalText(s.text(name)) != nil {
		s.fail()
	}
	return t
}

// etag reads a tag, the quotes of which are entities at most servers.
func (s *scanner) etag(name []byte) []byte {
	raw := s.raw(name)
	for _, quote := range []string{"&quot;", "&#34;"} {
		if inner, ok := bytes.CutPrefix(raw, []byte(quote)); ok {
			raw, ok = bytes.CutSuffix(inner, []byte(quote))
			if !ok || bytes.IndexByte(raw, '&') >= 0 {
				s.fail()
			}
			return raw
		}
	}
	if bytes.IndexByte(raw, '&') >= 0 {
		s.fail()
	}
	return trimETag(raw)
}

func (s *scanner) entry() entry {
	e := entry{size: -1}
	for name := s.open(); name != nil && !s.failed; name = s.open() {
		switch string(name) {
		case "Key":
			e.key = s.text(name)
		case "LastModified":
			e.modified = s.time(name)
		case "ETag":
			e.tag = s.etag(name)
		case "Size":
			e.size = s.number(name)
		default:
			s.skip(name, 2)
		}
	}
	s.close([]byte("Contents"))
	return e
}

// skip reads an element that nobody asked for.
func (s *scanner) skip(name []byte, depth int) {
	s.skipSpace()
	if len(s.rest) > 1 && s.rest[0] != '<' {
		_ = s.text(name)
		return
	}
	if depth > 10 {
		s.fail()
		return
	}
	for kid := s.open(); kid != nil && !s.failed; kid = s.open() {
		s.skip(kid, depth+1)
	}
	s.close(name)
}
