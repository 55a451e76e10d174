// Package jsonfile reads and rewrites JSON files that people edit by hand: what
// is wrong with one is told by line and column, a name that stands twice is an
// error and not a silent choice, and what a program does not know stays in its
// place, in its order, digit by digit.
package jsonfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxDepth is how deep objects and arrays may be nested.
const MaxDepth = 1000

// SyntaxError says where a text stops being JSON that can be trusted.
type SyntaxError struct {
	Line   int // from 1
	Column int // in characters, from 1
	Msg    string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Msg)
}

// At returns a *SyntaxError for the byte at offset of data.
func At(data []byte, offset int, msg string) *SyntaxError {
	before := data[:min(max(offset, 0), len(data))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return &SyntaxError{
		Line:   bytes.Count(before, []byte{'\n'}) + 1,
		Column: utf8.RuneCount(before[start:]) + 1,
		Msg:    msg,
	}
}

// Check reports, as a [*SyntaxError], the first reason why data is not one JSON
// value in valid UTF-8, no object of which has a name twice and which is nested
// at most [MaxDepth] deep.
func Check(data []byte) error {
	if i := invalidUTF8(data); i >= 0 {
		return At(data, i, "invalid UTF-8")
	}
	// Depth comes first: the standard library's own limit is ten times as high,
	// and it tells no place.
	if i := tooDeep(data); i >= 0 {
		return At(data, i, fmt.Sprintf("nested more than %d deep", MaxDepth))
	}
	if err := valid(data); err != nil {
		return err
	}
	return checkNames(data)
}

// valid checks the grammar.
func valid(data []byte) error {
	var raw json.RawMessage
	err := json.Unmarshal(data, &raw)
	var syntax *json.SyntaxError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &syntax):
		return At(data, 0, err.Error())
	case syntax.Offset >= int64(len(data)) && strings.Contains(syntax.Error(), "unexpected end"):
		return At(data, len(data), "the file ends too early")
	default: // Offset counts the bytes read, the offending one included
		return At(data, int(syntax.Offset)-1, syntax.Error())
	}
}

func invalidUTF8(data []byte) int {
	if utf8.Valid(data) {
		return -1
	}
	for i := 0; ; {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size <= 1 {
			return i
		}
		i += size
	}
}

func tooDeep(data []byte) int {
	depth := 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			i = endOfString(data, i) - 1
		case '{', '[':
			if depth++; depth > MaxDepth {
				return i
			}
		case '}', ']':
			depth--
		}
	}
	return -1
}

// checkNames looks for names that an object has twice. The text is valid JSON.
func checkNames(data []byte) error {
	var seen []map[string]bool // per depth; reused by the objects of a depth
	var inObject []bool
	name := false // whether the next string is a name
	for i := 0; i < len(data); i++ {
		depth := len(inObject) - 1
		switch data[i] {
		case '{', '[':
			name = data[i] == '{'
			inObject = append(inObject, name)
			if depth+1 == len(seen) {
				seen = append(seen, map[string]bool{})
			}
			if len(seen[depth+1]) > 64 { // to clear a big map costs its size, each time
				seen[depth+1] = map[string]bool{}
			}
			clear(seen[depth+1])
		case '}', ']':
			inObject = inObject[:depth]
		case ',':
			name = inObject[depth]
		case '"':
			end := endOfString(data, i)
			if name {
				key := unquote(data[i:end])
				if seen[depth][key] {
					return At(data, i, fmt.Sprintf("the name %.80q stands twice in one object", key))
				}
				seen[depth][key] = true
			}
			name = false
			i = end - 1
		}
	}
	return nil
}

// endOfString returns the offset behind the string that starts at i, or the
// length of data when it does not end.
func endOfString(data []byte, i int) int {
	for i++; i < len(data); i++ {
		switch data[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(data)
}

// unquote decodes a valid JSON string.
func unquote(quoted []byte) string {
	if !bytes.ContainsRune(quoted, '\\') {
		return string(quoted[1 : len(quoted)-1])
	}
	var s string
	_ = json.Unmarshal(quoted, &s) // it was checked
	return s
}
