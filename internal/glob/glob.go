// Package glob matches names against Python's fnmatch patterns, several of them
// joined by |, as the include and exclude filters of a pipe have them.
//
// The patterns are those of Python 3.11 on POSIX: * matches any characters, a
// slash too, ? any single one, [seq] and [!seq] one of a set; case counts, and
// there is no quoting. Every string is a pattern: a bracket that is not closed
// stands for itself, an empty set such as [z-a] matches nothing. A byte that is
// not UTF-8 is a character of its own, as with Python's surrogateescape.
package glob

import (
	"strings"
	"unicode/utf8"
)

// Filter returns a function that reports whether a name matches some pattern of
// include (an empty include matches all) and none of exclude. The function is
// safe for concurrent use; it takes time in proportion to the name for usual
// patterns, and never more than pattern times name.
func Filter(include, exclude string) func(name string) bool {
	in, out := parseAll(include), parseAll(exclude)
	return func(name string) bool {
		return (include == "" || matchAny(in, name)) && !matchAny(out, name)
	}
}

func parseAll(joined string) []pattern {
	if joined == "" {
		return nil
	}
	var all []pattern
	for p := range strings.SplitSeq(joined, "|") {
		all = append(all, parse(p))
	}
	return all
}

func matchAny(patterns []pattern, name string) bool {
	for _, p := range patterns {
		if p.match(name) {
			return true
		}
	}
	return false
}

// A pattern is a sequence of units. No two stars follow each other.
type pattern []unit

// A unit is a star, a text or a set of characters.
type unit struct {
	star bool
	text string // valid UTF-8
	set  *set   // if text is empty
}

// width returns how many bytes at the start of s the unit matches, 0 for none.
func (u unit) width(s string) int {
	if u.text != "" {
		if strings.HasPrefix(s, u.text) {
			return len(u.text)
		}
		return 0
	}
	if s == "" {
		return 0
	}
	if r, n := decode(s); u.set.has(r) {
		return n
	}
	return 0
}

// match walks name once, and goes back to the last star only: what an earlier
// star could take instead, the last one can take as well.
func (p pattern) match(name string) bool {
	i, j := 0, 0               // the next unit, the next byte
	star, mark := 0, len(name) // the last star, and where what follows it was tried
	for {
		switch {
		case i == len(p) && j == len(name):
			return true
		case i < len(p) && p[i].star:
			if i == len(p)-1 {
				return true
			}
			if last := p[len(p)-1]; i == len(p)-2 && last.text != "" {
				return strings.HasSuffix(name[j:], last.text)
			}
			star, mark = i, j
			i++
			continue
		case i < len(p):
			if n := p[i].width(name[j:]); n > 0 {
				i, j = i+1, j+n
				continue
			}
		}
		if mark >= len(name) {
			return false
		}
		_, n := decode(name[mark:])
		mark += n
		if text := p[star+1].text; text != "" {
			skip := strings.Index(name[mark:], text)
			if skip < 0 {
				return false
			}
			mark += skip
		}
		i, j = star+1, mark
	}
}

// parse never fails: what makes no sense as a set stands for itself.
func parse(text string) pattern {
	var p pattern
	for text != "" {
		switch r, n := decode(text); {
		case r == '*':
			text = strings.TrimLeft(text, "*")
			p = append(p, unit{star: true})
		case r == '?':
			text = text[n:]
			p = append(p, unit{set: &set{not: true}})
		case r == '[' && endOfSet(text) > 0:
			end := endOfSet(text)
			p = append(p, unit{set: parseSet(runes(text[1:end]))})
			text = text[end+1:]
		case r >= badByte && r < badByte+0x100:
			text = text[n:]
			p = append(p, unit{set: &set{ranges: []span{{r, r}}}})
		default:
			if k := len(p) - 1; k >= 0 && p[k].text != "" {
				p[k].text += text[:n]
			} else {
				p = append(p, unit{text: text[:n]})
			}
			text = text[n:]
		}
	}
	return p
}

// endOfSet returns where the set that text starts with is closed, -1 when it is
// not: the ] is neither its first character nor the first after the !.
func endOfSet(text string) int {
	start := 1
	if strings.HasPrefix(text[start:], "!") {
		start++
	}
	if strings.HasPrefix(text[start:], "]") {
		start++
	}
	end := strings.IndexByte(text[start:], ']')
	if end < 0 {
		return -1
	}
	return start + end
}

// badByte is added to a byte that is not UTF-8: the character that Python's
// surrogateescape makes of it. No valid text has these.
const badByte = 0xDC00

// decode returns the first character of s and its size. An invalid byte counts
// as one character.
func decode(s string) (rune, int) {
	r, n := utf8.DecodeRuneInString(s)
	if r == utf8.RuneError && n == 1 {
		return badByte + rune(s[0]), 1
	}
	return r, n
}

func runes(s string) []rune {
	var all []rune
	for s != "" {
		r, n := decode(s)
		all, s = append(all, r), s[n:]
	}
	return all
}
